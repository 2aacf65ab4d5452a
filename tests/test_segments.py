"""Weights shared by part keep their meaning: the narrower of two modules is the wider one without some of its channels.

Everything is cut here by the rule in words (of each part of the channels the leading ones, of a kernel the centre), and
not by `hrnas/nets/windows.py`, which has to cut in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from hrnas.nets import supernet, tables
from hrnas.nets.blocks.attention import Coordinate
from hrnas.nets.blocks.dite_hrnet import DenseContext, DynamicStem, GlobalContext
from hrnas.nets.blocks.greit_hrnet import GlobalSpatialWeighting, GroupedChannelWeighting, LargeKernelStem
from hrnas.nets.blocks.hr_litenet import LBlock
from hrnas.nets.blocks.le_hrnet import Ghost, GhostBottleneck, LEBlock, MultiScaleCoordinate, ghost_chain
from hrnas.nets.blocks.lite_hrnet import CrossResolutionWeighting, SqueezeExcite
from hrnas.nets.blocks.sdhrnet import DenseAtrousHead, SplitConcatResidual
from hrnas.nets.layers import ConvNorm
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.segments import Lengths, Segments, on_parts, parameter_segments, segmented
from hrnas.nets.skeleton import without_weights
from hrnas.nets.stems import ShuffleStem
from hrnas.shelf import list_cards
from hrnas.space.kinds import kinds_of
from hrnas.space.search_space import load_space

Sizes = tuple[int, ...]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A module in several sizes, each a small number from 1 that stands for a width or a kernel.

    `takes` and `gives` are the parts of each feature that goes in and comes out; `run` leaves out the sum with the
    input, whose channels have no parts.
    """

    build: Callable[..., nn.Module]
    wide: Sizes
    narrow: Sizes
    takes: Callable[..., Sequence[Lengths]]
    gives: Callable[..., Sequence[Lengths]]
    run: Callable[[Any, list[Tensor]], list[Tensor]] = field(default=lambda module, features: [module(*features)])
    absent: float = 0.0  # what a channel holds that is not there

    def features(self, sizes: Sizes, seed: int) -> list[NDArray[np.float64]]:
        """Each half the size of the one before."""
        rng, parts = np.random.default_rng(seed), self.takes(*sizes)
        return [rng.normal(size=(2, sum(lengths), 8 >> i, 8 >> i)) for i, lengths in enumerate(parts)]


def halves(width: int) -> Lengths:
    return width // 2, width // 2


class PooledContext(DenseContext):
    """As in the paper: what the released code sums up lies in other channels at every width."""

    def _pool(self, x: Tensor, mask: Tensor, factor: int, coarsest: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x * mask, factor)


def listed(module: Any, features: list[Tensor]) -> list[Tensor]:
    return module(features)


