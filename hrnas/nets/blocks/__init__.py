"""The rows a module consists of, by the name of their kind.

A row maps the features of all resolutions, finest first, to features of the same shapes: a list of tensors to a list of
tensors. A block that minds one resolution is lifted to a row by `Lifted`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from hrnas.nets.blocks.hrnet import Bottleneck, Residual
from hrnas.nets.blocks.lite_hrnet import Shuffle, WeightedShuffleRow
from hrnas.nets.layers import Lifted

# kind -> (options, widths of the branches) -> row
BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "residual": lambda options, widths: Lifted(Residual(width, options.kernel) for width in widths),
    "bottleneck": lambda options, widths: Lifted(Bottleneck(width, width, options.kernel) for width in widths),
    "shuffle": lambda options, widths: Lifted(Shuffle(width, options.kernel) for width in widths),
    "weighted_shuffle": lambda options, widths: WeightedShuffleRow(
        widths, options.kernel, options.cross, options.single
    ),
}
