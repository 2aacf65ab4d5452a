"""Costs are counted exactly: the issue's table, the papers' digits, and other people's rules read again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.__main__ import costs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from toy_architectures import lite_tree, random_lite_tree

from hrnas.nets.cost import Cost, cost_as_json, measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_point

# what the papers and their tools print, and what reading their sources gives: the point of the whole room
TABLE = [
    # point, input, params, macs (M), as released (M), conv_gi, lite_scale, all_ops (M: mmcv)
    ("lite_hrnet_18", (256, 192), 1_130_769, 198.63, 242.35, None, 205.23, 266.00),
    ("lite_hrnet_18", (384, 288), 1_130_769, 446.78, 545.14, None, 461.56, None),
    ("lite_hrnet_30", (256, 192), 1_763_717, 309.45, 386.10, None, 319.20, 423.74),
    ("naive_lite_hrnet_18", (256, 192), 760_365, 185.52, 211.05, None, 194.76, 235.12),
    ("wider_naive_lite_hrnet_18", (256, 192), 1_318_625, 302.33, 346.05, None, 311.05, 377.07),
    ("hrnet_w32", (256, 192), 28_536_113, 7645.0, 7645.0, 7.120, None, 7703.9),
    ("small_hrnet_w16", (256, 192), 1_284_961, 570.70, 570.70, None, 551.7, 580.4),
]


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]} {row[1][0]}" for row in TABLE])
def test_the_table_of_exact_numbers(row: tuple[Any, ...]) -> None:
    name, size, params, macs, as_released, conv_gi, lite_scale, all_ops = row
    cost = measure_cost(load_point(f"published/{name}").architecture, 17, size)
    assert cost.params == cost.params_live == params
    assert round(cost.macs / 1e6, 2) == macs
    assert round(cost.macs_as_released / 1e6, 2) == as_released
    assert conv_gi is None or round(cost.conv_gi, 3) == conv_gi
    assert lite_scale is None or round(cost.lite_scale, 2 if row[0] != "small_hrnet_w16" else 1) == lite_scale
    assert all_ops is None or abs(cost.all_ops * 1e3 - all_ops) <= 0.05


def test_the_golden_table_has_not_moved() -> None:
    stored = json.loads((Path(__file__).parent / "golden" / "cost.json").read_text(encoding="utf-8"))
    assert costs() == stored


# ---------------------------------------------------------------------------------------------------------------------
# second opinions


def torchstat(net: nn.Module, size: tuple[int, int]) -> float:
    """The rule that prints Lite-HRNet's numbers, read from its tool by somebody who has not seen ours: M of 2^20.

    Leaves are hooked; the hook sets a leaf's number, so that one that runs again is counted once; functions are unseen.
    """
    counted: dict[str, int] = {}

    def hook_for(name: str) -> Any:
        def hook(leaf: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
            b, c, h, w = given[0].shape
            if isinstance(leaf, nn.Conv2d):
                kh, kw = leaf.kernel_size
                pixels = b * out.shape[2] * out.shape[3]
                counted[name] = kh * kw * c * (out.shape[1] // leaf.groups) * pixels
                if leaf.bias is not None:
                    counted[name] += out.shape[1] * pixels
            elif isinstance(leaf, nn.BatchNorm2d):
                counted[name] = b * c * h * w * 2
            elif isinstance(leaf, nn.ReLU):
                counted[name] = b * c * h * w
            elif isinstance(leaf, nn.AdaptiveAvgPool2d):
                assert out.shape[2:] == (1, 1)
                counted[name] = b * c * (h + 1) * (w + 1)
            elif isinstance(leaf, nn.Upsample):
                counted[name] = b * out.shape[2] * out.shape[3]
            else:
                raise AssertionError(f"torchstat does not know {leaf}")

        return hook

    for name, leaf in net.named_modules():
        if not list(leaf.children()):
            leaf.register_forward_hook(hook_for(name))
    with torch.no_grad():
        net(torch.zeros(1, 3, *size))
    return sum(counted.values()) / 2**20


@pytest.mark.parametrize("seed", range(20))
def test_lite_scale_is_torchstats_count_of_any_member_of_the_family(seed: int) -> None:
    dice = random.Random(seed)
    architecture = Architecture.from_tree(random_lite_tree(dice))
    size, keypoints = dice.choice([(128, 96), (256, 192), (256, 256)]), dice.choice([16, 17])
    cost = measure_cost(architecture, keypoints, size)
    assert cost.lite_scale == torchstat(PoseNet(architecture, keypoints).eval(), size)


@pytest.mark.parametrize("which", range(3))
def test_macs_and_params_are_those_of_the_whole_network(which: int) -> None:
    trees = [
        lite_tree(),
        random_lite_tree(random.Random(99)),
        load_point("published/small_hrnet_w16").architecture.tree(),
    ]
    architecture = Architecture.from_tree(trees[which])
    net = PoseNet(architecture, 17).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 128, 96))
    cost = measure_cost(architecture, 17, (128, 96))
    assert 2 * cost.macs == counter.get_total_flops()
    assert cost.params == sum(p.numel() for p in net.parameters())
    assert cost.macs == sum(part.macs for part in cost.parts)
    assert cost.params == sum(part.params for part in cost.parts)
    prefixes = {"stem": "stem.", "stage2": "stages.2.", "stage3": "stages.3.", "stage4": "stages.4.", "head": "head."}
    assert {part.name: part.params for part in cost.parts} == {
        part: sum(p.numel() for n, p in net.named_parameters() if n.startswith(prefix))
        for part, prefix in prefixes.items()
    }


@pytest.mark.parametrize("fusion", [{"kind": "full"}, {"kind": "lite"}, {"kind": "lite", "double_add": False}])
def test_dead_weights_count_as_params_but_not_as_live(fusion: dict[str, Any]) -> None:
    tree = lite_tree(head={"kind": "conv"})
    tree["stages"][2] |= {"modules": 2, "fusion": fusion}
    architecture = Architecture.from_tree(tree)
    net = PoseNet(architecture, 17).eval()
    dead = sum(p.numel() for name, p in net.named_parameters() if name in net.dead_parameters())
    cost = measure_cost(architecture, 17, (64, 64))
    assert dead > 0
    assert cost.params - cost.params_live == dead


def test_only_the_released_double_add_runs_anything_twice() -> None:
    def cost(double_add: bool) -> Cost:
        tree = lite_tree()
        for stage in tree["stages"]:
            stage["fusion"] = {"kind": "lite", "double_add": double_add}
        return measure_cost(Architecture.from_tree(tree), 17, (64, 64))

    plain, doubled = cost(False), cost(True)
    assert plain.macs == doubled.macs == plain.macs_as_released < doubled.macs_as_released
    assert plain.lite_scale == doubled.lite_scale
    assert plain.all_ops < doubled.all_ops


def test_the_scales_are_the_same_counts_in_their_units() -> None:
    cost = measure_cost(load_point("published/lite_hrnet_18").architecture)
    assert cost.conv_gi == cost.macs / 2**30
    assert cost.all_ops_gi == pytest.approx(cost.all_ops * 1e9 / 2**30)


def test_a_cost_is_plain_json() -> None:
    cost = measure_cost(load_point("published/hrnet_w32").architecture)
    document = cost_as_json(cost)
    assert json.loads(json.dumps(document)) == document
    assert {name for name, value in document.items() if isinstance(value, int)} == {
        "params",
        "params_live",
        "macs",
        "macs_as_released",
    }
    assert list(document["parts"]) == ["stem", "stage2", "stage3", "stage4", "head"]


def test_an_input_that_no_network_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="64x48 is not, 64x64 is"):
        measure_cost(load_point("published/lite_hrnet_18").architecture, 17, (64, 48))
