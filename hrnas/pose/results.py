"""Read what others found, in COCO's formats, and what it is judged by; nothing needs the pictures.

results: [{"image_id": 1, "category_id": 1, "keypoints": [x, y, score, ...], "score": 0.9}, ...]
boxes:   [{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}, ...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrnas.pose.average_precision import Found, Truth
from hrnas.pose.coco import Bystanders, People, explaining, read_annotations, read_areas
from hrnas.reading import UserError, read_json

PERSON = 1  # COCO's category; of a detector's boxes those of the others are left out


def read_results(predictions: Path, annotations: Path, card: Path | None = None) -> tuple[Truth, Found]:
    """A result file of keypoints, and everybody in the annotations that it is to be judged by.

    Where the first result has a `bbox`, it tells how large a detection is, as pycocotools takes it.

    Args:
        card: a keypoint card that says what the annotations do not.

    Raises:
        UserError: one of the files is not as it must be, or the results are of other pictures or another category.
    """
    truth, category = _read_truth(annotations, card)
    rows = _read_list(predictions, "results")
    column = _Column(predictions, "result", rows)
    places = _find_pictures(column, truth.ids, annotations)
    others = np.flatnonzero(column.whole_numbers("category_id") != category)
    if len(others):
        came = rows[others[0]]["category_id"]
        raise UserError(
            f"{predictions}: result {others[0] + 1} is of category {came}; the keypoints of {annotations} are of "
            f"category {category}; leave other categories out"
        )
    points = len(truth.keypoint_set)
    keypoints = column.numbers("keypoints", 3 * points, f"x, y, score of {points} keypoints").reshape(-1, points, 3)
    has_box = bool(rows) and bool(rows[0].get("bbox"))
    boxes = column.numbers("bbox", 4, "x, y, width, height") if has_box else None
    return truth, Found(places, keypoints, column.numbers("score"), boxes)


def _read_truth(file: Path, card: Path | None) -> tuple[Truth, int]:
    """Everybody of the category with keypoints, and its id."""
    with explaining(file):
        images, rows, category, points = read_annotations(file, card)
        ids = np.unique(_Column(file, "picture", images).whole_numbers("id"))
        nothing = [0] * (3 * len(points))
        column = _Column(file, "annotation", [{**row, "keypoints": row.get("keypoints") or nothing} for row in rows])
        what = f"x, y, flag of {len(points)} keypoints"
        keypoints = column.numbers("keypoints", 3 * len(points), what).reshape(-1, len(points), 3)
        labelled = (keypoints[:, :, 2] > 0).sum(axis=1)
        boxes = column.numbers("bbox", 4, "x, y, width, height")
        truth = Truth(
            ids=ids,
            picture=_find_pictures(column, ids, file),
            keypoints=keypoints,
            boxes=boxes,
            areas=column.finite("area", read_areas(rows, boxes)),
            crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
            counts=np.array([row.get("num_keypoints", count) for row, count in zip(rows, labelled, strict=True)], int),
            keypoint_set=points,
        )
    if not truth.wanted.any():
        raise UserError(f"{file}: no person in it has a labelled keypoint; keypoint annotations are expected")
    return truth, category


class Candidates(NamedTuple):
    """Persons whom a detector saw, and how sure it was: one row of `people`, without keypoints, for each box."""

    people: People
    scores: np.ndarray  # (boxes,)


def read_boxes(file: Path, people: People, threshold: float = 0.0) -> Candidates:
    """A detector's boxes of persons in the pictures of `people`, picture by picture; uncut, as HRNet takes them.

    Annotations are read too: the boxes of everybody but crowds, with the score 1. Boxes of other pictures and
    categories are left out, and those of a lower score than `threshold`.

    Raises:
        UserError: it is no list of boxes, one of them has no size, or none is left.
    """
    rows = _read_list(file, "boxes", annotations_too=True)
    column = _Column(file, "box", rows)
    place = {picture.id: index for index, picture in enumerate(people.pictures)}
    picture = np.array([place.get(id, -1) for id in column.whole_numbers("image_id").tolist()], int)
    boxes, scores = column.numbers("bbox", 4, "x, y, width, height"), column.numbers("score")
    persons = column.whole_numbers("category_id") == PERSON
    kept = np.flatnonzero((picture >= 0) & persons & (scores >= threshold))
    empty = kept[(boxes[kept, 2:] <= 0).any(axis=1)]
    if len(empty):
        raise UserError(f"{file}: box {empty[0] + 1} is {rows[empty[0]]['bbox']}; width and height must be above 0")
    if not len(kept):
        raise UserError(
            f"{file}: none of its {len(rows)} boxes is a person's in a picture of this data with a score of at least "
            f"{threshold:g}; the boxes of the same pictures are expected"
        )
    kept = kept[np.argsort(picture[kept], kind="stable")]
    seen = replace(
        people,
        picture=picture[kept],
        boxes=boxes[kept],
        keypoints=np.zeros((len(kept), len(people.keypoint_set), 3)),
        areas=np.full(len(kept), np.nan),
        ids=np.arange(len(kept)),
        bystanders=Bystanders.none(),
    )
    return Candidates(seen, scores[kept])


# ---------------------------------------------------------------------------------------------------------------------
# rows of JSON as arrays


def _read_list(file: Path, what: str, annotations_too: bool = False) -> list[Any]:
    rows = read_json(file)
    if annotations_too and isinstance(rows, dict) and isinstance(rows.get("annotations"), list):
        rows = [{**row, "score": 1.0} for row in rows["annotations"] if not row.get("iscrowd")]
    if not isinstance(rows, list):
        raise UserError(f"{file}: a list of {what} in COCO's format is expected, not {type(rows).__name__}")
    return rows


def _find_pictures(column: _Column, ids: np.ndarray, annotations: Path) -> np.ndarray:
    """The places (rows,) of their pictures among the ids."""
    wanted = column.whole_numbers("image_id")
    strange = np.flatnonzero(~np.isin(wanted, ids))
    if len(strange):
        raise UserError(
            f"{column.file}: {column.what} {strange[0] + 1} is of picture {wanted[strange[0]]}, which {annotations} "
            f"does not know ({len(strange)} of {len(wanted)} {column.what}s are such); leave them out, or give the "
            "annotations that belong to them"
        )
    return np.searchsorted(ids, wanted)


class _Column:
    """Reads one key of all rows; rows are counted from 1 when one is complained of."""

    def __init__(self, file: Path, what: str, rows: Sequence[Any]) -> None:
        self.file, self.what, self._rows = file, what, rows

    def whole_numbers(self, key: str) -> np.ndarray:
        """(rows,) int."""
        return np.array(self._values(key, lambda value: type(value) is int, "a whole number"), np.int64)

    def numbers(self, key: str, length: int = 0, meaning: str = "") -> np.ndarray:
        """(rows,) or (rows, length) float, all of them finite."""
        if not length:
            values = np.array(self._values(key, _is_number, "a number"), np.float64)
            return self.finite(key, values)
        what = f"{length} numbers ({meaning})"
        rows = self._values(key, lambda value: isinstance(value, list) and len(value) == length, what)
        try:
            values = np.array(rows, np.float64).reshape(-1, length)
        except (TypeError, ValueError):
            odd = next(place for place, row in enumerate(rows) if not all(map(_is_number, row)))
            raise UserError(f"{self.file}: {key} of {self.what} {odd + 1} holds what is no number") from None
        return self.finite(key, values)

    def _values(self, key: str, is_good: Callable[[Any], bool], expected: str) -> list[Any]:
        values = [row.get(key) if isinstance(row, dict) else None for row in self._rows]
        odd = next((place for place, value in enumerate(values) if not is_good(value)), None)
        if odd is None:
            return values
        row = self._rows[odd]
        value = row.get(key) if isinstance(row, dict) else row
        came = f"{len(value)} numbers" if isinstance(value, list) else "nothing" if value is None else repr(value)
        raise UserError(f"{self.file}: {key} of {self.what} {odd + 1}: {expected} expected, {came} came")

    def finite(self, key: str, values: np.ndarray) -> np.ndarray:
        """The values of a key, all of them finite."""
        odd = np.argwhere(~np.isfinite(values))
        if len(odd):
            raise UserError(f"{self.file}: {key} of {self.what} {odd[0][0] + 1} is not finite")
        return values


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
