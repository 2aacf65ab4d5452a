"""Dite-HRNet's and X-HRNet's parts: computed naively, and counted as their authors' tools count them."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.blocks.dite_hrnet import (
    DenseContext,
    DynamicConvNorm,
    DynamicSplitConv,
    GlobalContext,
    KernelMixture,
)
from hrnas.nets.blocks.x_hrnet import ParallelAttention, PositionWeights, UnidimensionalAttention
from hrnas.nets.cost import measure_cost
from hrnas.nets.fusion import Fusion, chained, separable, upsampled
from hrnas.nets.layers import ConvNorm
from hrnas.nets.pose_net import PoseNet
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import kinds_of
from hrnas.space.published import load_point


def lively(module: nn.Module) -> Any:
    """In eval mode, with large weights and norms that have seen something."""
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value) * 0.7)
    return module.eval()


def options(slot: str, kind: str, **changes: Any) -> Any:
    return kinds_of(slot)[kind].model_validate({"kind": kind, **changes})


def small(name: str) -> Architecture:
    """A published point with one block in one module of each stage."""
    tree = load_point(f"published/{name}").architecture.tree()
    return Architecture.from_tree(tree | {"stages": [stage | {"modules": 1, "blocks": 1} for stage in tree["stages"]]})


def squeezed(context: Tensor, part: Any) -> Tensor:
    """The weights that a context gives: 1x1, norm, ReLU, 1x1, sigmoid."""
    return torch.sigmoid(part.expand(torch.relu(part.reduce.norm(part.reduce.conv(context)))))


# ---------------------------------------------------------------------------------------------------------------------
# Dite-HRNet


@torch.no_grad()
@pytest.mark.parametrize(("groups", "stride", "kernel"), [(1, 1, 1), (6, 2, 3), (6, 1, 5)])
def test_a_dynamic_convolution_sums_its_kernels_for_each_picture(groups: int, stride: int, kernel: int) -> None:
    outputs = 6 if groups > 1 else 4
    layer = lively(DynamicConvNorm(6, outputs, kernel, stride, groups, kernels=3, act=True))
    x = torch.randn(2, 6, 8, 6)
    for picture, out in zip(x.split(1), layer(x).split(1), strict=True):
        attention = layer.attention
        shares = squeezed(picture.mean((2, 3), keepdim=True), attention).flatten()
        one_kernel = sum(share * bank for share, bank in zip(shares, layer.mixture.weight, strict=True))
        expected = functional.conv2d(picture, one_kernel, None, stride, kernel // 2, groups=groups)
        torch.testing.assert_close(out, torch.relu(layer.norm(expected)), rtol=1e-4, atol=1e-5)
    assert shares.std() > 0.01, "all shares are alike"


@torch.no_grad()
def test_a_split_convolution_has_a_larger_kernel_for_each_group_and_shuffles_them() -> None:
    layer = lively(DynamicSplitConv(12, groups=4, kernels=1))
    kernels = [conv.conv.weight for conv in layer.convs.values()]
    assert [tuple(kernel.shape) for kernel in kernels] == [(3, 1, size, size) for size in (3, 5, 7, 9)]
    x = torch.randn(2, 12, 10, 9)
    out = layer(x)
    for group, (kernel, conv) in enumerate(zip(kernels, layer.convs.values(), strict=True)):
        part = functional.conv2d(x[:, 3 * group : 3 * group + 3], kernel, padding="same", groups=3)
        torch.testing.assert_close(out[:, group::4], conv.norm(part))


@torch.no_grad()
def test_global_context_is_a_sum_over_positions_by_their_softmax() -> None:
    layer = lively(GlobalContext(8, reduction=2))
    x = torch.randn(2, 8, 5, 4)
    logits = torch.einsum("bchw,c->bhw", x, layer.mask.weight[0, :, 0, 0])
    shares = logits.exp() / logits.exp().sum((1, 2), keepdim=True)
    context = torch.einsum("bchw,bhw->bc", x, shares)[:, :, None, None]
    torch.testing.assert_close(layer(x), layer.norm(x * squeezed(context, layer)))


@torch.no_grad()
def test_dense_context_sums_runs_of_memory_and_weighs_all_resolutions_by_them() -> None:
    widths, sizes = (4, 6, 8), [(8, 12), (4, 6), (2, 3)]
    layer = lively(DenseContext(widths, reduction=3))
    features = [torch.randn(2, width, *size) for width, size in zip(widths, sizes, strict=True)]
    contexts = []
    for x, mask in zip(features[:-1], layer.masks, strict=False):
        shares = mask(x).flatten(1).softmax(1)
        run = x[0, 0].numel() // 6  # values of each of the 2 x 3 cells
        context = torch.empty(2, x.shape[1], 6)
        for cell in range(6):
            for channel in range(x.shape[1]):
                start = (cell * x.shape[1] + channel) * run
                values = x.flatten(1)[:, start : start + run]
                context[:, channel, cell] = (values * shares[:, cell * run : (cell + 1) * run]).sum(1)
        contexts.append(context.unflatten(2, (2, 3)))
    weights = squeezed(torch.cat([*contexts, features[-1]], dim=1), layer).split(widths, dim=1)
    expected = [
        x * weight.repeat_interleave(repeats, dim=2).repeat_interleave(repeats, dim=3)
        for x, weight, repeats in zip(features, weights, (4, 2, 1), strict=True)
    ]
    torch.testing.assert_close(layer(features), expected)


@torch.no_grad()
def test_the_output_heard_is_the_sum_after_its_relu() -> None:
    """As the released loop computes it: y is branch 0 itself, to which all is added in place, as the ReLU works too."""
    fusion = lively(Fusion((4, 8, 12), 3, upsampled(ConvNorm), chained(separable), double_add=True, hear_output=True))
    features = [torch.randn(2, width, 8 >> branch, 8 >> branch) for branch, width in enumerate((4, 8, 12))]
    heard, expected = [x.clone() for x in features], []
    for target in range(3):
        total = heard[0] if target == 0 else fusion.paths[f"0_to_{target}"](heard[0])
        for source in range(3):
            total += heard[source] if source == target else fusion.paths[f"{source}_to_{target}"](heard[source])
        expected.append(total.relu_())
    torch.testing.assert_close(fusion(features), expected)


def test_groups_that_do_not_divide_a_branch_become_fewer_there() -> None:
    row, widths = options("row", "dmc"), (24, 48, 68, 200)
    assert row.problems((40, 80, 160, 320)) == []
    assert row.problems((24, 48, 100)) == []
    assert row.problems((24, 48, 68, 204)) == [
        "groups: 4 do not divide half of branch 4's 204 channels: take 2",
    ]
    mended = row.mended((24, 48, 70, 204))
    assert mended.groups == (1, 1, 1, 2)
    assert mended.problems((24, 48, 70, 204)) == [] == row.mended(widths).problems(widths)


def test_what_a_row_says_of_missing_branches_makes_no_other_network() -> None:
    here, other = options("row", "dmc"), options("row", "dmc", groups=[1, 1, 1, 1], kernels=[4, 4, 1, 8])
    assert here.canonical((40, 80)) == other.canonical((40, 80)) != other.canonical((40, 80, 160))


@pytest.mark.parametrize(
    ("kind", "changes", "widths"),
    [
        ("gcm", {"wide_reduction": 2}, (20, 64)),
        ("gcm", {"reduction": 2}, (80, 160)),
        ("susa", {"along": "height", "positions": [96, 50]}, (20,)),
        ("susa", {"along": "width", "positions": [50, 72]}, (20,)),
    ],
)
def test_an_option_that_nobody_hears_makes_no_other_network(kind: str, changes: Any, widths: tuple[int, ...]) -> None:
    default = options("attention", kind, **({"along": changes["along"]} if kind == "susa" else {}))
    changed = options("attention", kind, **changes)
    assert changed.canonical(widths) == default.canonical(widths)


# ---------------------------------------------------------------------------------------------------------------------
# X-HRNet


def weights_of_rows(x: Tensor, part: Any) -> Tensor:
    """A weight for each channel and row, position by position."""
    batch, channels, rows, columns = x.shape
    gains = part.positions.weight.flatten()
    context = torch.zeros(batch, channels, rows)
    for channel in range(channels):
        mean = sum(gains[row] * x[:, channel, row] for row in range(rows)) / rows
        logits = mean * part.query.weight[channel].flatten()
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        for row in range(rows):
            context[:, channel, row] = sum(shares[:, column] * x[:, channel, row, column] for column in range(columns))
    mixed = torch.einsum("bcr,oc->bor", context, part.mix.weight[:, :, 0, 0]) + part.mix.bias[:, None]
    level = (mixed - mixed.mean(1, keepdim=True)) / (mixed.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return torch.sigmoid(level * part.norm.weight[:, None] + part.norm.bias[:, None])


@torch.no_grad()
def test_attention_along_the_height_weighs_rows_by_what_its_columns_attend_to() -> None:
    part, x = lively(UnidimensionalAttention(6, "height", longest=9)), torch.randn(2, 6, 7, 5)
    torch.testing.assert_close(part(x), x * weights_of_rows(x, part)[:, :, :, None])


@torch.no_grad()
def test_attention_along_the_width_is_that_along_the_height_of_the_map_on_its_side() -> None:
    part, x = lively(UnidimensionalAttention(6, "width", longest=9)), torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(part(x), x * weights_of_rows(x.transpose(2, 3), part)[:, :, None, :])


@torch.no_grad()
def test_parallel_attention_has_one_half_for_each_side() -> None:
    part, x = lively(ParallelAttention(12, (9, 8))), torch.randn(2, 12, 7, 5)
    first, second = x[:, :6], x[:, 6:]
    torch.testing.assert_close(part(x)[:, ::2], first * weights_of_rows(first, part.height)[:, :, :, None])
    rows = weights_of_rows(second.transpose(2, 3), part.width)
    torch.testing.assert_close(part(x)[:, 1::2], second * rows[:, :, None, :])


def test_a_map_longer_than_its_weights_is_refused_by_name() -> None:
    net = PoseNet(small("x_hrnet_18"), keypoints=17).eval()
    with torch.no_grad(), pytest.raises(UserError, match="80 positions long, but weights are for 72"):
        net(torch.zeros(1, 3, 64, 320))


# ---------------------------------------------------------------------------------------------------------------------
# both


@pytest.mark.parametrize("name", ["dite_hrnet_18", "x_hrnet_18"])
@pytest.mark.parametrize("start", ["paper", "scaled"])
def test_weights_of_no_convolution_or_batch_norm_start_anew_too(name: str, start: Literal["paper", "scaled"]) -> None:
    net = PoseNet(small(name), keypoints=17)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    net.reset_weights(start)
    assert not any((parameter == 7).any() for parameter in net.parameters())
    for layer in net.modules():
        if isinstance(layer, PositionWeights):
            assert layer.weight.eq(1).all()
        elif isinstance(layer, KernelMixture):
            inputs = layer.weight[0, 0].numel()
            assert 0.7 < layer.weight.abs().max() / (6 / inputs) ** 0.5 <= 1


# ---------------------------------------------------------------------------------------------------------------------
# counts: the authors' own tool, run on the authors' own networks with a 1x1 convolution to the keypoints

COUNTED = {  # params, then torchstat's operations / 2^20 at 256x192, 384x288 (COCO) and 256x256 (MPII)
    "dite_hrnet_18": (1_186_933, 209.801, 471.864, 279.525),
    "dite_hrnet_30": (1_862_549, 329.817, 741.773, 439.514),
    "x_hrnet_18": (1_342_049, 194.442, 433.162, 257.996),
    "x_hrnet_30": (2_117_657, 300.214, 668.027, 398.232),
}


@pytest.mark.parametrize("name", COUNTED)
def test_the_counts_are_those_of_the_official_code(name: str) -> None:
    params, *scales = COUNTED[name]
    architecture = load_point(f"published/{name}").architecture
    settings = [(17, (256, 192)), (17, (384, 288)), (16, (256, 256))]
    costs = [measure_cost(architecture, keypoints, size) for keypoints, size in settings]
    assert [cost.params for cost in costs] == [params, params, params - 41]
    assert [round(cost.lite_scale, 3) for cost in costs] == scales


def test_the_parallel_form_has_the_counts_of_its_official_code() -> None:
    tree = load_point("published/x_hrnet_30").architecture.tree()
    for stage in tree["stages"]:
        stage["row"] |= {slot: {"kind": "susa", "along": "both"} for slot in ("cross", "single")}
    cost = measure_cost(Architecture.from_tree(tree))
    assert (cost.params, round(cost.lite_scale, 3)) == (1_781_369, 295.514)


def test_what_never_learns_is_the_biases_that_a_softmax_loses_and_a_mask_that_nobody_asks() -> None:
    net = PoseNet(small("dite_hrnet_18"), keypoints=17)
    row = "stages.2.steps.0.blocks.0.dmc."
    dead = {name.removeprefix(row) for name in net.dead_parameters() if name.startswith(row)}
    assert dead == {
        "cross.dcm.masks.0.bias",
        "cross.dcm.masks.1.weight",
        "cross.dcm.masks.1.bias",
        "single.gcm.0.mask.bias",
        "single.gcm.1.mask.bias",
    }
    cost = measure_cost(net.architecture)
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    assert cost.params - cost.params_live == sum(sizes[name] for name in net.dead_parameters())


def test_products_of_dynamic_kernels_are_executed_but_not_printed() -> None:
    """Summing up a picture's kernels is one product for each of their weights; so is the attention to them."""
    tree = small("dite_hrnet_18").tree()
    static = [1, 1, 1, 1]
    for stage in tree["stages"]:
        stage["row"] |= {"kernels": static, "single": {"kind": "none"}, "cross": {"kind": "none"}}
    static_stem = tree | {"stem": {"kind": "dgc", "kernels": 1}}
    dynamic, plain = (measure_cost(Architecture.from_tree(each)) for each in (tree, static_stem))
    net = PoseNet(Architecture.from_tree(tree), keypoints=17)
    bank = sum(p.numel() for name, p in net.named_parameters() if name.endswith("mixture.weight"))
    attention = sum(p.numel() for name, p in net.named_parameters() if ".attention." in name and p.dim() == 4)
    assert dynamic.macs - plain.macs == bank + attention
