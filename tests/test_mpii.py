"""MPII's people: read as HRNet reads them, mirrored as HRNet mirrors them, scored by PCKh."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mat_files import mat_truth, write_mat
from workshop import write_mpii

from hrnas.cards.trainer import MpiiData
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import frame_boxes, open_pictures
from hrnas.pose.keypoints import MPII_16
from hrnas.pose.matlab import read_mat
from hrnas.pose.mpii import evaluate_mat, evaluate_mpii, head_sizes, pckh, read_jpeg_size, read_mpii_folder
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
    "no JSON": (lambda root: (root / "annot/train.json").write_text("{"), r"train\.json: not JSON"),
    "COCO": (lambda root: (root / "annot/train.json").write_text('{"images": []}'), "not MPII's annotations"),
    "no joints": (lambda root: spoil_list(root, joints=None), "the key 'joints' is missing"),
    "nobody": (lambda root: (root / "annot/train.json").write_text("[]"), "nobody in it has a labelled keypoint"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILERS.values(), ids=SPOILERS.keys())
def test_what_cannot_be_read_is_named(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message):
        read_mpii_folder(folder, "train")


FAULTS = {
    "too few joints": (lambda root: spoil_list(root, joints=[[1, 2]]), "person 0", r"shape \(1, 2\); \(16, 2\) is"),
    "half a centre": (lambda root: spoil_list(root, center=[1]), "person 0", r"its center have the shape"),
    "a joint that is no number": (lambda root: spoil_list(root, joints=[["x", 2]] * 16), "person 0", "not all numbers"),
    "no scale": (lambda root: spoil_list(root, scale=0), "person 0", "its scale is 0; a number above 0 is expected"),
    "no picture": (lambda root: (root / "images/a.jpg").unlink(), "a.jpg", "the picture cannot be read"),
    "broken picture": (lambda root: (root / "images/a.jpg").write_bytes(b"\xff\xd8\xff"), "a.jpg", "not a JPEG"),
    "endless picture": (lambda root: (root / "images/a.jpg").write_bytes(b"\xff\xd8" + bytes(9)), "a.jpg", "no.* JPEG"),
}


@pytest.mark.parametrize(("spoil", "where", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_broken_is_left_out_and_named(folder: Path, spoil: Any, where: str, what: str) -> None:
    spoil(folder)
    left = read_mpii_folder(folder, "train")
    assert len(left) == 2 and set(left.ids) < {0, 1, 2}
    assert len(left.faults) == 1 and left.faults[0].persons == 1
    assert left.faults[0].where.endswith(where) and re.search(what, left.faults[0].what)


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


def test_hrnets_011_is_a_threshold_of_its_own() -> None:
    distances = np.full((10, 16), 0.3)
    distances[:3], distances[3:4], distances[4:6] = 0.1, 0.105, 0.11
    scores = pckh(distances, np.ones((10, 16), bool))
    assert [scores[name] for name in ("pckh", "pckh_0.1", "pckh_0.11")] == [1, 0.3, 0.6]


def test_every_keypoint_is_told_pelvis_and_thorax_too(people: People) -> None:
    found = people.keypoints.copy()
    found[0, 6] += 1000
    found[:, 15] += 1000
    parts = evaluate_mpii(people, found)["pckh_by_keypoint"]
    expected = dict.fromkeys(MPII_16.names, 1.0) | {"pelvis": 2 / 3, "left_wrist": 0.0}
    assert parts == pytest.approx(expected)
    nobody = np.zeros((2, 16), bool)
    nobody[:, 3] = True
    assert list(pckh(np.zeros((2, 16)), nobody)["pckh_by_keypoint"]) == ["left_hip"]


# ---------------------------------------------------------------------------------------------------------------------
# .mat files


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_from_matlabs_files(tmp_path: Path, compressed: bool, order: str) -> None:
    dice = np.random.default_rng(0)
    arrays = {
        "preds": dice.normal(size=(5, 16, 2)).astype(np.float32),
        "x": np.array([[3]], np.uint8),
        "whole_numbers_of_doubles": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "empty": np.zeros((0, 2)),
    }
    read = read_mat(write_mat(tmp_path / "some.mat", arrays, compressed, order))
    assert list(read) == list(arrays), "the cell is left out"
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


def test_predictions_are_measured_by_the_heads_box(tmp_path: Path) -> None:
    truth = mat_truth()
    preds = np.moveaxis(truth["pos_gt_src"], 2, 0).copy()
    preds[0, :, 0] += 14.99
    preds[1, :, 0] += 15.01
    preds[2, :, 0] += 3.1
    preds[:, 0] += 1000  # not labelled
    files = write_mat(tmp_path / "preds.mat", {"preds": preds}), write_mat(tmp_path / "gt.mat", truth, compressed=True)
    scores = evaluate_mat(*files)
    assert (scores["pckh"], scores["pckh_0.1"], scores["pckh_0.11"]) == (0.75, 0.25, 0.5)
    assert scores["persons"] == 4 and list(scores["pckh_by_keypoint"]) == list(MPII_16.names[1:])


BAD_MATS: dict[str, tuple[Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], Any], str]] = {
    "no truth": (lambda truth, found: truth.pop("headboxes_src"), "gt.mat: not MPII's ground truth: no headboxes_src"),
    "other names": (
        lambda truth, found: found.update(joints=found.pop("preds")),
        "preds.mat: no array 'preds' in it; there are: joints",
    ),
    "other persons": (
        lambda truth, found: found.update(preds=found["preds"][:3]),
        "preds is 3 x 16 x 2; 4 x 16 x 2 is expected, the persons of .*gt.mat in order",
    ),
    "nowhere": (
        lambda truth, found: found["preds"].__setitem__((2, 3), np.nan),
        "preds of person 3 is not finite",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_MATS.values(), ids=BAD_MATS.keys())
def test_what_mpiis_files_lack_is_named(tmp_path: Path, spoil: Callable[..., Any], message: str) -> None:
    truth = mat_truth()
    found = {"preds": np.moveaxis(truth["pos_gt_src"], 2, 0).copy()}
    spoil(truth, found)
    files = write_mat(tmp_path / "preds.mat", found), write_mat(tmp_path / "gt.mat", truth)
    with pytest.raises(UserError, match=message):
        evaluate_mat(*files)


def test_a_broken_mat_is_named_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_mat(tmp_path / "whole.mat", mat_truth(), compressed=True).read_bytes()
    broken = tmp_path / "broken.mat"
    for raw, message in ((whole[:100], "not a .mat file"), (b"\x89HDF" + whole[4:126] + b"xx", "save it with -v7")):
        broken.write_bytes(raw)
        with pytest.raises(UserError, match=message):
            read_mat(broken)
    for length in (130, 140, 200, len(whole) - 9):
        broken.write_bytes(whole[:length])
        with pytest.raises(UserError, match="broken or ends too early"):
            read_mat(broken)
    with pytest.raises(UserError, match="No such file"):
        read_mat(tmp_path / "none.mat")


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


@pytest.mark.data
def test_the_published_predictions_have_the_published_pckh(data_root: Path) -> None:
    """8-stack hourglass's predictions that are handed on with the ground truth: 85.08."""
    refs = data_root / "mpii" / "refs"
    if not refs.is_dir():
        pytest.skip(f"no predictions in {refs}")
    scores = evaluate_mat(refs / "bearpaw-hg_s1_b1.mat", refs / "gt_valid_detections_our_format.mat")
    assert f"{100 * scores['pckh']:.2f}" == "85.08"
    assert scores["persons"] == 2958
