"""What every network and every kind in it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.__main__ import parameter_names
from torch import Tensor, nn
from toy_architectures import lite_tree

from hrnas.nets.layers import interleave
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.tables import (
    ATTENTIONS,
    CONTEXTS,
    CROSSES,
    FUSIONS,
    HEADS,
    ROWS,
    STEMS,
    TRANSITIONS,
    build_fusion,
    build_head,
    build_row,
    build_stem,
    build_transition,
)
from hrnas.reading import Options, UserError
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import SLOTS, kinds_of
from hrnas.space.kinds.fusions import LiteFusion
from hrnas.space.published import load_point

TABLES = {
    "stem": STEMS,
    "row": ROWS,
    "cross": CROSSES,
    "attention": ATTENTIONS,
    "fusion": FUSIONS,
    "transition": TRANSITIONS,
    "context": CONTEXTS,
    "head": HEADS,
}
WIDTHS = (8, 16, 32)


def every(slot: str, **more: list[dict[str, Any]]) -> list[Any]:
    """Each kind of a slot at its defaults, and with the options given for it."""
    found = []
    for kind, options in kinds_of(slot).items():
        for changes in [{}, *more.get(kind, [])]:
            label = kind + "".join(f" {name}={value}" for name, value in changes.items())
            found.append(pytest.param(options.model_validate({"kind": kind, **changes}), id=label))
    return found


ROW_OPTIONS = every(
    "row",
    residual=[{"kernel": 5}],
    shuffle=[{"kernel": 7}],
    weighted_shuffle=[
        {"kernel": 5},
        {"cross": {"kind": "none"}},
        {"single": {"kind": "none"}},
        {"cross": {"kind": "none"}, "single": {"kind": "none"}},
    ],
)
STEM_OPTIONS = every("stem", shuffle=[{"out": 48}, {"expand": 2}], bottleneck=[{"blocks": 1, "out": 64}])
FUSION_OPTIONS = every("fusion", lite=[{"double_add": False}, {"outputs": "first"}], full=[{"outputs": "first"}])


def features(widths: tuple[int, ...] = WIDTHS, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, width, 32 >> branch, 16 >> branch) for branch, width in enumerate(widths)]


def shapes(tensors: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in tensors]


def enliven(module: nn.Module) -> None:
    """Weights large enough, and ReLUs open enough, that no gradient dies on its way."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.ones_(layer.bias)


def assert_alive_and_deterministic(module: nn.Module, *inputs: Any) -> None:
    """Every parameter gets a gradient that is not zero everywhere; in eval mode one input gives one output."""
    enliven(module)
    outputs = module(*inputs)
    loss = sum((x * torch.randn_like(x)).sum() for x in (outputs if isinstance(outputs, list) else [outputs]))
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"{name} hears nothing"
    module.eval()
    with torch.no_grad():
        first, second = module(*inputs), module(*inputs)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_every_kind_has_its_options_and_its_module() -> None:
    assert {slot: set(table) for slot, table in TABLES.items()} == {slot: set(kinds_of(slot)) for slot in SLOTS}


@pytest.mark.parametrize("options", ROW_OPTIONS)
def test_a_row_keeps_shapes_and_hears_everything(options: Any) -> None:
    row = build_row(options, WIDTHS)
    given = features()
    assert shapes(row(given)) == shapes(given)
    assert_alive_and_deterministic(row, given)


@pytest.mark.parametrize("options", ROW_OPTIONS)
def test_a_row_leaves_its_input_as_it_was(options: Any) -> None:
    given = features()
    before = [x.clone() for x in given]
    build_row(options, WIDTHS)(given)
    torch.testing.assert_close(given, before, rtol=0, atol=0)


@pytest.mark.parametrize("options", STEM_OPTIONS)
def test_a_stem_quarters_the_picture(options: Any) -> None:
    stem = build_stem(options)
    image = torch.randn(2, 3, 64, 32)
    assert stem(image).shape == (2, options.out, 16, 8)
    assert_alive_and_deterministic(stem, image)


@pytest.mark.parametrize("options", every("transition"))
@pytest.mark.parametrize("before", [(8, 16), (12,)], ids=["passes what fits", "widens the stem"])
def test_a_transition_adds_a_branch(options: Any, before: tuple[int, ...]) -> None:
    after = WIDTHS[: len(before) + 1]
    transition = build_transition(options, before, after)
    given = features(before)
    out = transition(given)
    assert shapes(out) == shapes(features(after))
    if before == after[:-1]:
        assert all(x is y for x, y in zip(given, out, strict=False))
    assert_alive_and_deterministic(transition, given)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("options", FUSION_OPTIONS)
def test_a_fusion_keeps_shapes_or_ends_in_the_first(options: Any, last: bool) -> None:
    fusion = build_fusion(options, WIDTHS, last)
    given = features()
    wanted = shapes(given)
    assert shapes(fusion(given)) == (wanted[:1] if last and options.outputs == "first" else wanted)
    assert_alive_and_deterministic(fusion, given)


def test_double_add_computes_what_adding_in_place_computes() -> None:
    fusion = build_fusion(LiteFusion(kind="lite", double_add=True), WIDTHS, last=False).eval()
    enliven(fusion)
    given = features()
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


@pytest.mark.parametrize("options", every("head"))
def test_a_head_gives_a_heatmap_per_keypoint(options: Any) -> None:
    head = build_head(options, WIDTHS, stem=4, keypoints=5)
    given = features()
    inputs = (given, torch.randn(2, 4, 32, 16))
    assert head(*inputs).shape == (2, 5, 32, 16)
    assert_alive_and_deterministic(head, *inputs)


def test_interleaving_is_concatenating_and_shuffling_in_two_groups() -> None:
    first, second = torch.randn(2, 6, 4, 3), torch.randn(2, 6, 4, 3)
    shuffled = nn.ChannelShuffle(2)(torch.cat([first, second], dim=1))
    torch.testing.assert_close(interleave(first, second), shuffled, rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------------------------
# whole networks


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


def test_options_are_complete_with_a_kind_alone() -> None:
    for slot in SLOTS:
        for kind, options in kinds_of(slot).items():
            assert isinstance(options.model_validate({"kind": kind}), Options)
