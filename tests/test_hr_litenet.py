"""HR-LiteNet's blocks are what its figures' captions say, and its counts those of other people's prototypes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toy_weights import at_work

from hrnas.nets.blocks.hr_litenet import LBasic, LBlock
from hrnas.nets.cost import measure_cost
from hrnas.nets.tables import build_fusion, build_row, build_stem, build_transition
from hrnas.space.architecture import Architecture
from hrnas.space.kinds.fusions import SeparableFusion, SeparableTransition
from hrnas.space.kinds.rows import LBasicRow
from hrnas.space.kinds.stems import LBlockStem
from hrnas.space.published import load_point

Weights = dict[str, Tensor]


def conv_norm(weights: Weights, name: str, x: Tensor, stride: int = 1, relu: bool = True) -> Tensor:
    """The convolution and the norm of this name, by their formulas; a kernel that sees fewer channels is depthwise."""
    kernel = weights[f"{name}.conv.weight"]
    groups = x.shape[1] // kernel.shape[1]
    y = functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)
    mean, var, scale, shift = (
        weights[f"{name}.norm.{what}"][:, None, None] for what in ("running_mean", "running_var", "weight", "bias")
    )
    y = (y - mean) / (var + 1e-5).sqrt() * scale + shift
    return y.relu() if relu else y


def separable(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    return conv_norm(weights, f"{name}.pointwise", conv_norm(weights, f"{name}.depthwise", x, stride))


def ghost(weights: Weights, name: str, x: Tensor) -> Tensor:
    y = conv_norm(weights, f"{name}.primary", x)
    return torch.cat([y, conv_norm(weights, f"{name}.cheap", y)], dim=1)


class Doubled(nn.Module):
    """Attention that can be told from none."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.parametrize("attention", [None, Doubled()], ids=["no attention", "attention"])
