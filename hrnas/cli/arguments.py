"""What words take: arguments, those that many words share, and how they are read."""

from __future__ import annotations

import argparse
import inspect
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnas.reading import read_count, read_size

LARGEST_SEED = 2**32 - 1  # as on the cards
MOST_KEYPOINTS = 1000


@dataclass(frozen=True)
class Argument:
    """One argument of a word, as argparse and docs/cli.md have it."""

    name: str  # "CARD" or "--trials"
    value: str  # what stands for the value of an option: "N"; "" for a switch
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    required: bool | None = None  # by default what stands without dashes is
    many: bool = False  # one or more, without dashes
    choices: tuple[str, ...] | None = None

    @property
    def is_option(self) -> bool:
        """Whether it begins with dashes."""
        return self.name.startswith("--")

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Tell argparse."""
        if self.is_option and not self.value:
            parser.add_argument(self.name, action="store_true", help=self.help)
        elif self.is_option:
            parser.add_argument(
                self.name,
                metavar=self.value,
                help=self.help,
                type=self.read,
                default=self.default,
                required=bool(self.required),
                choices=self.choices,
            )
        else:
            count = "+" if self.many else "?" if self.required is False else None
            parser.add_argument(self.name.lower(), metavar=self.name, help=self.help, type=self.read, nargs=count)


class Word:
    """One word of the command line, or two, as `data check`, which is the function `data_check`.

    The function's docstring is its help: a line, then a paragraph.
    """

    def __init__(self, run: Callable[[Namespace], int], *arguments: Argument) -> None:
        first, _, story = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
        self.name = run.__name__.replace("_", " ").strip()
        self.about = first[0].lower() + first[1:].rstrip(".")
        self.story = " ".join([first, *story.split()])
        self.arguments = arguments
        self.run = run


def word(*arguments: Argument) -> Callable[[Callable[[Namespace], int]], Word]:
    """Make the function below a word that takes these arguments."""
    return lambda run: Word(run, *arguments)


def as_count(text: str) -> int:
    """A count of 1 or more, which may carry a suffix: `2K`."""
    try:
        value = read_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (got {text})") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more (got {text})")
    return value


def as_seed(text: str) -> int:
    """A seed, as the cards take it."""
    if not text.isdecimal() or len(text) > 10 or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {LARGEST_SEED} (got {text})")
    return int(text)


def as_keypoints(text: str) -> int:
    """A number of keypoints."""
    value = as_count(text)
    if value > MOST_KEYPOINTS:
        raise argparse.ArgumentTypeError(f"expected {MOST_KEYPOINTS} or less (got {text})")
    return value


def as_size(text: str) -> tuple[int, int]:
    """Height and width in pixels: `256x192`."""
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (got {text})") from None


RUNS = Argument("--runs", "DIR", "where studies lie (default: HRNAS_RUNS, or runs/)", Path)
JSON = Argument("--json", "", "print one JSON document instead of text")
QUIET = Argument("--quiet", "", "no progress, only the result")
DATA = Argument("--data", "DIR", "use the pictures in this folder, in COCO's layout, instead of the card's", Path)
STUDY = Argument("STUDY", "", "a name under --runs, or a run folder")
TRAINER = Argument("--trainer", "CARD", "a trainer card: a name on the shelf trainers/, or a YAML file", required=True)
CARD = Argument("CARD", "", "a name on the shelves, such as studies/quickstart or published/lite_hrnet_18, or a file")
ARCHITECTURE = Argument("ARCHITECTURE", "", "a published point's name, a YAML file, or STUDY#KEY")
