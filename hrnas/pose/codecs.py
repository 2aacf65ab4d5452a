"""Keypoints to what a network learns, and what it says back to keypoints: one object for both ways.

| kind | target | read off |
|---|---|---|
| gaussian | a Gaussian around the rounded cell (MSRA; HRNet) | highest cell, a quarter to the higher neighbour |
| dark | a Gaussian around the exact place | highest cell, one Newton step on the blurred logarithm |
| udp | a Gaussian around the exact place, cells counted in unit lengths | the same step at every cell |
| simcc | two distributions, over x and over y | the highest bin of each |

All coordinates are pixels of the input. DARK: Zhang et al., CVPR 2020, arXiv 1910.06278. UDP: Huang et al., CVPR 2020,
arXiv 1911.07524. SimCC: Li et al., ECCV 2022, arXiv 2107.03332.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import cv2
import numpy as np

from hrnas.cards.trainer import Codec as CodecOptions
from hrnas.pose import heatmaps
from hrnas.pose.heatmaps import STRIDE
from hrnas.pose.keypoints import KeypointSet

Read = tuple[np.ndarray, np.ndarray]


class Codec(Protocol):
    """Both ways between keypoints (batch, points, 2) in input pixels and a network's output (batch, points, ...)."""

    aligned: ClassVar[bool]  # whether crops map the box's corners to the first and last pixel's centres, as UDP does

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        ...

    @property
    def parts(self) -> tuple[int, ...]:
        """The sizes of the distributions that an output consists of, when it is read as such."""
        ...

    def targets(self, keypoints: np.ndarray, labelled: np.ndarray) -> Read:
        """Targets shaped as the output, float32, and weights (batch, points), 0 where there is nothing to learn."""
        ...

    def decode(self, output: np.ndarray) -> Read:
        """Keypoints (batch, points, 2) and their scores (batch, points), the heights of the peaks."""
        ...

    def flip_back(self, output: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
        """The output for mirrored inputs as an output for the inputs."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """HRNet's heatmaps; `size` is the input's (height, width), `sigma` counts heatmap cells."""

    size: tuple[int, int]
    sigma: float
    aligned: ClassVar[bool] = False

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the heatmap."""
        return self.size[0] // STRIDE, self.size[1] // STRIDE

    @property
    def parts(self) -> tuple[int, ...]:
        return (self.cells[0] * self.cells[1],)

    def targets(self, keypoints: np.ndarray, labelled: np.ndarray) -> Read:
        return heatmaps.encode(keypoints, labelled, self.cells, self.sigma)

    def decode(self, output: np.ndarray) -> Read:
        places, scores = heatmaps.decode(output)
        return places * float(STRIDE), scores

    def flip_back(self, output: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
        return heatmaps.flip_back(output, keypoint_set)


@dataclass(frozen=True)
class Dark(Gaussian):
    """Targets that are not rounded, read by where the blurred logarithm's parabola has its top ("unbiased")."""

    def targets(self, keypoints: np.ndarray, labelled: np.ndarray) -> Read:
        places = keypoints / STRIDE
        return draw_gaussians(places, _within(places, labelled, self.cells, 3 * self.sigma), self.cells, self.sigma)

    def decode(self, output: np.ndarray) -> Read:
        peaks, scores = highest_cells(output)
        logarithm = np.log(np.maximum(modulate(output, blur_kernel(self.sigma)), 1e-10))
        return (peaks + _newton_wide(logarithm, peaks)) * float(STRIDE), scores


@dataclass(frozen=True)
class UDP(Gaussian):
    """As DARK, with lengths counted between the centres of the first and the last pixel, and no shift when flipped."""

    aligned: ClassVar[bool] = True

    @property
    def _stride(self) -> np.ndarray:
        """Input pixels per cell along x and y."""
        return np.array([(side - 1) / (side // STRIDE - 1) for side in self.size[::-1]])

    def targets(self, keypoints: np.ndarray, labelled: np.ndarray) -> Read:
        places = keypoints / self._stride
        weights = _within(np.trunc(places + 0.5), labelled, self.cells, int(3 * self.sigma))
        return draw_gaussians(places, weights, self.cells, self.sigma, radius=int(3 * self.sigma))

    def decode(self, output: np.ndarray) -> Read:
        peaks, scores = highest_cells(output)
        logarithm = np.log(np.clip(modulate(output, blur_kernel(self.sigma)), 1e-3, 50.0))
        return (peaks + _newton_close(logarithm, peaks)) * self._stride, scores

    def flip_back(self, output: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
        return heatmaps.flip_back(output, keypoint_set, shift=False)


@dataclass(frozen=True)
class SimCC:
    """A keypoint as two distributions: width * split bins for x, then height * split for y; `sigma` counts bins."""

    size: tuple[int, int]
    sigma: float
    split: int
    aligned: ClassVar[bool] = False

    @property
    def parts(self) -> tuple[int, int]:
        """How many bins there are for x and for y."""
        return self.size[1] * self.split, self.size[0] * self.split

    def targets(self, keypoints: np.ndarray, labelled: np.ndarray) -> Read:
        centres = np.rint(keypoints * self.split)
        weights = _within(centres, labelled, self.parts[::-1], 3 * self.sigma)
        parts = [
            np.exp(-((np.arange(bins, dtype=np.float32) - centres[:, :, axis, None]) ** 2) / (2 * self.sigma**2))
            for axis, bins in enumerate(self.parts)
        ]
        return np.concatenate(parts, axis=2).astype(np.float32) * weights[:, :, None], weights

    def decode(self, output: np.ndarray) -> Read:
        parts = np.split(output, [self.parts[0]], axis=2)
        places = np.stack([part.argmax(axis=2) for part in parts], axis=2) / float(self.split)
        scores = np.minimum(*(part.max(axis=2) for part in parts))
        return np.where(scores[:, :, None] > 0, places, 0.0), scores

    def flip_back(self, output: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
        across, down = np.split(output[:, keypoint_set.flip_order], [self.parts[0]], axis=2)
        return np.concatenate([across[:, :, ::-1], down], axis=2)


CODECS: dict[str, Callable[[CodecOptions, tuple[int, int]], Codec]] = {
    "gaussian": lambda o, size: Gaussian(size, o.sigma_at(size)),
    "dark": lambda o, size: Dark(size, o.sigma_at(size)),
    "udp": lambda o, size: UDP(size, o.sigma_at(size)),
    "simcc": lambda o, size: SimCC(size, o.sigma_at(size), o.split),
}


def make_codec(options: CodecOptions, size: tuple[int, int]) -> Codec:
    """The codec that a trainer card asks for, at an input of (height, width)."""
    return CODECS[options.kind](options, size)


# ---------------------------------------------------------------------------------------------------------------------
# the workings


def _within(places: np.ndarray, labelled: np.ndarray, cells: tuple[int, int], radius: float) -> np.ndarray:
    """1 where a keypoint has a label and some of its Gaussian lies in the map, else 0: (batch, points) float32."""
    outside = ((places - radius >= cells[::-1]) | (places + radius + 1 < 0)).any(axis=2)
    return np.where((labelled > 0) & ~outside, np.float32(1), np.float32(0))


def draw_gaussians(
    places: np.ndarray, weights: np.ndarray, cells: tuple[int, int], sigma: float, radius: int | None = None
) -> Read:
    """Gaussians of height 1 around exact places (batch, points, 2) in cells, all zeros where the weight is 0.

    Args:
        radius: cut off at so many cells from the rounded place; `None` leaves them whole.
    """
    factors = []
    for axis, side in enumerate(cells[::-1]):
        steps = np.arange(side, dtype=np.float64) - places[:, :, axis, None]
        factor = np.exp(-(steps**2) / (2 * sigma**2))
        if radius is not None:
            middle = np.trunc(places[:, :, axis, None] + 0.5)
            factor = np.where(np.abs(np.arange(side) - middle) <= radius, factor, 0.0)
        factors.append((factor * weights[:, :, None] if axis == 0 else factor).astype(np.float32))
    across, down = factors
    return down[:, :, :, None] * across[:, :, None, :], weights


def highest_cells(output: np.ndarray) -> Read:
    """The highest cell of each map as (batch, points, 2) x, y, and its height; without a positive value (0, 0)."""
    batch, points, _, width = output.shape
    flat = output.reshape(batch, points, -1)
    best = flat.argmax(axis=2)
    scores = np.take_along_axis(flat, best[:, :, None], axis=2)[:, :, 0]
    best = np.where(scores > 0, best, 0)
    return np.stack([best % width, best // width], axis=2), scores


def blur_kernel(sigma: float) -> int:
    """The kernel that OpenCV would take for a Gaussian of this sigma, turned round: 11 for 2 cells, 17 for 3."""
    return max(3, 2 * round((sigma - 0.8) / 0.3 + 1) + 1)


def modulate(output: np.ndarray, kernel: int) -> np.ndarray:
    """Each map blurred, and brought back to the height that it had."""
    blurred = np.empty(output.shape, np.float32)
    for place in np.ndindex(output.shape[:2]):
        cv2.GaussianBlur(output[place], (kernel, kernel), 0, dst=blurred[place], borderType=cv2.BORDER_CONSTANT)
    before, after = (maps.max(axis=(2, 3), keepdims=True) for maps in (output, blurred))
    return blurred * np.divide(before, after, out=np.ones_like(after), where=after > 0)


def _around(maps: np.ndarray, peaks: np.ndarray, reach: int) -> np.ndarray:
    """The neighbourhood of each peak: (batch, points, 2 reach + 1, 2 reach + 1), edges repeated outside the map."""
    steps = np.arange(-reach, reach + 1)
    rows = np.clip(peaks[:, :, 1, None] + steps, 0, maps.shape[2] - 1)
    columns = np.clip(peaks[:, :, 0, None] + steps, 0, maps.shape[3] - 1)
    batch, point = np.ogrid[: maps.shape[0], : maps.shape[1]]
    return maps[batch[..., None, None], point[..., None, None], rows[:, :, :, None], columns[:, :, None, :]]


def _newton_wide(logarithm: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """DARK's step from each peak to the top of its parabola, with slopes over two cells; none near the border."""
    n = _around(logarithm, peaks, 2).astype(np.float64)
    dx, dy = 0.5 * (n[..., 2, 3] - n[..., 2, 1]), 0.5 * (n[..., 3, 2] - n[..., 1, 2])
    dxx = 0.25 * (n[..., 2, 4] - 2 * n[..., 2, 2] + n[..., 2, 0])
    dyy = 0.25 * (n[..., 4, 2] - 2 * n[..., 2, 2] + n[..., 0, 2])
    dxy = 0.25 * (n[..., 3, 3] - n[..., 1, 3] - n[..., 3, 1] + n[..., 1, 1])
    size = np.array(logarithm.shape[:1:-1])
    inside: np.ndarray = np.all((peaks > 1) & (peaks < size - 2), axis=2)
    return _solve(dx, dy, dxx, dxy, dyy, inside)


def _newton_close(logarithm: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """UDP's step, with slopes between neighbours, at every cell."""
    n = _around(logarithm, peaks, 1).astype(np.float64)
    dx, dy = 0.5 * (n[..., 1, 2] - n[..., 1, 0]), 0.5 * (n[..., 2, 1] - n[..., 0, 1])
    tiny = np.finfo(np.float32).eps
    dxx = n[..., 1, 2] - 2 * n[..., 1, 1] + n[..., 1, 0] + tiny
    dyy = n[..., 2, 1] - 2 * n[..., 1, 1] + n[..., 0, 1] + tiny
    beside = n[..., 1, 2] + n[..., 2, 1] + n[..., 1, 0] + n[..., 0, 1]
    dxy = 0.5 * (n[..., 2, 2] + n[..., 0, 0] + 2 * n[..., 1, 1] - beside)
    return _solve(dx, dy, dxx, dxy, dyy, np.ones(dx.shape, bool))


def _solve(
    dx: np.ndarray, dy: np.ndarray, dxx: np.ndarray, dxy: np.ndarray, dyy: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Minus the inverse Hessian times the slope, (batch, points, 2); 0 where it has none."""
    determinant = dxx * dyy - dxy * dxy
    where = where & (determinant != 0)
    safe = np.where(where, determinant, 1.0)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=2) / safe[:, :, None]
    return np.where(where[:, :, None], step, 0.0)
