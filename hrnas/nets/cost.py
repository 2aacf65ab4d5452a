"""What a network costs: its parameters and operations, counted on the real modules on the meta device.

Every figure comes from one pass of each distinct piece (stem, transition, row, fusion, head), which is then remembered:
a row that stands twenty times in a network, or in the next one, is counted once. The scales cannot be compared:

| name | counts | unit | who prints it |
|---|---|---|---|
| macs | multiply-accumulates of convolutions, linear layers and matrix products that our network executes | 1 | |
| macs_as_released | the same, with what the authors' code computes a second time or for nobody | 1 | |
| conv_gi | macs of convolutions and linear layers, each layer once | 2^30 | HRNet's tool; HRNet, SDHRNet, LE-HRNet |
| lite_scale | torchstat as shipped with Lite-HRNet: see `_torchstat` | 2^20 | Lite-HRNet and its followers |
| all_ops | convolution + bias, 2 per norm, 1 per ReLU, pooling and upsampling; each call | 1e9 | mmcv; mmpose's zoo |
| all_ops_gi | the same | 2^30 | LE-HRNet's and HR-LiteNet's baselines |

The published tools see modules and not functions, and torchstat keeps one count per module however often it is called.
So a layer is a module here where it is one in the authors' code, and one module where theirs is one: no figure needs a
correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from hrnas.nets.blocks.dite_hrnet import KernelMixture, PictureConv
from hrnas.nets.blocks.x_hrnet import PositionWeights
from hrnas.nets.fusion import Fusion
from hrnas.nets.layers import MatMul, Scale, Slot
from hrnas.nets.tables import build_context, build_fusion, build_head, build_row, build_stem, build_transition
from hrnas.reading import read_size
from hrnas.space.architecture import FIRST_STAGE, Architecture

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """The share of one part of the network: `stem`, `stage2`, ..., `head`."""

    name: str
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """All figures of one architecture at one input size and number of keypoints; the units are in the table above."""

    params: int
    params_live: int  # without those that reach no output
    macs: int
    macs_as_released: int
    conv_gi: float
    lite_scale: float
    all_ops: float
    all_ops_gi: float
    parts: tuple[Part, ...]


def measure_cost(architecture: Architecture, keypoints: int = 17, input: tuple[int, int] = (256, 192)) -> Cost:
    """Count a network at an input of (height, width) pixels, with a batch of one.

    Raises:
        ValueError: a side of the input is not divisible by 32.
    """
    size = read_size(input)
    parts: dict[str, _Tally] = {}
    for piece in _pieces(architecture, keypoints, size):
        tally = _count(piece.build, piece.arguments, piece.inputs, piece.reads) * piece.times
        parts[piece.part] = parts.get(piece.part, _Tally()) + tally
    total = sum(parts.values(), _Tally())
    return Cost(
        params=total.params,
        params_live=total.params - total.dead,
        macs=total.macs,
        macs_as_released=total.macs_as_released,
        conv_gi=total.conv / 2**30,
        lite_scale=total.torchstat / 2**20,
        all_ops=total.all_ops / 1e9,
        all_ops_gi=total.all_ops / 2**30,
        parts=tuple(Part(name, tally.params, tally.macs) for name, tally in parts.items()),
    )


def cost_as_json(cost: Cost) -> dict[str, Any]:
    """A cost as plain numbers: counts are integers, scales floats in the papers' unit (`lite_scale`: M, others: G)."""
    return {
        **{name: value for name, value in vars(cost).items() if name != "parts"},
        "parts": {part.name: {"params": part.params, "macs": part.macs} for part in cost.parts},
    }


# ---------------------------------------------------------------------------------------------------------------------
# the pieces of a network


@dataclass(frozen=True)
class _Piece:
    part: str
    times: int
    build: Callable[..., Slot | None]
    arguments: tuple[Any, ...]
    inputs: tuple[Any, ...]  # shapes, or tuples of shapes where the piece takes a list
    reads: str = "all"  # which of its outputs are read: all or first


def _pieces(architecture: Architecture, keypoints: int, size: tuple[int, int]) -> Iterator[_Piece]:
    """What `PoseNet` builds, each distinct piece of a stage once with its number."""

    def features(widths: tuple[int, ...]) -> tuple[Shape, ...]:
        return tuple((1, c, size[0] >> (branch + 2), size[1] >> (branch + 2)) for branch, c in enumerate(widths))

    before: tuple[int, ...] = (architecture.stem.out,)
    stem_output = features(before)
    yield _Piece("stem", 1, build_stem, (architecture.stem,), ((1, 3, *size),))
    for index, stage in enumerate(architecture.stages):
        part, widths = f"stage{FIRST_STAGE + index}", architecture.branches(index)
        here, ends = (features(widths),), index == len(architecture.stages) - 1
        yield _Piece(part, 1, build_transition, (stage.transition, before, widths), (features(before),))
        yield _Piece(part, stage.modules * stage.blocks, build_row, (stage.row, widths), here)
        yield _Piece(part, stage.modules - ends, build_fusion, (stage.fusion, widths, False), here)
        if ends:
            yield _Piece(part, 1, build_fusion, (stage.fusion, widths, True), here, architecture.head.reads)
        place = stage.context.branch - 1
        yield _Piece(part, 1, build_context, (stage.context, widths[place]), (features(widths)[place],))
        before = widths
    head = (architecture.head, before, architecture.stem.out, keypoints)
    yield _Piece("head", 1, build_head, head, (features(before), *stem_output))