def of_ghosts(ratio: int, attention: Callable[[int], nn.Module | None]) -> Case:
    """LE-HRNet's two ghosts and what weighs them."""
    ghost = partial(Ghost, ratio=ratio)

    def run(block: LEBlock, features: list[Tensor]) -> list[Tensor]:
        y = block.conv2(block.conv1(*features))
        return [y if block.attention is None else block.attention(y)]

    return Case(
        build=lambda a: LEBlock(8 * a, ghost, attention(8 * a)),
        wide=(3,),
        narrow=(2,),
        takes=lambda a: [(8 * a,)],
        gives=lambda a: [(8 * a // ratio, 8 * a - 8 * a // ratio)],
        run=run,
    )


def of_bottlenecks(outer: Callable[..., nn.Module], ratio: int) -> Case:
    """The three convolutions of a bottleneck whose middle one is a ghost."""

    def out(b: int) -> Lengths:
        return (16 * b,) if outer is ConvNorm else (16 * b // ratio, 16 * b - 16 * b // ratio)

    return Case(
        build=lambda a, b: GhostBottleneck(3 * a, 16 * b, partial(Ghost, ratio=ratio), outer),
        wide=(2, 4),
        narrow=(1, 3),
        takes=lambda a, b: [(3 * a,)],
        gives=lambda a, b: [out(b)],
        run=lambda block, features: [block.conv3(block.conv2(block.conv1(*features)))],
    )


def of_l_blocks(keeps: bool) -> Case:
    """The convolutions of an L-block, its two halves split."""

    def inputs(a: int) -> int:
        return 8 * a if keeps else 5

    return Case(
        build=lambda a: LBlock(inputs(a), 8 * a, True, None),
        wide=(4,),
        narrow=(2,),
        takes=lambda a: [(inputs(a),)],
        gives=lambda a: [(4 * a, 4 * a) if keeps else (4 * a, 2 * a, 2 * a)],
        run=lambda block, features: [block.expand(block.conv(block.reduce(*features)))],
    )


def of_mcam(groups: int, shared: bool, joint: bool) -> Case:
    def parts(a: int) -> list[Lengths]:
        third = (a + 2) // 3
        return [(third, third, a + 2 - 2 * third) * groups]

    return Case(
        build=lambda a: MultiScaleCoordinate((a + 2) * groups, groups, shared, joint),
        wide=(7,),
        narrow=(2,),
        takes=parts,
        gives=parts,
        absent=-1e4,  # the softmax over channels gives it no share
    )


def of_stems(build: Callable[[int], nn.Module]) -> Case:
    return Case(build, wide=(3,), narrow=(2,), takes=lambda a: [(3,)], gives=lambda a: [(8 * a,)])


CASES = {
    "ccw": Case(
        build=lambda a, b, c: CrossResolutionWeighting((2 * a, 3 * b, 4 * c), reduction=4),
        wide=(3, 4, 2),
        narrow=(2, 1, 2),
        takes=lambda a, b, c: [(2 * a,), (3 * b,), (4 * c,)],
        gives=lambda a, b, c: [(2 * a,), (3 * b,), (4 * c,)],
        run=listed,
    ),
    "gcw": Case(
        build=lambda a, b, c, d: GroupedChannelWeighting([(2 * a, 3 * b), (c, 2 * d)], reduction=3, stack=2),
        wide=(3, 1, 4, 2),
        narrow=(1, 1, 3, 2),
        takes=lambda a, b, c, d: [(2 * a,), (3 * b,), (c,), (2 * d,)],
        gives=lambda a, b, c, d: [(2 * a,), (3 * b,), (c,), (2 * d,)],
        run=listed,
    ),
    "dcm": Case(
        build=lambda a, b, c: PooledContext((2 * a, 3 * b, 4 * c), reduction=4),
        wide=(3, 4, 2),
        narrow=(2, 1, 2),
        takes=lambda a, b, c: [(2 * a,), (3 * b,), (4 * c,)],
        gives=lambda a, b, c: [(2 * a,), (3 * b,), (4 * c,)],
        run=listed,
    ),
    "two ghosts": of_ghosts(2, lambda width: None),
    "two ghosts of ratio 4": of_ghosts(4, lambda width: None),
    "two ghosts, se": of_ghosts(2, lambda width: SqueezeExcite(width, 4)),
    "two ghosts, coordinate": of_ghosts(4, lambda width: Coordinate(width, width // 4)),
    "two ghosts, gsw": of_ghosts(2, lambda width: GlobalSpatialWeighting(width, 5, 4, True)),
    "two ghosts, gcm": of_ghosts(4, lambda width: GlobalContext(width, 4)),
    "bottleneck around a ghost": of_bottlenecks(ConvNorm, 2),
    "bottleneck of ghosts": of_bottlenecks(partial(Ghost, ratio=4), 4),
    "ghosts one after the other": Case(
        build=lambda a, b: ghost_chain(partial(Ghost, ratio=2))((4 * a, 5, 5, 6 * b)),
        wide=(3, 2),
        narrow=(2, 1),
        takes=lambda a, b: [(4 * a,)],
        gives=lambda a, b: [(3 * b, 3 * b)],
    ),
    "scr": Case(
        build=lambda a, b: SplitConcatResidual(8 * a, 2 * b + 1, SqueezeExcite(8 * a, 4), SqueezeExcite(8 * a, 2)),
        wide=(3, 2),
        narrow=(2, 1),
        takes=lambda a, b: [(8 * a,)],
        gives=lambda a, b: [halves(8 * a)],
        run=lambda block, features: [block.second(block.act(block.first(*features)))],
    ),
    "dasp": Case(
        build=lambda a, b, c, d: DenseAtrousHead(3 * a, 2 * b, 5, 2 * c, (1, 2, 3), 3 * d),
        wide=(3, 2, 3, 2),
        narrow=(2, 2, 2, 1),
        takes=lambda a, b, c, d: [(3 * a,), (2 * b,)],
        gives=lambda a, b, c, d: [(5,)],
        run=lambda head, features: [head(features[:1], nn.functional.interpolate(features[1], scale_factor=2.0))],
    ),
    "mcam": of_mcam(groups=2, shared=False, joint=False),
    "mcam with shared groups": of_mcam(groups=4, shared=True, joint=True),
    "l_block that keeps its width": of_l_blocks(keeps=True),
    "l_block": of_l_blocks(keeps=False),
    "shuffle stem": of_stems(lambda a: ShuffleStem(8 * a, 8 * a, 2)),
    "lks": of_stems(lambda a: LargeKernelStem(8 * a, 8 * a, 1, 3, 3, 2, "strided")),
    "dgc": of_stems(lambda a: DynamicStem(8 * a, 2, 4)),
}
each_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


def leading(full: Lengths, part: Lengths) -> NDArray[np.int64]:
    """The places of a narrower dimension in a wider one."""
    starts = np.cumsum((0, *full[:-1]))
    return np.concatenate([start + np.arange(kept) for start, kept in zip(starts, part, strict=True)])


def places(full: Segments, part: Segments) -> tuple[NDArray[np.int64], ...]:
    """Those of a smaller parameter, dimension by dimension; the last two of a convolution's are its kernel's."""
    found = [leading(f, p) for f, p in zip(full, part, strict=True)]
    for dimension in range(max(2, len(full) - 2), len(full)):
        found[dimension] += (sum(full[dimension]) - sum(part[dimension])) // 2
    return np.ix_(*found)


def of_one_part(segments: Segments) -> Segments:
    return tuple((sum(lengths),) for lengths in segments)


@torch.no_grad()
def share(wide: nn.Module, narrow: nn.Module, parted: bool = True) -> None:
    """Draw weights, give the narrow module its part of them, and take all others away from the wide one."""
    torch.manual_seed(0)
    full, part = parameter_segments(wide), parameter_segments(narrow)
    for name, parameter in narrow.named_parameters():
        whole = wide.get_parameter(name)
        here = places(full[name], part[name]) if parted else places(of_one_part(full[name]), of_one_part(part[name]))
        drawn = torch.randn_like(whole).numpy()
        parameter.copy_(torch.from_numpy(drawn[here]))
        whole.zero_().numpy()[here] = drawn[here]


@torch.no_grad()
def difference(case: Case, wide_sizes: Sizes, narrow_sizes: Sizes, parted: bool = True) -> float:
    """How far the narrow module's outputs are from the wide one's at the channels that both have, by their size."""
    wide, narrow = (case.build(*sizes).double().eval() for sizes in (wide_sizes, narrow_sizes))
    share(wide, narrow, parted)
    features, wider = case.features(narrow_sizes, 1), case.features(wide_sizes, 1)
    for x, y, full, part in zip(wider, features, case.takes(*wide_sizes), case.takes(*narrow_sizes), strict=True):
        x[:] = case.absent
        x[:, leading(full, part)] = y
    given = [case.run(m, [torch.from_numpy(x) for x in f]) for m, f in ((wide, wider), (narrow, features))]
    parts = zip(*given, case.gives(*wide_sizes), case.gives(*narrow_sizes), strict=True)
    return max(((x[:, leading(full, part)] - y).abs().max() / (1 + y.abs().max())).item() for x, y, full, part in parts)


@each_case
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_the_narrow_module_is_the_wide_one_without_some_channels(case: Case, data: st.DataObject) -> None:
    wide = data.draw(st.tuples(*(st.integers(1, 4 if len(case.wide) > 1 else 6) for _ in case.wide)), "wide")
    narrow = data.draw(st.tuples(*(st.integers(1, size) for size in wide)), "narrow")
    for full, part in zip(case.takes(*wide), case.takes(*narrow), strict=True):
        assume(all(p <= f for f, p in zip(full, part, strict=True)))  # a group's last third can be the longer one
    assert difference(case, wide, narrow) < 1e-9


@pytest.mark.parametrize("name", sorted({*CASES} - {"l_block that keeps its width"}))  # its ghost mixes both halves
def test_without_parts_the_weights_would_mean_something_else(name: str) -> None:
    case = CASES[name]
    assert difference(case, case.wide, case.narrow) < 1e-9
    assert difference(case, case.wide, case.narrow, parted=False) > 1e-3


@each_case
def test_a_supernet_cuts_in_this_way(case: Case) -> None:
    wide, narrow = case.build(*case.wide), case.build(*case.narrow)
    share(wide, narrow)
    full, part = parameter_segments(wide), parameter_segments(narrow)
    for name, parameter in narrow.named_parameters():
        torch.testing.assert_close(
            supernet.cut(wide.get_parameter(name).detach(), full[name], part[name]), parameter.data
        )


@pytest.mark.parametrize("kind", sorted(kinds_of("attention")))
def test_an_attention_on_a_concatenation_faces_its_parts_everywhere(kind: str) -> None:
    module = tables.build_attention(kinds_of("attention")[kind].model_validate({"kind": kind}), 48)
    assert on_parts(module, (36, 12)) is module
    facing = [
        lengths for s in parameter_segments(module or nn.Identity()).values() for lengths in s if sum(lengths) == 48
    ]
    assert set(facing) == {
        "none": set(),
        "eca": set(),
        "csw": set(),
        "mcam": {(4, 4, 4) * 4},  # it has parts of its own
    }.get(kind, {(36, 12)})


def test_what_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Conv2d.weight has the shape \(6, 4, 1, 1\); segments .* do not add up"):
        segmented(nn.Conv2d(4, 6, 1), outputs=(2, 3))
    with pytest.raises(ValueError, match="Conv2d.weight"):
        segmented(ConvNorm(4, 6), inputs=(2, 3))
    with pytest.raises(ValueError, match="BatchNorm2d.weight"):
        segmented(nn.BatchNorm2d(4), outputs=(2, 3))


def test_what_was_said_stays_until_it_is_said_again() -> None:
    layer = ConvNorm(4, 6, 3)
    assert segmented(layer, inputs=(1, 3)) is layer
    segmented(layer, outputs=(2, 4))
    assert parameter_segments(layer) == {
        "conv.weight": ((2, 4), (1, 3), (3,), (3,)),
        "norm.weight": ((2, 4),),
        "norm.bias": ((2, 4),),
    }
    segmented(layer, outputs=(3, 3))
    assert parameter_segments(layer)["conv.weight"] == ((3, 3), (1, 3), (3,), (3,))


def numbers_of_parts(net: nn.Module) -> dict[str, list[int]]:
    return {name: [len(lengths) for lengths in segments] for name, segments in parameter_segments(net).items()}


@pytest.mark.parametrize(
    ("slot", "plain", "change"),
    [
        ("stem", {"kind": "ghost_bottleneck", "out": 64}, {"ghosted": "all"}),
        ("stem", {"kind": "ghost_bottleneck", "out": 64, "ghosted": "all"}, {"ghost": {"ratio": 4}}),
        ("stem", {"kind": "l_block", "out": 64}, {"split": True}),
        ("stem", {"kind": "l_block", "out": 64}, {"width": 32}),
        ("row", {"kind": "dmc"}, {"kernels": [1, 2, 4, 8]}),
        ("row", {"kind": "le_ghost"}, {"ghost": {"ratio": 4}}),
        ("row", {"kind": "le_ghost"}, {"attention": {"kind": "mcam", "shared": True}}),
        ("row", {"kind": "le_ghost"}, {"attention": {"kind": "mcam", "groups": 2}}),
        ("row", {"kind": "weighted_shuffle", "cross": {"kind": "gcw"}}, {"cross": {"kind": "gcw", "groups": "all"}}),
        ("fusion", {"kind": "ghost"}, {"ghost": {"ratio": 4}}),
        ("head", {"kind": "dasp"}, {"dilations": [1, 6]}),
        ("head", {"kind": "simcc"}, {"split": 1}),
    ],
    ids=str,
)
def test_no_option_changes_the_number_of_parts_under_one_name(slot: str, plain: Tree, change: Tree) -> None:
    first, second = (numbers_of_parts(in_slot(slot, tree)) for tree in (plain, plain | change))
    assert {**second, **first} == {**first, **second}


def in_slot(slot: str, tree: Tree) -> nn.Module:
    options, widths = kinds_of(slot)[tree["kind"]].model_validate(tree), (24, 48, 96)
    match slot:
        case "stem":
            return tables.build_stem(options)
        case "row":
            return tables.build_row(options, widths)
        case "fusion":
            return tables.build_fusion(options, widths, False)
    return tables.build_head(options, widths, 64, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_cards("search_spaces") if "/" not in name])
def test_a_name_has_the_same_number_of_parts_in_every_member(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    found: dict[str, list[int]] = {}
    for _ in range(60):
        with without_weights():
            net = PoseNet(space.decode(space.sample(rng)), 5)
        for parameter, numbers in numbers_of_parts(net).items():
            assert found.setdefault(parameter, numbers) == numbers, parameter
