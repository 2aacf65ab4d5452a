"""Parts that meet neighbours which no paper printed them with still make a network that works and is counted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from toy_weights import enliven

from hrnas.nets.cost import measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.reading import Options
from hrnas.space.architecture import Architecture, repair
from hrnas.space.kinds import SLOTS, kinds_of

Tree = dict[str, Any]
SIZE, KEYPOINTS = (64, 64), 3


# ---------------------------------------------------------------------------------------------------------------------
# what must hold for each


def assert_works(architecture: Architecture) -> None:
    net = PoseNet(architecture, KEYPOINTS).double()  # so that what cancels out does not pass for a gradient
    image = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    assert_learns(net, image)
    assert_answers(net.eval(), image)
    assert_is_counted(net, image[:1])


def assert_learns(net: PoseNet, image: Tensor) -> None:
    """Every live parameter hears the loss and no dead one does."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # in eval mode as on the pictures before
    dead = net.dead_parameters()
    silent = {name for name, _ in net.named_parameters()}
    for _ in range(12):  # a narrow ReLU may stay shut under one draw of weights, not under all
        draw_weights(net)
        learn(net.train(), image)
        # whom do the fixed norms hear? moving ones cancel every bias that comes right before them
        silent &= learn(net.eval(), image)
        if silent == dead:
            break
    assert silent == dead


def draw_weights(net: nn.Module) -> None:
    enliven(net)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.3)  # norms do not mind; a softmax over larger sums would hear one position alone


def learn(net: nn.Module, image: Tensor) -> set[str]:
    """Send a loss backward; the names of the parameters that do not hear it."""
    found = net(image)
    assert found.shape[:2] == (len(image), KEYPOINTS)
    net.zero_grad()
    (found * torch.randn_like(found)).sum().backward()
    heard = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in net.named_parameters()}
    assert all(isfinite(gradient) for gradient in heard.values())
    least = 1e-12 * max(heard.values())
    return {name for name, gradient in heard.items() if gradient <= least}


@torch.no_grad()
def assert_answers(net: PoseNet, image: Tensor) -> None:
    """Each picture has one answer, whatever else is in the batch."""
    found = net(image)
    assert found.isfinite().all() and torch.equal(net(image), found)
    torch.testing.assert_close(net(image[1:]), found[1:])


