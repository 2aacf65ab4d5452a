"""Architectures for tests: small ones, random ones, and every setting that a search space could propose."""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from hrnas.reading import Options
from hrnas.space.kinds import kinds_of

Tree = dict[str, Any]


def lite_tree(**changes: Any) -> Tree:
    """A small Lite-HRNet: three stages, one module of one block each; `changes` replace whole keys."""
    stage = {
        "modules": 1,
        "blocks": 1,
        "transition": {"kind": "lite"},
        "row": {"kind": "weighted_shuffle"},
        "fusion": {"kind": "lite"},
    }
    tree: Tree = {
        "stem": {"kind": "shuffle", "width": 16, "out": 16},
        "widths": [16, 32, 64, 128],
        "stages": [dict(stage) for _ in range(3)],
        "head": {"kind": "iterative"},
    }
    return tree | changes


def random_lite_tree(dice: random.Random) -> Tree:
    """A random member of the Lite-HRNet family: any widths, depths, rows and stem that its code could build."""
    width = 2 * dice.randint(6, 12)
    return {
        "stem": {
            "kind": "shuffle",
            "width": width,
            "out": width + dice.choice([0, 0, 2, 8]),
            "expand": dice.choice([1, 2]),
        },
        "widths": [2 * dice.randint(8, 20) for _ in range(4)],
        "stages": [
            {
                "modules": dice.randint(1, 2),
                "blocks": dice.randint(1, 2),
                "transition": {"kind": "lite"},
                "row": dice.choice(
                    [
                        {"kind": "shuffle"},
                        {
                            "kind": "weighted_shuffle",
                            "kernel": dice.choice([3, 5]),
                            "cross": {"kind": "ccw", "reduction": dice.choice([4, 8])},
                            "single": {"kind": "se", "reduction": dice.choice([2, 4])},
                        },
                    ]
                ),
                "fusion": {"kind": "lite"},
            }
            for _ in range(3)
        ],
        "head": {"kind": "iterative"},
    }


def _values(annotation: Any, least: int = 1, most: int = 300) -> st.SearchStrategy[Any]:
    """Every value that an option may have, by its type; whole numbers up to what is worth building."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], *_bounds(arguments[1:]))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of(*(_values(member) for member in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_values(arguments[0]), min_size=1, max_size=4)
    if origin is tuple:
        return st.tuples(*map(_values, arguments)).map(list)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(least, most)
    assert issubclass(annotation, Options), f"no strategy draws a {annotation}"
    return _options(annotation)


def _bounds(limits: Iterable[Any]) -> tuple[int, int]:
    least, most = 1, 300
    for limit in limits:
        for each in getattr(limit, "metadata", [limit]):
            least, most = getattr(each, "ge", least), min(most, getattr(each, "le", most))
    return least, most


def _options(kind: type[Options]) -> st.SearchStrategy[Tree]:
    """Options of one kind: each option is there or left out, the kind's name is always there."""
    drawn = {name: _values(field.annotation, *_bounds(field.metadata)) for name, field in kind.model_fields.items()}
    required = {"kind": drawn.pop("kind")} if "kind" in drawn else {}
    return st.fixed_dictionaries(required, optional=drawn)


def any_of(slot: str) -> st.SearchStrategy[Tree]:
    """Anything that may fill a slot."""
    return st.one_of(*(_options(kind) for kind in kinds_of(slot).values()))


STAGES = st.fixed_dictionaries(
    {"modules": st.integers(1, 3), "blocks": st.integers(1, 3)}
    | {slot: any_of(slot) for slot in ("transition", "row", "fusion", "context")}
)
# every slot by itself is legal; together they may be impossible
PROPOSALS = st.fixed_dictionaries(
    {
        "stem": any_of("stem"),
        "widths": st.lists(st.integers(1, 300), min_size=1, max_size=5),
        "stages": st.lists(STAGES, min_size=2, max_size=3),
        "head": any_of("head"),
    }
)
