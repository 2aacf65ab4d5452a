"""How well keypoints were found: object keypoint similarity (OKS), its mean, and COCO's average precision.

Every labelled person has one prediction, found in its own (ground-truth) box, so that nothing here suppresses doubles;
a published AP from a detector's boxes is another number. All values lie in 0..1.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np

from hrnas.pose.coco import People

VISIBLE_ABOVE = 0.2  # keypoints of a lower score do not count in a person's score (HRNet's IN_VIS_THRE)
_EPSILON = np.spacing(1)  # COCO adds it to areas

_NAMES = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l")


# ---------------------------------------------------------------------------------------------------------------------
# similarity


def keypoint_similarity(people: People, predictions: np.ndarray) -> np.ndarray:
    """How close each predicted keypoint is: (persons, points) in 0..1, and not a number where there is no label.

    exp(-distance² / (2 area (2 sigma)²)), the area being that of the person's outline, not of its box.
    """
    truth = people.keypoints
    squares = ((predictions[:, :, :2] - truth[:, :, :2]) ** 2).sum(axis=2)
    variances = (np.array(people.keypoint_set.sigmas) * 2) ** 2
    errors = squares / variances / (people.areas[:, None] + _EPSILON) / 2
    return np.where(truth[:, :, 2] > 0, np.exp(-errors), np.nan)


def object_keypoint_similarity(people: People, predictions: np.ndarray) -> np.ndarray:
    """OKS of each person with its own prediction: (persons,), the mean over labelled keypoints.

    Args:
        predictions: (persons, points, 2 or more) x, y in picture pixels.
    """
    return np.nanmean(keypoint_similarity(people, predictions), axis=1)


def mean_oks(people: People, predictions: np.ndarray) -> float:
    """Mean OKS over all persons, without a threshold: it sees progress where AP is still 0."""
    return float(object_keypoint_similarity(people, predictions).mean())


def per_keypoint_oks(people: People, predictions: np.ndarray) -> dict[str, float]:
    """Mean similarity of each keypoint over the persons where it is labelled; points never labelled are left out."""
    similarity = keypoint_similarity(people, predictions)
    known = ~np.isnan(similarity).all(axis=0)
    means = np.nanmean(similarity[:, known], axis=0)
    names = np.array(people.keypoint_set.names)[known]
    return {str(name): float(mean) for name, mean in zip(names, means, strict=True)}


# ---------------------------------------------------------------------------------------------------------------------
# COCO's measures


def evaluate(
    people: People,
    predictions: np.ndarray,
    *,
    visible_above: float = VISIBLE_ABOVE,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, float]:
    """COCO's ten measures, mean OKS, and 95 % bootstrap intervals over pictures.

    Args:
        predictions: (persons, points, 3) x, y in picture pixels and the keypoint's score.
        visible_above: a person's score is the mean score of its keypoints above this. 0.2 suits heatmaps that learnt a
            Gaussian; heatmaps that are distributions have low peaks: take 0.
        resamples: of the bootstrap; 0 leaves the intervals out.

    Returns:
        `ap ap50 ap75 ap_m ap_l ar ar50 ar75 ar_m ar_l` as pycocotools computes them (those of sizes that no person has
        are left out), `oks`, `oks50` (share of persons with OKS above 0.5), `persons`, `pictures`, and `ap_low ap_high
        oks_low oks_high oks50_low oks50_high`.
    """
    dataset = _Dataset(people, person_scores(predictions, visible_above), predictions)
    stats = _run_fastest(dataset)
    similarity = object_keypoint_similarity(people, predictions)
    result = {name: float(value) for name, value in zip(_NAMES, stats, strict=True) if value >= 0}
    result |= {"oks": float(similarity.mean()), "oks50": float((similarity > 0.5).mean())}
    result |= {"persons": len(people), "pictures": len(np.unique(people.picture))}
    if resamples:
        counts = resample_pictures(people, resamples, seed)
        aps = _resampled_ap(_match(dataset), counts)
        for name, values in (
            ("ap", aps),
            ("oks", _resampled_mean(similarity, people, counts)),
            ("oks50", _resampled_mean(similarity > 0.5, people, counts)),
        ):
            low, high = np.quantile(values, (0.025, 0.975))
            result |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return result


def person_scores(predictions: np.ndarray, visible_above: float = VISIBLE_ABOVE) -> np.ndarray:
    """A score of each person (persons,): the mean of its keypoints' scores above `visible_above`, 0 without any.

    HRNet multiplies it with the detector's score, which is 1 for ground-truth boxes.
    """
    scores = predictions[:, :, 2].astype(np.float64)
    counted = scores > visible_above
    return np.where(counted, scores, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


class _Dataset:
    """People and predictions in the form that COCO's tools read; persons and pictures are numbered anew.

    Pictures keep the order of their ids, which decides among equal scores.
    """

    def __init__(self, people: People, scores: np.ndarray, predictions: np.ndarray) -> None:
        used = np.unique(people.picture)
        self.pictures = used[np.argsort([people.pictures[index].id for index in used], kind="stable")]
        number = {int(picture): place + 1 for place, picture in enumerate(self.pictures)}
        beside = people.bystanders
        near = np.flatnonzero(np.isin(beside.picture, used))
        flat = people.keypoints.reshape(len(people), -1)
        labelled = (people.keypoints[:, :, 2] > 0).sum(axis=1)
        nothing = [0.0] * flat.shape[1]
        persons = [
            (number[int(picture)], box.tolist(), float(area), 0, points.tolist(), int(count))
            for picture, box, area, points, count in zip(
                people.picture, people.boxes, people.areas, flat, labelled, strict=True
            )
        ] + [
            (
                number[int(beside.picture[row])],
                beside.boxes[row].tolist(),
                float(beside.areas[row]),
                int(beside.crowd[row]),
                nothing,
                0,
            )
            for row in near
        ]
        keys = ("image_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
        self.truth = {
            "info": {},
            "images": [{"id": place + 1} for place in range(len(self.pictures))],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [
                {"id": index + 1, "category_id": 1, **dict(zip(keys, person, strict=True))}
                for index, person in enumerate(persons)
            ],
        }
        found = np.concatenate([predictions[:, :, :2], np.ones_like(predictions[:, :, :1])], axis=2)
        self.found = [
            {"image_id": number[int(picture)], "category_id": 1, "keypoints": points, "score": score}
            for picture, points, score in zip(
                people.picture, found.reshape(len(people), -1).tolist(), scores.tolist(), strict=True
            )
        ]
        self.sigmas = np.array(people.keypoint_set.sigmas)


def _run_fastest(dataset: _Dataset) -> np.ndarray:
    """The ten numbers, from the faster tool where it is installed: they are the same to the last bit (tested)."""
    try:
        import faster_coco_eval  # noqa: F401
    except ImportError:
        return run_pycocotools(dataset)
    return run_faster_coco_eval(dataset)


def run_pycocotools(dataset: _Dataset) -> np.ndarray:
    """COCO's ten numbers for keypoints; -1 where no person has the size."""
    evaluation = _prepare_pycocotools(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


def run_faster_coco_eval(dataset: _Dataset) -> np.ndarray:
    """The same from faster-coco-eval: about three times faster."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(dataset.truth)
    found = truth.loadRes(dataset.found)
    evaluation = COCOeval_faster(truth, found, "keypoints", print_function=_say_nothing)
    evaluation.params.kpt_oks_sigmas = dataset.sigmas
    evaluation.run()
    return np.asarray(evaluation.stats)[: len(_NAMES)]


def _say_nothing(*_: object) -> None:
    """COCO's tools print by default."""


def _prepare_pycocotools(dataset: _Dataset) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset.truth
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(dataset.found), "keypoints")
    evaluation.params.kpt_oks_sigmas = dataset.sigmas
    return evaluation


