"""All kinds by name, slot by slot, and how each is built from its options.

This is the other half of `hrnas/space/kinds`. A new kind is a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from hrnas.nets.blocks.attention import CBAM, Coordinate, EfficientChannel
from hrnas.nets.blocks.dite_hrnet import DenseContext, DynamicSplitConv, DynamicStem, GlobalContext
from hrnas.nets.blocks.greit_hrnet import GlobalSpatialWeighting, GroupedChannelWeighting, LargeKernelStem
from hrnas.nets.blocks.hr_litenet import LBasic, LBlock, separable_relu, stepwise
from hrnas.nets.blocks.hrnet import Bottleneck, Residual
from hrnas.nets.blocks.le_hrnet import (
    CrossResolutionFusion,
    Ghost,
    GhostBottleneck,
    LEBlock,
    MultiScaleCoordinate,
    ghost_chain,
    ghosted,
)
from hrnas.nets.blocks.lite_csw_hrnet import ChannelSpatial, CrossChannelSpatial
from hrnas.nets.blocks.lite_hrnet import CrossResolutionWeighting, Shuffle, SqueezeExcite, WeightedShuffleRow
from hrnas.nets.blocks.sdhrnet import DenseAtrousHead, SemanticEnhancement, SplitConcatResidual
from hrnas.nets.blocks.x_hrnet import unidimensional
from hrnas.nets.fusion import Fusion, Transition, chained, dense, separable, upsampled
from hrnas.nets.heads import ConvHead, IterativeHead, SimCCHead
from hrnas.nets.layers import ConvNorm, Lifted, Slot
from hrnas.nets.skeleton import piece
from hrnas.nets.stems import BlockStem, ShuffleStem
from hrnas.space import kinds

Widths = tuple[int, ...]
Table = dict[str, Callable[..., Any]]

# (options) -> (B, 3, H, W) to (B, out, H/4, W/4)
STEMS: Table = {
    "bottleneck": lambda o: BlockStem(o.width, _stage1(o, Bottleneck)),
    "ghost_bottleneck": lambda o: BlockStem(
        o.width,
        _stage1(o, partial(GhostBottleneck, ghost=_ghost(o), outer=_ghost(o) if o.ghosted == "all" else ConvNorm)),
    ),
    "l_block": lambda o: BlockStem(
        o.width, _stage1(o, lambda i, out: LBlock(i, out, o.split, build_attention(o.attention, out)))
    ),
    "shuffle": lambda o: ShuffleStem(o.width, o.out, o.expand),
    "dgc": lambda o: DynamicStem(o.out, o.kernels, o.reduction),
    "lks": lambda o: LargeKernelStem(o.width, o.out, o.expand, o.kernel, o.dilated, o.dilation, o.place),
}

# (options, widths before, widths after) -> features to features of one branch more
TRANSITIONS: Table = {
    "conv": lambda o, before, after: Transition(before, after, dense),
    "lite": lambda o, before, after: Transition(before, after, partial(separable, act=o.relu)),
    "separable": lambda o, before, after: Transition(before, after, separable_relu),
    "ghost": lambda o, before, after: Transition(before, after, ghosted(_ghost(o))),
}

# (options, width) -> feature to feature of the same shape; None where nothing is weighted
ATTENTIONS: Table = {
    "none": lambda o, width: None,
    "se": lambda o, width: SqueezeExcite(width, o.reduction, o.bias),
    "eca": lambda o, width: EfficientChannel(o.channel_kernel(width)),
    "cbam": lambda o, width: CBAM(width, o.reduction, o.kernel),
    "coordinate": lambda o, width: Coordinate(width, o.middle(width)),
    "mcam": lambda o, width: MultiScaleCoordinate(width, o.groups, o.shared, o.joint),
    "gcm": lambda o, width: GlobalContext(width, o.reduction_of(width)),
    "susa": lambda o, width: unidimensional(width, o.along, o.positions),
    "csw": lambda o, width: ChannelSpatial(o.channel_kernel(width), o.kernel, o.order == "series"),
    "gsw": lambda o, width: GlobalSpatialWeighting(width, o.width, o.reduction, o.normalise),
}

# (options, widths) -> features to features of the same shapes; None where nothing is weighted
CROSSES: Table = {
    "none": lambda o, widths: None,
    "ccw": lambda o, widths: CrossResolutionWeighting(widths, o.reduction),
    "dcm": lambda o, widths: DenseContext(widths, o.reduction),
    "susa": lambda o, widths: Lifted(unidimensional(w, o.along, o.positions) for w in widths),
    "csw": lambda o, widths: CrossChannelSpatial(widths, o.channel_kernel(sum(widths)), o.kernel, o.order == "series"),
    "gcw": lambda o, widths: GroupedChannelWeighting(o.grouped(widths), o.reduction, o.stack),
}

# (options, widths) -> features to features of the same shapes
ROWS: Table = {
    "residual": lambda o, widths: Lifted(Residual(w, o.kernel, build_attention(o.attention, w)) for w in widths),
    "bottleneck": lambda o, widths: Lifted(Bottleneck(w, w, o.kernel) for w in widths),
    "shuffle": lambda o, widths: Lifted(Shuffle(w, o.kernel) for w in widths),
    "weighted_shuffle": lambda o, widths: WeightedShuffleRow(
        build_cross(o.cross, o.seen(widths)),
        Lifted(ConvNorm(w, w, o.kernel, groups=w) for w in o.seen(widths)),
        lift_attention(o.single, o.seen(widths)),
    ),
    "dmc": lambda o, widths: WeightedShuffleRow(
        build_cross(o.cross, o.seen(widths)),
        Lifted(DynamicSplitConv(*each) for each in zip(o.seen(widths), o.groups, o.kernels, strict=False)),
        lift_attention(o.single, o.seen(widths)),
    ),
    "scr": lambda o, widths: Lifted(
        SplitConcatResidual(w, o.kernel, build_attention(o.first, w), build_attention(o.second, w)) for w in widths
    ),
    "le_ghost": lambda o, widths: Lifted(LEBlock(w, _ghost(o), build_attention(o.attention, w)) for w in widths),
    "l_basic": lambda o, widths: Lifted(LBasic(w, o.kernel, build_attention(o.attention, w)) for w in widths),
}

# (options, widths, number of outputs) -> features to the first features, of the same shapes
FUSIONS: Table = {
    "full": lambda o, widths, outputs: Fusion(widths, outputs, upsampled(ConvNorm), chained(dense)),
    "lite": lambda o, widths, outputs: Fusion(
        widths, outputs, upsampled(ConvNorm), chained(separable), o.double_add, o.hears == "output"
    ),
    "separable": lambda o, widths, outputs: Fusion(
        widths,
        outputs,
        upsampled(separable_relu if o.up == "separable" else ConvNorm),
        lambda passed: stepwise(o.steps(passed)),
    ),
    "ghost": lambda o, widths, outputs: Fusion(
        widths, outputs, upsampled(partial(_ghost(o), act=False)), ghost_chain(_ghost(o))
    ),
    "cmffm": lambda o, widths, outputs: CrossResolutionFusion(widths, outputs, o.reduction),
}

# (options, width) -> feature to feature of the same shape; None where there is nothing
CONTEXTS: Table = {
    "none": lambda o, width: None,
    "sem": lambda o, width: SemanticEnhancement(width, o.reduction, o.channel_kernel(width)),
}

# (options, widths, width of the stem's output, keypoints) -> features and the stem's output to heatmaps
HEADS: Table = {
    "conv": lambda o, widths, stem, keypoints: ConvHead(widths, keypoints),
    "iterative": lambda o, widths, stem, keypoints: IterativeHead(widths, keypoints),
    "simcc": lambda o, widths, stem, keypoints: SimCCHead(widths[0], keypoints, o.split),
    "dasp": lambda o, widths, stem, keypoints: DenseAtrousHead(
        widths[0], stem, keypoints, o.growth, o.dilations, o.width
    ),
}


@piece
def build_stem(options: kinds.Stem) -> Slot:
    """(B, 3, H, W) -> (B, out, H/4, W/4)."""
    return Slot(options.label, STEMS[options.kind](options))


@piece
def build_transition(options: kinds.Transition, before: Widths, after: Widths) -> Slot:
    """Features of widths `before` -> features of widths `after`, one branch more."""
    return Slot(options.label, TRANSITIONS[options.kind](options, before, after))


def build_attention(options: kinds.Attention, width: int) -> Slot | None:
    """A feature -> a feature of the same shape."""
    return _slot(options.label, ATTENTIONS[options.kind](options, width))


def lift_attention(options: kinds.Attention, widths: Widths) -> Slot | None:
    """Features -> features of the same shapes, each weighted by itself."""
    modules = [ATTENTIONS[options.kind](options, width) for width in widths]
    return None if modules[0] is None else Slot(options.label, Lifted(modules))


def build_cross(options: kinds.Cross, widths: Widths) -> Slot | None:
    """Features -> features of the same shapes, weighted by what all of them have seen."""
    return _slot(options.label, CROSSES[options.kind](options, widths))


@piece
def build_row(options: kinds.Row, widths: Widths) -> Slot:
    """Features -> features of the same shapes."""
    return Slot(options.label, ROWS[options.kind](options, widths))


@piece
def build_fusion(options: kinds.Fusion, widths: Widths, last: bool) -> Slot:
    """Features -> features of the same shapes; in the network's last module only those that the options keep."""
    outputs = 1 if last and options.outputs == "first" else len(widths)
    return Slot(options.label, FUSIONS[options.kind](options, widths, outputs))


@piece
def build_context(options: kinds.Context, width: int) -> Slot | None:
    """A feature -> a feature of the same shape."""
    return _slot(options.label, CONTEXTS[options.kind](options, width))


@piece
def build_head(options: kinds.Head, widths: Widths, stem: int, keypoints: int) -> Slot:
    """Features and the stem's output, `stem` channels wide -> (B, keypoints, H/4, W/4)."""
    return Slot(options.label, HEADS[options.kind](options, widths, stem, keypoints))


def _slot(label: str, module: nn.Module | None) -> Slot | None:
    return None if module is None else Slot(label, module)


def _stage1(options: Any, block: Callable[[int, int], nn.Module]) -> list[nn.Module]:
    """The blocks of a stem of HRNet's form, each from the width before it to the stem's output."""
    return [block(options.out if index else options.width, options.out) for index in range(options.blocks)]


def _ghost(options: Any) -> Callable[..., Ghost]:
    """The ghost convolution that a part's options ask for: (channels in, channels out, act=True) -> module."""
    return partial(Ghost, ratio=options.ghost.ratio, primary=options.ghost.primary, cheap=options.ghost.cheap)
