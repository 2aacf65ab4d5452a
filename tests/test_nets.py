"""What every network promises; its parts are in `test_contract.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.__main__ import networks, parameter_names
from torch import Tensor, nn
from toy_architectures import lite_tree
from toy_weights import enliven

from hrnas.nets.layers import interleave
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.tables import build_fusion
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import SLOTS, kinds_of
from hrnas.space.kinds.fusions import LiteFusion
from hrnas.space.published import load_point


def mixed_tree(fusion: dict[str, Any], head: str = "conv", stages: int = 3) -> dict[str, Any]:
    """Every kind in one network: a small one that no paper has."""
    rows = [{"kind": "bottleneck"}, {"kind": "weighted_shuffle"}, {"kind": "residual"}]
    tree = lite_tree(
        stem={"kind": "bottleneck", "width": 8, "blocks": 1, "out": 16},
        widths=[8, 16, 32, 48][: stages + 1],
        head={"kind": head},
    )
    tree["stages"] = [
        {"modules": 2, "blocks": 1, "transition": {"kind": kind}, "row": row, "fusion": {"kind": "lite"}}
        for kind, row in zip(["conv", "lite", "lite"][-stages:], rows, strict=False)
    ]
    tree["stages"][-1]["fusion"] = fusion
    return tree


DEAD = [
    pytest.param({"kind": "full", "outputs": "all"}, "conv", True, id="full, only the first output read"),
    pytest.param({"kind": "lite", "outputs": "all"}, "conv", True, id="lite, only the first output read"),
    pytest.param({"kind": "lite", "outputs": "first"}, "conv", False, id="only the first output made"),
    pytest.param({"kind": "lite", "outputs": "all"}, "iterative", False, id="all outputs read"),
]


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize(("fusion", "head", "any_dead"), DEAD)
def test_dead_parameters_are_those_without_a_gradient(
    fusion: dict[str, Any], head: str, any_dead: bool, stages: int
) -> None:
    net = PoseNet(Architecture.from_tree(mixed_tree(fusion, head, stages)), keypoints=4)
    enliven(net)
    net(torch.randn(2, 3, 64, 64)).square().sum().backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert net.dead_parameters() == silent
    assert bool(silent) == any_dead


@pytest.mark.parametrize("stages", [2, 3])
def test_heatmaps_have_a_quarter_of_the_pictures_size(stages: int) -> None:
    tree = lite_tree(widths=[16, 32, 64, 128][: stages + 1])
    tree["stages"] = tree["stages"][:stages]
    net = PoseNet(Architecture.from_tree(tree), keypoints=6)
    assert net(torch.randn(2, 3, 96, 64)).shape == (2, 6, 24, 16)


def test_a_picture_of_another_size_is_refused_with_what_would_do() -> None:
    net = PoseNet(Architecture.from_tree(lite_tree()), keypoints=6)
    with pytest.raises(UserError, match="the picture is 64x48; both sides must be divisible by 32"):
        net(torch.randn(1, 3, 64, 48))


def test_an_impossible_architecture_is_not_built() -> None:
    impossible = Architecture.model_validate(lite_tree(widths=[33, 32, 64, 128]))
    with pytest.raises(UserError, match=r"widths\[0\]: 33 must be divisible"):
        PoseNet(impossible, keypoints=17)


def test_weights_start_as_in_the_papers_and_follow_the_seed() -> None:
    def build(seed: int) -> PoseNet:
        torch.manual_seed(seed)
        return PoseNet(Architecture.from_tree(lite_tree()), keypoints=17)

    net = build(1)
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    weights = torch.cat([layer.weight.detach().flatten() for layer in convolutions])
    assert abs(weights.std().item() - 0.001) < 2e-5 and abs(weights.mean().item()) < 2e-5
    assert all(layer.bias is None or not layer.bias.any() for layer in convolutions)
    assert all((layer.weight == 1).all() and not layer.bias.any() for layer in norms)
    torch.testing.assert_close(net.state_dict(), build(1).state_dict(), rtol=0, atol=0)
    assert not torch.equal(convolutions[0].weight, next(build(2).parameters()))


def test_the_kind_is_part_of_every_parameters_name() -> None:
    net = PoseNet(load_point("published/lite_hrnet_18").architecture, keypoints=17)
    for name, _ in net.named_parameters():
        slot = {"stem": "stem", "head": "head"}.get(name.split(".")[0])
        slot = slot or next(
            s
            for s, part in [("row", "blocks"), ("fusion", "fusion"), ("transition", "transition")]
            if f".{part}." in name
        )
        assert any(f".{kind}." in name for kind in kinds_of(slot)), name


def test_parameter_names_are_a_file_format() -> None:
    """A change here makes every checkpoint of a user unreadable."""
    stored = json.loads((Path(__file__).parent / "golden" / "parameter_names.json").read_text(encoding="utf-8"))
    found = parameter_names()
    assert found["names"] == stored["names"]
    assert found["networks"] == stored["networks"]


def test_the_names_stored_are_of_every_kind() -> None:
    stored = {pair for architecture in networks().values() for pair in slots_and_kinds(architecture.tree())}
    assert stored >= {(slot, kind) for slot in SLOTS for kind in kinds_of(slot) if kind != "none"}


def slots_and_kinds(tree: Any, name: str = "") -> set[tuple[str, str]]:
    """Every kind in a tree of plain lists and mappings, with the slot that it fills."""
    if isinstance(tree, list):
        return set().union(*(slots_and_kinds(value) for value in tree))
    if not isinstance(tree, dict):
        return set()
    slot = "attention" if name in ("single", "first", "second") else name
    here = {(slot, tree["kind"])} if "kind" in tree else set()
    return here.union(*(slots_and_kinds(value, key) for key, value in tree.items()))


# ---------------------------------------------------------------------------------------------------------------------
# parts with a second opinion of their own


def test_double_add_computes_what_adding_in_place_computes() -> None:
    widths = (8, 16, 32)
    fusion = enliven(build_fusion(LiteFusion(kind="lite", double_add=True), widths, last=False)).eval()
    given = [torch.randn(2, width, 32 >> branch, 16 >> branch) for branch, width in enumerate(widths)]
    paths: Any = fusion.get_submodule("lite.paths")

    def bring(source: int, target: int, branches: list[Tensor]) -> Tensor:
        return branches[source] if source == target else paths[f"{source}_to_{target}"](branches[source])

    branches, expected = [x.clone() for x in given], []
    with torch.no_grad():
        for target in range(len(branches)):
            total = bring(0, target, branches)  # for target 0 the branch itself, which the sum then changes
            for source in range(len(branches)):
                total += bring(source, target, branches)
            expected.append(total.relu())
        torch.testing.assert_close(fusion(given), expected, rtol=0, atol=0)


def test_interleaving_is_concatenating_and_shuffling_in_two_groups() -> None:
    first, second = torch.randn(2, 6, 4, 3), torch.randn(2, 6, 4, 3)
    shuffled = nn.ChannelShuffle(2)(torch.cat([first, second], dim=1))
    torch.testing.assert_close(interleave(first, second), shuffled, rtol=0, atol=0)
