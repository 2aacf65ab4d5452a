"""LE-HRNet: its parts against its formulas written out again, its printed counts, and outputs that nobody reads."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from hrnas.nets.blocks.le_hrnet import CrossResolutionFusion, Ghost, LEBlock, MultiScaleCoordinate, ghosted
from hrnas.nets.cost import measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.tables import build_fusion
from hrnas.space.architecture import Architecture
from hrnas.space.kinds import kinds_of
from hrnas.space.published import load_point

Tree = dict[str, Any]


def le_tree(fusion: Tree | None = None, head: str = "conv", stages: int = 3, **row: Any) -> Tree:
    """A small LE-HRNet, of one module of one block in each stage but the last, which has two."""
    stage = {
        "modules": 1,
        "blocks": 1,
        "transition": {"kind": "conv"},
        "row": {"kind": "le_ghost", **row},
        "fusion": fusion or {"kind": "cmffm"},
    }
    tree: Tree = {
        "stem": {"kind": "ghost_bottleneck", "width": 8, "blocks": 2, "out": 16},
        "widths": [16, 32, 48, 64][: stages + 1],
        "stages": [{**stage, "fusion": {**stage["fusion"], "outputs": "all"}} for _ in range(stages)],
        "head": {"kind": head},
    }
    tree["stages"][-1] |= {"modules": 2, "fusion": stage["fusion"]}
    return tree


def stirred(module: nn.Module) -> Any:
    """The module, in evaluation, with no number in it as it started: all norms do something, all biases are there."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    for name, buffer in module.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return module.eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def features(widths: tuple[int, ...], size: tuple[int, int] = (16, 24)) -> list[Tensor]:
    return [torch.randn(2, width, size[0] >> i, size[1] >> i) for i, width in enumerate(widths)]


# ---------------------------------------------------------------------------------------------------------------------
# ghost convolutions


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize(("primary", "cheap"), [(1, 3), (3, 5)])
def test_a_ghost_has_as_many_weights_as_its_formula(ratio: int, primary: int, cheap: int) -> None:
    inputs, outputs = 12, 16
    dense = outputs // ratio
    weights = primary**2 * inputs * dense + (ratio - 1) * cheap**2 * dense  # equation 2, with a kernel for each
    assert count(Ghost(inputs, outputs, ratio, primary, cheap)) == weights + 2 * outputs  # and norms


