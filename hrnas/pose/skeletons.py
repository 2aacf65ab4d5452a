"""Draw persons into pictures: dots at the keypoints, and lines where the keypoint set joins two."""

from __future__ import annotations

import cv2
import numpy as np

from hrnas.pose.keypoints import KeypointSet

LEFT, RIGHT, MIDDLE = (86, 180, 233), (230, 159, 0), (255, 255, 255)  # sky blue, orange, white: told apart by everyone


def draw_skeleton(image: np.ndarray, points: np.ndarray, keypoint_set: KeypointSet, above: float = 0.0) -> None:
    """Draw one person into a picture, in place: left limbs blue, right ones orange.

    Args:
        image: (height, width, 3) uint8 RGB.
        points: (points, 3) x, y in the picture's pixels, and the confidence.
        above: leave out points whose confidence is not above this.
    """
    colours = dict.fromkeys(range(len(keypoint_set)), MIDDLE)
    for left, right in keypoint_set.flip_pairs:
        colours[left], colours[right] = LEFT, RIGHT
    places = np.clip(np.rint(points[:, :2]), -9999, 9999).astype(int)
    shown = points[:, 2] > above
    thickness = max(1, round(max(image.shape[:2]) / 160))
    for first, second in keypoint_set.skeleton:
        if shown[first] and shown[second]:
            colour = colours[first] if colours[first] == colours[second] else MIDDLE
            cv2.line(image, places[first].tolist(), places[second].tolist(), colour, thickness, cv2.LINE_AA)
    for point in np.flatnonzero(shown).tolist():
        cv2.circle(image, places[point].tolist(), thickness + 1, colours[point], cv2.FILLED, cv2.LINE_AA)
