"""Of several detections of one person keep the best: non-maximum suppression by OKS, as HRNet does it.

Everywhere at once: each round takes the best detection that is left in every picture, and looks at the others there.
"""

from __future__ import annotations

import numpy as np

from hrnas.pose.keypoints import KeypointSet

THRESHOLD = 0.9  # HRNet's OKS_THRE
MOST = 20  # detections of one picture that the soft way keeps
_EPSILON = np.spacing(1)


def suppress(
    picture: np.ndarray,
    keypoints: np.ndarray,
    areas: np.ndarray,
    scores: np.ndarray,
    keypoint_set: KeypointSet,
    threshold: float = THRESHOLD,
) -> np.ndarray:
    """Detections whose OKS with each better one that stays in their picture is at most `threshold`: rows, growing.

    Args:
        picture: (detections,) of which picture each is.
        keypoints: (detections, points, 2 or more) x, y in picture pixels; all of them count, however unsure.
        areas: (detections,) of the crops that the detections were found in, as `crop_areas` gives them.
        scores: (detections,); of equal ones the earlier row is the better.
    """
    kept = []
    left = np.lexsort((-scores, picture))
    while len(left):
        best, others, leaders = _take_best(left, picture)
        kept.append(best)
        left = others[similarity(leaders, others, keypoints, areas, keypoint_set) <= threshold]
    return np.sort(np.concatenate(kept)) if kept else left


def suppress_softly(
    picture: np.ndarray,
    keypoints: np.ndarray,
    areas: np.ndarray,
    scores: np.ndarray,
    keypoint_set: KeypointSet,
    threshold: float = THRESHOLD,
    most: int = MOST,
) -> np.ndarray:
    """At most `most` detections of each picture: rows, growing. The arguments are those of `suppress`.

    The best is taken, and the scores of the others shrink by exp(-OKS² / threshold), again and again. These scores
    only decide who stays: as with HRNet, the detections keep those that they came with.
    """
    kept = []
    scores = np.array(scores, np.float64)
    left = np.lexsort((-scores, picture))
    for _ in range(most):
        if not len(left):
            break
        best, others, leaders = _take_best(left, picture)
        kept.append(best)
        near = similarity(leaders, others, keypoints, areas, keypoint_set)
        scores[others] *= np.exp(-(near**2) / threshold)
        left = others[np.lexsort((others, -scores[others], picture[others]))]
    return np.sort(np.concatenate(kept)) if kept else left


def _take_best(left: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first row of each picture in `left`; the rows that remain; and for each of these the first one's row."""
    first = np.diff(picture[left], prepend=-1) != 0
    best = left[first]
    return best, left[~first], best[np.cumsum(first) - 1][~first]


def similarity(
    one: np.ndarray, other: np.ndarray, keypoints: np.ndarray, areas: np.ndarray, keypoint_set: KeypointSet
) -> np.ndarray:
    """OKS of the rows `one` and `other` (pairs,), by the mean of their areas: (pairs,) in 0..1."""
    away = keypoints[one, :, :2].astype(np.float64) - keypoints[other, :, :2]
    variances = (np.array(keypoint_set.sigmas) * 2) ** 2
    area = (areas[one] + areas[other]) / 2 + _EPSILON
    return np.exp(-(away[:, :, 0] ** 2 + away[:, :, 1] ** 2) / variances / area[:, None] / 2).mean(axis=1)


def crop_areas(widths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Square picture pixels of crops of these widths (persons,) in the aspect of an input of (height, width)."""
    return widths**2 * (size[0] / size[1])