def assert_is_counted(net: PoseNet, image: Tensor) -> None:
    """Counted piece by piece it costs what the whole network has and does."""
    cost = measure_cost(net.architecture, KEYPOINTS, SIZE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    assert 2 * cost.macs == counter.get_total_flops()
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    assert cost.params == sum(sizes.values())
    assert cost.params_live == cost.params - sum(sizes[name] for name in net.dead_parameters())


# ---------------------------------------------------------------------------------------------------------------------
# odd pairs, by hand

CONV, LITE, GHOST, SEPARABLE = ({"kind": kind} for kind in ("conv", "lite", "ghost", "separable"))
FULL, CMFFM = {"kind": "full"}, {"kind": "cmffm"}
LE = {"kind": "le_ghost"}
SMALL_STEM = {"kind": "shuffle", "width": 8, "out": 8}


def network(
    row: Tree,
    fusion: Tree,
    *,
    stem: Tree = SMALL_STEM,
    transition: Tree = LITE,
    head: Tree | None = None,
    widths: tuple[int, ...] = (16, 24, 32, 48),
    changes: dict[int, Tree] | None = None,
) -> Tree:
    """One module of two blocks in every stage; `changes` replace slots of single stages."""
    stage = {"modules": 1, "blocks": 2, "transition": transition, "row": row, "fusion": fusion}
    stages = [stage | (changes or {}).get(index, {}) for index in range(len(widths) - 1)]
    return {"stem": stem, "widths": list(widths), "stages": stages, "head": head or {"kind": "conv"}}


ODD = {
    "LKS stem, LE rows, CMFFM, SEM and DASP": network(
        LE,
        CMFFM,
        stem={"kind": "lks", "width": 8, "out": 12},
        head={"kind": "dasp"},
        changes={1: {"context": {"kind": "sem"}}},
    ),
    "ghost stem, Greit's weightings, separable fusion, all outputs read": network(
        {"kind": "weighted_shuffle", "cross": {"kind": "gcw"}, "single": {"kind": "gsw"}},
        SEPARABLE,
        stem={"kind": "ghost_bottleneck", "width": 6, "blocks": 2, "out": 16, "ghosted": "all"},
        transition=GHOST,
        head={"kind": "iterative"},
    ),
    "L-block stem, SCR rows with MCAM and CSW, Lite-HRNet's fusion": network(
        {"kind": "scr", "first": {"kind": "mcam"}, "second": {"kind": "csw"}},
        LITE,
        stem={"kind": "l_block", "width": 4, "blocks": 2, "out": 16, "attention": {"kind": "coordinate"}},
        transition=SEPARABLE,
        head={"kind": "dasp", "growth": 3, "dilations": [2, 5], "width": 7},
    ),
    "Dite-HRNet's stem, LE rows with GSW, ghost fusion": network(
        {"kind": "le_ghost", "ghost": {"ratio": 4, "primary": 3, "cheap": 5}, "attention": {"kind": "gsw"}},
        {"kind": "ghost", "ghost": {"ratio": 8}},
        stem={"kind": "dgc", "out": 16},
        transition=CONV,
    ),
    "Dite-HRNet's rows with Lite CSW-HRNet's weightings, CMFFM": network(
        {"kind": "dmc", "cross": {"kind": "csw"}, "single": {"kind": "csw", "order": "series"}},
        {"kind": "cmffm", "reduction": 4, "outputs": "first"},
        transition=SEPARABLE,
        head={"kind": "dasp"},
    ),
    "HRNet's stem, MCAM after cross-resolution weighting, CMFFM whose outputs are all read": network(
        {"kind": "weighted_shuffle", "cross": {"kind": "ccw"}, "single": {"kind": "mcam", "shared": True}},
        CMFFM,
        stem={"kind": "bottleneck", "width": 6, "blocks": 1, "out": 12},
        head={"kind": "iterative"},
    ),
    "X-HRNet's weightings, ghost transitions, DASP narrower than anything": network(
        {"kind": "weighted_shuffle", "cross": {"kind": "susa", "along": "both"}, "single": {"kind": "susa"}},
        FULL,
        transition=GHOST,
        head={"kind": "dasp", "growth": 1, "dilations": [36], "width": 1},
    ),
    "L_basic with coordinate attention, Lite-HRNet's fusion, SEM on every stage's finest branch": network(
        {"kind": "l_basic", "attention": {"kind": "coordinate"}},
        LITE,
        changes={
            0: {"context": {"kind": "sem", "branch": 1, "place": "start"}},
            1: {"context": {"kind": "sem", "branch": 1, "reduction": 8}},
            2: {"context": {"kind": "sem", "branch": 1}},
        },
    ),
    "every stage of another paper": network(
        LE,
        CMFFM,
        stem={"kind": "lks", "width": 8, "out": 8, "place": "strided"},
        head={"kind": "dasp"},
        changes={
            1: {"row": {"kind": "scr"}, "fusion": GHOST, "transition": SEPARABLE},
            2: {"row": {"kind": "dmc"}, "fusion": {"kind": "separable", "chain": "same"}, "transition": CONV},
        },
    ),
    "residual rows with SUSA, Dite-HRNet's double addition, SEM on the coarsest": network(
        {"kind": "residual", "attention": {"kind": "susa", "along": "width"}},
        {"kind": "lite", "hears": "output"},
        head={"kind": "iterative"},
        changes={2: {"context": {"kind": "sem", "branch": 4}}},
    ),
    "branches that grow narrower": network(
        {"kind": "weighted_shuffle", "cross": {"kind": "dcm"}, "single": {"kind": "cbam"}},
        CMFFM,
        widths=(48, 32, 24, 16),
        head={"kind": "dasp"},
        changes={1: {"context": {"kind": "sem"}}, 2: {"fusion": SEPARABLE}},
    ),
    "two stages that end in a context": network(
        {"kind": "scr", "first": {"kind": "gcm"}, "second": {"kind": "none"}},
        {"kind": "ghost", "outputs": "first"},
        widths=(12, 20, 36),
        head={"kind": "dasp", "dilations": [1]},
        changes={1: {"context": {"kind": "sem", "branch": 1}}},
    ),
    "bottlenecks between LE-HRNet's transitions and HR-LiteNet's fusion": network(
        {"kind": "bottleneck", "kernel": 5},
        {"kind": "separable", "up": "pointwise"},
        transition={"kind": "ghost", "ghost": {"ratio": 4}},
    ),
    "as narrow as each part can be": network(
        LE,
        CMFFM,
        stem={"kind": "lks", "width": 1, "out": 1},
        widths=(1, 1, 1, 1),
        head={"kind": "dasp", "growth": 1, "width": 1},
        changes={
            1: {"row": {"kind": "weighted_shuffle"}, "context": {"kind": "sem", "reduction": 8}},
            2: {"row": {"kind": "scr"}, "fusion": SEPARABLE},
        },
    ),
}


@pytest.mark.parametrize("tree", ODD.values(), ids=ODD)
def test_odd_neighbours_work(tree: Tree) -> None:
    assert_works(Architecture.from_tree(repair(tree)))


# ---------------------------------------------------------------------------------------------------------------------
# all slots at random

MOST = {"blocks": 2, "width": 12, "out": 12}  # of the numbers that are drawn; others up to 16
KEPT = {"positions"}  # as they are: there must be as many as the map has


def random_tree(seed: int) -> Tree:
    """Any kind and any options in every slot, at small widths; as a search space could propose it."""
    dice = random.Random(seed)
    branches = dice.choice([3, 4, 4])
    parts = {slot: SLOTS[slot] for slot in ("transition", "row", "fusion", "context")}
    return {
        "stem": drawn(SLOTS["stem"], dice),
        "widths": [dice.randint(1, 32) for _ in range(branches)],
        "stages": [
            {"modules": dice.choice([1, 1, 1, 2]), "blocks": dice.choice([1, 1, 2])}
            | {slot: drawn(union, dice) for slot, union in parts.items()}
            for _ in range(branches - 1)
        ],
        "head": drawn(SLOTS["head"], dice),
    }


def drawn(kind: Any, dice: random.Random, limits: tuple[Any, ...] = (), most: int = 16) -> Any:
    """A value of an option's type, within its limits."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return drawn(inside[0], dice, tuple(limit for info in inside[1:] for limit in info.metadata), most)
    if origin is Literal:
        return dice.choice(inside)
    if origin in (Union, UnionType):
        return drawn(dice.choice(inside), dice)
    if origin is tuple:
        items = inside[:1] * dice.randint(1, 4) if inside[-1] is ... else inside
        return [drawn(item, dice) for item in items]
    if issubclass(kind, Options):
        return {
            name: drawn(field.annotation, dice, tuple(field.metadata), MOST.get(name, 16))
            for name, field in kind.model_fields.items()
            if name not in KEPT
        }
    if kind is bool:
        return dice.random() < 0.5
    assert kind is int, f"no way to draw a {kind}"
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    return dice.randint(low, min(most, next(limit.le for limit in limits if hasattr(limit, "le"))))


def parts(options: Options) -> Iterator[Options]:
    """Everything that stands in an architecture, at any depth."""
    yield options
    for _, value in options:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Options):
                yield from parts(each)


def random_network(seed: int) -> Architecture:
    return Architecture.from_tree(repair(random_tree(seed)))


KINDS = [(slot, kind) for slot in SLOTS for kind in kinds_of(slot)]


@pytest.mark.parametrize(("slot", "kind"), KINDS)
def test_every_kind_works_among_random_neighbours(slot: str, kind: str) -> None:
    wanted = kinds_of(slot)[kind]
    networks = map(random_network, count(1000 * KINDS.index((slot, kind))))
    assert_works(next(each for each in networks if any(type(part) is wanted for part in parts(each))))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_many_more_random_neighbours_work(seed: int) -> None:
    assert_works(random_network(seed))
