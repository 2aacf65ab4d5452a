"""MPII's people: read as HRNet reads them, mirrored as HRNet mirrors them, scored by PCKh."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from workshop import write_mpii

from hrnas.cards.trainer import MpiiData
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import frame_boxes, open_pictures
from hrnas.pose.keypoints import MPII_16
from hrnas.pose.mpii import evaluate_mpii, head_sizes, read_jpeg_size, read_mpii_folder
from hrnas.reading import UserError
from hrnas.training.sources import load_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two persons in one picture and one in another; a fourth has no label."""
    write_mpii(tmp_path)
    return tmp_path


@pytest.fixture
def people(folder: Path) -> People:
    return read_mpii_folder(folder, "train")


# ---------------------------------------------------------------------------------------------------------------------
# the keypoints


def test_the_set_is_hrnets() -> None:
    pairs = {frozenset(pair) for pair in ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))}
    assert {frozenset(pair) for pair in MPII_16.flip_pairs} == pairs, "as HRNet's reader lists them"
    assert MPII_16.upper_body == tuple(range(7, 16))
    ends = [end for bone in MPII_16.skeleton for end in bone]
    assert set(ends) == set(range(16)) and len(MPII_16.skeleton) == 15, "a tree over all points"


def test_a_mirrored_person_is_a_person_whose_sides_changed(people: People) -> None:
    order = MPII_16.flip_order
    assert (order[order] == np.arange(16)).all()
    turned = {"left": "right", "right": "left"}
    for name, other in zip(MPII_16.names, order, strict=True):
        side, _, part = name.partition("_")
        assert MPII_16.names[other] == (f"{turned[side]}_{part}" if side in turned else name)


# ---------------------------------------------------------------------------------------------------------------------
# reading


def test_persons_are_read_as_hrnet_reads_them(people: People) -> None:
    assert len(people) == 3 and [people.pictures[i].id for i in people.picture] == [1, 0, 1]
    assert [(one.height, one.width) for one in people.pictures] == [(90, 160), (120, 100)]
    # centre (61, 41), scale 0.4: down by 15 * 0.4, both counted from 0; the crop is 1.25 * 200 * 0.4 wide and high
    centres, widths = frame_boxes(people.boxes, (256, 256))
    np.testing.assert_allclose(centres[0], (60, 46))
    np.testing.assert_allclose(widths[0], 100)
    np.testing.assert_allclose(people.boxes[0], (20, 6, 80, 80))
    np.testing.assert_array_equal(people.keypoints[0, 3], (84, 16, 2))
    np.testing.assert_array_equal(people.keypoints[0, 15], (0, 0, 0), "not labelled")


def test_a_crop_of_another_shape_keeps_the_width(people: People) -> None:
    """HRNet's warp reads only the width of the scale."""
    np.testing.assert_allclose(frame_boxes(people.boxes, (256, 192))[1], frame_boxes(people.boxes, (256, 256))[1])


def test_the_parts_are_hrnets(folder: Path) -> None:
    parts = load_sources(MpiiData(kind="mpii", root=str(folder)))
    assert (len(parts.train), len(parts.holdout), len(parts.val)) == (3, 0, 1)


def test_sizes_come_from_the_header(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (77, 131, 3), dtype=np.uint8)
    for progressive in (0, 1):
        path = tmp_path / f"{progressive}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
        assert read_jpeg_size(path) == (77, 131)
    tables = b"".join(bytes((0xFF, marker, 0, 6, 1, 2, 3, 4)) for marker in (0xE1, 0xDB, 0xC4, 0xC8, 0xCC))
    path.write_bytes(b"\xff\xd8" + tables + b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 30, 40))
    assert read_jpeg_size(path) == (30, 40), "tables may come before the frame"


def spoil_list(folder: Path, **changes: Any) -> None:
    file = folder / "annot" / "train.json"
    rows = json.loads(file.read_text())
    rows[0] |= changes
    file.write_text(json.dumps([{key: value for key, value in row.items() if value is not None} for row in rows]))


