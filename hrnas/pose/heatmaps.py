"""Keypoints to heatmaps and back, as HRNet does it.

encode: keypoint -> rounded to a cell -> Gaussian of height 1 around that cell, cut at 3 sigma
decode: highest cell -> a quarter of a cell towards its higher neighbour
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hrnas.pose.keypoints import KeypointSet

STRIDE = 4  # input pixels per heatmap cell


def encode(
    keypoints: np.ndarray, labelled: np.ndarray, size: tuple[int, int], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a Gaussian for each keypoint; the values are HRNet's `generate_target` to the last bit.

    Args:
        keypoints: (batch, points, 2) x, y in input pixels.
        labelled: (batch, points), non-zero where the keypoint has a label.
        size: (height, width) of the heatmap.
        sigma: in heatmap cells.

    Returns:
        targets (batch, points, height, width) float32 and weights (batch, points) float32. The weight is 0 where there
        is no label or where no part of the Gaussian lies in the heatmap.
    """
    radius = int(3 * sigma)
    cell = np.trunc(keypoints / STRIDE + 0.5)
    outside = ((cell - radius >= size[::-1]) | (cell + radius + 1 < 0)).any(axis=2)
    weights = np.where((labelled > 0) & ~outside, np.float32(1), np.float32(0))

    # Each target is a window into one large picture of a Gaussian amid zeros
    windows = _gaussian_windows(size, radius, sigma)
    limit = np.array(windows.shape[:2]) - 1
    corner = np.clip(np.array(size) + radius - cell[:, :, ::-1], 0, limit)
    corner = np.where(weights[:, :, None] > 0, corner, 0).astype(np.intp)
    return windows[corner[:, :, 0], corner[:, :, 1]], weights


def _gaussian_windows(size: tuple[int, int], radius: int, sigma: float) -> np.ndarray:
    """All windows of `size` into zeros with a Gaussian in the middle; window (0, 0) is empty."""
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    squares = steps[:, None] ** 2 + steps[None, :] ** 2
    patch = np.exp(-squares / (2 * sigma**2)).astype(np.float32)
    field = np.zeros((2 * (size[0] + radius) + 1, 2 * (size[1] + radius) + 1), np.float32)
    field[size[0] : size[0] + len(patch), size[1] : size[1] + len(patch)] = patch
    return sliding_window_view(field, size)


def decode(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read keypoints off heatmaps (batch, points, height, width).

    Returns:
        coordinates (batch, points, 2) x, y in heatmap cells and scores (batch, points), the heights of the peaks; a map
        without a positive value gives (0, 0).
    """
    batch, points, height, width = heatmaps.shape
    flat = heatmaps.reshape(batch * points, height * width)
    best = flat.argmax(axis=1)
    rows = np.arange(len(flat))
    scores = flat[rows, best]
    best = np.where(scores > 0, best, 0)
    x, y = best % width, best // width

    # Away from the border only: HRNet leaves the first two and the last column and row as they are
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    safe = np.where(inside, best, width + 1)
    shift_x = np.sign(flat[rows, safe + 1] - flat[rows, safe - 1])
    shift_y = np.sign(flat[rows, safe + width] - flat[rows, safe - width])
    shift = np.where(inside[:, None], np.stack([shift_x, shift_y], axis=1), 0) * 0.25
    coordinates = np.stack([x, y], axis=1) + shift
    return coordinates.reshape(batch, points, 2).astype(np.float32), scores.reshape(batch, points)


def flip_back(heatmaps: np.ndarray, keypoint_set: KeypointSet, *, shift: bool = True) -> np.ndarray:
    """Turn heatmaps of mirrored inputs into heatmaps of the inputs: mirrored, left and right exchanged.

    Args:
        shift: move them one cell to the right (the first column stays), as HRNet does: cells lie at multiples of the
            stride, so that a mirrored map is about one cell off.
    """
    mirrored = heatmaps[:, keypoint_set.flip_order, :, ::-1]
    if not shift:
        return np.ascontiguousarray(mirrored)
    return np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=3)
