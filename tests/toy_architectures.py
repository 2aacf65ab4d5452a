"""Architectures for tests: small ones, random ones, and every setting that a search space could propose."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

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


def _kind(name: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Tree]:
    return st.fixed_dictionaries({"kind": st.just(name)}, optional=options)


KERNELS = st.sampled_from([3, 5, 7])
REDUCTIONS = st.integers(1, 64)
OUTPUTS = st.sampled_from(["all", "first"])
STEMS = st.one_of(
    _kind("bottleneck", width=st.integers(1, 64), blocks=st.integers(1, 4), out=st.integers(1, 256)),
    _kind("shuffle", width=st.integers(1, 64), out=st.integers(1, 64), expand=st.integers(1, 4)),
)
ROWS = st.one_of(
    *(_kind(name, kernel=KERNELS) for name in ("residual", "bottleneck", "shuffle")),
    _kind(
        "weighted_shuffle",
        kernel=KERNELS,
        cross=st.one_of(_kind("none"), _kind("ccw", reduction=REDUCTIONS)),
        single=st.one_of(_kind("none"), _kind("se", reduction=REDUCTIONS)),
    ),
)
FUSIONS = st.one_of(_kind("full", outputs=OUTPUTS), _kind("lite", outputs=OUTPUTS, double_add=st.booleans()))
STAGES = st.fixed_dictionaries(
    {
        "modules": st.integers(1, 3),
        "blocks": st.integers(1, 3),
        "transition": st.sampled_from([{"kind": "conv"}, {"kind": "lite"}]),
        "row": ROWS,
        "fusion": FUSIONS,
    }
)
# every slot by itself is legal; together they may be impossible
PROPOSALS = st.fixed_dictionaries(
    {
        "stem": STEMS,
        "widths": st.lists(st.integers(1, 300), min_size=1, max_size=5),
        "stages": st.lists(STAGES, min_size=2, max_size=3),
        "head": st.sampled_from([{"kind": "conv"}, {"kind": "iterative"}]),
    }
)
