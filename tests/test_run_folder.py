"""What a training leaves besides scores: curves that TensorBoard reads, and pictures of what the network saw."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import toy_ranks
from torch import Tensor, nn

from hrnas.cards.trainer import Recipe
from hrnas.pose.drawn import draw_people
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.skeletons import LEFT, MIDDLE, RIGHT, draw_skeleton
from hrnas.training.events import EventWriter, encode_scalars, encode_version
from hrnas.training.folder import RunFolder
from hrnas.training.full import train_architecture
from hrnas.training.samples import HEIGHT, draw_samples, pick_samples

RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "data": {"kind": "drawn", "train": 16, "holdout": 8, "val": 10, "seed": 0},
        "input": "64x64",
        "epochs": 3,
        "batch_size": 8,
        "optimiser": {"rate": 1e-3},
        "schedule": {"kind": "step", "milestones": [2]},
        "flip_test": False,
        "evaluate_every": 2,
        "cache": True,
    }
)


# ---------------------------------------------------------------------------------------------------------------------
# curves


def test_records_are_byte_for_byte_those_of_tensorboards_own_writer() -> None:
    """Written with TensorBoard 2.21's RecordWriter and event_pb2: the version, and two scalars at step 300."""
    version = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9"
    scalars = (
        "300000000000000095f5d05f0900006040fc54d94110ac022a220a110a0a747261696e2f6c6f737315cdcccc3d"
        "0a0d0a0676616c2f6170150000403fc96340de"
    )
    assert encode_version(1700000000.25).hex() == version
    assert encode_scalars(1700000001.5, 300, {"train/loss": 0.1, "val/ap": 0.75}).hex() == scalars


def read_scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of each point, by a reader of single-byte lengths and steps; checksums are not looked at."""
    raw, at = path.read_bytes(), 0
    while at < len(raw):
        (length,) = struct.unpack_from("<Q", raw, at)
        content, at = raw[at + 12 : at + 12 + length], at + 16 + length
        if content[9] != 0x10:
            continue  # the version
        step, summary = content[10], content[13:]
        while summary:
            size, value = summary[1], summary[2 : 2 + summary[1]]
            name, number = value[2 : 2 + value[1]], value[3 + value[1] :]
            yield step, name.decode(), struct.unpack("<f", number)[0]
            summary = summary[2 + size :]


def test_a_file_of_events_holds_what_was_written(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "tensorboard")
    assert not list(tmp_path.iterdir()), "nothing is written before there is something to say"
    writer.write(1, {"a": 0.5, "b": 2.0})
    writer.write(2, {"a": 0.25})
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert "tfevents" in file.name, "by which TensorBoard knows it"
    assert list(read_scalars(file)) == [(1, "a", 0.5), (1, "b", 2.0), (2, "a", 0.25)]


def test_a_training_leaves_its_curves_and_a_picture_for_each_evaluation(tmp_path: Path) -> None:
    result = train_architecture(toy_ranks.ARCHITECTURE, RECIPE, tmp_path)
    assert result is not None
    (file,) = (tmp_path / "tensorboard").iterdir()
    points = {(name, step): value for step, name, value in read_scalars(file)}
    rates = {step: value for (name, step), value in points.items() if name == "train/rate"}
    assert rates == pytest.approx({1: 1e-3, 2: 1e-3, 3: 1e-4})
    assert {step for name, step in points if name == "train/loss"} == {1, 2, 3}
    assert {step for name, step in points if name == "val/oks"} == {2, 3}
    assert points["val/oks", 3] == pytest.approx(result["oks"])
    assert all(0 <= points["train/waiting", step] <= 1 for step in (1, 2, 3))
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["0002.jpg", "0003.jpg"]


def test_nothing_is_written_in_a_folder_before_a_training_begins(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", toy_ranks.ARCHITECTURE, RECIPE, COCO_17, 0)
    assert not (tmp_path / "out").exists()
    folder.begin(0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "architecture.yaml",
        "keypoints.yaml",
        "recipe.yaml",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# pictures


def test_a_skeleton_is_drawn_where_the_points_are_and_left_is_not_right() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    points = np.zeros((17, 3))
    names = COCO_17.names
    seen = {"left_wrist": (150, 50), "left_elbow": (150, 100), "right_wrist": (50, 50), "nose": (100, 20)}
    for name, place in seen.items():
        points[names.index(name)] = (*place, 0.9)
    points[names.index("right_elbow")] = (50, 100, 0.1)
    draw_skeleton(image, points, COCO_17, above=0.2)
    colours = {name: tuple(image[y, x].tolist()) for name, (x, y) in seen.items()}
    assert colours == {"left_wrist": LEFT, "left_elbow": LEFT, "right_wrist": RIGHT, "nose": MIDDLE}
    assert np.abs(image[75, 150].astype(int) - LEFT).max() < 30, "a limb joins its ends"
    assert not image[75, 50].any() and not image[100, 50].any(), "an unsure point is left out, and its limb with it"
    outside = np.tile([-1e9, 1e9, 1.0], (17, 1))
    draw_skeleton(image, outside, COCO_17)  # far outside is no mistake


class Centre(nn.Module):
    """A network that sees every keypoint in the middle of its input, in the cell right of and below the centre."""

    def forward(self, images: Tensor) -> Tensor:
        heatmaps = torch.zeros(len(images), 17, images.shape[2] // 4, images.shape[3] // 4)
        heatmaps[:, :, images.shape[2] // 8, images.shape[3] // 8] = 1.0
        return heatmaps


@pytest.mark.parametrize(("persons", "rows"), [(8, 2), (5, 2), (3, 1)])
def test_samples_show_what_the_network_saw_in_each_crop(persons: int, rows: int) -> None:
    people, recipe = draw_people(persons, 3), RECIPE.with_changes(input=(64, 32))
    sheet = cv2.imdecode(np.frombuffer(draw_samples(Centre(), people, recipe, torch.device("cpu")), np.uint8), 1)
    height, width = HEIGHT, HEIGHT // 2
    assert sheet.shape == (rows * height, 4 * width, 3)
    for number in range(4 * rows):
        row, column = divmod(number, 4)
        tile = sheet[row * height :, column * width :][:height, :width]
        middle = tile[height // 2, width // 2, ::-1].astype(int)
        wanted = RIGHT if number < persons else (0, 0, 0)  # the ankle is drawn last
        assert np.abs(middle - wanted).max() < 30


def test_the_samples_are_the_persons_with_the_most_labels_each_in_another_picture() -> None:
    people = draw_people(30, 3)
    most: dict[int, int] = {}
    for picture, points in zip(people.picture.tolist(), people.keypoints, strict=True):
        most[picture] = max(most.get(picture, 0), int((points[:, 2] > 0).sum()))
    chosen = pick_samples(people)
    assert len(set(chosen.picture.tolist())) == len(chosen) == 8 < len(most) < 30
    assert sorted((chosen.keypoints[:, :, 2] > 0).sum(axis=1)) == sorted(most.values())[-8:]
    assert len(pick_samples(people.take([0]))) == 1