SPOILERS = {
    "no list": (lambda root: (root / "annot/train.json").unlink(), r"train\.json: .* expected annot/train\.json and"),
    "no JSON": (lambda root: (root / "annot/train.json").write_text("{"), r"train\.json: not MPII's annotations"),
    "COCO": (lambda root: (root / "annot/train.json").write_text('{"images": []}'), "not MPII's annotations"),
    "no joints": (lambda root: spoil_list(root, joints=None), "the key 'joints' is missing"),
    "too few joints": (lambda root: spoil_list(root, joints=[[1, 2]]), r"b\.jpg has 1 joints; 16 are expected"),
    "half a centre": (lambda root: spoil_list(root, center=[1]), "not MPII's annotations"),
    "nobody": (lambda root: (root / "annot/train.json").write_text("[]"), "nobody in it has a labelled keypoint"),
    "no picture": (lambda root: (root / "images/a.jpg").unlink(), r"a\.jpg: the picture cannot be read"),
    "broken picture": (lambda root: (root / "images/a.jpg").write_bytes(b"\xff\xd8\xff"), r"a\.jpg: not a JPEG"),
    "endless picture": (lambda root: (root / "images/a.jpg").write_bytes(b"\xff\xd8" + bytes(99)), r"not a JPEG"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILERS.values(), ids=SPOILERS.keys())
def test_what_cannot_be_read_is_named(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message):
        read_mpii_folder(folder, "train")


# ---------------------------------------------------------------------------------------------------------------------
# scoring


def test_half_a_head_is_near_enough(people: People) -> None:
    """Persons of scale 0.4, 0.2 and 0.2: heads of 10, 5 and 5 pixels."""
    np.testing.assert_allclose(head_sizes(people), (10, 5, 5))
    found = people.keypoints.copy()
    assert evaluate_mpii(people, found)["pckh"] == 1.0
    found[:, :, 0] += 2.49
    assert evaluate_mpii(people, found)["pckh"] == 1.0
    found[:, :, 0] += 0.02  # too far for the two small persons
    labelled = [13, 14, 14]  # without pelvis and thorax; the first has no left wrist
    scores = evaluate_mpii(people, found)
    assert scores["pckh"] == pytest.approx(labelled[0] / sum(labelled))
    assert scores["pckh_low"] <= scores["pckh"] <= scores["pckh_high"]
    assert (scores["persons"], scores["pictures"]) == (3, 2)


def test_pelvis_and_thorax_do_not_count(people: People) -> None:
    found = people.keypoints.copy()
    found[:, 6:8] += 1000
    assert evaluate_mpii(people, found)["pckh"] == 1.0
    found[0, 9] += 1000
    assert evaluate_mpii(people, found)["pckh"] == pytest.approx(40 / 41)


# ---------------------------------------------------------------------------------------------------------------------
# real pictures


@pytest.mark.data
def test_head_sizes_are_those_of_the_official_head_boxes(mpii_root: Path) -> None:
    """Against 0.6 of the diagonals in the official ground truth of the validation persons (HRNet's gt_valid.mat)."""
    diagonals = {
        "005808361.jpg": 196.603677,
        "052475643.jpg": 73.409814,
        "051423444.jpg": 130.801370,
        "004645041.jpg": 135.369854,
        "060754485.jpg": 140.616501,
    }
    people = read_mpii_folder(mpii_root, "valid")
    names = np.array([Path(people.pictures[index].path or "").name for index in people.picture])
    for name, diagonal in diagonals.items():
        assert np.isclose(head_sizes(people)[names == name], 0.6 * diagonal, rtol=1e-6).any()


@pytest.mark.data
def test_real_persons_lie_in_their_pictures_and_crops(mpii_root: Path) -> None:
    people = read_mpii_folder(mpii_root, "valid").take(np.arange(5))
    for batch in Batches(people, open_pictures(people), Gaussian((256, 256), 2.0), 8).epoch():
        assert batch.images.shape == (5, 256, 256, 3) and batch.targets.shape == (5, 16, 64, 64)
        assert (batch.images.reshape(5, -1).std(axis=1) > 20).all()
        np.testing.assert_array_equal(batch.weights, people.keypoints[:, :, 2] > 0, "no keypoint is cut off")
