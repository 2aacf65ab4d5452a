// Loaded into NNI's manager before its own program, for two things that it has no option for.
const { Server } = require('net');
const { promisify } = require('util');

// It listens on all interfaces, and asks for no password: here on loopback.
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
    if (typeof port !== 'number') return listen.call(this, port, ...rest);
    return listen.call(this, { port, host: '127.0.0.1' }, ...rest.filter((argument) => typeof argument === 'function'));
};

// It gives its dispatcher ten seconds to connect, which importing NNI takes on a busy machine: here two minutes.
const wait = global.setTimeout;
global.setTimeout = (call, milliseconds, ...rest) => {
    const dispatchers = milliseconds === 10000 && new Error().stack.includes('tuner_command_channel');
    return wait(call, dispatchers ? 120000 : milliseconds, ...rest);
};
global.setTimeout[promisify.custom] = wait[promisify.custom];
