"""COCO's average precision and recall of anybody's detections.

    Truth, Found -> OKS of every pair in a picture -> who is matched with whom -> precision over recall -> ten figures

All pictures at once, and pycocotools' numbers to the last bit. faster-coco-eval's are not: it leaves out the epsilon
under a precision, which shows where the best detection is right and the next is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hrnas.pose.coco import People
from hrnas.pose.keypoints import KeypointSet

MOST = 20  # detections of one picture that COCO judges, best first
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of OKS
RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read
SIZES = {"": (0.0, 1e10), "_m": (32.0**2, 96.0**2), "_l": (96.0**2, 1e10)}  # square pixels
_EPSILON = np.spacing(1)  # COCO adds it to areas and to counts
_AT_ONCE = 1 << 15  # pairs


@dataclass(frozen=True, eq=False)
class Truth:
    """Everybody whom the annotations know, one row each in their order, crowds and persons without keypoints too.

    Attributes:
        ids: (pictures,) the ids of all pictures, growing; a picture's number is its place here. Among equal scores
            the picture of the lower number comes first.
        picture: (persons,) the number of the picture that each is in.
        keypoints: (persons, points, 3) x, y in picture pixels and a flag, 0 without a label.
        boxes: (persons, 4) x, y, width, height.
        areas: (persons,) square pixels of the outline.
        crowd: (persons,) bool.
        counts: (persons,) how many keypoints have a label.
    """

    ids: np.ndarray
    picture: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    counts: np.ndarray
    keypoint_set: KeypointSet

    @classmethod
    def of(cls, people: People) -> Truth:
        """People and bystanders."""
        beside = people.bystanders
        nothing = np.zeros((len(beside.picture), len(people.keypoint_set), 3))
        keypoints = np.concatenate([people.keypoints, nothing])
        return cls(
            ids=np.sort([picture.id for picture in people.pictures]),
            picture=number_pictures(people)[np.concatenate([people.picture, beside.picture])],
            keypoints=keypoints,
            boxes=np.concatenate([people.boxes, beside.boxes]),
            areas=np.concatenate([people.areas, beside.areas]),
            crowd=np.concatenate([np.zeros(len(people), bool), beside.crowd]),
            counts=(keypoints[:, :, 2] > 0).sum(axis=1),
            keypoint_set=people.keypoint_set,
        )

    @property
    def wanted(self) -> np.ndarray:
        """Who is to be found (persons,): a detection of anybody else neither helps nor harms."""
        return (self.counts > 0) & ~self.crowd

    def judge_only(self, keypoint: int) -> Truth:
        """The same people with labels for this keypoint alone."""
        keypoints = self.keypoints.copy()
        keypoints[:, np.arange(keypoints.shape[1]) != keypoint, 2] = 0
        return replace(self, keypoints=keypoints, counts=(keypoints[:, keypoint, 2] > 0).astype(int))


def number_pictures(people: People) -> np.ndarray:
    """The number that `Truth` gives to each of `people.pictures`: its place in the order of the ids."""
    return np.argsort(np.argsort([picture.id for picture in people.pictures], kind="stable"))


@dataclass(frozen=True, eq=False)
class Found:
    """Detections, one row each.

    Attributes:
        picture: (detections,) the number of the picture, as `Truth` counts them.
        keypoints: (detections, points, 2 or more) x, y in picture pixels.
        scores: (detections,) of the whole persons.
        boxes: (detections, 4) x, y, width, height; without them a person is as large as its keypoints reach.
    """

    picture: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray | None = None

    @property
    def areas(self) -> np.ndarray:
        """By which COCO sorts a detection that fits nobody into a size: (detections,)."""
        if self.boxes is not None:
            return self.boxes[:, 2] * self.boxes[:, 3]
        sides = self.keypoints[:, :, :2].max(axis=1) - self.keypoints[:, :, :2].min(axis=1)
        return sides[:, 0] * sides[:, 1]


# ---------------------------------------------------------------------------------------------------------------------
# what they are asked for


def average_precision(judged: Judged) -> dict[str, float]:
    """COCO's ten figures in 0..1: `ap ap50 ap75 ap_m ap_l ar ar50 ar75 ar_m ar_l`.

    Those of sizes that nobody has are left out.
    """
    curves = {size: read_curve(match(judged, *areas)) for size, areas in SIZES.items()}
    whole = curves.pop("")
    parts = {"": whole, "50": whole.at(0.5), "75": whole.at(0.75), **curves}
    known = {name: part for name, part in parts.items() if part.persons}
    ap = {f"ap{name}": float(part.precision.mean()) for name, part in known.items()}
    return ap | {f"ar{name}": float(part.recall.mean()) for name, part in known.items()}


def ap_by_keypoint(truth: Truth, found: Found) -> dict[str, float]:
    """AP of each keypoint: what COCO's AP is when that keypoint alone has labels; those never labelled are left out.

    A person without a label for the keypoint is ignored, as COCO ignores persons without any; the persons' scores are
    those of all keypoints.
    """
    parts = {name: truth.judge_only(place) for place, name in enumerate(truth.keypoint_set.names)}
    return {
        name: float(read_curve(match(Judged(part, found))).precision.mean())
        for name, part in parts.items()
        if part.wanted.any()
    }


def resampled_ap(judged: Judged, counts: np.ndarray) -> np.ndarray:
    """AP of each resample (resamples,): COCO's rule with each picture counted as often as it was drawn.

    Args:
        counts: (resamples, pictures) how often each of `judged.pictures` was drawn.
    """
    matches = match(judged)
    return np.array([read_curve(matches, count).precision.mean() for count in counts])


# ---------------------------------------------------------------------------------------------------------------------
# who is beside whom


class Judged:
    """Detections beside everybody in their pictures, with the OKS of all pairs.

    Attributes:
        pictures: (pictures,) the numbers of those that count: with a detection, or with somebody to be found.
        rows: (detections,) of what was found; those that are judged, by picture and score.
        place: (detections,) the place of each one's picture.
        rank: (detections,) 0 for the best of a picture.
        persons: (pictures, most persons in one) rows of the truth in their order, -1 where there are fewer.
        oks: (detections, most persons in one) -1 where there is nobody.
    """

    def __init__(self, truth: Truth, found: Found) -> None:
        self.truth, self.found = truth, found
        self.pictures = np.union1d(truth.picture[truth.wanted], found.picture)
        order = np.lexsort((-found.scores, found.picture))
        rank = _places_in_runs(found.picture[order])
        self.rows, self.rank = order[rank < MOST], rank[rank < MOST]
        self.place = np.searchsorted(self.pictures, found.picture[self.rows])

        here = np.flatnonzero(np.isin(truth.picture, self.pictures))
        here = here[np.argsort(truth.picture[here], kind="stable")]
        column = _places_in_runs(truth.picture[here])
        self.persons = np.full((len(self.pictures), column.max(initial=-1) + 1), -1)
        self.persons[np.searchsorted(self.pictures, truth.picture[here]), column] = here
        self.oks = np.full((len(self.rows), self.persons.shape[1]), -1.0)
        detections, columns = np.nonzero(self.persons[self.place] >= 0)
        for begin in range(0, len(detections), _AT_ONCE):
            part = detections[begin : begin + _AT_ONCE], columns[begin : begin + _AT_ONCE]
            beside = self.persons[self.place[part[0]], part[1]]
            self.oks[part] = pair_oks(truth, beside, found.keypoints[self.rows[part[0]]])


def _places_in_runs(values: np.ndarray) -> np.ndarray:
    """How many equal ones stand before each, in sorted values."""
    return np.arange(len(values)) - np.searchsorted(values, values)


def pair_oks(truth: Truth, persons: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """OKS of persons (pairs,) and keypoints (pairs, points, 2 or more) of somebody: (pairs,) in 0..1.

    The mean of exp(-distance² / (2 area (2 sigma)²)) over the labelled keypoints; with none, distances are those to
    twice the box, and all keypoints count.
    """
    labelled = truth.keypoints[persons, :, 2] > 0
    away = keypoints[:, :, :2] - truth.keypoints[persons, :, :2]
    ignored = np.flatnonzero(~labelled.any(axis=1))
    if len(ignored):
        corners, sides = np.split(truth.boxes[persons[ignored], None], 2, axis=2)
        places = keypoints[ignored, :, :2]
        away[ignored] = np.maximum(0, corners - sides - places) + np.maximum(0, places - (corners + sides * 2))
        labelled[ignored] = True
    variances = (np.array(truth.keypoint_set.sigmas) * 2) ** 2
    errors = (away[:, :, 0] ** 2 + away[:, :, 1] ** 2) / variances / (truth.areas[persons, None] + _EPSILON) / 2
    near = np.exp(-errors)
    oks, counts = np.zeros(len(persons)), labelled.sum(axis=1)
    for count in np.unique(counts):  # numpy adds as many at once as pycocotools does, so that no bit differs
        rows = np.flatnonzero(counts == count)
        oks[rows] = near[rows][labelled[rows]].reshape(-1, count).sum(axis=1) / count
    return oks


# ---------------------------------------------------------------------------------------------------------------------
# who is matched with whom


class Matches(NamedTuple):
    """Which detections found somebody of a size, best score first."""

    place: np.ndarray  # (detections,) of the picture
    right: np.ndarray  # (thresholds, detections) bool
    wrong: np.ndarray  # (thresholds, detections) bool; neither: fits somebody who is ignored, or has another size
    persons: np.ndarray  # (pictures,) how many were to be found


def match(judged: Judged, smallest: float = 0.0, largest: float = 1e10) -> Matches:
    """Give each detection, best first, the nearest person that is left in its picture, at every threshold.

    Whoever has no labels, is a crowd or has an area outside of the limits is ignored: taken only when nobody else is
    near enough, and then the detection is neither right nor wrong. A crowd can be taken again and again. Of equally
    near persons the last is taken.
    """
    truth, there = judged.truth, judged.persons >= 0
    wanted = there & (truth.wanted & (truth.areas >= smallest) & (truth.areas <= largest))[judged.persons]
    crowd = truth.crowd[judged.persons]
    left = np.broadcast_to(there, (len(THRESHOLDS), *there.shape)).copy()
    fits = np.zeros((2, len(THRESHOLDS), len(judged.rows)), bool)  # somebody who is wanted; somebody who is ignored
    for rank in range(judged.rank.max(initial=-1) + 1):
        rows = np.flatnonzero(judged.rank == rank)
        place = judged.place[rows]
        near = np.where(left[:, place] & (judged.oks[rows] >= THRESHOLDS[:, None, None]), judged.oks[rows], -1.0)
        for kind, group in enumerate((wanted[place], there[place] & ~wanted[place])):
            nearest = np.where(group, near, -1.0)[:, :, ::-1]  # turned round, as argmax takes the first
            column = near.shape[2] - 1 - nearest.argmax(axis=2)
            fits[kind][:, rows] = nearest.max(axis=2) >= 0
            if kind:
                fits[1][:, rows] &= ~fits[0][:, rows]
            at, who = np.nonzero(fits[kind][:, rows])
            taken = column[at, who]
            left[at, place[who], taken] = crowd[place[who], taken]
    areas = judged.found.areas[judged.rows]
    elsewhere = (areas < smallest) | (areas > largest)
    order = np.argsort(-judged.found.scores[judged.rows], kind="stable")
    wrong = ~fits[0] & ~fits[1] & ~elsewhere
    return Matches(judged.place[order], fits[0][:, order], wrong[:, order], wanted.sum(axis=1))


class Curve(NamedTuple):
    """Precision at given recalls."""

    precision: np.ndarray  # (thresholds, recalls)
    recall: np.ndarray  # (thresholds,) the highest that is reached
    persons: int  # how many were to be found; without any the rest means nothing

    def at(self, threshold: float) -> Curve:
        """One threshold of OKS alone."""
        return Curve(self.precision[threshold == THRESHOLDS], self.recall[threshold == THRESHOLDS], self.persons)


def read_curve(matches: Matches, count: np.ndarray | None = None) -> Curve:
    """Precision as COCO reads it: at each recall the best that is reached there or beyond.

    Args:
        count: (pictures,) how often each picture is counted.
    """
    weight = 1 if count is None else count[matches.place]
    persons = int(matches.persons.sum() if count is None else matches.persons @ count)
    right = np.cumsum(matches.right * weight, axis=1).astype(np.float64)
    wrong = np.cumsum(matches.wrong * weight, axis=1)
    recall = right / max(1, persons)
    precision = np.maximum.accumulate((right / (wrong + right + _EPSILON))[:, ::-1], axis=1)[:, ::-1]
    nothing = np.zeros((len(THRESHOLDS), 1))
    precision = np.concatenate([precision, nothing], axis=1)  # beyond the last recall
    places = [np.searchsorted(reached, RECALLS) for reached in recall]
    highest = np.concatenate([nothing, recall], axis=1)[:, -1]
    return Curve(np.take_along_axis(precision, np.stack(places), axis=1), highest, persons)