@pytest.mark.parametrize("ratio", [2, 4, 8])
@torch.no_grad()
def test_each_further_channel_is_a_depthwise_image_of_one_dense_channel(ratio: int) -> None:
    ghost, x = stirred(Ghost(6, 16, ratio)), torch.randn(2, 6, 5, 7)
    dense = 16 // ratio
    y = functional.relu(ghost.primary.norm(functional.conv2d(x, ghost.primary.conv.weight)))
    kernels = ghost.cheap.conv.weight  # (ratio - 1) in a row for each dense channel
    images = [functional.conv2d(y[:, [i // (ratio - 1)]], kernels[[i]], padding=1) for i in range((ratio - 1) * dense)]
    z = functional.relu(ghost.cheap.norm(torch.cat(images, dim=1)))
    torch.testing.assert_close(ghost(x), torch.cat([y, z], dim=1))


@pytest.mark.parametrize("part", ["transition", "fusion"])
def test_ghosts_that_stride_hear_every_position(part: str) -> None:
    if part == "transition":
        path: nn.Module = ghosted(Ghost)(4, 8, 2)
    else:
        options = kinds_of("fusion")["ghost"].model_validate({"kind": "ghost"})
        path = build_fusion(options, (4, 8), last=False).module.get_submodule("paths.0_to_1")
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    stirred(path)(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum(dim=1).min() > 0


def test_a_block_has_a_weight_for_each_pair_of_channels() -> None:
    for width in (32, 64, 128, 256):
        block = LEBlock(width, partial(Ghost, ratio=2, primary=1, cheap=3), attention=None)
        assert count(block) == width**2 + 9 * width + 4 * width  # two halves of a square, depthwise, norms


# ---------------------------------------------------------------------------------------------------------------------
# MCAM

MCAMS = [
    (width, groups, shared, joint)
    for width, groups in [(4, 1), (16, 4), (20, 2), (24, 8), (32, 4), (40, 8)]
    for shared in (False, True)
    for joint in (False, True)
]


def written_out(mcam: MultiScaleCoordinate, x: Tensor, groups: int, shared: bool, joint: bool) -> Tensor:
    """Equations 4 to 10, a group after the other."""
    size = x.shape[1] // groups
    third = size // 3
    out = []
    for index in range(groups):
        own = 0 if shared else index

        def conv(layer: nn.Conv2d, given: Tensor, own: int = own) -> Tensor:
            weight, bias = (p[own * size : (own + 1) * size] for p in (layer.weight, layer.bias))
            return functional.conv2d(given, weight, bias)

        def depthwise(place: int, given: Tensor, own: int = own) -> Tensor:
            layer, channels = mcam.scales[place], given.shape[1]
            weight, bias = (p[own * channels : (own + 1) * channels] for p in (layer.weight, layer.bias))
            return functional.conv2d(given, weight, bias, padding=place + 1, groups=channels)

        sub = x[:, index * size : (index + 1) * size]
        rows = torch.sigmoid(conv(mcam.rows, sub.mean(dim=3, keepdim=True)))
        columns = torch.sigmoid(conv(mcam.rows if joint else mcam.columns, sub.mean(dim=2, keepdim=True)))
        coordinates = sub * rows * columns
        scales = [sub[:, :third], sub[:, third : 2 * third], sub[:, 2 * third :]]
        multi = conv(mcam.mix, torch.cat([depthwise(place, given) for place, given in enumerate(scales)], dim=1))
        shares = coordinates.mean(dim=(2, 3)).softmax(dim=1)
        weights = torch.sigmoid(torch.einsum("bc,bchw->bhw", shares, multi))
        out.append(sub * weights[:, None])
    return torch.cat(out, dim=1)


@pytest.mark.parametrize(("width", "groups", "shared", "joint"), MCAMS)
@torch.no_grad()
def test_mcam_is_its_formula_group_by_group(width: int, groups: int, shared: bool, joint: bool) -> None:
    mcam, x = stirred(MultiScaleCoordinate(width, groups, shared, joint)), torch.randn(3, width, 6, 8)
    torch.testing.assert_close(mcam(x), written_out(mcam, x, groups, shared, joint))


@pytest.mark.parametrize(("width", "groups", "shared", "joint"), MCAMS)
def test_mcam_has_as_many_weights_as_its_formula(width: int, groups: int, shared: bool, joint: bool) -> None:
    size = width // groups
    dense = (2 if joint else 3) * (size**2 + size)
    depthwise = size // 3 * (9 + 25) + (size - 2 * (size // 3)) * 49 + size
    assert count(MultiScaleCoordinate(width, groups, shared, joint)) == (1 if shared else groups) * (dense + depthwise)


@torch.no_grad()
def test_shared_weights_are_every_groups_own_weights() -> None:
    shared, own = stirred(MultiScaleCoordinate(24, 4, True, False)), MultiScaleCoordinate(24, 4, False, False).eval()
    own.load_state_dict({name: torch.cat(4 * [value]) for name, value in shared.state_dict().items()})
    x = torch.randn(2, 24, 6, 8)
    torch.testing.assert_close(shared(x), own(x))


def test_mcam_says_how_many_groups_its_channels_allow() -> None:
    mcam = kinds_of("attention")["mcam"].model_validate({"kind": "mcam", "groups": 8})
    (problem,) = mcam.problems((16, 32))
    assert problem == "groups: 8 do not divide 16 channels into 3 or more each: take 4 or less"
    assert mcam.mended((16, 32)).groups == 4
    assert mcam.problems((24, 48)) == []


def test_one_group_has_nobody_to_share_with() -> None:
    keys = {
        Architecture.from_tree(le_tree(attention={"kind": "mcam", "groups": groups, "shared": shared})).key
        for groups, shared in [(1, False), (1, True), (2, False), (2, True)]
    }
    assert len(keys) == 3


# ---------------------------------------------------------------------------------------------------------------------
# CMFFM


def fused(fusion: CrossResolutionFusion, given: list[Tensor]) -> list[Tensor]:
    """Equations 11 and 13, and attention to positions, path by path, with copies that are copies."""
    state = dict(fusion.state_dict())

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, state[f"{name}.weight"][:, :, 0, 0], state[f"{name}.bias"])

    def copies(name: str, x: Tensor, target: Tensor) -> Tensor:
        weights = linear(f"{name}.reduce", target.mean(dim=(2, 3))).relu()
        if f"{name}.expand.weight" in state:
            weights = linear(f"{name}.expand", weights)
        one = x.mean(dim=1, keepdim=True)
        return one.repeat(1, target.shape[1], 1, 1) * weights.sigmoid()[:, :, None, None]

    def depthwise(name: str, x: Tensor) -> Tensor:
        y = functional.conv2d(x, state[f"{name}.conv.weight"], stride=2, padding=1, groups=x.shape[1])
        statistics = (state[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(y, *statistics)

    outputs = []
    for i, target in enumerate(given[: fusion.outputs]):
        total = target
        for j, x in enumerate(given):
            path = f"paths.{j}_to_{i}"
            if j == i:
                continue
            for step in range(i - j):
                x = copies(f"{path}.copies.{step}", depthwise(f"{path}.depthwise.{step}", x), target)
            if j > i:
                x = copies(f"{path}.copies", x, target)
                x = x.repeat_interleave(2 ** (j - i), dim=2).repeat_interleave(2 ** (j - i), dim=3)
            both = torch.stack([x.mean(dim=1), x.max(dim=1).values], dim=1)
            total = total + x * functional.conv2d(both, state[f"{path}.positions.conv.weight"], padding=3).sigmoid()
        outputs.append(total.relu())
    return outputs


@pytest.mark.parametrize("widths", [(6, 10), (8, 16, 12), (8, 16, 24, 32)])
@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("outputs", ["all", "first"])
@torch.no_grad()
def test_cmffm_is_its_formula_path_by_path(widths: tuple[int, ...], reduction: int, outputs: str) -> None:
    fusion = stirred(CrossResolutionFusion(widths, 1 if outputs == "first" else len(widths), reduction))
    given = features(widths)
    torch.testing.assert_close(fusion(given), fused(fusion, given), rtol=1e-4, atol=1e-5)


def test_cmffm_has_a_fully_connected_layer_for_every_step() -> None:
    widths = (32, 64, 128, 256)

    def path(source: int, target: int) -> int:
        n, steps = widths[target], target - source
        if steps < 0:
            return (n**2 + n) + 2 * 49
        depthwise = [widths[source]] + [n] * (steps - 1)
        return sum(9 * c + 2 * c for c in depthwise) + steps * (n**2 + n) + 2 * 49

    paths = sum(path(j, i) for i in range(4) for j in range(4) if i != j)
    assert count(CrossResolutionFusion(widths, 4, reduction=1)) == paths


@torch.no_grad()
def test_no_weight_of_cmffm_is_below_a_half() -> None:
    fusion = stirred(CrossResolutionFusion((8, 16), 2, reduction=1))
    copies = fusion.paths["1_to_0"].copies
    x, heard = torch.ones(4, 16, 2, 2), 10 * torch.randn(4, 8, 1, 1)
    assert copies(x, heard).min() == 0.5 and copies(x, heard).max() > 0.9


# ---------------------------------------------------------------------------------------------------------------------
# what is printed, and what counting by hand has given


def with_stem(name: str, **stem: Any) -> Architecture:
    tree = load_point(f"published/{name}").architecture.tree()
    return Architecture.from_tree(tree | {"stem": tree["stem"] | stem})


COUNTS = [
    # point, stage 1, parameters in M, those of them that are dead, multiply-accumulates of convolutions in 2^30
    ("le_hrnet_no_mcam_no_cmffm", "conv3x3", 5.302, 0.770, 1.673),
    ("le_hrnet_no_cmffm", "conv3x3", 6.681, 0.770, 1.919),
    ("le_hrnet", "conv3x3", 5.426, 0.488, 1.497),
    ("le_hrnet_no_mcam_no_cmffm", "all", 5.248, 0.770, 1.519),
    ("le_hrnet_no_cmffm", "all", 6.627, 0.770, 1.765),
    ("le_hrnet", "all", 5.372, 0.488, 1.343),
]


@pytest.mark.parametrize(("name", "ghosted", "params", "dead", "conv_gi"), COUNTS)
def test_the_counts_are_those_of_the_reading(
    name: str, ghosted: str, params: float, dead: float, conv_gi: float
) -> None:
    cost = measure_cost(with_stem(name, ghosted=ghosted))
    counted = (cost.params / 1e6, (cost.params - cost.params_live) / 1e6, cost.conv_gi)
    assert tuple(round(value, 3) for value in counted) == (params, dead, conv_gi)


@pytest.mark.parametrize(
    ("name", "printed"), [("le_hrnet_no_mcam_no_cmffm", 5.3), ("le_hrnet_no_cmffm", 6.7), ("le_hrnet", 5.4)]
)
@pytest.mark.parametrize("ghosted", ["conv3x3", "all"])
def test_both_readings_lie_near_the_printed_parameters(name: str, printed: float, ghosted: str) -> None:
    assert abs(measure_cost(with_stem(name, ghosted=ghosted)).params / 1e6 / printed - 1) < 0.015


def test_all_ghosts_in_stage_1_would_explain_both_printed_figures_of_compute() -> None:
    cost = measure_cost(with_stem("le_hrnet", ghosted="all"), 16)
    assert round(cost.all_ops, 2) == 1.51
    assert round(cost.conv_gi * 2**30 / 1e9, 2) == 1.44


@pytest.mark.parametrize(("kind", "macs"), [("bottleneck", 0.868), ("conv3x3", 0.444), ("all", 0.279)])
def test_stage_1_costs_what_its_convolutions_do(kind: str, macs: float) -> None:
    pixels = 64 * 48
    hrnet = load_point("published/hrnet_w32").architecture
    stem = measure_cost(hrnet if kind == "bottleneck" else with_stem("le_hrnet", ghosted=kind)).parts[0].macs
    before = 9 * 64 * (3 * 4 * pixels + 64 * pixels)  # two 3x3, the first at half of the picture's size
    assert round((stem - before) / 1e9, 3) == macs


def test_matrix_products_are_no_convolutions() -> None:
    cost = measure_cost(load_point("published/le_hrnet").architecture)
    # each block of a branch takes a product over all its channels and positions; the last fusion's silent part runs not
    products = sum(
        4 * modules * prod((32 * 2**branch, 64 >> branch, 48 >> branch))
        for modules, branches in [(1, 2), (4, 3), (3, 4)]
        for branch in range(branches)
    )
    live = cost.macs - products
    assert round(live / 2**30, 3) == 1.494 and round((cost.conv_gi * 2**30 + products) / 2**30, 3) == 1.502


# ---------------------------------------------------------------------------------------------------------------------
# outputs that nobody reads


@pytest.mark.parametrize("stages", [2, 3])
def test_unread_outputs_are_counted_and_never_learn(stages: int) -> None:
    architecture = Architecture.from_tree(le_tree(stages=stages))
    net = PoseNet(architecture, 4)
    net.reset_weights("scaled")
    for layer in net.modules():  # all of CMFFM's ReLUs open
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.ones_(layer.bias)
    last = f"stages.{stages + 1}.steps.1.fusion.cmffm.paths."
    unread = {name for name, _ in net.named_parameters() if name.startswith(last) and "_to_0." not in name}
    net(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert unread and net.dead_parameters() == unread
    assert {name for name, p in net.named_parameters() if p.grad is None} == unread
    assert all(p.grad.abs().sum() > 0 for name, p in net.named_parameters() if name not in unread)
    cost = measure_cost(architecture, 4, (64, 64))
    assert cost.params == count(net)
    assert cost.params - cost.params_live == sum(p.numel() for name, p in net.named_parameters() if name in unread)


@torch.no_grad()
def test_the_first_output_alone_is_the_same_network_without_what_is_dead() -> None:
    with_all = stirred(PoseNet(Architecture.from_tree(le_tree()), 4))
    alone = PoseNet(Architecture.from_tree(le_tree({"kind": "cmffm", "outputs": "first"})), 4).eval()
    assert alone.dead_parameters() == set()
    read = {name: value for name, value in with_all.state_dict().items() if name in alone.state_dict()}
    alone.load_state_dict(read)
    x = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(alone(x), with_all(x), rtol=0, atol=0)
    costs = [measure_cost(net.architecture, 4, (64, 96)) for net in (with_all, alone)]
    assert costs[0].params_live == costs[1].params == costs[1].params_live
    assert costs[0].macs == costs[1].macs


def test_a_head_that_reads_all_outputs_leaves_none_dead() -> None:
    architecture = Architecture.from_tree(le_tree(head="iterative"))
    assert PoseNet(architecture, 4).dead_parameters() == set()
    cost = measure_cost(architecture)
    assert cost.params == cost.params_live


@contextmanager
def one_process_group() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def test_distributed_training_needs_not_look_for_unused_parameters() -> None:
    net = PoseNet(Architecture.from_tree(le_tree(stages=2)), 4)

    def two_steps() -> None:
        model = DistributedDataParallel(net)
        for _ in range(2):  # what was missing in one step is told in the next
            model(torch.randn(2, 3, 64, 64)).square().sum().backward()

    with one_process_group():
        two_steps()
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        with pytest.raises(RuntimeError, match="find_unused_parameters"):  # so it would be if they were to learn
            two_steps()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter warns of torch
@torch.no_grad()
def test_an_export_leaves_out_what_is_dead() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = stirred(PoseNet(Architecture.from_tree(le_tree(stages=2)), 4))
    image = torch.randn(1, 3, 64, 96)
    program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
    assert program is not None
    convolutions = {name for name, parameter in net.named_parameters() if parameter.dim() == 4}
    carried = set(program.model.graph.initializers)
    assert net.dead_parameters() and carried & convolutions == convolutions - net.dead_parameters()
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (heatmaps,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(heatmaps), net(image), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# among neighbours that the paper does not have

NEIGHBOURS: list[Tree] = [
    {"row": {"kind": "weighted_shuffle", "single": {"kind": "mcam"}}},
    {"row": {"kind": "weighted_shuffle", "single": {"kind": "mcam", "groups": 8, "shared": True}}},
    {"row": {"kind": "weighted_shuffle"}, "fusion": {"kind": "cmffm", "reduction": 16}},
    {"row": {"kind": "residual", "attention": {"kind": "mcam", "groups": 1}}, "fusion": {"kind": "lite"}},
    {"row": {"kind": "le_ghost", "ghost": {"ratio": 8, "cheap": 5}, "attention": {"kind": "se"}}},
    {"row": {"kind": "le_ghost", "ghost": {"ratio": 4, "primary": 3}}, "transition": {"kind": "lite"}},
    {"transition": {"kind": "ghost", "ghost": {"ratio": 8}}, "fusion": {"kind": "ghost", "ghost": {"ratio": 4}}},
]


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("parts", NEIGHBOURS)
def test_the_parts_work_beside_other_papers_parts(parts: Tree, stages: int) -> None:
    tree = le_tree(stages=stages)
    for stage in tree["stages"]:
        stage |= parts
    architecture = Architecture.model_validate(tree).mended()
    net = PoseNet(architecture, 4)
    heatmaps = net(torch.randn(2, 3, 64, 64))
    assert heatmaps.shape == (2, 4, 16, 16)
    heatmaps.square().sum().backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None}
    assert silent == net.dead_parameters()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("seed", range(20))
def test_any_widths_ratios_and_groups_can_be_mended_and_built(seed: int) -> None:
    dice = random.Random(seed)

    def ghost() -> Tree:
        return {"ratio": dice.choice([2, 4, 8]), "primary": dice.choice([1, 3]), "cheap": dice.choice([3, 5])}

    def mcam() -> Tree:
        return {"kind": "mcam", "groups": dice.choice([1, 2, 4, 8]), "shared": dice.random() < 0.5}

    stages = dice.choice([2, 3])
    tree = le_tree(stages=stages)
    tree["stem"] |= {"width": dice.randint(1, 40), "out": dice.randint(1, 100), "ghost": ghost()}
    tree["stem"]["ghosted"] = dice.choice(["conv3x3", "all"])
    tree["widths"] = [dice.randint(1, 70) for _ in range(stages + 1)]
    for stage in tree["stages"]:
        rows: list[Tree] = [
            {"kind": "le_ghost", "ghost": ghost(), "attention": mcam()},
            {"kind": "weighted_shuffle", "single": mcam()},
        ]
        fusions: list[Tree] = [{"kind": "cmffm", "reduction": dice.randint(1, 64)}, {"kind": "ghost", "ghost": ghost()}]
        stage["row"], stage["fusion"] = dice.choice(rows), dice.choice(fusions)
        stage["transition"] = dice.choice([{"kind": "conv"}, {"kind": "ghost", "ghost": ghost()}])
    architecture = Architecture.model_validate(tree).mended()
    assert architecture.problems() == [] and architecture.mended() == architecture
    net = PoseNet(architecture, 4)
    assert measure_cost(architecture, 4, (64, 64)).params == count(net)
    assert net.eval()(torch.randn(1, 3, 64, 64)).isfinite().all()
