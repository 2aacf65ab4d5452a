"""A picture being painted, which remembers of every pixel whose body part it shows.

Everything is painted twice: smoothly into the colours, and as plain numbers into `owner`. Whatever is painted later
hides what was there, in both, so that labels read off `owner` are true by construction.
"""

from __future__ import annotations

import cv2
import numpy as np

_FRACTION = 4  # bits behind the point in OpenCV's polygon coordinates
_ARC = np.linspace(0.5 * np.pi, 1.5 * np.pi, 7)
_FAR = 6000.0  # keeps coordinates of huge figures within what OpenCV can paint

Colour = np.ndarray  # (3,) RGB, 0..255


class Canvas:
    """`image` is uint8 RGB (height, width, 3); `owner` is uint8 (height, width), 0 where no person is seen."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.owner = np.zeros(image.shape[:2], np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.image.shape[:2]
        return height, width

    def polygon(self, points: np.ndarray, colour: Colour, owner: int | None = 0) -> None:
        """Fill a convex polygon (n, 2); `owner` None leaves the ownership as it is (a detail on a body part)."""
        fixed = to_fixed(points)
        cv2.fillConvexPoly(self.image, fixed, colour.tolist(), cv2.LINE_AA, _FRACTION)
        if owner is not None:
            cv2.fillConvexPoly(self.owner, fixed, owner, cv2.LINE_8, _FRACTION)

    def shape(self, points: np.ndarray, colour: Colour, owner: int = 0) -> None:
        """Fill any polygon (n, 2)."""
        fixed = [to_fixed(points)]
        cv2.fillPoly(self.image, fixed, colour.tolist(), cv2.LINE_AA, _FRACTION)
        cv2.fillPoly(self.owner, fixed, owner, cv2.LINE_8, _FRACTION)

    def pattern(self, owner: int, box: tuple[int, int, int, int], colour: Colour, wave: np.ndarray) -> None:
        """Mix `colour` into the pixels of one owner within a box (left, top, right, bottom), as strongly as `wave`.

        Args:
            wave: (height, width) of the box, 0..1.
        """
        left, top, right, bottom = box
        here = self.owner[top:bottom, left:right]
        share = (wave * (here == owner))[:, :, None]
        part = self.image[top:bottom, left:right]
        part[:] = (part * (1 - share) + colour * share).astype(np.uint8)


def to_fixed(points: np.ndarray) -> np.ndarray:
    """Coordinates of pixel centres as OpenCV's fixed-point integers."""
    near = np.minimum(np.maximum(points, -_FAR), _FAR)  # np.clip takes three times as long on few points
    return np.rint(near * 2**_FRACTION).astype(np.int32)


def capsules(starts: np.ndarray, ends: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Outlines (n, 14, 2) of limbs: from `starts` to `ends` (n, 2), with radii `first` and `last` (n,) at the ends."""
    along = ends - starts
    angles = np.arctan2(along[:, 1], along[:, 0])[:, None] + _ARC[None, :]
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=2)
    head = starts[:, None] + arc * first[:, None, None]
    tail = ends[:, None] - arc * last[:, None, None]
    return np.concatenate([head, tail], axis=1)


def ellipse(centre: np.ndarray, down: np.ndarray, across: float, along: float, points: int = 18) -> np.ndarray:
    """Outline (points, 2) of an ellipse whose radius `along` lies in the direction of the unit vector `down`."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    side = np.array([-down[1], down[0]])
    return centre + across * np.cos(angles)[:, None] * side + along * np.sin(angles)[:, None] * down


def hull(points: np.ndarray) -> np.ndarray:
    """The convex hull of points (n, 2)."""
    return cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)


def discs(centres: np.ndarray, radii: np.ndarray, points: int = 8) -> np.ndarray:
    """Points on circles around centres (n, 2): (n * points, 2), for hulls."""
    angles = np.arange(points) * (2 * np.pi / points)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (centres[:, None] + circle[None] * radii[:, None, None]).reshape(-1, 2)


def waves(height: int, width: int, kind: int, period: float, angle: float) -> np.ndarray:
    """A pattern (height, width) in 0..1: 0 stripes, 1 checks, 2 dots, 3 blotches."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cosine, sine = np.cos(angle) / period, np.sin(angle) / period
    u, v = x * cosine + y * sine, y * cosine - x * sine
    if kind == 0:
        return (u % 1 < 0.5).astype(np.float32)
    if kind == 1:
        return ((u % 1 < 0.5) * 0.5 + (v % 1 < 0.5) * 0.5).astype(np.float32)
    if kind == 2:
        return ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09).astype(np.float32)
    return (0.5 + 0.5 * np.sin(5 * u + 3 * np.sin(4 * v)) * np.cos(5 * v)).astype(np.float32)
