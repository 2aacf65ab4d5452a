"""Say what to do: one word, one function.

What a word needs is imported when it is said, so that `hrnas --help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import NoReturn

from hrnas.cli import checking, comparing, data, explaining, learning, machine, sharing, studying
from hrnas.reading import UserError

INTERRUPTED = 130  # what a shell says of a program stopped with Ctrl-C; SIGTERM is the same to us
BEGINNING = """\
hrnas searches for pose networks: a study card goes in, a Pareto front comes out.

A study card names a search space and a trainer. `hrnas search quickstart` runs the smallest one on people that
hrnas draws itself, in about five minutes and with nothing to download; it ends by saying where the report lies."""
END = """\
CARD is a name on a shelf (`hrnas cards` lists them) or a YAML file. STUDY is a name under runs/, or a folder.
ARCHITECTURE is a name such as published/lite_hrnet_18, a YAML file, or STUDY#KEY with the key of a trial, or its
beginning.

`hrnas WORD --help` tells what a word takes."""

WORDS = {
    word.name: word
    for word in (
        studying.search,
        studying.repeat,
        studying.front,
        studying.retrain,
        studying.report,
        sharing.supernet_train,
        checking.rankcheck,
        learning.train,
        learning.import_,
        learning.predict,
        learning.evaluate,
        data.data_check,
        data.data_subset,
        data.data_draw,
        explaining.profile,
        explaining.cards,
        explaining.show,
        explaining.copy,
        comparing.bench,
        machine.doctor,
        machine.version,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `hrnas`.

    Returns:
        0: done; 1: not all is well (a search that ended early, a machine with something to mend); 2: a mistake of the
        user's; 130: stopped by Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # torch's threads spin while they wait for each other: a thousand small layers a step are three times slower when
    # another program wants the cores. Spinning this little costs nothing on a quiet machine; torch reads it on loading.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if threading.current_thread() is threading.main_thread():
        # a polite end is an interruption: claims are given back
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped; {_how_to_go_on(arguments)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `hrnas cards | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'hrnas'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(front_page())
        return 0
    if arguments[0] == "--version":
        arguments = ["version", *arguments[1:]]
    name, rest = split_word(arguments)
    if name not in WORDS:
        raise UserError(f"hrnas has no word '{name}'; {_nearest(name, WORDS)}")
    parser = word_parser(name)
    said, strange = parser.parse_known_args(rest)
    if strange:
        known = [*(argument.name for argument in WORDS[name].arguments if argument.is_option), "--help"]
        raise UserError(f"hrnas {name} does not take '{strange[0]}'; {_nearest(strange[0], known)}")
    status = WORDS[name].run(said)
    sys.stdout.flush()
    return status


def split_word(arguments: list[str]) -> tuple[str, list[str]]:
    """The word that a command begins with, which may be two (`data check`), and what follows it."""
    length = 2 if any(word.startswith(f"{arguments[0]} ") for word in WORDS) else 1
    return " ".join(arguments[:length]), arguments[length:]


def front_page() -> str:
    """What `hrnas --help` prints."""
    width = max(map(len, WORDS))
    words = "\n".join(f"  {name:<{width}}  {word.about}" for name, word in WORDS.items())
    return f"{BEGINNING}\n\n{words}\n\n{END}"


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}\n{self.format_usage().strip()}")


def word_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one word."""
    word = WORDS[name]
    parser = _Parser(prog=f"hrnas {name}", description=word.story, allow_abbrev=False)
    for argument in word.arguments:
        argument.add_to(parser)
    return parser


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.65)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"


def _how_to_go_on(arguments: list[str]) -> str:
    if arguments[0] in ("search", "train", "repeat", "retrain", "rankcheck"):
        return f"nothing is lost. To go on, say the same again: {shlex.join(['hrnas', *arguments])}"
    if arguments[0] == "predict":
        return "what was drawn so far lies in --out"
    return "nothing was changed"
