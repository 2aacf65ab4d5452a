"""Find and open a data set that somebody names: a folder, or a trainer card with its data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hrnas.cards.trainer import CocoData, MpiiData, Part, find_root, load_recipe
from hrnas.pose.coco import Annotations, People, explaining, find_part, read_annotations, to_people
from hrnas.pose.mpii import read_mpii_folder
from hrnas.reading import UserError


class Folder(NamedTuple):
    """A data set in COCO's format: its root, its parts by name, and its keypoint card below the root if it has one."""

    root: Path
    parts: dict[str, Part]
    card: str | None = None


def find_folder(where: str) -> Folder:
    """The data set in a folder in COCO's layout, all of its parts, or of a trainer card.

    Raises:
        UserError: there is none.
    """
    root = Path(where)
    if root.is_dir():
        if parts := Part.all_in(root):
            return Folder(root, parts)
        raise UserError(
            f"{root}: no annotations/person_keypoints_*.json in this folder; where a data set has other names, give a "
            "trainer card that says them"
        )
    data = load_recipe(where).data
    if not isinstance(data, CocoData):
        raise UserError(f"{where}: its data are {data.label}; annotations in COCO's format are expected")
    return Folder(find_root(data.root), {"train": data.train, "val": data.val}, data.keypoints)


class Opened(NamedTuple):
    """A part of a data set that was read; MPII's lists are no annotations in COCO's format."""

    file: Path
    people: People
    annotations: Annotations | None = None


def open_parts(where: str) -> dict[str, Opened]:
    """All parts of a data set in COCO's format or in HRNet's layout of MPII: a folder, or that of a trainer card.

    Raises:
        UserError: there is none, or a part of it cannot be read.
    """
    mpii = _find_mpii(where)
    if mpii is not None:
        splits = ("train", "valid")
        return {name: Opened(mpii / "annot" / f"{name}.json", read_mpii_folder(mpii, name)) for name in splits}
    folder = find_folder(where)
    return {name: _open_part(folder, part) for name, part in folder.parts.items()}


def _open_part(folder: Folder, part: Part) -> Opened:
    file, pictures = find_part(folder.root, part)
    with explaining(file):
        annotations = read_annotations(file, folder.root / folder.card if folder.card else None)
        return Opened(file, to_people(annotations, file, pictures), annotations)


def _find_mpii(where: str) -> Path | None:
    if Path(where).is_dir():
        return Path(where) if (Path(where) / "annot").is_dir() else None
    data = load_recipe(where).data
    return find_root(data.root) if isinstance(data, MpiiData) else None
