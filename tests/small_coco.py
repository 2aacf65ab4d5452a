"""A data set in COCO's layout that is small enough to be spoilt by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hrnas.pose.keypoints import COCO_17

CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}


def write_small_coco(root: Path) -> None:
    """Three pictures in COCO's layout: two persons, one person, a crowd and somebody without keypoints."""
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    for number in (1, 2, 3):
        cv2.imwrite(
            str(root / "val2017" / f"{number}.jpg"), np.full((80, 60, 3), (10, 120, 240 - 10 * number), np.uint8)
        )
    nobody = {"keypoints": [0] * 51, "num_keypoints": 0}
    data = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 60, "height": 80} for n in (1, 2, 3)],
        "annotations": [
            annotation(11, 1),
            annotation(12, 1, bbox=[-5, 70, 100, 30], keypoints=points(20)),
            annotation(13, 2),
            annotation(14, 3, iscrowd=1, **nobody),
            annotation(15, 2, **nobody),
        ],
        "categories": [CATEGORY],
    }
    write(root, data)


def points(left: int) -> list[int]:
    """Visible keypoints along a line from (left, 20)."""
    return np.stack([np.arange(17) + left, np.arange(17) * 2 + 20, np.full(17, 2)], axis=1).ravel().tolist()


def annotation(id: int, image_id: int, **changes: Any) -> dict[str, Any]:
    """A person."""
    row = {
        "id": id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [5, 10, 40, 50],
        "area": 900.0,
        "iscrowd": 0,
        "num_keypoints": 17,
        "keypoints": points(10),
    }
    return row | changes


def write(root: Path, data: object) -> Path:
    """Write the annotations, or any other text in their place."""
    file = root / "annotations" / "person_keypoints_val2017.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def load(root: Path) -> dict[str, Any]:
    """The annotations."""
    return json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
