"""The kinds that fill an architecture's slots: the options of each, with its own rules.

A kind has two halves with one name: its options here, in the file of its slot, and its module in `hrnas/nets`, listed
in `hrnas/nets/tables.py`. To add one: write its options class and put it into its slot's union, write its module, and
give it a line in its table; a test compares the two sides. An option needs a default, so that a search space may set
only some of them; a kind never has one, so that an architecture says what it is made of.
"""

from __future__ import annotations

from typing import Any, get_args

from hrnas.reading import Options
from hrnas.space.kinds.attention import Attention
from hrnas.space.kinds.contexts import Context, NoContext
from hrnas.space.kinds.fusions import Fusion, Transition
from hrnas.space.kinds.heads import Head
from hrnas.space.kinds.parts import Ghost, PartOptions, Repeat, Width, common_step
from hrnas.space.kinds.rows import Row
from hrnas.space.kinds.stems import Stem
from hrnas.space.kinds.weightings import Cross

SLOTS: dict[str, Any] = {
    "stem": Stem,
    "row": Row,
    "cross": Cross,
    "attention": Attention,
    "fusion": Fusion,
    "transition": Transition,
    "context": Context,
    "head": Head,
}


def kinds_of(slot: str) -> dict[str, type[Options]]:
    """The kinds that can fill a slot, by name."""
    union = get_args(SLOTS[slot])[0]
    return {get_args(options.model_fields["kind"].annotation)[0]: options for options in get_args(union)}


__all__ = [
    "SLOTS",
    "Attention",
    "Context",
    "Cross",
    "Fusion",
    "Ghost",
    "Head",
    "NoContext",
    "PartOptions",
    "Repeat",
    "Row",
    "Stem",
    "Transition",
    "Width",
    "common_step",
    "kinds_of",
]