# ---------------------------------------------------------------------------------------------------------------------
# how much of it is luck


def resample_pictures(people: People, resamples: int, seed: int) -> np.ndarray:
    """How often each picture with persons is drawn in each resample: (resamples, pictures) int, in order of index."""
    count = len(np.unique(people.picture))
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)


def bootstrap_interval(
    people: People, values: np.ndarray, *, resamples: int = 200, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of one value for each person, when pictures are drawn anew."""
    means = _resampled_mean(values, people, resample_pictures(people, resamples, seed))
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _resampled_mean(values: np.ndarray, people: People, counts: np.ndarray) -> np.ndarray:
    _, place = np.unique(people.picture, return_inverse=True)
    sums = np.bincount(place, weights=values.astype(np.float64), minlength=counts.shape[1])
    persons = np.bincount(place, minlength=counts.shape[1])
    return (counts @ sums) / (counts @ persons)


class _Matches(NamedTuple):
    """Which predictions found somebody, best score first, at COCO's thresholds of OKS."""

    picture: np.ndarray  # (predictions,) place among the pictures with persons, in order of index
    right: np.ndarray  # (thresholds, predictions) bool
    wrong: np.ndarray  # (thresholds, predictions) bool; neither: fits somebody whom COCO ignores
    persons: np.ndarray  # (pictures,) how many were to be found
    recalls: np.ndarray  # (101,) where precision is read


def _match(dataset: _Dataset) -> _Matches:
    """COCO's matching of predictions and persons of any size."""
    evaluation = _prepare_pycocotools(dataset)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    images = [image for image in evaluation.evalImgs if image is not None]
    place = np.argsort(np.argsort(dataset.pictures))  # of picture number 1, 2, ... in order of index
    scores = np.concatenate([image["dtScores"] for image in images])
    order = np.argsort(-scores, kind="mergesort")
    owner = np.concatenate([np.full(len(image["dtScores"]), place[image["image_id"] - 1]) for image in images])
    matched = np.concatenate([image["dtMatches"] for image in images], axis=1) > 0
    ignored = np.concatenate([image["dtIgnore"] for image in images], axis=1).astype(bool)
    persons = np.zeros(len(place), np.int64)
    for image in images:
        persons[place[image["image_id"] - 1]] = np.count_nonzero(np.asarray(image["gtIgnore"]) == 0)
    return _Matches(
        owner[order],
        (matched & ~ignored)[:, order],
        (~matched & ~ignored)[:, order],
        persons,
        evaluation.params.recThrs,
    )


def _resampled_ap(matches: _Matches, counts: np.ndarray) -> np.ndarray:
    """AP of each resample (resamples,): COCO's rule with each picture counted as often as it was drawn."""
    return np.array([_weighted_ap(matches, count) for count in counts])


def _weighted_ap(matches: _Matches, count: np.ndarray) -> float:
    weight = count[matches.picture]
    right = np.cumsum(matches.right * weight, axis=1)
    wrong = np.cumsum(matches.wrong * weight, axis=1)
    recall = right / (matches.persons @ count)
    precision = right / (right + wrong + _EPSILON)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)  # beyond the last recall
    return float(
        np.mean(
            [row[np.searchsorted(reached, matches.recalls)] for row, reached in zip(precision, recall, strict=True)]
        )
    )
