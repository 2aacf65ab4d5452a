"""Read people from annotations in COCO's format, with any keypoint set.

    annotations/person_keypoints_SPLIT.json + SPLIT/*.jpg -> People: plain arrays, one row for each labelled person

Pictures are opened when they are needed, never all at once. What is broken is left out and remembered with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrnas.cards.keypoints import read_keypoint_card
from hrnas.cards.trainer import Part
from hrnas.pose.keypoints import KeypointSet
from hrnas.pose.pictures import decode, find_damage
from hrnas.reading import UserError, read_json

AREA_OF_BOX = 0.53  # how much of its box a person fills, where annotations give no area: CrowdPose's convention


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
        pixels, reason = self._decode(self.read())
        if pixels is None:
            raise UserError(f"{self.path}: {reason}; replace the file")
        return pixels

    def find_fault(self, raw: bytes) -> str | None:
        """What is wrong with its file's bytes, also where a decoder would let it pass, or None."""
        return find_damage(raw) or self._decode(raw)[1]

    def _decode(self, raw: bytes) -> tuple[np.ndarray | None, str | None]:
        """Either pixels, or a reason why there are none."""
        pixels = decode(raw, (self.height, self.width))
        if pixels is None:
            return None, find_damage(raw) or "not a picture that can be decoded (JPEG or PNG expected)"
        if pixels.shape[:2] != (self.height, self.width):
            came, said = f"{pixels.shape[1]}x{pixels.shape[0]}", f"{self.width}x{self.height}"
            return None, f"the picture is {came} pixels, but its annotation says {said} (width x height)"
        return pixels, None

    def read(self) -> bytes:
        """The bytes of its file.

        Raises:
            UserError: the file cannot be read.
        """
        if self.path is None:
            return self.encoded or b""
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: the picture cannot be read: {error.strerror}") from None


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


class Fault(NamedTuple):
    """Something broken in a data set, for which so many labelled persons are left out."""

    kind: str  # "annotation" or "picture"
    where: str  # "annotation 12", or a picture's file
    what: str
    persons: int

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


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
        faults: why other persons, whom the annotations label too, are not among these.
    """

    pictures: tuple[Picture, ...]
    picture: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    keypoint_set: KeypointSet
    bystanders: Bystanders
    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, indices: np.ndarray | list[int]) -> People:
        """The persons of these rows, in this order; pictures keep their places."""
        rows = np.asarray(indices, int)
        names = ("picture", "boxes", "keypoints", "areas", "ids")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def without_pictures(self, pictures: Iterable[int]) -> People:
        """The same people without these pictures (indices) and everybody in them."""
        kept = ~np.isin(np.arange(len(self.pictures)), list(pictures))
        if kept.all():
            return self
        place, beside = np.cumsum(kept) - 1, self.bystanders
        people, near = self.take(np.flatnonzero(kept[self.picture])), np.flatnonzero(kept[beside.picture])
        return replace(
            people,
            pictures=tuple(picture for picture, keep in zip(self.pictures, kept, strict=True) if keep),
            picture=place[people.picture],
            bystanders=Bystanders(
                place[beside.picture[near]], beside.boxes[near], beside.areas[near], beside.crowd[near]
            ),
        )

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
        faults=tuple(fault for part in parts for fault in part.faults),
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
    return read_part(Path(root), Part.named(split))


def read_part(root: Path, part: Part, card: Path | None = None) -> People:
    """Read one part of a data set; `card` as in `read_people`.

    Raises:
        UserError: the layout, the annotations or the pictures are not as expected.
    """
    return read_people(*find_part(root, part), card)


def find_part(root: Path, part: Part) -> tuple[Path, Path]:
    """The annotation file of a part, and the folder of its pictures.

    Raises:
        UserError: there is no such file.
    """
    file, folder = root / part.annotations, root / part.pictures
    layout = f"expected {file} and the pictures in {folder}"
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; {layout}")
    if not any(root.iterdir()):
        raise UserError(f"{root}: the folder is empty; {layout}")
    if not file.is_file():
        there = ", ".join(sorted(str(path.relative_to(root)) for path in file.parent.glob("*.json"))) or "none"
        raise UserError(
            f"{file}: there is no such file; {layout}; annotations there: {there}; if these are meant, the trainer "
            "card has to name them (train: and val: of its data)"
        )
    return file, folder


def read_people(annotation_file: Path | str, pictures_folder: Path | str, card: Path | None = None) -> People:
    """Read all persons with at least one labelled keypoint.

    The rules are HRNet's: crowds, persons without keypoints and empty boxes are left out; boxes are cut to the picture.
    A labelled person that cannot be learnt from is left out too, and is one of the `faults`.

    Args:
        card: a keypoint card that says what the file's category does not.

    Raises:
        UserError: naming the file and what was expected of it.
    """
    file, folder = Path(annotation_file), Path(pictures_folder)
    with explaining(file):
        return to_people(read_annotations(file, card), file, folder)


class Annotations(NamedTuple):
    """What an annotation file says of one category: its pictures, its persons' rows, its id and its keypoints."""

    images: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    category: int
    keypoint_set: KeypointSet


