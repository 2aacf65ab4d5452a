// NNI's manager has no option for the address that it listens on: every server in this process listens on loopback.
const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
    const plain = typeof port === 'number' || typeof port === 'string' && /^\d+$/.test(port);
    const more = rest.filter((argument) => typeof argument === 'function');
    return plain ? listen.call(this, { port: Number(port), host: '127.0.0.1' }, ...more) : listen.call(this, port, ...rest);
};
