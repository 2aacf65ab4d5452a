"""The sketch of a network: every branch, every kind and every unusual option is told, at any width of the terminal."""

from __future__ import annotations

from typing import Any

import pytest
from toy_architectures import lite_tree

from hrnas.nets.cost import cost_as_json, measure_cost
from hrnas.reading import Options
from hrnas.showing import explain, explain_space
from hrnas.sketch import describe, in_words, sketch
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import SLOTS, kinds_of
from hrnas.space.search_space import SpaceCard, space_from_card

PARTS = ("stem", "stage2", "stage3", "stage4", "head")
COST: dict[str, Any] = {
    "params": 5000,
    "macs": 5_000_000,
    "parts": {part: {"params": 1000, "macs": 1_000_000} for part in PARTS},
}


def mixed() -> Architecture:
    """A network of which every stage is another."""
    tree = lite_tree(head={"kind": "conv"})
    tree["stages"][0] |= {"modules": 3, "row": {"kind": "residual"}, "fusion": {"kind": "full"}}
    tree["stages"][1] |= {
        "blocks": 4,
        "row": {
            "kind": "weighted_shuffle",
            "kernel": 5,
            "cross": {"kind": "none"},
            "single": {"kind": "se", "reduction": 2},
        },
        "fusion": {"kind": "lite", "double_add": False},
    }
    tree["stages"][2] |= {"transition": {"kind": "conv"}, "fusion": {"kind": "lite", "outputs": "first"}}
    return Architecture.from_tree(tree)


def test_the_smallest_and_the_largest_of_a_space_are_those_of_all_its_networks():
    choices = {
        "stem.kind": ["bottleneck", "shuffle"],
        "widths[0]": {"ordered": [16, 32]},
        "stages[0].row.kind": ["residual", "shuffle"],
        "stages[1].row.kind": ["residual", "shuffle"],
    }
    space = space_from_card(SpaceCard(name="little", base=lite_tree(), choices=choices))
    counted = [measure_cost(space.decode(genome)) for genome in space.enumerate()]
    shown = explain_space(space)
    for end, choose in (("smallest", min), ("largest", max)):
        cost = choose(counted, key=lambda cost: cost.macs)
        assert shown[end] == {"params": cost.params, "macs": cost.macs}


def test_a_mixed_network_reads_like_this():
    assert sketch(mixed(), COST, 100).splitlines() == [
        "          1/4  1/8 1/16 1/32  params    MACs",
        "stem       16                     1K      1M  shuffle stem (out 16, width 16)",
        "stage 2    16   32                1K      1M  lite transition",
        "                                              3 x [1 x residual",
        "                                                   full fusion]",
        "stage 3    16   32   64           1K      1M  lite transition",
        "                                              1 x [4 x weighted_shuffle (kernel 5, cross none,",
        "                                                      single se (reduction 2))",
        "                                                   lite fusion (double_add false)]",
        "stage 4    16   32   64  128      1K      1M  conv transition",
        "                                              1 x [1 x weighted_shuffle (cross ccw, single se)",
        "                                                   lite fusion (outputs first)]",
        "head                              1K      1M  conv head",
        "total                             5K      5M",
    ]


@pytest.mark.parametrize(("place", "line"), [("start", 1), ("end", 3)])
def test_a_context_stands_where_the_flow_passes_it(place: str, line: int):
    tree = lite_tree()
    tree["stages"][1]["context"] = {"kind": "sem", "branch": 2, "place": place}
    lines = sketch(Architecture.from_tree(tree), COST, 100).splitlines()
    (stage,) = (index for index, text in enumerate(lines) if text.startswith("stage 3"))
    assert lines[stage + line].split()[:2] == ["sem", "context"] and lines[stage + line].endswith(" on 1/8")


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 200])
def test_a_terminal_of_any_width_tells_the_same_in_lines_that_fit(width: int):
    lines = sketch(mixed(), COST, width).splitlines()
    assert " ".join(lines).split() == sketch(mixed(), COST, 1000).split()
    assert max(map(len, lines)) <= max(width, 44), "44 characters hold the numbers"


def test_a_network_of_three_stages_has_three_branches():
    tree = lite_tree(widths=[16, 32, 64])
    tree["stages"] = tree["stages"][:2]
    architecture = Architecture.from_tree(tree)
    text = sketch(architecture, cost_as_json(measure_cost(architecture)))
    assert "1/16  params" in text and "1/32" not in text and "stage 4" not in text


@pytest.mark.parametrize(("slot", "kind"), [(slot, kind) for slot in SLOTS for kind in kinds_of(slot)])
def test_every_kind_is_told_and_of_its_options_those_that_are_unusual(slot: str, kind: str):
    usual = kinds_of(slot)[kind](kind=kind)
    assert in_words(usual, slot).startswith(f"{kind} {slot}")
    for name, value in usual:
        if name == "kind" or isinstance(value, Options):
            continue
        assert f"{name} " not in in_words(usual).replace(kind, "", 1)
        changed = {bool: not value, int: 12345, float: 0.12345, str: "another", tuple: (12345, 6)}[type(value)]
        told = "12345/6" if isinstance(value, tuple) else str(changed).lower()
        assert f"{name} {told}" in in_words(usual.model_copy(update={name: changed}))


def test_what_stands_inside_is_told_too():
    class Inner(Options):
        ratio: int = 2

    class Outer(Options):
        kind: str
        plain: Inner = Inner()
        slot: Options = kinds_of("attention")["none"](kind="none")

    assert in_words(Outer(kind="new"), "row") == "new row"
    other = kinds_of("attention")["se"](kind="se", reduction=2)
    assert (
        in_words(Outer(kind="new", plain=Inner(ratio=4), slot=other)) == "new (plain (ratio 4), slot se (reduction 2))"
    )


def test_a_published_point_tells_its_printed_figures_and_open_questions():
    document = explain("published/small_hrnet_w16")
    text = describe(document)
    assert document["key"] in text and "1,284,961 parameters, 570,703,872 MACs at 256x192" in text
    words = " ".join(text.split())
    assert all(question in words for question in [document["about"], *document["open_questions"]])
    assert "256x192 1.3M 0.5G lite_scale AP 55.2 Greit-HRNet, 3" in words
    assert len(document["published"]) == text.count("lite_scale")
    assert max(map(len, text.splitlines())) <= 100


def test_dead_weights_are_told():
    document = explain("published/hrnet_w32")
    document["cost"]["params_live"] = 28_000_000
    assert "28,536,113 parameters (28,000,000 live)" in describe(document)
