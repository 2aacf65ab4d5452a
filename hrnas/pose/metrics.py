"""How well keypoints were found: OKS of persons in their own boxes, COCO's figures of anybody's detections, and luck.

All values lie in 0..1. In ground-truth boxes one prediction is found for each labelled person, and nothing else; a
published AP from a detector's boxes is another number.
"""

from __future__ import annotations

import numpy as np

from hrnas.pose.average_precision import (
    Found,
    Judged,
    Truth,
    average_precision,
    number_pictures,
    pair_oks,
    resampled_ap,
)
from hrnas.pose.coco import People

VISIBLE_ABOVE = 0.2  # keypoints of a lower score do not count in a person's score (HRNet's IN_VIS_THRE)
RESAMPLES = 200  # of pictures, for an interval


def evaluate(
    people: People,
    predictions: np.ndarray,
    *,
    visible_above: float = VISIBLE_ABOVE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, float]:
    """COCO's ten measures and mean OKS of persons in their own boxes, with 95 % bootstrap intervals over pictures.

    Args:
        predictions: (persons, points, 3) x, y in picture pixels and the keypoint's score.
        visible_above: as `person_scores` takes it. 0.2 suits heatmaps that learnt a Gaussian; heatmaps that are
            distributions have low peaks: take 0.
        resamples: of the bootstrap; 0 leaves the intervals out.

    Returns:
        What `evaluate_found` does, and `oks`, `oks50` (share of persons with OKS above 0.5), `oks_low oks_high
        oks50_low oks50_high`, `pck` (see `share_within`).
    """
    found = in_own_boxes(people, predictions, visible_above)
    result = evaluate_found(Truth.of(people), found, resamples=resamples, seed=seed)
    similarity = object_keypoint_similarity(people, predictions)
    pictures, place = np.unique(found.picture, return_inverse=True)
    counts = draw_again(len(pictures), resamples, seed)
    for name, values in (("oks", similarity), ("oks50", similarity > 0.5)):
        result[name] = float(values.mean())
        if resamples:
            result |= interval(name, resampled_mean(values, place, counts))
    result["pck"] = share_within(people, predictions)
    return result


def share_within(people: People, predictions: np.ndarray, share: float = 0.1) -> float:
    """PCK: how many of the labelled keypoints were found within a share of the longer side of their person's box.

    Args:
        predictions: (persons, points, 2 or more) x, y in picture pixels.
    """
    labelled = people.keypoints[:, :, 2] > 0
    away = np.linalg.norm(predictions[:, :, :2] - people.keypoints[:, :, :2], axis=2)
    near = away <= share * people.boxes[:, 2:].max(axis=1, keepdims=True)
    return float(near[labelled].mean()) if labelled.any() else 0.0


def evaluate_found(truth: Truth, found: Found, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, float]:
    """COCO's ten measures of detections, with a 95 % bootstrap interval of AP over pictures.

    Returns:
        `ap ap50 ap75 ap_m ap_l ar ar50 ar75 ar_m ar_l` as pycocotools computes them (those of sizes that no person has
        are left out), `persons` who were to be found, `pictures` that count, `ap_low ap_high`.
    """
    judged = Judged(truth, found)
    result = average_precision(judged)
    result |= {"persons": int(truth.wanted.sum()), "pictures": len(judged.pictures)}
    if resamples:
        counts = draw_again(len(judged.pictures), resamples, seed)
        result |= interval("ap", resampled_ap(judged, counts))
    return result


def in_own_boxes(people: People, predictions: np.ndarray, visible_above: float = VISIBLE_ABOVE) -> Found:
    """The prediction for each person as a detection in its picture; a ground-truth box has the score 1."""
    scores = person_scores(predictions, visible_above)
    return Found(number_pictures(people)[people.picture], predictions.astype(np.float64), scores)


def object_keypoint_similarity(people: People, predictions: np.ndarray) -> np.ndarray:
    """OKS of each person with its own prediction: (persons,).

    Args:
        predictions: (persons, points, 2 or more) x, y in picture pixels.
    """
    return pair_oks(Truth.of(people), np.arange(len(people)), predictions)


def person_scores(predictions: np.ndarray, visible_above: float = VISIBLE_ABOVE) -> np.ndarray:
    """A score of each person (persons,): the mean of its keypoints' scores above `visible_above`, 0 without any.

    It is multiplied by the score of the box, which is 1 for ground truth.
    """
    scores = predictions[:, :, 2].astype(np.float64)
    counted = scores > visible_above
    return np.where(counted, scores, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


# ---------------------------------------------------------------------------------------------------------------------
# how much of it is luck


def draw_again(pictures: int, resamples: int, seed: int) -> np.ndarray:
    """How often each picture is drawn in each resample: (resamples, pictures) int."""
    return np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1.0 / pictures), size=resamples)


def resampled_mean(values: np.ndarray, place: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of one value for each person in each resample: (resamples,); `place` is that of each one's picture."""
    sums = np.bincount(place, weights=values.astype(np.float64), minlength=counts.shape[1])
    persons = np.bincount(place, minlength=counts.shape[1])
    return (counts @ sums) / (counts @ persons)


def interval(name: str, values: np.ndarray) -> dict[str, float]:
    """`NAME_low` and `NAME_high`, between which 95 % of the values lie."""
    low, high = np.quantile(values, (0.025, 0.975))
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