@dataclass(frozen=True)
class _Tally:
    """Raw counts; they add up over pieces."""

    params: int = 0
    dead: int = 0
    macs: int = 0
    macs_as_released: int = 0
    conv: int = 0
    torchstat: int = 0
    all_ops: int = 0

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, times: int) -> _Tally:
        return _Tally(*(times * value for value in vars(self).values()))


@lru_cache(maxsize=16384)
def _count(
    build: Callable[..., Slot | None], arguments: tuple[Any, ...], inputs: tuple[Any, ...], reads: str
) -> _Tally:
    with torch.device("meta"), _Unfilled():
        piece = build(*arguments)
    if piece is None:
        return _Tally()
    for layer in piece.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.ReLU)):  # they keep every shape
            layer.forward = _pass  # type: ignore[method-assign, assignment]
    dead = {name for name, parameter in piece.module.named_parameters() if not parameter.requires_grad}
    if isinstance(piece.module, Fusion):
        dead |= piece.module.dead_parameters(reads)
    return _count_module(piece.module, dead, *(_empty(shape) for shape in inputs))


def _pass(x: Tensor) -> Tensor:
    return x


class _Unfilled(TorchFunctionMode):
    """Weights that are never read need no values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_FILLS = {nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.uniform_, Tensor.normal_, Tensor.zero_, Tensor.fill_}


class _ShapesOnly(TorchDispatchMode):
    """Spares torch from working out in Python what comes of element-wise operations and means on the meta device.

    It would be most of a count. Here they give an empty tensor of the broadcast, or the reduced shape.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.pointwise in func.tags and not func._schema.is_mutable:
            return torch.empty(_broadcast([each.shape for each in args if isinstance(each, Tensor)]), device="meta")
        if func is torch.ops.aten.mean.dim and args[2:] == (True,):
            shape = list(args[0].shape)
            for place in args[1]:
                shape[place] = 1
            return torch.empty(shape, device="meta")
        return func(*args, **(kwargs or {}))


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    return shapes[0] if all(shape == shapes[0] for shape in shapes) else torch.broadcast_shapes(*shapes)


def _empty(shape: Any) -> Any:
    if isinstance(shape[0], tuple):
        return [_empty(each) for each in shape]
    return torch.empty(shape, device="meta")


# ---------------------------------------------------------------------------------------------------------------------
# one pass


def _count_module(module: nn.Module, dead: set[str], *inputs: Any) -> _Tally:
    """Run a module once and count its layers by what goes in and out of them; `dead`: parameters nobody hears of."""
    executed = released = conv = all_ops = 0
    torchstat: dict[nn.Module, int] = {}
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    heard = {_owner(name) for name in sizes if name not in dead}
    unheard = {module.get_submodule(_owner(name)) for name in dead if _owner(name) not in heard}

    def see(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal executed, released, conv, all_ops
        calls: int = getattr(layer, "released_calls", 1)
        macs = _macs(layer, given[0], out)
        executed += 0 if layer in unheard else macs
        released += calls * macs
        conv += 0 if isinstance(layer, (MatMul, KernelMixture)) else macs
        all_ops += calls * _operations(layer, given[0], out)
        torchstat[layer] = _torchstat(layer, given[0], out)

    hooks = [layer.register_forward_hook(see) for layer in module.modules() if not list(layer.children())]
    with torch.no_grad(), _ShapesOnly():
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    silent = sum(sizes[name] for name in dead)
    return _Tally(sum(sizes.values()), silent, executed, released, conv, sum(torchstat.values()), all_ops)


def _owner(parameter: str) -> str:
    """The name of the layer that has a parameter of this name."""
    return parameter.rpartition(".")[0]


def _macs(layer: nn.Module, given: Tensor, out: Tensor) -> int:
    """Multiply-accumulates; without those of the bias, which no paper counts as such."""
    match layer:
        case nn.Conv2d() | nn.Conv1d():
            return out.numel() * layer.weight.shape[1:].numel()
        case nn.Linear():
            return out.numel() * layer.in_features
        case PictureConv():
            return out.numel() * layer.taps
        case MatMul() | KernelMixture():
            return out.numel() * given.shape[-1]
    return 0


def _operations(layer: nn.Module, given: Tensor, out: Tensor) -> int:
    """mmcv's rule; it does not see matrix products, sigmoids and softmaxes, nor a parameter that is no layer's."""
    match layer:
        case nn.Conv2d() | nn.Conv1d() | nn.Linear():
            return _macs(layer, given, out) + (0 if layer.bias is None else out.numel())
        case PictureConv():
            return _macs(layer, given, out)
        case nn.BatchNorm2d() | nn.LayerNorm():
            return 2 * given.numel()
        case nn.ReLU() | nn.Upsample():
            return out.numel()
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
            return given.numel()
        case MatMul() | Scale() | KernelMixture() | PositionWeights() | nn.Sigmoid() | nn.Hardsigmoid() | nn.Softmax():
            return 0
    raise AssertionError(f"no rule counts a {type(layer).__name__}: add it here")


def _torchstat(layer: nn.Module, given: Tensor, out: Tensor) -> int:
    """The rule of torchstat as Lite-HRNet ships it, with its oddities."""
    match layer:
        case nn.Conv1d() | nn.LayerNorm():
            return 0
        case nn.Upsample():
            return out[:, 0].numel()  # it forgets the channels
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():  # each window counts a row and a column more than it has
            rows, columns = (_windows(given.shape[d], out.shape[d]) for d in (2, 3))
            return given[:, :, 0, 0].numel() * rows * columns
    return _operations(layer, given, out)


def _windows(side: int, pieces: int) -> int:
    return sum(ceil((i + 1) * side / pieces) - floor(i * side / pieces) + 1 for i in range(pieces))
