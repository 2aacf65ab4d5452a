"""Lite CSW-HRNet's and Greit-HRNet's parts: their equations computed naively, and the counts of other readings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_architectures import lite_tree

from hrnas.nets.blocks.greit_hrnet import LargeKernelAttention
from hrnas.nets.cost import measure_cost
from hrnas.nets.layers import MatMul
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.tables import build_attention, build_cross, build_stem
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import kinds_of
from hrnas.space.published import load_point

WIDTHS = (6, 10, 12, 14)


def features(branches: int, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, width, 16 >> b, 8 >> b) for b, width in enumerate(WIDTHS[:branches])]


def options(slot: str, kind: str, **changes: Any) -> Any:
    return kinds_of(slot)[kind].model_validate({"kind": kind, **changes})


def enlivened(module: nn.Module | None) -> Any:
    """In eval mode, with large weights and norms that have seen something."""
    assert module is not None
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value) * 0.5)
    return module.eval()


# ---------------------------------------------------------------------------------------------------------------------
# the equations, naively


def normed(x: Tensor, norm: Any) -> Tensor:
    mean, var, weight, bias = (
        value[:, None, None] for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def mixed(x: Tensor, conv: Any) -> Tensor:
    """A 1x1 convolution."""
    y = torch.einsum("bihw,oi->bohw", x, conv.weight[:, :, 0, 0])
    return y if conv.bias is None else y + conv.bias[:, None, None]


def pooled_together(group: list[Tensor]) -> Tensor:
    """All at the size of the last: each position is the mean of those that it stands for."""
    height, width = group[-1].shape[2:]
    return torch.cat([x.unflatten(3, (width, -1)).unflatten(2, (height, -1)).mean((3, 5)) for x in group], dim=1)


def times_share(group: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Each feature times its channels of the weights, every weight repeated over the positions that it stands for."""
    height = weights.shape[2]
    shares = weights.split([x.shape[1] for x in group], dim=1)
    repeats = [x.shape[2] // height for x in group]
    return [
        x * s.repeat_interleave(r, dim=2).repeat_interleave(r, dim=3)
        for x, s, r in zip(group, shares, repeats, strict=True)
    ]


def channel_map(x: Tensor, taps: Tensor) -> Tensor:
    """Equation 9: one weight per channel, from its neighbours' means and maxima."""
    logits = torch.zeros(x.shape[:2])
    for channel in range(x.shape[1]):
        for tap, weight in enumerate(taps):
            neighbour = channel + tap - len(taps) // 2
            if 0 <= neighbour < x.shape[1]:
                seen = x[:, neighbour].flatten(1)
                logits[:, channel] += weight * seen.mean(1) + weight * seen.max(1).values
    return logits.sigmoid()[:, :, None, None]


def position_map(x: Tensor, taps: Tensor) -> Tensor:
    """Equation 10: one weight per position, from the means and maxima over channels around it."""
    seen = torch.stack([x.mean(1), x.max(1).values], dim=1)
    reach, (height, width) = taps.shape[-1] // 2, x.shape[2:]
    logits = torch.zeros(x.shape[0], 1, height, width)
    for row in range(height):
        for column in range(width):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= row + dy < height and 0 <= column + dx < width:
                        here = seen[:, :, row + dy, column + dx]
                        logits[:, 0, row, column] += here @ taps[:, dy + reach, dx + reach]
    return logits.sigmoid()


def channel_spatial_weights(x: Tensor, module: nn.Module, order: str) -> Tensor:
    state = module.state_dict()
    over_channels, over_positions = (
        next(value for name, value in state.items() if name.endswith(f"{which}.weight"))
        for which in ("over_channels", "over_positions")
    )
    channels = channel_map(x, over_channels[0, 0])
    return channels * position_map(channels * x if order == "series" else x, over_positions[0])


ORDERS = pytest.mark.parametrize("order", ["parallel", "series"])


@ORDERS
@torch.no_grad()
def test_csw_weights_one_resolution_as_its_equations_say(order: str) -> None:
    module = enlivened(build_attention(options("attention", "csw", order=order), 10))
    x = torch.randn(2, 10, 9, 5)
    torch.testing.assert_close(module(x), x * channel_spatial_weights(x, module, order))


@ORDERS
@pytest.mark.parametrize("branches", [2, 3, 4])
@torch.no_grad()
def test_csw_weights_all_resolutions_as_its_equations_say(branches: int, order: str) -> None:
    module = enlivened(build_cross(options("cross", "csw", kernel=5, order=order), WIDTHS[:branches]))
    given = features(branches)
    weights = channel_spatial_weights(pooled_together(given), module, order)
    torch.testing.assert_close(module(given), times_share(given, weights))


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize(
    ("branches", "groups", "expected"),
    [
        (2, "pairs", ["0_1"]),
        (3, "pairs", ["0_1", "2"]),
        (4, "pairs", ["0_1", "2_3"]),
        (3, "all", ["0_1_2"]),
        (4, "all", ["0_1_2_3"]),
    ],
)
@torch.no_grad()
def test_gcw_weights_each_group_by_itself(branches: int, groups: str, expected: list[str], stack: int) -> None:
    chosen = options("cross", "gcw", reduction=4, groups=groups, stack=stack)
    module = enlivened(build_cross(chosen, WIDTHS[:branches]))
    given = features(branches)
    wanted: list[Tensor] = []
    for name in expected:
        group = [given[int(branch)] for branch in name.split("_")]
        for step in range(stack):
            part: Any = module.get_submodule(f"gcw.groups.{name}.{step}")
            squeezed = normed(mixed(pooled_together(group), part.reduce.conv), part.reduce.norm).relu()
            group = times_share(group, mixed(squeezed, part.expand).sigmoid())
        wanted += group
    torch.testing.assert_close(module(given), wanted)


@pytest.mark.parametrize("normalise", [False, True])
@torch.no_grad()
def test_gsw_weights_channels_as_its_equations_say(normalise: bool) -> None:
    slot = enlivened(build_attention(options("attention", "gsw", width=5, reduction=4, normalise=normalise), 12))
    part, x = slot.module, torch.randn(2, 12, 7, 5)
    middle = normed(mixed(x, part.squeeze.conv), part.squeeze.norm).relu()
    matter = normed(mixed(middle, part.matter.conv), part.matter.norm).sigmoid()
    total = torch.einsum("bchw,bhw->bc", x, matter[:, 0])[:, :, None, None] / (35 if normalise else 1)
    weights = mixed(mixed(total, part.reduce).relu(), part.expand).sigmoid()
    torch.testing.assert_close(slot(x), x * weights)


@torch.no_grad()
def test_the_sum_of_gsw_grows_with_the_picture_unless_it_is_normalised() -> None:
    def heard(normalise: bool, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        module = enlivened(build_attention(options("attention", "gsw", normalise=normalise), 16))
        sums: list[Tensor] = []
        next(m for m in module.modules() if isinstance(m, MatMul)).register_forward_hook(
            lambda layer, given, out: sums.append(out)
        )
        out = module(0.01 * torch.arange(16.0)[None, :, None, None].expand(1, 16, *size))
        return sums[0], out[:, :, 0, 0]

    (small, plain_small), (large, plain_large) = heard(False, (8, 6)), heard(False, (12, 9))
    torch.testing.assert_close(large, 2.25 * small)
    assert not torch.allclose(plain_small, plain_large, rtol=1e-3)
    torch.testing.assert_close(heard(True, (8, 6))[1], heard(True, (12, 9))[1])


@pytest.mark.parametrize(("kernel", "dilated", "dilation", "side"), [(5, 7, 3, 23), (3, 5, 2, 11), (7, 3, 1, 9)])
def test_large_kernel_attention_sees_as_far_as_its_kernels_reach(
    kernel: int, dilated: int, dilation: int, side: int
) -> None:
    attention = LargeKernelAttention(2, kernel, dilated, dilation)
    for parameter in attention.parameters():
        nn.init.ones_(parameter)
    x = torch.ones(1, 2, 31, 31, requires_grad=True)
    out = attention(x)
    assert out.shape == x.shape
    out[0, 0, 15, 15].backward()
    assert x.grad is not None
    seen = torch.zeros(31, 31, dtype=torch.bool)
    seen[15 - side // 2 : 16 + side // 2, 15 - side // 2 : 16 + side // 2] = True
    assert torch.equal(x.grad[0, 0] != 0, seen)


# ---------------------------------------------------------------------------------------------------------------------
# beside any neighbours


@pytest.mark.parametrize("place", ["first", "strided"])
@pytest.mark.parametrize(("width", "out", "expand"), [(32, 32, 1), (2, 2, 1), (12, 14, 2), (16, 64, 1), (30, 256, 1)])
def test_the_large_kernel_stem_ends_in_any_width_from_its_own(width: int, out: int, expand: int, place: str) -> None:
    chosen = options("stem", "lks", width=width, out=out, expand=expand, place=place)
    assert chosen.problems() == []
    assert build_stem(chosen)(torch.randn(2, 3, 64, 32)).shape == (2, out, 16, 8)


@pytest.mark.parametrize("branches", [3, 4])
def test_the_parts_work_outside_their_papers(branches: int) -> None:
    """Odd halves, attention of one paper in the other's row or in a residual block, a wider stem."""
    rows = [
        {"kind": "residual", "attention": {"kind": "gsw", "width": 3, "reduction": 5}},
        {"kind": "weighted_shuffle", "cross": {"kind": "gcw", "groups": "all"}, "single": {"kind": "csw"}},
        {"kind": "weighted_shuffle", "cross": {"kind": "csw"}, "single": {"kind": "gsw"}},
    ]
    stage = lite_tree()["stages"][0]
    tree = lite_tree(
        stem={"kind": "lks", "width": 16, "out": 48},
        widths=[22, 26, 34, 58][:branches],
        stages=[stage | {"row": row} for row in rows[: branches - 1]],
    )
    architecture = Architecture.from_tree(tree)
    assert PoseNet(architecture, 5)(torch.randn(2, 3, 96, 64)).shape == (2, 5, 24, 16)
    assert measure_cost(architecture, 5, (96, 64)).macs > 0


def with_row(**parts: Any) -> Architecture:
    row = {"kind": "weighted_shuffle", **parts}
    return Architecture.from_tree(lite_tree(stages=[stage | {"row": row} for stage in lite_tree()["stages"]]))


def test_one_pair_of_branches_is_all_of_them() -> None:
    """Stage 2 is one network in both spellings, so that its weights have the same names."""
    spellings = [with_row(cross={"kind": "gcw", "groups": groups}) for groups in ("pairs", "all")]
    rows = [architecture.stages[0].row.canonical((16, 32)) for architecture in spellings]
    assert rows[0] == rows[1]
    names = [{name for name, _ in PoseNet(a, 5).named_parameters() if name.startswith("stages.2.")} for a in spellings]
    assert names[0] == names[1]
    assert spellings[0].key != spellings[1].key  # because of stage 3


def test_csw_is_one_network_if_its_kernels_are() -> None:
    """Of halves of 8 to 64 channels, together 24 to 120: offset 0 gives 8 channels kernel 1; all else has kernel 3."""
    keys = {
        (slot, offset): with_row(**{slot: {"kind": "csw", "gamma": 2, "offset": offset}}).key
        for slot in ("cross", "single")
        for offset in (0, 1)
    }
    assert keys["cross", 0] == keys["cross", 1]
    assert keys["single", 0] != keys["single", 1]


# ---------------------------------------------------------------------------------------------------------------------
# the counts of the readings, made in another program: parameters, and M of Lite-HRNet's scale


def changed(point: str, row: dict[str, Any] | None = None, **changes: Any) -> Architecture:
    """A published point with some parts of every row replaced, its stem, or its last stage's number of blocks."""
    tree = load_point(f"published/{point}").architecture.tree()
    for stage in tree["stages"]:
        stage["row"] |= row or {}
    tree["stages"][2]["blocks"] = changes.pop("last_blocks", 2)
    tree["stem"] |= changes
    return Architecture.from_tree(tree)


LITE_CCW, LITE_SE = {"kind": "ccw", "reduction": 8}, {"kind": "se", "reduction": 4}


def both(kind: str, **changes: Any) -> dict[str, Any]:
    part = {"kind": kind, **changes}
    return {"cross": part, "single": part}


CSW = [
    pytest.param({}, 892_481, 199.74, 449.15, id="both"),
    pytest.param({"row": {"cross": LITE_CCW}}, 1_026_825, 212.82, 478.69, id="single resolution alone"),
    pytest.param({"row": {"single": LITE_SE}}, 996_425, 192.15, 432.03, id="across resolutions alone"),
    pytest.param({"row": both("csw", gamma=1, offset=2)}, 892_769, 199.74, 449.15, id="kernels as printed"),
    pytest.param({"row": both("csw", order="series")}, 892_481, 199.74, 449.15, id="series"),
    pytest.param({"row": both("csw", kernel=3)}, 887_361, 194.49, 437.35, id="3x3"),
    pytest.param({"row": both("none")}, 885_985, 188.89, 424.99, id="no weighting"),
    pytest.param({"last_blocks": 1}, 884_863, 196.00, 440.79, id="stage 4 as in table 1"),
]


@pytest.mark.parametrize(("changes", "params", "small", "large"), CSW)
def test_counts_of_lite_csw_hrnet(changes: dict[str, Any], params: int, small: float, large: float) -> None:
    architecture = changed("lite_csw_hrnet", **changes)
    costs = [measure_cost(architecture, 17, size) for size in ((256, 192), (384, 288))]
    assert costs[0].params == params
    assert [round(cost.lite_scale, 2) for cost in costs] == [small, large]


@pytest.mark.parametrize(
    ("point", "params", "figures"),
    [("greit_hrnet_18", 1_156_601, (283.88, 638.66, 378.33)), ("greit_hrnet_30", 1_801_481, (430.57, 968.67, 573.90))],
)
def test_counts_of_greit_hrnet(point: str, params: int, figures: tuple[float, ...]) -> None:
    architecture = load_point(f"published/{point}").architecture
    inputs = [(17, (256, 192)), (17, (384, 288)), (16, (256, 256))]
    costs = [measure_cost(architecture, keypoints, size) for keypoints, size in inputs]
    assert [cost.params for cost in costs] == [params, params, params - 41]  # a keypoint's 40 weights and its bias
    assert tuple(round(cost.lite_scale, 2) for cost in costs) == figures


# what is replaced in Lite-HRNet; the steps from its own parameters and M
STEPS = [
    pytest.param("lite_hrnet_18", {"row": {"cross": {"kind": "gcw"}}}, 32_944, 15.73, id="GCW"),
    pytest.param("lite_hrnet_30", {"row": {"cross": {"kind": "gcw"}}}, 48_912, 27.31, id="GCW, 30"),
    pytest.param("lite_hrnet_18", {"row": {"single": {"kind": "gsw"}}}, -10_088, 28.04, id="GSW"),
    pytest.param("lite_hrnet_30", {"row": {"single": {"kind": "gsw"}}}, -14_124, 49.19, id="GSW, 30"),
    pytest.param("lite_hrnet_18", {"row": {"single": {"kind": "gsw", "width": 8}}}, -31_720, 13.20, id="GSW, 8"),
    pytest.param("lite_hrnet_18", {"row": {"single": {"kind": "gsw", "width": 32}}}, 33_176, 57.72, id="GSW, 32"),
    pytest.param("lite_hrnet_18", {"kind": "lks"}, 2_976, 34.88, id="LKS"),
    pytest.param("lite_hrnet_18", {"kind": "lks", "place": "strided"}, 4_976, 27.66, id="LKS, strided"),
]


@pytest.mark.parametrize(("point", "changes", "params", "compute"), STEPS)
def test_counts_of_greit_hrnets_parts(point: str, changes: dict[str, Any], params: int, compute: float) -> None:
    plain, with_part = measure_cost(changed(point)), measure_cost(changed(point, **changes))
    assert with_part.params - plain.params == params
    assert with_part.lite_scale - plain.lite_scale == pytest.approx(compute, abs=0.006)


ABLATION = {"gcw": 1_163_713, "gcw_gsw": 1_153_625, "gsw": 1_120_681, "lks": 1_133_745}
ABLATION |= {"lks_gcw": 1_166_689, "lks_gsw": 1_123_657}


@pytest.mark.parametrize("name", ABLATION)
def test_counts_of_table_6(name: str) -> None:
    assert measure_cost(load_point(f"published/greit_hrnet_18_{name}").architecture).params == ABLATION[name]


def test_the_sum_over_positions_is_in_macs_alone() -> None:
    """A matrix product: no tool of the papers sees it."""
    gsw = measure_cost(load_point("published/greit_hrnet_18_gsw").architecture)
    positions = [64 * 48, 32 * 24, 16 * 12, 8 * 6]
    halves, blocks = [20, 40, 80, 160], [16, 16, 12, 4]
    sums = sum(p * c * n for p, c, n in zip(positions, halves, blocks, strict=True))
    assert gsw.macs - gsw.conv_gi * 2**30 == sums
