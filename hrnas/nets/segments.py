"""Concatenated channels: what a layer says of them, so that networks of other widths can share its weights.

Two networks of one space share a weight by its leading channels (`hrnas/nets/windows.py`). Where a layer's channels
are a concatenation (branches side by side, the two parts of a ghost convolution), the leading channels of the whole
would be other channels in a narrower network; so the layer says how long each part is, and each part is cut by itself.

That holds inside a block. What goes from block to block has one part, because blocks of every kind add to it. So where
a concatenation is added (`le_ghost`, `scr`, L-blocks, ghosts in stems, transitions and fusions), or where it is split
(into halves by shuffle rows, `dmc`, `susa_both` and shuffle stems that grow, into groups by `mcam`), the channels
behind the first part are others in a narrower network. What a shuffle gives (first 0, second 0, first 1, ...) needs no
parts: its leading channels are the leading ones of both halves. `dcm` sums up runs of memory, as released: of the finer
branches it hears something else at every width.
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from hrnas.nets.layers import ConvNorm, Slot

Module = TypeVar("Module", bound=nn.Module)
AnyModule = TypeVar("AnyModule", bound=nn.Module | None)
Lengths = tuple[int, ...]  # of the parts of one dimension; they add up to it
Segments = tuple[Lengths, ...]  # of each dimension of a parameter


def segmented(module: Module, inputs: Lengths | None = None, outputs: Lengths | None = None) -> Module:
    """Say of what parts a layer's input and output channels are concatenated, and give the layer back.

    Args:
        module: a convolution, a linear layer or a norm; or a ConvNorm, which says it of both its layers.
        inputs, outputs: None says nothing, and what was said before stays.

    Raises:
        ValueError: the lengths do not add up to the layer's channels.
    """
    layers = [module.conv, module.norm] if isinstance(module, ConvNorm) else [module]
    for layer in layers:
        if inputs is not None:
            layer.input_segments = inputs  # type: ignore[assignment]
        if outputs is not None:
            layer.output_segments = outputs  # type: ignore[assignment]
        for name, parameter in layer.named_parameters(recurse=False):
            _segments(layer, name, tuple(parameter.shape))
    return module


def on_parts(module: AnyModule, parts: Lengths) -> AnyModule:
    """Say of what parts the channels are concatenated that a module gets, an attention for one, and give it back.

    Its class names its layers that see all these channels, `sees`, and those that have an output for each, `weighs`. A
    module without such layers names none, nor does one that divides the channels in its own way.
    """
    inner = module.module if isinstance(module, Slot) else module
    for name in getattr(inner, "sees", ()):
        segmented(getattr(inner, name), inputs=parts)
    for name in getattr(inner, "weighs", ()):
        segmented(getattr(inner, name), outputs=parts)
    return module


def parameter_segments(net: nn.Module) -> dict[str, Segments]:
    """The lengths of the parts of every dimension of every parameter, by its name."""
    return {
        f"{place}.{name}" if place else name: _segments(layer, name, tuple(parameter.shape))
        for place, layer in net.named_modules()
        for name, parameter in layer._parameters.items()
        if parameter is not None
    }


def _segments(layer: nn.Module, name: str, shape: tuple[int, ...]) -> Segments:
    told = [getattr(layer, "output_segments", None), getattr(layer, "input_segments", None)]
    segments = [(size,) if lengths is None else tuple(lengths) for size, lengths in zip(shape, told, strict=False)]
    segments += [(size,) for size in shape[2:]]
    if tuple(map(sum, segments)) != shape:
        raise ValueError(
            f"{type(layer).__name__}.{name} has the shape {shape}; segments {segments} do not add up to it"
        )
    return tuple(segments)