def read_annotations(file: Path, card: Path | None = None) -> Annotations:
    """Read a file in COCO's keypoint format; of several categories with keypoints, `person`, else the first.

    Args:
        card: a keypoint card that says what the file's category does not.

    Raises:
        UserError, KeyError, TypeError, ValueError: it is another file; `explaining` makes one error of them.
    """
    data = _read_json(file)
    category = _find_category(data["categories"], file, card)
    points = KeypointSet.from_card(read_keypoint_card(category, f"{file}: category '{category.get('name')}'", card))
    rows = [row for row in data["annotations"] if row["category_id"] == category["id"]]
    return Annotations(data["images"], rows, category["id"], points)


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


def _find_category(categories: list[dict[str, Any]], file: Path, card: Path | None) -> dict[str, Any]:
    """The first category with keypoints, where there is a card the first at all; `person` before all others."""
    fitting = [category for category in categories if category.get("keypoints")]
    fitting += [category for category in categories if card is not None and category not in fitting]
    if not fitting:
        names = ", ".join(str(category.get("name")) for category in categories) or "none"
        raise UserError(
            f"{file}: none of its categories ({names}) names keypoints; a keypoint file such as "
            "person_keypoints_train2017.json is expected, or a keypoint card (keypoints: FILE in a trainer's data)"
        )
    return next((category for category in fitting if category.get("name") == "person"), fitting[0])


def to_people(annotations: Annotations, file: Path, folder: Path) -> People:
    """The labelled persons of an annotation file, as `read_people` reads them; pictures are looked up, not opened.

    Raises:
        UserError, KeyError, TypeError, ValueError: `explaining` makes one error of them.
    """
    images, rows, _, points = annotations
    pictures = tuple(
        Picture(int(image["id"]), int(image["height"]), int(image["width"]), os.path.join(folder, image["file_name"]))
        for image in images
    )
    place: dict[Any, int] = {picture.id: index for index, picture in reversed(list(enumerate(pictures)))}
    picture = np.array([place.get(row.get("image_id"), -1) for row in rows], np.int64)
    sizes = np.array([*((one.width, one.height) for one in pictures), (0, 0)], np.float64)[picture]
    boxes, crowd = stack_boxes(rows), np.array([bool(row.get("iscrowd", 0)) for row in rows], bool)
    cut, areas = cut_boxes(boxes, sizes), read_areas(rows, boxes)
    nothing = [0] * (3 * len(points))
    keypoints = _stack([row.get("keypoints") or nothing for row in rows], len(nothing)).reshape(-1, len(points), 3)
    keypoints = np.where(keypoints[:, :, 2:] <= 0, 0.0, keypoints)
    labelled = (keypoints[:, :, 2] != 0).any(axis=1)  # also what is not a number
    person = labelled & ~crowd

    faults = _Faults(rows, person)
    faults.find(picture < 0, lambda row: f"image_id {row.get('image_id')}, but no picture has this id")
    faults.find(~np.isfinite(boxes).all(axis=1), lambda row: f"bbox {row.get('bbox')}; four numbers are expected")
    faults.find(~np.isfinite(keypoints).all(axis=(1, 2)), lambda row: _describe_keypoints(row, len(points)))
    faults.find(person & (boxes[:, 2:] <= 0).any(axis=1), lambda row: f"bbox {row['bbox']} has no area")
    faults.find(person & (cut[:, 2:] < 0).any(axis=1), lambda row: f"bbox {row['bbox']} lies outside its picture")
    faults.find(person & ~(areas > 0), lambda row: f"area {row['area']}; a number above 0 is expected")
    faults.find(np.array([type(row.get("id")) is not int for row in rows], bool), lambda _: "its id is no whole number")
    usable = person & ~faults.found
    if not usable.any():
        first = f", but {len(faults.list)} broken annotations, the first: {faults.list[0]}" if faults.list else ""
        raise UserError(
            f"{file}: no person in it has a labelled keypoint{first or '; keypoint annotations are expected'}"
        )
    missing = _find_missing(pictures, np.unique(picture[usable]), folder)
    for index in missing:
        persons = int((usable & (picture == index)).sum())
        faults.list.append(Fault("picture", str(pictures[index].path), "the picture is missing", persons))

    keep, beside = np.flatnonzero(usable), np.flatnonzero((crowd | ~labelled) & ~faults.found)
    people = People(
        pictures=pictures,
        picture=picture[keep],
        boxes=cut[keep],
        keypoints=keypoints[keep],
        areas=areas[keep],
        ids=np.array([rows[index]["id"] for index in keep], np.int64),
        keypoint_set=points,
        bystanders=Bystanders(picture[beside], boxes[beside], areas[beside], crowd[beside]),
        faults=tuple(faults.list),
    )
    return people.without_pictures(missing)


