"""Read people from annotations in COCO's format, with any keypoint set.

    annotations/person_keypoints_SPLIT.json + SPLIT/*.jpg -> People: plain arrays, one row for each labelled person

Pictures are opened when they are needed, never all at once, and are read as HRNet reads them: RGB, the camera's
orientation flag ignored, because the annotations refer to the pixels as they are stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hrnas.pose.keypoints import KeypointSet
from hrnas.reading import UserError, read_json


@dataclass(frozen=True)
class Picture:
    """A picture in a file, or (drawn people) its encoded bytes in memory; sizes in pixels."""

    id: int
    height: int
    width: int
    path: str | None = None
    encoded: bytes | None = field(default=None, repr=False)

    def load(self) -> np.ndarray:
        """Decode to RGB, uint8 (height, width, 3).

        Raises:
            UserError: the file is missing, is no picture, or has another size than its annotation says.
        """
        raw = self.encoded if self.path is None else _read_bytes(self.path)
        pixels = None
        if raw:
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
        if pixels is None:
            raise UserError(f"{self.path}: not a picture that can be decoded (JPEG or PNG expected); replace the file")
        if pixels.shape[:2] != (self.height, self.width):
            came, said = f"{pixels.shape[1]}x{pixels.shape[0]}", f"{self.width}x{self.height}"
            raise UserError(
                f"{self.path}: the picture is {came} pixels, but its annotation says {said} (width x height)"
            )
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the picture cannot be read: {error.strerror}") from None


@dataclass(frozen=True, eq=False)
class Bystanders:
    """What a picture shows beside the labelled persons: crowds and persons without keypoints.

    COCO's evaluation ignores predictions that fit one of them, so that they must be known to get COCO's numbers.
    """

    picture: np.ndarray  # (bystanders,) int: index into People.pictures
    boxes: np.ndarray  # (bystanders, 4) x, y, width, height as annotated
    areas: np.ndarray  # (bystanders,)
    crowd: np.ndarray  # (bystanders,) bool

    @classmethod
    def none(cls) -> Bystanders:
        """No bystanders at all."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))


@dataclass(frozen=True, eq=False)
class People:
    """Labelled persons, one row each; pixel coordinates of the stored picture.

    Attributes:
        picture: (persons,) index into `pictures`.
        boxes: (persons, 4) x, y, width, height; COCO's are cut to the picture as HRNet does.
        keypoints: (persons, points, 3) x, y, flag: 0 not labelled, 1 labelled but hidden, 2 visible.
        areas: (persons,) area of the person's outline in square pixels, which OKS measures by; not a number where
            nobody outlined the person (MPII).
        ids: (persons,) the annotations' ids.
    """

    pictures: tuple[Picture, ...]
    picture: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    keypoint_set: KeypointSet
    bystanders: Bystanders

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, indices: np.ndarray | list[int]) -> People:
        """The persons of these rows, in this order; pictures keep their places."""
        rows = np.asarray(indices, int)
        names = ("picture", "boxes", "keypoints", "areas", "ids")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def split_by_picture(self, fraction: float, seed: int) -> tuple[People, People]:
        """Two parts that share no picture; the second holds `fraction` of the pictures with labelled persons.

        It depends only on the pictures' ids and the seed, not on their order in the file.
        """
        used = np.unique(self.picture)
        by_id = used[np.argsort([self.pictures[index].id for index in used], kind="stable")]
        chosen = np.random.default_rng(seed).permutation(by_id)[: round(fraction * len(used))]
        second = np.isin(self.picture, chosen)
        return self.take(np.flatnonzero(~second)), self.take(np.flatnonzero(second))

    def load_picture(self, picture: int) -> np.ndarray:
        """Decode picture number `picture` (an entry of `self.picture`): uint8 RGB (height, width, 3).

        Raises:
            UserError: the file is missing, is no picture, or has another size than its annotation says.
        """
        return self.pictures[picture].load()