@pytest.mark.parametrize("split", [False, True])
@torch.no_grad()
def test_l_block_is_figure_4(split: bool, attention: nn.Module | None) -> None:
    x = torch.randn(2, 8, 5, 3)
    factor = 1 if attention is None else 2

    widening = at_work(LBlock(8, 32, split, attention))
    weights = widening.state_dict()
    worked = separable(weights, "conv", conv_norm(weights, "reduce", x))
    assert worked.shape[1] == (16 if split else 8)
    first, second = (worked[:, :8], worked[:, 8:]) if split else (worked, worked)
    right = torch.cat([conv_norm(weights, "expand.conv", first), ghost(weights, "expand.ghost", second)], dim=1)
    left = conv_norm(weights, "left", x, relu=False)
    torch.testing.assert_close(widening(x), factor * (left + right), rtol=1e-4, atol=1e-4)

    keeping = at_work(LBlock(8, 8, split, attention))
    weights = keeping.state_dict()
    right = ghost(weights, "expand", separable(weights, "conv", conv_norm(weights, "reduce", x)))
    torch.testing.assert_close(keeping(x), factor * (x + right), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
@torch.no_grad()
def test_l_basic_is_figure_5(kernel: int) -> None:
    x = torch.randn(2, 6, 5, 3)
    block = at_work(LBasic(6, kernel, Doubled()))
    middle = separable(block.state_dict(), "conv2", separable(block.state_dict(), "conv1", x))
    torch.testing.assert_close(block(x), (x + middle + 2 * x).relu(), rtol=1e-4, atol=1e-4)
    alone = LBasic(6, kernel, None).eval()
    alone.load_state_dict(block.state_dict())
    torch.testing.assert_close(alone(x), (x + middle).relu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("up", ["separable", "pointwise"])
@pytest.mark.parametrize(("chain", "middle"), [("next", 10), ("same", 6)])
@torch.no_grad()
def test_the_fusion_sums_what_its_paths_bring(chain: Any, middle: int, up: Any) -> None:
    features = [torch.randn(2, 6, 8, 4), torch.randn(2, 10, 4, 2), torch.randn(2, 4, 2, 1)]
    fusion = at_work(build_fusion(SeparableFusion(kind="separable", chain=chain, up=up), (6, 10, 4), last=False))
    weights = fusion.state_dict()

    def bring(source: int, target: int) -> Tensor:
        x, name = features[source], f"separable.paths.{source}_to_{target}"
        if source > target:
            bring_up = (
                separable(weights, f"{name}.0", x)
                if up == "separable"
                else conv_norm(weights, f"{name}.0", x, relu=False)
            )
            return bring_up.repeat_interleave(2 ** (source - target), 2).repeat_interleave(2 ** (source - target), 3)
        for step in range(target - source):
            x = separable(weights, f"{name}.{step}", x, stride=2)
            assert x.shape[1] == (middle if step < target - source - 1 else features[target].shape[1])
        return x

    expected = [sum((bring(source, target) for source in range(3)), torch.zeros(())).relu() for target in range(3)]
    torch.testing.assert_close(fusion(features), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_transition_is_separable_with_two_relus() -> None:
    transition = at_work(build_transition(SeparableTransition(kind="separable"), (6,), (8, 4)))
    weights, x = transition.state_dict(), torch.randn(2, 6, 8, 4)
    expected = [separable(weights, "separable.paths.0", x), separable(weights, "separable.paths.1", x, stride=2)]
    torch.testing.assert_close(transition([x]), expected, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# counts


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def norm(width: int) -> int:
    return 2 * width


def separable_params(inputs: int, outputs: int) -> int:
    """Equation 4, with the norms."""
    return 9 * inputs + norm(inputs) + inputs * outputs + norm(outputs)


def cbam_params(width: int) -> int:
    return 2 * width * (width // 16) + 2 * 7 * 7


def test_weights_in_closed_form() -> None:
    row = build_row(LBasicRow(kind="l_basic"), (32, 64))
    assert params(row) == sum(2 * separable_params(c, c) + cbam_params(c) for c in (32, 64))

    stem = build_stem(LBlockStem(kind="l_block"))
    convs = 27 * 64 + norm(64) + 9 * 64 * 64 + norm(64)
    first = 64 * 256 + norm(256) + 64 * 64 + norm(64) + separable_params(64, 64)
    first += 64 * 128 + norm(128) + 64 * 64 + norm(64) + 9 * 64 + norm(64) + cbam_params(256)
    other = (
        256 * 64 + norm(64) + separable_params(64, 64) + 64 * 128 + norm(128) + 9 * 128 + norm(128) + cbam_params(256)
    )
    assert params(stem) == convs + first + 3 * other

    fusion = build_fusion(SeparableFusion(kind="separable"), (32, 64, 128), last=False)
    ways = [(64, 32), (128, 32), (32, 64), (128, 64), (32, 64), (64, 128), (64, 128)]
    assert params(fusion) == sum(separable_params(*way) for way in ways)


HRNETS_WAYS = {"fusion": {"kind": "separable", "chain": "same", "up": "pointwise"}}
DENSE = {"fusion": {"kind": "full"}}
# What prototypes of these readings counted that were written without this code: M parameters; Gi of convolutions alone
# and of all operations, where they were counted
READINGS: list[Any] = [
    pytest.param(False, (1, 3, 1), {}, 1.897, 1.333, 1.440, id="as published"),
    pytest.param(False, (1, 3, 1), HRNETS_WAYS, 1.864, None, 1.428, id="HRNet's ways"),
    pytest.param(True, (1, 3, 1), HRNETS_WAYS, 1.905, 1.478, 1.587, id="split, HRNet's ways"),
    pytest.param(False, (1, 3, 1), DENSE, 2.243, None, None, id="dense fusion"),
    pytest.param(False, (1, 3, 1), DENSE | {"transition": {"kind": "conv"}}, 2.760, None, None, id="all joints dense"),
    pytest.param(False, (1, 4, 3), {}, 4.193, None, None, id="HRNet's depth"),
]


@pytest.mark.parametrize(("split", "modules", "joints", "millions", "conv_gi", "all_ops_gi"), READINGS)
def test_readings_count_as_their_prototypes(
    split: bool,
    modules: tuple[int, ...],
    joints: dict[str, Any],
    millions: float,
    conv_gi: float | None,
    all_ops_gi: float | None,
) -> None:
    tree = load_point("published/hr_litenet").architecture.tree()
    tree["stem"]["split"] = split
    for stage, number in zip(tree["stages"], modules, strict=True):
        stage |= joints | {"modules": number}
    tree["stages"][-1]["fusion"] = tree["stages"][-1]["fusion"] | {"outputs": "first"}
    cost = measure_cost(Architecture.from_tree(tree), 16, (256, 256))
    assert round(cost.params / 1e6, 3) == millions
    assert conv_gi is None or round(cost.conv_gi, 3) == conv_gi
    assert all_ops_gi is None or cost.all_ops_gi == pytest.approx(all_ops_gi, rel=0.002)


def test_the_printed_figures_are_near() -> None:
    cost = measure_cost(load_point("published/hr_litenet").architecture, 16, (256, 256))
    assert cost.params / 1e6 == pytest.approx(1.92, rel=0.015)
    assert cost.all_ops_gi == pytest.approx(1.46, rel=0.03)
    assert cost.params == cost.params_live


# ---------------------------------------------------------------------------------------------------------------------
# options


def test_spellings_of_one_network_have_one_key() -> None:
    def key(**changes: Any) -> str:
        tree = load_point("published/hr_litenet").architecture.tree()
        tree["stem"]["attention"] |= changes.pop("attention", {})
        tree["widths"] = changes.pop("widths", tree["widths"])
        for stage in tree["stages"]:
            stage["fusion"] |= changes
        return Architecture.from_tree(tree).key

    assert key(attention={"reduction": 33}) == key(attention={"reduction": 36}) != key()  # 7, 7 and 16 of 256
    even = [64, 64, 64, 128]
    assert key(widths=even, chain="same") == key(widths=even, chain="next")
    assert key(chain="same") != key(chain="next")


def test_the_stem_mends_its_width_for_its_attention() -> None:
    stem = LBlockStem.model_validate({"kind": "l_block", "out": 60, "attention": {"kind": "mcam", "groups": 8}})
    assert stem.problems() == ["out: 60 is not divisible by 8, as L-blocks with attention mcam need: take 64"]
    assert stem.mended().out == 64 and not stem.mended().problems()
