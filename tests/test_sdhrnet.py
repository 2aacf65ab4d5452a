"""SDHRNet's parts are what the paper writes, worked out here the long way; its counts are closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from toy_architectures import lite_tree
from toy_weights import enliven

from hrnas.nets.blocks.attention import EfficientChannel
from hrnas.nets.blocks.hrnet import Residual
from hrnas.nets.blocks.lite_hrnet import SqueezeExcite
from hrnas.nets.blocks.sdhrnet import DenseAtrousHead, SemanticEnhancement, SplitConcat, SplitConcatResidual
from hrnas.nets.cost import measure_cost
from hrnas.nets.layers import ConvNorm, Scale
from hrnas.nets.pose_net import PoseNet, StageNet
from hrnas.nets.tables import build_row
from hrnas.space.architecture import Architecture, repair
from hrnas.space.kinds.contexts import SemanticEnhancement as SemanticEnhancementOptions
from hrnas.space.kinds.rows import SplitConcatRow
from hrnas.space.published import load_point

Tree = dict[str, Any]


def at_work(module: Any) -> Any:
    """The module in eval mode with weights, and statistics of its norms, drawn from everywhere."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1 if value.dim() == 1 else 0.3 * torch.randn_like(value))
    return module.eval()


def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = norm.weight / (variance + norm.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def layer_by_hand(layer: ConvNorm, x: Tensor, dilation: int = 1) -> Tensor:
    """A dense convolution tap by tap, its norm and ReLU; positions beyond the border are 0."""
    kernel = layer.conv.weight
    border, (height, width) = dilation * (kernel.shape[2] // 2), x.shape[2:]
    padded = pad(x, (border,) * 4)
    total = torch.zeros(len(x), len(kernel), height, width)
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            top, left = row * dilation, column * dilation
            seen = padded[:, :, top : top + height, left : left + width]
            total += torch.einsum("oi,bihw->bohw", kernel[:, :, row, column], seen)
    return normed(total, layer.norm).relu()


# ---------------------------------------------------------------------------------------------------------------------
# SC and SCR


def unit_by_hand(unit: SplitConcat, x: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Equations 1 to 3 and the product of 6 and 7."""
    half = layer_by_hand(unit.conv, x)
    border = unit.depthwise.conv.weight.shape[-1] // 2
    maps = [
        conv2d(half[:, c : c + 1], unit.depthwise.conv.weight[c : c + 1], padding=border) for c in range(half.shape[1])
    ]
    rest = normed(torch.cat(maps, dim=1), unit.depthwise.norm).relu()
    return normed(torch.cat([half, rest], dim=1) * weights, unit.norm)


@torch.no_grad()
def test_an_encoder_is_the_papers_equations() -> None:
    width = 8
    block = at_work(SplitConcatResidual(width, 3, SqueezeExcite(width, 4, bias=False), EfficientChannel(kernel=3)))
    unweighted: list[Tensor] = []
    for unit in (block.first, block.second):
        unit.attention.register_forward_pre_hook(lambda _, given: unweighted.append(given[0].clone()))
    x = torch.randn(2, width, 6, 5)
    found = block(x)

    means = unweighted[0].mean((2, 3))  # equation 4
    down, up = block.first.attention.reduce.weight.flatten(1), block.first.attention.expand.weight.flatten(1)
    weights = ((means @ down.T).relu() @ up.T).sigmoid()  # equation 6
    between = unit_by_hand(block.first, x, weights[:, :, None, None]).relu()

    taps, means = block.second.attention.conv.weight.flatten(), pad(unweighted[1].mean((2, 3)), (1, 1))
    weights = sum((taps[t] * means[:, t : t + width] for t in range(3)), torch.zeros(())).sigmoid()  # equation 7
    expected = (x + unit_by_hand(block.second, between, weights[:, :, None, None])).relu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 7])
@torch.no_grad()
def test_a_unit_without_attention_is_a_half_and_what_is_made_of_it(kernel: int) -> None:
    unit = at_work(SplitConcat(6, kernel, None))
    x = torch.randn(2, 6, 9, 7)
    torch.testing.assert_close(unit(x), unit_by_hand(unit, x), rtol=1e-4, atol=1e-5)


def weights_of(module: nn.Module) -> int:
    """Weights of the convolutions alone, as equations 8 to 14 count."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Conv1d)))


@pytest.mark.parametrize(("c", "over_channels"), [(32, 3), (64, 3), (128, 5), (256, 5)])
def test_an_encoder_has_the_weights_of_equation_12_and_half_of_a_basic_blocks(c: int, over_channels: int) -> None:
    k = 3
    (block,) = build_row(SplitConcatRow(kind="scr"), (c,)).module.children()
    assert weights_of(block) == (k**2 + 0.5) * c**2 + k**2 * c + over_channels
    assert weights_of(Residual(c)) == 2 * c * c * k**2  # equation 13
    ratio = (weights_of(block) - over_channels) / weights_of(Residual(c))
    # equation 14 prints .52 + .25 / c; its own terms are 19 / 36 + .5 / c
    assert ratio == pytest.approx(19 / 36 + 0.5 / c)


# ---------------------------------------------------------------------------------------------------------------------
# SEM


@pytest.mark.parametrize("reduction", [1, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 2)])
@torch.no_grad()
def test_every_position_hears_of_every_other_as_the_paper_writes(size: tuple[int, int], reduction: int) -> None:
    width = 8
    context = at_work(SemanticEnhancement(width, reduction, kernel=5))
    x = torch.randn(2, width, *size)
    a, b, d = (
        torch.einsum("oi,bip->bop", layer.weight.flatten(1), x.flatten(2))
        for layer in (context.query, context.key, context.value)
    )
    a, d = a + context.query.bias[:, None], d + context.value.bias[:, None]
    positions = range(size[0] * size[1])
    spatial = x.flatten(2).clone()
    for picture in range(len(x)):
        for here in positions:
            scores = torch.stack([a[picture, :, here] @ b[picture, :, there] for there in positions]).exp()
            for there in positions:
                share = scores[there] / scores.sum()
                spatial[picture, :, here] += context.scale.weight[0] * share * d[picture, :, there]
    taps, means = context.conv.weight.flatten(), pad(x.mean((2, 3)), (2, 2))
    total = sum((taps[t] * means[:, t : t + width] for t in range(5)), torch.zeros(()))
    channel = x * ((total + 3).clamp(0, 6) / 6)[:, :, None, None]  # equation 15 with its hard sigmoid
    torch.testing.assert_close(context(x), channel + spatial.reshape(x.shape), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_at_first_no_position_hears_of_another() -> None:
    context, x = SemanticEnhancement(8, 1, 3), torch.randn(2, 8, 4, 3)
    alone = context(x)
    nn.init.normal_(context.value.weight)
    torch.testing.assert_close(context(x), alone, rtol=0, atol=0)
    nn.init.ones_(context.scale.weight)
    assert not torch.allclose(context(x), alone)


@pytest.mark.parametrize("branch", [1, 2, 3, 4])
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_context_works_wherever_somebody_reads(stage: int, place: str, branch: int) -> None:
    tree = lite_tree(widths=[8, 12, 16, 24])
    tree["stages"][stage]["context"] = {"kind": "sem", "branch": branch, "place": place, "reduction": 2}
    architecture = Architecture.from_tree(repair(tree))
    context = architecture.stages[stage].context
    assert (context.branch, context.place) == (min(branch, stage + 2), place)
    net = PoseNet(architecture, keypoints=3)
    enliven(net)
    net(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() for n, p in net.named_parameters() if ".context." in n)
    assert any(".context." in name for name, _ in net.named_parameters())


def test_a_context_that_nobody_reads_is_refused_with_what_would_do() -> None:
    tree = lite_tree(head={"kind": "dasp"})
    tree["stages"][2]["context"] = {"kind": "sem", "branch": 4}
    (problem,) = Architecture.model_validate(tree).problems()
    assert problem == "stages[2].context.branch: 4, but the head reads the first branch alone: take 1 or less"
    tree["stages"][2]["context"]["place"] = "start"
    assert not Architecture.model_validate(tree).problems()


@pytest.mark.parametrize(
    ("place", "order"),
    [("start", ["transition", "context", "steps"]), ("end", ["transition", "steps", "context"])],
)
def test_a_context_stands_before_or_after_the_modules(place: str, order: list[str]) -> None:
    tree = lite_tree()
    tree["stages"][0]["context"] = {"kind": "sem", "branch": 2, "place": place}
    stage = PoseNet(Architecture.from_tree(tree), keypoints=3).stages["2"]
    assert isinstance(stage, StageNet)
    seen: list[str] = []
    for name, part in (("transition", stage.transition), ("context", stage.context), ("steps", stage.steps[0])):
        assert part is not None
        part.register_forward_hook(lambda *_, name=name: seen.append(name))
    stage([torch.randn(2, 16, 16, 16)])
    assert seen == order


def test_weights_start_anew_with_positions_that_hear_nothing() -> None:
    net = PoseNet(load_point("published/sdhrnet").architecture, keypoints=17)
    (scale,) = (layer for layer in net.modules() if isinstance(layer, Scale))
    assert scale.weight.item() == 0
    with torch.no_grad():
        scale.weight.fill_(2.0)
    net.reset_weights("scaled")
    assert scale.weight.item() == 0


def test_two_spellings_of_one_context_are_one_network() -> None:
    def canonical(**options: Any) -> SemanticEnhancementOptions:
        return SemanticEnhancementOptions(kind="sem", **options).canonical((40,))

    assert canonical(reduction=15) == canonical(reduction=14, offset=2)  # 2 channels; a kernel of 3
    assert canonical(reduction=15) != canonical(reduction=13)
    assert canonical() != canonical(gamma=1)
    assert canonical() != canonical(place="start")


# ---------------------------------------------------------------------------------------------------------------------
# DASP


@pytest.mark.parametrize("dilations", [(1, 6, 12, 18), (3,), (2, 2, 1)])
@torch.no_grad()
def test_each_dilated_convolution_sees_all_before(dilations: tuple[int, ...]) -> None:
    head = at_work(DenseAtrousHead(6, 10, 5, growth=4, dilations=dilations, width=8))
    features, stem = [torch.randn(2, 6, 9, 7), torch.randn(2, 12, 5, 4)], torch.randn(2, 10, 9, 7)
    outputs = [features[0]]  # y0, y1, ...
    for layer, dilation in zip(head.layers, dilations, strict=True):
        outputs.append(layer_by_hand(layer, torch.cat(outputs[::-1], dim=1), dilation))  # equation 18
    dense, low = layer_by_hand(head.dense, torch.cat(outputs[::-1], dim=1)), layer_by_hand(head.low, stem)
    joined = layer_by_hand(head.joined, torch.cat([low, dense], dim=1))
    expected = torch.einsum("ki,bihw->bkhw", head.final.weight.flatten(1), joined) + head.final.bias[:, None, None]
    torch.testing.assert_close(head(features, stem), expected, rtol=1e-4, atol=1e-4)


def test_the_dense_convolutions_see_75_positions_each_way() -> None:
    """The paper's sum for its dilations: 13 + 25 + 37."""
    head = DenseAtrousHead(2, 2, 1, growth=2, dilations=(1, 6, 12, 18), width=4).eval()
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    x = torch.rand(1, 2, 99, 99).requires_grad_()
    head([x], torch.zeros(1, 2, 99, 99))[0, 0, 49, 49].backward()
    assert x.grad is not None
    heard = x.grad[0].abs().sum(0).nonzero()
    assert heard.amin(0).tolist() == [49 - 37] * 2 and heard.amax(0).tolist() == [49 + 37] * 2


# ---------------------------------------------------------------------------------------------------------------------
# counts

FEATURES = (32, 64, 128, 256)


def params_of_encoders() -> int:
    """All SCR blocks of an HRNet-W32 less all its basic blocks: equations 12 and 13, and the norms inside a unit."""
    total = 0
    for branch, blocks in enumerate((4 + 16 + 12, 4 + 16 + 12, 16 + 12, 12)):
        c = FEATURES[branch]
        total += blocks * (19 * c * c // 2 + 9 * c + (3, 3, 5, 5)[branch] - 18 * c * c + 2 * 2 * c)
    return total


@pytest.mark.parametrize(
    ("name", "params", "conv_gi"),
    [("sdhrnet_scr", 16.686, 4.425), ("sdhrnet_scr_dasp", 16.711, 4.496), ("sdhrnet", 16.761, 4.505)],
)
def test_the_ablation_counts_as_it_prints(name: str, params: float, conv_gi: float) -> None:
    """The figures are a prototype's, written apart from this code; each rounds to the printed one."""
    cost = measure_cost(load_point(f"published/{name}").architecture)
    assert (round(cost.params / 1e6, 3), round(cost.conv_gi, 3)) == (params, conv_gi)
    assert cost.params_live == cost.params


def test_mpii_counts_as_it_prints() -> None:
    cost = measure_cost(load_point("published/sdhrnet").architecture, 16, (256, 256))
    assert (round(cost.params / 1e6, 3), round(cost.conv_gi, 3)) == (16.761, 6.007)


def test_the_ablation_differs_from_hrnet_by_closed_forms() -> None:
    points = ("hrnet_w32", "sdhrnet_scr", "sdhrnet_scr_dasp", "sdhrnet")
    hrnet, scr, dasp, sem = (measure_cost(load_point(f"published/{name}").architecture) for name in points)
    assert scr.params - hrnet.params == params_of_encoders()

    pixels = 64 * 48
    weights = 9 * 8 * (32 + 40 + 48 + 56) + 64 * 32 + 256 * 32 + 64 * 32  # the last 1x1 is as wide as HRNet's
    assert dasp.params - scr.params == weights + 2 * (4 * 8 + 3 * 32)
    assert dasp.macs - scr.macs == weights * pixels

    pixels = 16 * 12
    convolutions = 3 * 128 * 128 * pixels + 5 * 128
    assert sem.params - dasp.params == 3 * 128 * 128 + 2 * 128 + 5 + 1
    assert sem.macs - dasp.macs == convolutions + 2 * 128 * pixels**2
    assert (sem.conv_gi - dasp.conv_gi) * 2**30 == convolutions  # their tool sees no matrix products


def reading(changes: Tree) -> Architecture:
    """SDHRNet with another growth and width of DASP, or another context."""
    tree = load_point("published/sdhrnet").architecture.tree()
    tree["head"] |= changes.get("head", {})
    if "context" in changes:
        tree["stages"][1]["context"] = {"kind": "none"}
        tree["stages"][changes["stage"]]["context"] = {"kind": "sem", **changes["context"]}
    return Architecture.from_tree(tree)


def prints(architecture: Architecture) -> list[str]:
    """The figures of tables 1 and 3 to their digits: params and GFLOPs at 256x192, GFLOPs at 256x256."""
    coco, mpii = measure_cost(architecture), measure_cost(architecture, 16, (256, 256))
    return [f"{coco.params / 1e6:.1f}", f"{coco.conv_gi:.1f}", f"{mpii.conv_gi:.1f}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": 2, "context": {"branch": 4, "place": "start", "reduction": 8}},
        {"stage": 2, "context": {"branch": 4, "place": "start", "reduction": 2}},
        {"head": {"growth": 4, "width": 48}},
        {"head": {"growth": 8, "width": 16}},
    ],
)
def test_other_readings_print_the_same_figures(changes: Tree) -> None:
    assert prints(reading(changes)) == ["16.8", "4.5", "6.0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"head": {"growth": 32}},
        {"head": {"growth": 16, "width": 48}},
        {"stage": 1, "context": {"branch": 3, "reduction": 8}},
    ],
)
def test_these_readings_do_not(changes: Tree) -> None:
    assert prints(reading(changes)) != ["16.8", "4.5", "6.0"]
