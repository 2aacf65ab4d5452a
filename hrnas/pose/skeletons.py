"""Draw persons into pictures: dots at the keypoints, and lines where the keypoint set joins two."""

from __future__ import annotations

import cv2
import numpy as np

from hrnas.pose.keypoints import KeypointSet

LEFT, RIGHT, MIDDLE = (86, 180, 233), (230, 159, 0), (255, 255, 255)  # sky blue, orange, white: told apart by everyone
OUTLINE = (40, 40, 40)


def draw_skeleton(image: np.ndarray, points: np.ndarray, keypoint_set: KeypointSet, above: float = 0.0) -> None:
    """Draw one person into a picture, in place: left limbs blue, right ones orange, all with a dark outline.

    Lines are as thick as suits the person's size.

    Args:
        image: (height, width, 3) uint8 RGB.
        points: (points, 3) x, y in the picture's pixels, and the confidence.
        above: leave out points whose confidence is not above this.
    """
    colours = dict.fromkeys(range(len(keypoint_set)), MIDDLE)
    for left, right in keypoint_set.flip_pairs:
        colours[left], colours[right] = LEFT, RIGHT
    places = np.clip(np.rint(points[:, :2]), -9999, 9999).astype(int)
    shown = np.flatnonzero(points[:, 2] > above).tolist()
    if not shown:
        return
    thickness = max(1, round(min(*image.shape[:2], 2 * int(np.ptp(places[shown], axis=0).max())) / 120))
    limbs = [(first, second) for first, second in keypoint_set.skeleton if first in shown and second in shown]
    for outline in (True, False):
        more = 2 if outline else 0
        for first, second in limbs:
            colour = colours[first] if colours[first] == colours[second] else MIDDLE
            ends = places[first].tolist(), places[second].tolist()
            cv2.line(image, *ends, OUTLINE if outline else colour, thickness + more, cv2.LINE_AA)
        for point in shown:
            colour, radius = OUTLINE if outline else colours[point], thickness + 1 + more // 2
            cv2.circle(image, places[point].tolist(), radius, colour, cv2.FILLED, cv2.LINE_AA)