def join_people(*parts: People) -> People:
    """One `People` from several with the same keypoint set, in order: real and drawn ones, say."""
    first = parts[0]
    for part in parts[1:]:
        if part.keypoint_set.names != first.keypoint_set.names:
            raise UserError("people with different keypoint sets cannot be joined")
    offsets = np.cumsum([0, *(len(part.pictures) for part in parts)])
    shifted = list(zip(parts, offsets, strict=False))
    return People(
        pictures=tuple(picture for part in parts for picture in part.pictures),
        picture=np.concatenate([part.picture + offset for part, offset in shifted]),
        boxes=np.concatenate([part.boxes for part in parts]),
        keypoints=np.concatenate([part.keypoints for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        ids=np.concatenate([part.ids for part in parts]),
        keypoint_set=first.keypoint_set,
        bystanders=Bystanders(
            np.concatenate([part.bystanders.picture + offset for part, offset in shifted]),
            np.concatenate([part.bystanders.boxes for part in parts]),
            np.concatenate([part.bystanders.areas for part in parts]),
            np.concatenate([part.bystanders.crowd for part in parts]),
        ),
    )


# ---------------------------------------------------------------------------------------------------------------------
# reading


def read_coco_folder(root: Path | str, split: str) -> People:
    """Read one split of a folder in COCO's layout.

    Args:
        split: `train2017` or `val2017`, or any name that the folder uses in the same way.

    Raises:
        UserError: the layout, the annotations or the pictures are not as expected.
    """
    root = Path(root)
    layout = f"expected {root}/annotations/person_keypoints_{split}.json and {root}/{split}/*.jpg"
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; {layout}")
    if not any(root.iterdir()):
        raise UserError(f"{root}: the folder is empty; {layout}")
    if not (root / "annotations").is_dir():
        raise UserError(f"{root}: there is no folder annotations/ in it; {layout}")
    return read_people(root / "annotations" / f"person_keypoints_{split}.json", root / split)


def read_people(
    annotation_file: Path | str, pictures_folder: Path | str, keypoint_set: KeypointSet | None = None
) -> People:
    """Read all persons with at least one labelled keypoint.

    The rules are HRNet's: crowds, persons without keypoints and empty boxes are left out; boxes are cut to the picture.

    Args:
        keypoint_set: taken from the file's category when not given.

    Raises:
        UserError: naming the file and what was expected of it.
    """
    file, folder = Path(annotation_file), Path(pictures_folder)
    with explaining(file):
        images, rows, _, points = read_annotations(file, keypoint_set)
        return _to_people(images, rows, points, file, folder)


class Annotations(NamedTuple):
    """What an annotation file says of one category: its pictures, its persons' rows, its id and its keypoints."""

    images: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    category: int
    keypoint_set: KeypointSet


def read_annotations(file: Path, keypoint_set: KeypointSet | None = None) -> Annotations:
    """Read a file in COCO's keypoint format; of several categories with keypoints, `person`.

    Raises:
        UserError, KeyError, TypeError, ValueError: it is another file; `explaining` makes one error of them.
    """
    data = _read_json(file)
    category = _find_category(data, file)
    rows = [row for row in data["annotations"] if row["category_id"] == category["id"]]
    return Annotations(data["images"], rows, category["id"], keypoint_set or _read_keypoint_set(category, file))


@contextmanager
def explaining(file: Path) -> Iterator[None]:
    """Whatever is raised while annotations are read becomes a `UserError` that names their file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file}: not annotations in COCO's keypoint format: {reason}") from None


def _read_json(file: Path) -> dict[str, Any]:
    data = read_json(file)
    missing = [key for key in ("images", "annotations", "categories") if key not in data] if _is_dict(data) else ["{}"]
    if missing:
        raise UserError(f"{file}: not annotations in COCO's format: no {', '.join(missing)} in it")
    return data


def _is_dict(data: object) -> bool:
    return isinstance(data, dict)


def _find_category(data: dict[str, Any], file: Path) -> dict[str, Any]:
    """The first category with keypoints; `person` when there are several."""
    having = [category for category in data["categories"] if category.get("keypoints")]
    if not having:
        names = ", ".join(str(category.get("name")) for category in data["categories"]) or "none"
        raise UserError(
            f"{file}: none of its categories ({names}) names keypoints; "
            "a keypoint file such as person_keypoints_train2017.json is expected"
        )
    return next((category for category in having if category.get("name") == "person"), having[0])


def _read_keypoint_set(category: dict[str, Any], file: Path) -> KeypointSet:
    points = KeypointSet.from_category(category)
    if len(points.sigmas) != len(points):
        raise UserError(f"{file}: its category names {len(points)} keypoints and {len(points.sigmas)} sigmas")
    return points


def _to_people(
    images: list[dict[str, Any]], rows: list[dict[str, Any]], points: KeypointSet, file: Path, folder: Path
) -> People:
    pictures = tuple(
        Picture(int(image["id"]), int(image["height"]), int(image["width"]), os.path.join(folder, image["file_name"]))
        for image in images
    )
    place = {picture.id: index for index, picture in enumerate(pictures)}
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    areas = np.array([row["area"] for row in rows], np.float64)
    crowd = np.array([bool(row.get("iscrowd", 0)) for row in rows], bool)
    picture = np.array([place[row["image_id"]] for row in rows], np.int64)
    keypoints = _stack_keypoints(rows, len(points), file)

    sizes = np.array([(one.width, one.height) for one in pictures], np.float64).reshape(-1, 2)[picture]
    cut = cut_boxes(boxes, sizes)
    labelled = (keypoints[:, :, 2] > 0).any(axis=1)
    usable = labelled & ~crowd & (areas > 0) & (cut[:, 2:] >= 0).all(axis=1)
    if not usable.any():
        raise UserError(f"{file}: no person in it has a labelled keypoint; keypoint annotations are expected")
    _check_pictures(pictures, np.unique(picture[usable]), folder)

    keep, beside = np.flatnonzero(usable), np.flatnonzero(crowd | ~labelled)
    return People(
        pictures=pictures,
        picture=picture[keep],
        boxes=cut[keep],
        keypoints=keypoints[keep],
        areas=areas[keep],
        ids=np.array([row["id"] for row in rows], np.int64)[keep],
        keypoint_set=points,
        bystanders=Bystanders(picture[beside], boxes[beside], areas[beside], crowd[beside]),
    )


def _stack_keypoints(rows: list[dict[str, Any]], count: int, file: Path) -> np.ndarray:
    """(rows, count, 3); rows without keypoints are all 0, as are places of unlabelled points."""
    nothing = [0] * (3 * count)
    flat = [row.get("keypoints") or nothing for row in rows]
    odd = next((index for index, values in enumerate(flat) if len(values) != 3 * count), None)
    if odd is not None:
        raise UserError(
            f"{file}: annotation {rows[odd].get('id')} has {len(flat[odd])} numbers for its keypoints; "
            f"{3 * count} are expected (x, y, flag of {count} keypoints)"
        )
    keypoints = np.array(flat, np.float64).reshape(-1, count, 3)
    return np.where(keypoints[:, :, 2:] > 0, keypoints, 0.0)


def cut_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cut boxes (n, 4) x, y, width, height to pictures of `sizes` (n, 2) width, height, as HRNet's reader does.

    A box wholly outside gets a negative width or height.
    """
    corner = np.maximum(boxes[:, :2], 0)
    opposite = np.minimum(sizes - 1, corner + np.maximum(boxes[:, 2:] - 1, 0))
    return np.concatenate([corner, opposite - corner], axis=1)


def _check_pictures(pictures: tuple[Picture, ...], used: np.ndarray, folder: Path) -> None:
    """One listing of the folder answers for all pictures; none is opened."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; the annotated pictures are expected in it")
    there = set(os.listdir(folder))
    if not there:
        raise UserError(f"{folder}: the folder is empty; the annotated pictures are expected in it")
    wanted = [pictures[index].path or "" for index in used]
    missing = [path for path in wanted if os.path.relpath(path, folder) not in there and not os.path.isfile(path)]
    if missing:
        raise UserError(
            f"{missing[0]}: the picture is missing ({len(missing)} of {len(wanted)} annotated pictures are); "
            f"put the pictures into {folder}"
        )
