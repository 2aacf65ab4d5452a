"""The rule by which networks of different sizes share a tensor: what part of it a smaller one has.

stored, channels of two parts    [ a a a a a a | b b b b ]
a narrower network's             [ a a a       | b b     ]   the leading channels of each part
a kernel of 5, a kernel of 3     the centre
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from torch import Tensor

from hrnas.nets.segments import Segments

Slices = tuple[slice, ...]


@lru_cache(maxsize=65536)
def window(full: Segments, part: Segments) -> tuple[tuple[Slices, Slices], ...]:
    """Where the blocks of a smaller parameter lie in the stored one, and where in itself.

    Of each part of a channel dimension the leading channels; of a kernel (its two last ones, behind two) the centre.

    Raises:
        ValueError: the smaller one does not fit, or is concatenated of another number of parts.
    """
    if len(full) != len(part) or any(len(f) != len(p) for f, p in zip(full, part, strict=True)):
        raise ValueError(f"{part} has other parts than {full}")
    ways = []
    for dimension, (stored, cut) in enumerate(zip(full, part, strict=True)):
        pieces, at, here = [], 0, 0
        for length, kept in zip(stored, cut, strict=True):
            if kept > length:
                raise ValueError(f"{part} does not fit into {full}")
            begin = at + ((length - kept) // 2 if dimension >= max(2, len(full) - 2) else 0)
            pieces.append((slice(begin, begin + kept), slice(here, here + kept)))
            at, here = at + length, here + kept
        ways.append(pieces)
    return tuple((tuple(stored for stored, _ in way), tuple(cut for _, cut in way)) for way in itertools.product(*ways))


def cut(stored: Tensor, full: Segments, part: Segments) -> Tensor:
    """A copy of the window of `part` in a stored tensor, in the layout that convolutions like."""
    found = empty(part, stored)
    for there, here in window(full, part):
        found[here] = stored[there]
    return found


def empty(segments: Segments, like: Tensor) -> Tensor:
    """A tensor of these segments without values, in the layout that convolutions like."""
    layout = torch.channels_last if len(segments) == 4 else torch.contiguous_format
    return torch.empty(shape_of(segments), dtype=like.dtype, device=like.device, memory_format=layout)


def shape_of(segments: Segments) -> tuple[int, ...]:
    """The shape of a parameter."""
    return tuple(map(sum, segments))


def hull(one: Segments, other: Segments) -> Segments:
    """The smallest parameter in whose window both lie."""
    return tuple(tuple(map(max, a, b)) for a, b in zip(one, other, strict=True))
