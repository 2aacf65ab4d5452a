"""Look a data set over: what is in it, what is broken, what is there twice.

parts of a data set -> every picture with labelled persons opened once -> counts, and faults by kind
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from hrnas.pose.coco import AREA_OF_BOX, Annotations, Fault, People, Picture, stack_boxes
from hrnas.pose.folders import Opened
from hrnas.reading import UserError

KINDS = {  # of faults: whether they must be mended, and what they are
    "annotation": (True, "annotations that cannot be learnt from"),
    "picture": (True, "pictures that cannot be learnt from"),
    "both parts": (True, "pictures in two parts: what was learnt is scored as if it was new"),
    "person twice": (True, "persons annotated twice: only one of the two can be found"),
    "id twice": (True, "ids that stand twice: COCO's tools take the last"),
    "picture twice": (False, "pictures under two names"),
    "box outside": (False, "boxes that reach out of their picture, and are cut"),
    "keypoint outside": (False, "persons with labelled keypoints outside their picture"),
    "no area": (False, "annotations without an area, for which a part of the box stands"),
}
BOX_SIZES = (0, 32, 64, 96, 128, 192, 256, 384, 512)  # pixels: the root of a box's area
_SLACK = 1.0  # pixels that a box or keypoint may lie outside, as rounded ones do
_TWIN = 0.02  # mean distance of keypoints, in lengths of the box, below which two persons are one


class Look(NamedTuple):
    """What a look at a picture's file told."""

    fault: str | None
    digest: bytes  # of the file: same file, same digest


def look_at_pictures(
    people: People, on_picture: Callable[[], None] = lambda: None, *, every: bool = False
) -> dict[int, Look]:
    """Open every picture with a labelled person, or `every` one: what is seen of each, by its index."""
    listed = range(len(people.pictures)) if every else np.unique(people.picture).tolist()
    files = [index for index in listed if people.pictures[index].path is not None]  # those in memory are ours
    pool, looks = ThreadPoolExecutor(os.cpu_count()), {}
    try:
        for index, look in zip(files, pool.map(_look, [people.pictures[index] for index in files]), strict=True):
            looks[index] = look
            on_picture()
    finally:  # who interrupts does not wait for the rest
        pool.shutdown(cancel_futures=True)
    return looks


def _look(picture: Picture) -> Look:
    try:
        raw = picture.read()
    except UserError:
        return Look("the picture cannot be read", b"")
    return Look(picture.find_fault(raw), hashlib.blake2b(raw, digest_size=16).digest())


def find_broken(looks: Mapping[int, Look]) -> dict[int, str]:
    """The pictures that cannot be learnt from, and why."""
    return {index: look.fault for index, look in looks.items() if look.fault}


def leave_out(people: People, broken: Mapping[int, str]) -> tuple[People, tuple[Fault, ...]]:
    """The persons in other pictures than the broken ones, and the faults that these are."""
    persons = np.bincount(people.picture, minlength=len(people.pictures))
    faults = tuple(
        Fault("picture", str(people.pictures[index].path), what, int(persons[index])) for index, what in broken.items()
    )
    return people.without_pictures(broken), faults


# ---------------------------------------------------------------------------------------------------------------------
# all that can be said of a data set


