"""A folder with three tiny cards and, if wanted, a tiny data set in COCO's layout, for tests of the whole machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SPACE = """\
name: tiny
about: Sixteen networks of a few thousand parameters.
base:
  stem: {kind: shuffle, width: 32, out: 32}
  widths: [16, 32, 64]
  stages:
    - {modules: 1, blocks: 1, transition: {kind: lite}, row: {kind: shuffle}, fusion: {kind: lite}}
    - {modules: 1, blocks: 1, transition: {kind: lite}, row: {kind: shuffle}, fusion: {kind: lite}}
  head: {kind: conv}
choices:
  stages[*].blocks: {from: 1, to: 2}
  stages[*].row.kind: [shuffle, residual]
"""
TRAINER = """\
name: tiny
about: A few steps on a few drawn people.
data: {kind: drawn, train: 16, holdout: 8, val: 8, seed: 0}
input: 64x64
epochs: 1
batch_size: 8
loss: {kind: cross_entropy}
optimiser: {kind: adam, rate: 1e-3}
flip_test: false
"""
STUDY = """\
name: tiny
about: Two networks, in seconds.
space: tiny
trainer: tiny
goals: {score: maximize, macs: minimize}
reference: {score: 0.0, macs: 100M}
driver: {kind: random, seed: 0}
ladder: [{epochs: 1}]
trials: 2
published: none
"""
CARDS = {"search_spaces/tiny.yaml": SPACE, "trainers/tiny.yaml": TRAINER, "studies/tiny.yaml": STUDY}
KEYPOINTS = 17


def write_cards(folder: Path) -> None:
    """Put the three cards on shelves in a folder."""
    for name, text in CARDS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def write_coco(root: Path, pictures: int = 16, keypoints: bool = True) -> None:
    """Make a data set in COCO's layout: noise with one person in each picture."""
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        images, annotations = [], []
        for number in range(1, pictures + 1):
            name = f"{number:012d}.jpg"
            cv2.imwrite(str(root / split / name), rng.integers(0, 255, (120, 100, 3), dtype=np.uint8))
            images.append({"id": number, "file_name": name, "height": 120, "width": 100})
            person: dict[str, Any] = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
            person |= {"bbox": [10.0, 10.0, 60.0, 100.0], "area": 3000.0}
            if keypoints:
                spots = [[15 + 3 * k, 15 + 5 * k, 2] for k in range(KEYPOINTS)]
                person |= {"keypoints": [int(value) for spot in spots for value in spot], "num_keypoints": KEYPOINTS}
            annotations.append(person)
        category: dict[str, Any] = {"id": 1, "name": "person", "supercategory": "person"}
        if keypoints:
            category |= {"keypoints": list(COCO_NAMES), "skeleton": [[16, 14], [14, 12]]}
        document = {"images": images, "annotations": annotations, "categories": [category]}
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(document), encoding="utf-8")


COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def write_mpii(root: Path) -> None:
    """Make a data set in HRNet's layout of MPII: noise; b.jpg with three persons, one unlabelled, a.jpg with one."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "annot").mkdir()
    for name, size in (("a.jpg", (90, 160)), ("b.jpg", (120, 100))):
        cv2.imwrite(str(root / "images" / name), rng.integers(0, 255, (*size, 3), dtype=np.uint8))

    def person(image: str, centre: tuple[float, float], scale: float, labelled: list[int]) -> dict[str, Any]:
        spread = [40 * scale * (step - 1.5) for step in range(4)]  # the joints are a grid of four by four
        grid = [[centre[0] + x, centre[1] + y] for y in spread for x in spread]
        joints = [spot if seen else [-1.0, -1.0] for spot, seen in zip(grid, labelled, strict=True)]
        return {"image": image, "center": centre, "scale": scale, "joints": joints, "joints_vis": labelled}

    people = [
        person("b.jpg", (61, 41), 0.4, [1] * 15 + [0]),
        person("a.jpg", (50, 40), 0.2, [1] * 16),
        person("b.jpg", (30, 60), 0.2, [1] * 16),
        person("b.jpg", (30, 60), 0.2, [0] * 16),
    ]
    (root / "annot" / "train.json").write_text(json.dumps(people), encoding="utf-8")
    (root / "annot" / "valid.json").write_text(json.dumps(people[1:2]), encoding="utf-8")
