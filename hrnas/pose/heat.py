"""Draw how likely each place is a keypoint's: a darkened picture, with light where a network sees one."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from hrnas.pose.keypoints import KeypointSet
from hrnas.pose.skeletons import LEFT, MIDDLE, RIGHT

DARKENED = 0.5


def draw_heat(image: np.ndarray, persons: Iterable[tuple[np.ndarray, np.ndarray]], keypoint_set: KeypointSet) -> None:
    """Draw the heatmaps of a picture's persons, in place, in the colours of the skeletons; where they meet, they mix.

    A person's highest value is drawn at full strength.

    Args:
        image: (height, width, 3) uint8 RGB.
        persons: of each the maps (points, h, w) and the affine map (2, 3) from their cells to the picture's pixels.
    """
    left, right = ([pair[side] for pair in keypoint_set.flip_pairs] for side in (0, 1))
    middle = [point for point in range(len(keypoint_set)) if point not in left and point not in right]
    height, width = image.shape[:2]
    sides = [(MIDDLE, middle), (LEFT, left), (RIGHT, right)]
    lights = [np.zeros((height, width), np.float32) for _ in sides]
    for maps, to_picture in persons:
        strength = 1 / (float(maps.max()) or 1.0)
        for (_, points), light in zip(sides, lights, strict=True):
            if points:
                cells = np.clip(maps[points].max(axis=0) * strength, 0, 1).astype(np.float32)
                np.maximum(light, cv2.warpAffine(cells, to_picture, (width, height)), out=light)
    light = np.stack(lights, axis=2)
    colours = light @ np.array([colour for colour, _ in sides], np.float32)
    colours /= np.maximum(light.sum(axis=2, keepdims=True), np.finfo(np.float32).eps)
    strongest = light.max(axis=2, keepdims=True)
    image[:] = np.rint(image * (DARKENED * (1 - strongest)) + colours * strongest)
