"""ECA, CBAM and coordinate attention are what their papers write, worked out here the long way."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_weights import at_work

from hrnas.nets.blocks.attention import CBAM, Coordinate, EfficientChannel
from hrnas.nets.tables import build_attention
from hrnas.space.kinds import kinds_of
from hrnas.space.kinds.attention import Coordinate as CoordinateOptions
from hrnas.space.kinds.attention import EfficientChannel as EfficientChannelOptions

BATCH, WIDTH = 2, 12
SIZES = [(1, 1), (2, 1), (5, 3), (8, 6)]  # (height, width)
ATTENTIONS = {"eca": EfficientChannel(5), "cbam": CBAM(WIDTH, 3, 7), "coordinate": Coordinate(WIDTH, 8)}


def eca_by_hand(module: nn.Module, x: Tensor) -> Tensor:
    """Equation 9: the sum over a channel's neighbours, each of which has one weight in all places."""
    assert isinstance(module, EfficientChannel)
    kernel = module.conv.weight.flatten().tolist()
    means, out = x.mean((2, 3)), torch.empty_like(x)
    for channel in range(WIDTH):
        total = torch.zeros(len(x))
        for tap, weight in enumerate(kernel):
            neighbour = channel + tap - len(kernel) // 2
            if 0 <= neighbour < WIDTH:
                total += weight * means[:, neighbour]
        out[:, channel] = x[:, channel] * total.sigmoid()[:, None, None]
    return out


def cbam_by_hand(module: nn.Module, x: Tensor) -> Tensor:
    """Equations 1 to 3."""
    assert isinstance(module, CBAM)
    down, up = module.reduce.weight.flatten(1), module.expand.weight.flatten(1)
    pixels = x.flatten(2)
    channels = sum(((seen @ down.T).relu() @ up.T for seen in (pixels.mean(2), pixels.max(2).values)), torch.zeros(()))
    refined = x * channels.sigmoid()[:, :, None, None]
    seen = torch.stack([refined.mean(1), refined.max(1).values], dim=1)
    (kernel,), border, (height, width) = module.spatial.weight, 3, x.shape[2:]
    padded = nn.functional.pad(seen, (border,) * 4)
    out = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            window = padded[:, :, row : row + 7, column : column + 7]
            weight = (window * kernel).sum((1, 2, 3)).sigmoid()
            out[:, :, row, column] = refined[:, :, row, column] * weight[:, None]
    return out


def coordinate_by_hand(module: nn.Module, x: Tensor) -> Tensor:
    """Equations 4 to 9; h-swish is x min(max(x + 3, 0), 6) / 6."""
    assert isinstance(module, Coordinate)
    norm = module.reduce.norm
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    shift, scale = mean[:, None], (norm.weight / (variance + norm.eps).sqrt())[:, None]

    def weights(means: Tensor, expand: nn.Conv2d) -> Tensor:  # (batch, channels, places) both
        between = torch.einsum("mc,bcp->bmp", module.reduce.conv.weight.flatten(1), means)
        between = (between - shift) * scale + norm.bias[:, None]
        between = between * (between + 3).clamp(0, 6) / 6
        assert expand.bias is not None
        return (torch.einsum("cm,bmp->bcp", expand.weight.flatten(1), between) + expand.bias[:, None]).sigmoid()

    rows = weights(x.mean(3), module.expand_rows)
    columns = weights(x.mean(2), module.expand_columns)
    return torch.einsum("bchw,bch,bcw->bchw", x, rows, columns)


BY_HAND: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "eca": eca_by_hand,
    "cbam": cbam_by_hand,
    "coordinate": coordinate_by_hand,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ATTENTIONS)
@torch.no_grad()
def test_it_computes_its_papers_equations(kind: str, size: tuple[int, int]) -> None:
    module = at_work(ATTENTIONS[kind])
    x = torch.randn(BATCH, WIDTH, *size)
    torch.testing.assert_close(module(x), BY_HAND[kind](module, x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_coordinate_attention_sees_rows_and_columns_alike() -> None:
    module = at_work(Coordinate(WIDTH, 8))
    assert isinstance(module, Coordinate)
    x = torch.randn(BATCH, WIDTH, 6, 4)
    upright = module(x)
    module.expand_rows, module.expand_columns = module.expand_columns, module.expand_rows
    torch.testing.assert_close(module(x.transpose(2, 3)).transpose(2, 3), upright)


@pytest.mark.parametrize("kind", ATTENTIONS)
@torch.no_grad()
def test_half_precision_is_the_same_within_its_digits(kind: str) -> None:
    module = at_work(ATTENTIONS[kind])
    x = torch.rand(BATCH, WIDTH, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(x)
    torch.testing.assert_close(rough.float(), module(x), rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("width", "kernel"), [(1, 1), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5)])
def test_ecas_kernel_follows_the_papers_rule(width: int, kernel: int) -> None:
    """Its code: int(|(log(channels, 2) + 1) / 2|), and one more where that is even."""
    cut = int(abs((log(width, 2) + 1) / 2))
    assert EfficientChannelOptions(kind="eca").channel_kernel(width) == (cut if cut % 2 else cut + 1) == kernel


PARAMS = [
    # weights and biases, in closed form, at 64 channels
    ("eca", {}, 3),
    ("eca", {"gamma": 1}, 7),
    ("cbam", {}, 2 * 64 * 4 + 2 * 7 * 7),
    ("cbam", {"reduction": 8, "kernel": 3}, 2 * 64 * 8 + 2 * 3 * 3),
    ("coordinate", {}, 64 * 8 + 2 * 8 + 2 * (8 * 64 + 64)),  # 64 / 32 is less than 8
    ("coordinate", {"reduction": 4}, 64 * 16 + 2 * 16 + 2 * (16 * 64 + 64)),
]


@pytest.mark.parametrize(("kind", "changes", "params"), PARAMS)
def test_weights_are_as_many_as_the_papers_count(kind: str, changes: dict[str, int], params: int) -> None:
    options: Any = kinds_of("attention")[kind].model_validate({"kind": kind, **changes})
    built = build_attention(options, 64)
    assert built is not None
    assert sum(p.numel() for p in built.parameters()) == params


def test_one_spelling_stands_for_all_that_build_the_same() -> None:
    def eca(gamma: int, offset: int) -> EfficientChannelOptions:
        return EfficientChannelOptions(kind="eca", gamma=gamma, offset=offset)

    def coordinate(reduction: int) -> CoordinateOptions:
        return CoordinateOptions(kind="coordinate", reduction=reduction)

    assert eca(2, 1).canonical((32, 64)) == eca(2, 0).canonical((32, 64)) != eca(2, 1).canonical((32, 128))
    assert coordinate(32).canonical((32, 64)) == coordinate(8).canonical((32, 64)) != coordinate(4).canonical((32, 64))