def check_data(parts: Mapping[str, Opened], on_picture: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Count what is in each part of a data set, and find what is wrong with it.

    Returns:
        `parts`, a list with the counts of each; `faults`, a list of `part`, `kind` (one of `KINDS`), `mend`, `where`,
        `what` and `persons` (left out); `mend`, how many of them must be mended.
    """
    counts: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    known: dict[bytes, tuple[str, int, str]] = {}  # files by their digest: part, index and path
    for name, part in parts.items():
        looks = look_at_pictures(part.people, on_picture)
        people, broken = leave_out(part.people, find_broken(looks))
        found = [*people.faults, *broken, *_find_same_files(name, part.people, looks, known)]
        found += [*_find_twins(people), *_find_outside(people), *_find_odd_rows(part.annotations, people)]
        counts.append({"part": name, **_count(part, people), "left_out": sum(fault.persons for fault in found)})
        faults += [{"part": name, "mend": KINDS[fault.kind][0], **fault._asdict()} for fault in found]
    return {"parts": counts, "faults": faults, "mend": sum(fault["mend"] for fault in faults)}


def _count(part: Opened, people: People) -> dict[str, Any]:
    labelled = people.keypoints[:, :, 2] > 0
    sides = np.sqrt(people.boxes[:, 2:].prod(axis=1))
    bins = np.histogram(sides, (*BOX_SIZES, np.inf))[0].tolist()
    ends = [f"{low}-{high}" for low, high in zip(BOX_SIZES, BOX_SIZES[1:], strict=False)] + [f"{BOX_SIZES[-1]}-"]
    return {
        "annotations": str(part.file),
        "pictures": len(people.pictures if part.annotations is None else part.annotations.images),
        "pictures_used": len(np.unique(people.picture)),
        "persons": len(people),
        "crowds": int(people.bystanders.crowd.sum()),
        "without_keypoints": int((~people.bystanders.crowd).sum()),
        "keypoints_per_person": np.bincount(labelled.sum(axis=1), minlength=labelled.shape[1] + 1)[1:].tolist(),
        "box_sizes": dict(zip(ends, bins, strict=True)),
        "labelled": dict(zip(people.keypoint_set.names, labelled.sum(axis=0).tolist(), strict=True)),
    }


def _find_same_files(
    name: str, people: People, looks: Mapping[int, Look], known: dict[bytes, tuple[str, int, str]]
) -> Iterator[Fault]:
    for index, look in looks.items():
        if look.fault:
            continue
        path = str(people.pictures[index].path)
        part, number, other = known.setdefault(look.digest, (name, index, path))
        if (part, number) != (name, index):
            kind = "picture twice" if part == name else "both parts"
            yield Fault(kind, path, f"the same picture as {other}", 0)


def _find_twins(people: People) -> Iterator[Fault]:
    order = np.argsort(people.picture, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(people.picture[order])) + 1):
        for number, row in enumerate(rows[1:], start=1):
            twins = rows[:number][_look_alike(people, rows[:number], row)]
            if len(twins):
                what = f"the same person as annotation {people.ids[twins[0]]}"
                yield Fault("person twice", f"annotation {people.ids[row]}", what, 0)


def _look_alike(people: People, rows: np.ndarray, row: int) -> np.ndarray:
    """Whether the keypoints of these persons lie where those of one lie (rows,)."""
    labelled = people.keypoints[:, :, 2] > 0
    both = labelled[rows] & labelled[row]
    distances = np.linalg.norm(people.keypoints[rows, :, :2] - people.keypoints[row, :, :2], axis=2)
    count = both.sum(axis=1)
    mean = (distances * both).sum(axis=1) / np.maximum(count, 1)
    enough = 2 * count >= np.maximum(labelled[rows].sum(axis=1), labelled[row].sum())
    return enough & (count >= 3) & (mean < _TWIN * people.boxes[row, 2:].max())


def _find_outside(people: People) -> Iterator[Fault]:
    sizes = _sizes(people)[:, None]
    places, labelled = people.keypoints[:, :, :2], people.keypoints[:, :, 2] > 0
    outside = ((places < -_SLACK) | (places > sizes - 1 + _SLACK)).any(axis=2) & labelled
    for row in np.flatnonzero(outside.any(axis=1)):
        names = ", ".join(np.array(people.keypoint_set.names)[outside[row]])
        yield Fault("keypoint outside", f"annotation {people.ids[row]}", names, 0)


def _find_odd_rows(annotations: Annotations | None, people: People) -> Iterator[Fault]:
    if annotations is None:
        return
    by_id = {row.get("id"): row for row in annotations.rows}
    boxes = stack_boxes([by_id[id] for id in people.ids.tolist()])
    ends = boxes[:, :2] + boxes[:, 2:]
    outside = ((boxes[:, :2] < -_SLACK) | (ends > _sizes(people) + _SLACK)).any(axis=1)
    for row in np.flatnonzero(outside):
        picture = people.pictures[people.picture[row]]
        what = f"bbox {boxes[row].tolist()} in a picture of {picture.width}x{picture.height}"
        yield Fault("box outside", f"annotation {people.ids[row]}", what, 0)
    for what, rows in (("annotation", annotations.rows), ("picture", annotations.images)):
        for id, count in Counter(row.get("id") for row in rows).items():
            if count > 1:
                yield Fault("id twice", f"{what} {id}", f"{count} of this id", 0)
    bare = sum("area" not in row for row in annotations.rows)
    if bare:
        what = f"{bare} of {len(annotations.rows)} have none; {AREA_OF_BOX:g} of the box stands for it"
        yield Fault("no area", "annotations", what, 0)


def _sizes(people: People) -> np.ndarray:
    """(persons, 2) width and height of each one's picture."""
    return np.array([(one.width, one.height) for one in people.pictures], np.float64)[people.picture]


# ---------------------------------------------------------------------------------------------------------------------
# in words


def describe_check(document: Mapping[str, Any], examples: int = 3) -> str:
    """What `check_data` found, for people to read; of each kind of fault some examples."""
    lines = [line for part in document["parts"] for line in _describe_part(part)]
    for kind, (mend, what) in KINDS.items():
        faults = [fault for fault in document["faults"] if fault["kind"] == kind]
        if not faults:
            continue
        lost = sum(fault["persons"] for fault in faults)
        persons = f" (for which {lost} persons are left out)" if lost else ""
        lines.append(f"{'mend' if mend else 'note'}  {len(faults)} {what}{persons}")
        lines += [f"        {fault['part']}: {fault['where']}: {fault['what']}" for fault in faults[:examples]]
        if len(faults) > examples:
            lines.append(f"        and {len(faults) - examples} more; --json lists all of them")
    return "\n".join([*lines, "" if document["faults"] else "ok    nothing is broken"]).strip()


def _describe_part(part: Mapping[str, Any]) -> Iterator[str]:
    yield f"{part['part']}: {part['annotations']}"
    yield f"  {part['persons']} persons in {part['pictures_used']} of {part['pictures']} pictures"
    yield f"  beside them {part['crowds']} crowds and {part['without_keypoints']} persons without keypoints"
    labelled = part["keypoints_per_person"]
    yield from _draw_bars("keypoints", {str(count): persons for count, persons in enumerate(labelled, 1) if persons})
    yield from _draw_bars("box size", {size: persons for size, persons in part["box_sizes"].items() if persons})
    yield from _draw_bars("labelled", part["labelled"])


def _draw_bars(title: str, counts: Mapping[str, int], length: int = 40) -> Iterator[str]:
    """A line for each count."""
    width, most = max(len(title), *map(len, counts)), max(1, *counts.values())
    yield f"  {title:<{width}}  persons"
    for name, count in counts.items():
        yield f"  {name:>{width}}  {count:<7} {'#' * round(length * count / most)}".rstrip()
