"""An architecture is a value: it comes back from YAML, has one key, and says what is wrong with it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from toy_architectures import PROPOSALS, lite_tree

from hrnas.reading import UserError, read_yaml, validate, write_yaml
from hrnas.space.architecture import Architecture, PublishedPoint, repair
from hrnas.space.published import load_point, published_names

# Trials and checkpoints are found by these keys: a change orphans every ledger.
KEYS = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", published_names())
def test_a_published_point_loads_and_keeps_its_key(name: str) -> None:
    point = load_point(name)
    assert point.architecture.key == KEYS[name]
    assert point.published, "a published point without figures is no published point"


@given(PROPOSALS)
def test_every_proposal_can_be_repaired_and_comes_back_from_its_tree(proposal: dict[str, Any]) -> None:
    mended = repair(proposal)
    architecture = Architecture.from_tree(mended)
    assert repair(mended) == mended
    assert architecture.tree() == mended == json.loads(json.dumps(mended))
    assert Architecture.from_tree(architecture.tree()) == architecture


@given(PROPOSALS)
def test_repair_leaves_alone_what_is_possible(proposal: dict[str, Any]) -> None:
    as_it_is = validate(Architecture, proposal, "proposal")
    if not as_it_is.problems():
        assert Architecture.from_tree(repair(proposal)) == as_it_is
    else:
        assert Architecture.from_tree(repair(proposal)) != as_it_is
        with pytest.raises(UserError):
            Architecture.from_tree(proposal)


def test_an_architecture_comes_back_from_a_yaml_file(tmp_path: Path) -> None:
    architecture = load_point("published/lite_hrnet_18").architecture
    write_yaml(tmp_path / "mine.yaml", architecture.tree())
    assert Architecture.from_tree(read_yaml(tmp_path / "mine.yaml")) == architecture


def test_defaults_spelt_out_give_the_same_key() -> None:
    short = Architecture.from_tree(lite_tree())
    assert Architecture.from_tree(short.tree()).key == short.key
    assert len(short.key) == 12 and int(short.key, 16)


def test_two_reductions_that_keep_the_same_channels_give_the_same_key() -> None:
    def key(reduction: int) -> str:
        tree = lite_tree(widths=[40, 80, 160, 320])
        for stage in tree["stages"]:
            stage["row"] = {"kind": "weighted_shuffle", "single": {"kind": "se", "reduction": reduction}}
        return Architecture.from_tree(tree).key

    assert key(15) == key(16)  # 20, 40, 80 and 160 channels become 1, 2, 5 and 10
    assert key(8) != key(16)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("stem",), {"kind": "bottleneck"}),
        (("stem", "expand"), 2),
        (("widths", 3), 144),
        (("stages", 0, "modules"), 2),
        (("stages", 1, "blocks"), 2),
        (("stages", 0, "transition"), {"kind": "conv"}),
        (("stages", 2, "row"), {"kind": "shuffle"}),
        (("stages", 2, "row", "kernel"), 5),
        (("stages", 2, "row", "cross"), {"kind": "none"}),
        (("stages", 2, "row", "single"), {"kind": "none"}),
        (("stages", 0, "fusion"), {"kind": "full"}),
        (("stages", 0, "fusion", "double_add"), False),
        (("head",), {"kind": "conv"}),
    ],
)
def test_another_network_has_another_key(place: tuple[Any, ...], value: object) -> None:
    tree = changed(lite_tree(), place, value)
    assert Architecture.from_tree(tree).key != Architecture.from_tree(lite_tree()).key


@pytest.mark.parametrize(
    ("place", "value", "key", "words"),
    [
        (("widths",), [16, 32, 64], "widths", "3 stages need 4 widths, one per branch (got 3)"),
        (("widths",), [16, 32, 64, 128, 256], "widths", "3 stages need 4 widths, one per branch (got 5)"),
        (("widths", 0), 33, "widths[0]", "33 must be divisible, for weighted_shuffle rows by 2: take 32 or 34"),
        (("stages", 1, "row"), {"kind": "bottleneck"}, "widths[1]", "bottleneck rows by 4: take 28 or 32"),
        (("widths", 0), 6, "stages[0].row.single.reduction", "4 leaves no channel of 3: take 3 or less"),
        (
            ("stages", 0, "row", "cross"),
            {"kind": "ccw", "reduction": 64},
            "stages[0].row.cross.reduction",
            "no channel",
        ),
        (("stages", 0, "fusion", "outputs"), "first", "stages[0].fusion.outputs", "only the last stage"),
        (("stages", 2, "fusion", "outputs"), "first", "stages[2].fusion.outputs", "the head (iterative) reads all"),
        (("stem", "width"), 15, "stem.width", "15 is odd"),
        (("stem", "out"), 12, "stem.out", "less than the stem's width 16"),
        (("stem",), {"kind": "bottleneck", "out": 130}, "stem.out", "not divisible by 4"),
        (("stages",), [], "stages", "at least 2"),
        (("widths", 0), 0, "widths[0]", "greater than or equal to 1"),
        (("widths", 0), "16", "widths[0]", "integer"),
        (("widths", 0), True, "widths[0]", "integer"),
        (("stages", 0, "row", "kernel"), 4, "stages[0].row.kernel", "expected 3, 5, 7, 9 or 11 (got 4)"),
        (("stages", 0, "row", "kernle"), 3, "stages[0].row.kernle", "there is no such key"),
        (("stages", 0, "row"), {"kind": "lit"}, "stages[0].row", "there is no kind lit; there are: residual"),
        (("stages", 0, "row"), {"kernel": 3}, "stages[0].row", "the key 'kind' is missing"),
        (("head",), None, "head", "(got null)"),
        (("backbone",), {}, "backbone", "there is no such key"),
    ],
)
def test_a_mistake_is_named_with_its_key(place: tuple[Any, ...], value: object, key: str, words: str) -> None:
    tree = lite_tree(widths=[16, 30, 64, 128]) if key == "widths[1]" else lite_tree()
    with pytest.raises(UserError) as caught:
        Architecture.from_tree(changed(tree, place, value), source="mine.yaml")
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"mine.yaml: {key}: ")]
    assert lines and words in lines[0], str(caught.value)


def test_all_mistakes_come_at_once() -> None:
    tree = changed(lite_tree(widths=[33, 32, 65, 128]), ("stem", "width"), 15)
    tree["stages"][0]["fusion"] = {"kind": "full", "outputs": "first"}
    with pytest.raises(UserError) as caught:
        Architecture.from_tree(tree)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "stem.width",
        "widths[0]",
        "widths[2]",
        "stages[0].fusion.outputs",
    ]


def test_a_list_with_a_mistake_in_it_is_not_called_too_short() -> None:
    with pytest.raises(UserError) as caught:
        Architecture.from_tree(changed(lite_tree(), ("stages", 0, "row"), {"kind": "lit"}))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UserError, match=r"^architecture: stages: expected at least 2 items \(got \[\]\)$"):
        Architecture.from_tree(lite_tree() | {"stages": []})


def test_a_published_point_with_an_impossible_architecture_is_refused() -> None:
    tree = {"name": "mine", "architecture": lite_tree(widths=[33, 32, 64, 128])}
    with pytest.raises(UserError, match=r"mine.yaml: architecture.widths\[0\]: 33 must be divisible"):
        validate(PublishedPoint, tree, "mine.yaml")


def changed(tree: dict[str, Any], place: tuple[Any, ...], value: object) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    here: Any = tree
    for part in place[:-1]:
        here = here[part]
    here[place[-1]] = value
    return tree