class _Faults:
    """Collects what is wrong with annotations, of each the first thing."""

    def __init__(self, rows: list[dict[str, Any]], person: np.ndarray) -> None:
        self._rows, self._person = rows, person
        self.found = np.zeros(len(rows), bool)
        self.list: list[Fault] = []

    def find(self, which: np.ndarray, describe: Callable[[dict[str, Any]], str]) -> None:
        """Add those of these rows (rows,) bool of which nothing is known yet."""
        for index in np.flatnonzero(which & ~self.found):
            row = self._rows[index]
            where = f"annotation {row.get('id')}"
            self.list.append(Fault("annotation", where, describe(row), int(self._person[index])))
        self.found |= which


def stack_boxes(rows: list[dict[str, Any]]) -> np.ndarray:
    """The boxes of annotations as they stand there: (rows, 4), not numbers where there are not four of them."""
    return _stack([row.get("bbox") for row in rows], 4)


def read_areas(rows: list[dict[str, Any]], boxes: np.ndarray) -> np.ndarray:
    """(rows,) square pixels; where there is none, a part of the box's."""
    areas = _stack([[row.get("area", -1)] for row in rows], 1)[:, 0]
    given = np.array(["area" in row for row in rows], bool)
    return np.where(given, areas, AREA_OF_BOX * boxes[:, 2] * boxes[:, 3])


def _stack(values: list[Any], width: int) -> np.ndarray:
    """(values, width) float; not numbers where there are not exactly so many numbers."""
    nothing = [np.nan] * width
    fitting = [value if isinstance(value, list) and len(value) == width else nothing for value in values]
    try:
        return np.array(fitting, np.float64).reshape(-1, width)
    except (TypeError, ValueError):  # one of them holds something that is no number
        fitting = [value if all(isinstance(v, (int, float)) for v in value) else nothing for value in fitting]
        return np.array(fitting, np.float64).reshape(-1, width)


def _describe_keypoints(row: dict[str, Any], count: int) -> str:
    values = row["keypoints"]
    if isinstance(values, list) and len(values) == 3 * count:
        return "its keypoints are not all numbers"
    came = f"{len(values)} numbers" if isinstance(values, list) else repr(values)
    return f"{came} for its keypoints; {3 * count} are expected (x, y, flag of {count} keypoints)"


def cut_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cut boxes (n, 4) x, y, width, height to pictures of `sizes` (n, 2) width, height, as HRNet's reader does.

    A box wholly outside gets a negative width or height.
    """
    corner = np.maximum(boxes[:, :2], 0)
    opposite = np.minimum(sizes - 1, corner + np.maximum(boxes[:, 2:] - 1, 0))
    return np.concatenate([corner, opposite - corner], axis=1)


def _find_missing(pictures: tuple[Picture, ...], used: np.ndarray, folder: Path) -> list[int]:
    """Which of the pictures in use are not there; one listing of the folder answers for all of them."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; the annotated pictures are expected in it")
    there = set(os.listdir(folder))
    if not there:
        raise UserError(f"{folder}: the folder is empty; the annotated pictures are expected in it")
    missing = [
        int(index)
        for index, path in ((index, pictures[index].path or "") for index in used)
        if os.path.relpath(path, folder) not in there and not os.path.isfile(path)
    ]
    if len(missing) == len(used):
        raise UserError(
            f"{pictures[missing[0]].path}: the picture is missing, and so are all {len(used)} annotated pictures; "
            f"put them into {folder}"
        )
    return missing
