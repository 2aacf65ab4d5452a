"""Write data sets in COCO's keypoint format; whatever reads COCO reads them.

root/annotations/person_keypoints_NAME.json   images, annotations, categories
root/NAME/                                    the pictures
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hrnas.cards.trainer import Part
from hrnas.pose.coco import People, find_part, read_people
from hrnas.pose.drawn import draw_people
from hrnas.pose.folders import Folder
from hrnas.pose.subset import choose_pictures
from hrnas.reading import read_json

Written = dict[str, dict[str, int]]  # of each part, how many persons and pictures

# ---------------------------------------------------------------------------------------------------------------------
# a part of what is there


def write_subset(source: Folder, root: Path, persons: int, seed: int, *, copy: bool = False) -> Written:
    """Write at most so many persons of each part of a data set, under the names that the part has.

    All that the annotations say of the chosen pictures is kept as it is.

    Args:
        copy: the pictures too; else there is a link to the folder that they are in.
    """
    written = {}
    card = None if source.card is None else source.root / source.card
    for name, part in source.parts.items():
        file, pictures = find_part(source.root, part)
        people = read_people(file, pictures, card)
        chosen = choose_pictures(people, persons, seed)
        _write_pictures(file, pictures, {people.pictures[index].id for index in chosen}, root, part, copy)
        written[name] = {"persons": int(np.isin(people.picture, chosen).sum()), "pictures": len(chosen)}
    if card is not None and source.card is not None:
        (root / source.card).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(card, root / source.card)
    return written


def _write_pictures(file: Path, pictures: Path, ids: set[int], root: Path, part: Part, copy: bool) -> None:
    data = read_json(file)
    images = [image for image in data["images"] if image["id"] in ids]
    rows = [row for row in data["annotations"] if row.get("image_id") in ids]
    folder = root / part.pictures
    if copy:
        for image in images:
            target = folder / image["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pictures / image["file_name"], target)
    elif not folder.exists():  # both parts may have one folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(pictures.resolve(), target_is_directory=True)
    _write(root / part.annotations, {**data, "images": images, "annotations": rows})


# ---------------------------------------------------------------------------------------------------------------------
# people in memory


def write_drawn(root: Path, persons: int, seed: int) -> Written:
    """Write the people that a card with drawn data and this seed learns from, and a quarter as many to validate on."""
    parts = {
        "train2017": draw_people(persons, 3 * seed),
        "val2017": draw_people(max(1, persons // 4), 3 * seed + 2),
    }
    for name, people in parts.items():
        write_people(people, root, name)
    return {name: {"persons": len(people), "pictures": len(people.pictures)} for name, people in parts.items()}


def write_people(people: People, root: Path, name: str) -> None:
    """Write people whose pictures are in memory as the part `name` of a folder in COCO's layout.

    `read_coco_folder` gives back the same people.
    """
    part = Part.named(name)
    folder = root / part.pictures
    folder.mkdir(parents=True)
    images = []
    for picture in people.pictures:
        file_name = f"{picture.id:012d}.jpg"
        (folder / file_name).write_bytes(picture.read())
        images.append({"id": picture.id, "file_name": file_name, "width": picture.width, "height": picture.height})
    category = {"id": 1, "name": "person", "supercategory": "person", **people.keypoint_set.to_category()}
    annotations = [*_persons(people), *_bystanders(people)]
    _write(root / part.annotations, {"images": images, "annotations": annotations, "categories": [category]})


def _persons(people: People) -> list[dict[str, Any]]:
    # HRNet's reader, and so ours, takes a pixel off a box's width and height
    boxes = people.boxes + (0, 0, 1, 1)
    labelled = (people.keypoints[:, :, 2] > 0).sum(axis=1)
    return [
        {
            **_row(int(people.ids[row]), people, int(people.picture[row]), boxes[row], float(people.areas[row])),
            "num_keypoints": int(labelled[row]),
            "keypoints": people.keypoints[row].ravel().tolist(),
        }
        for row in range(len(people))
    ]


def _bystanders(people: People) -> list[dict[str, Any]]:
    beside = people.bystanders
    first = int(people.ids.max(initial=0)) + 1
    nothing = {"num_keypoints": 0, "keypoints": [0] * (3 * len(people.keypoint_set))}
    return [
        {
            **_row(first + row, people, int(beside.picture[row]), beside.boxes[row], float(beside.areas[row])),
            "iscrowd": int(beside.crowd[row]),
            **nothing,
        }
        for row in range(len(beside.picture))
    ]


def _row(id: int, people: People, picture: int, box: np.ndarray, area: float) -> dict[str, Any]:
    image = people.pictures[picture].id
    return {"id": id, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": box.tolist(), "area": area}


def _write(file: Path, data: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")
