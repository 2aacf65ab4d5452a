"""Reading people, serving them in batches, and drawing them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from hrnas.cards.trainer import Augmentation
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People, Picture, cut_boxes, join_people, read_coco_folder, read_people
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import apply_maps, cut_regions, open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.pose.heatmaps import decode
from hrnas.pose.keypoints import COCO_17, KeypointSet
from hrnas.reading import UserError

CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}


def annotation(id: int, image_id: int, **changes: Any) -> dict[str, Any]:
    points = np.stack([np.arange(17) + 10, np.arange(17) * 2 + 20, np.full(17, 2)], axis=1)
    row = {
        "id": id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [5, 10, 40, 50],
        "area": 900.0,
        "iscrowd": 0,
        "num_keypoints": 17,
        "keypoints": points.ravel().tolist(),
    }
    return row | changes


@pytest.fixture
def small_coco(tmp_path: Path) -> Path:
    """Three pictures in COCO's layout: two persons, one person, a crowd and somebody without keypoints."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    for number in (1, 2, 3):
        cv2.imwrite(str(root / "val2017" / f"{number}.jpg"), np.full((80, 60, 3), (10, 120, 240), np.uint8))
    nobody = {"keypoints": [0] * 51, "num_keypoints": 0}
    data = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 60, "height": 80} for n in (1, 2, 3)],
        "annotations": [
            annotation(11, 1),
            annotation(12, 1, bbox=[-5, 70, 100, 30]),
            annotation(13, 2),
            annotation(14, 3, iscrowd=1, **nobody),
            annotation(15, 2, **nobody),
            annotation(16, 3, area=0),
        ],
        "categories": [CATEGORY],
    }
    write(root, data)
    return root


def write(root: Path, data: object) -> Path:
    file = root / "annotations" / "person_keypoints_val2017.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def load(root: Path) -> dict[str, Any]:
    return json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())


# ---------------------------------------------------------------------------------------------------------------------
# keypoint sets


def test_the_coco_set_has_cocos_constants() -> None:
    assert len(COCO_17) == 17
    np.testing.assert_allclose(COCO_17.sigmas, COCOeval(iouType="keypoints").params.kpt_oks_sigmas)
    assert COCO_17.upper_body == tuple(range(11))
    assert [COCO_17.names[index] for index in COCO_17.flip_order[:3]] == ["nose", "right_eye", "left_eye"]
    assert COCO_17.skeleton[0] == (15, 13) and len(COCO_17.skeleton) == 19


def test_sides_and_sigmas_are_read_from_names() -> None:
    points = KeypointSet.from_names(["head_top", "L-knee", "R-knee", "wrist_l", "wrist_r", "left tail"])
    assert points.flip_pairs == ((1, 2), (3, 4))
    assert points.sigmas == (0.072, 0.087, 0.087, 0.062, 0.062, 0.072)
    assert points.upper_body == (0, 3, 4, 5)
    np.testing.assert_array_equal(points.flip_order[points.flip_order], np.arange(6))


def test_a_category_may_bring_its_own_sigmas() -> None:
    points = KeypointSet.from_category({"keypoints": ["nose", "tail"], "sigmas": [0.1, 0.2], "skeleton": [[1, 2]]})
    assert points.sigmas == (0.1, 0.2) and points.skeleton == ((0, 1),)


# ---------------------------------------------------------------------------------------------------------------------
# reading


def test_persons_are_read_as_hrnet_reads_them(small_coco: Path) -> None:
    people = read_coco_folder(small_coco, "val2017")
    assert people.ids.tolist() == [11, 12, 13]
    assert people.picture.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(people.boxes[0], [5, 10, 39, 49])
    np.testing.assert_array_equal(people.boxes[1], [0, 70, 59, 9])  # cut to the picture
    assert people.keypoint_set.names == COCO_17.names
    beside = people.bystanders
    assert beside.picture.tolist() == [2, 1] and beside.crowd.tolist() == [True, False]
    assert people.load_picture(0).shape == (80, 60, 3)
    np.testing.assert_allclose(people.load_picture(0)[5, 5], [240, 120, 10], atol=3)  # RGB


def test_boxes_outside_the_picture_have_no_size() -> None:
    cut = cut_boxes(np.array([[200.0, 5, 10, 10]]), np.array([[60, 80]]))
    assert (cut[:, 2:] < 0).any()


def test_any_keypoint_set_is_read(small_coco: Path) -> None:
    data = load(small_coco)
    data["categories"] = [{"id": 7, "name": "hand", "keypoints": ["thumb", "palm"]}]
    data["annotations"] = [annotation(1, 1, category_id=7, keypoints=[1, 2, 2, 0, 0, 0])]
    people = read_people(write(small_coco, data), small_coco / "val2017")
    assert people.keypoint_set.names == ("thumb", "palm")
    np.testing.assert_array_equal(people.keypoints, [[[1, 2, 2], [0, 0, 0]]])


def _drop_folder(root: Path) -> None:
    for file in sorted(root.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    root.rmdir()


def _empty_folder(root: Path) -> None:
    _drop_folder(root)
    root.mkdir()


def _no_annotations(root: Path) -> None:
    _drop_folder(root / "annotations")


def _no_pictures(root: Path) -> None:
    _drop_folder(root / "val2017")


def _empty_pictures(root: Path) -> None:
    _empty_folder(root / "val2017")


def _missing_picture(root: Path) -> None:
    (root / "val2017" / "2.jpg").unlink()


def _broken_picture(root: Path) -> None:
    (root / "val2017" / "2.jpg").write_bytes(b"this is no picture")


def _empty_picture(root: Path) -> None:
    (root / "val2017" / "2.jpg").write_bytes(b"")


def _other_size(root: Path) -> None:
    cv2.imwrite(str(root / "val2017" / "2.jpg"), np.zeros((60, 80, 3), np.uint8))


def _no_json(root: Path) -> None:
    write(root, "{")


def _other_json(root: Path) -> None:
    write(root, {"images": []})


def _a_list(root: Path) -> None:
    write(root, [1])


def _boxes_only(root: Path) -> None:
    write(root, load(root) | {"categories": [{"id": 1, "name": "person"}]})


def _nobody_labelled(root: Path) -> None:
    write(root, load(root) | {"annotations": [annotation(1, 1, keypoints=[0] * 51)]})


def _wrong_count(root: Path) -> None:
    write(root, load(root) | {"annotations": [annotation(21, 1, keypoints=[1, 2, 2])]})


def _unknown_picture(root: Path) -> None:
    write(root, load(root) | {"annotations": [annotation(1, 99)]})


def _category_is_a_word(root: Path) -> None:
    write(root, load(root) | {"categories": ["person"]})


def _flat_skeleton(root: Path) -> None:
    write(root, load(root) | {"categories": [CATEGORY | {"skeleton": [1, 2]}]})


def _no_box(root: Path) -> None:
    row = annotation(1, 1)
    del row["bbox"]
    write(root, load(root) | {"annotations": [row]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop_folder, r"coco: there is no such folder; expected .*person_keypoints_val2017.json"),
        (_empty_folder, r"coco: the folder is empty; expected .*val2017/\*.jpg"),
        (_no_annotations, r"coco: there is no folder annotations/"),
        (_no_pictures, r"val2017: there is no such folder"),
        (_empty_pictures, r"val2017: the folder is empty"),
        (_missing_picture, r"2.jpg: the picture is missing \(1 of 2 annotated pictures are\)"),
        (_broken_picture, r"2.jpg: not a picture that can be decoded"),
        (_empty_picture, r"2.jpg: not a picture that can be decoded"),
        (_other_size, r"2.jpg: the picture is 80x60 pixels, but its annotation says 60x80"),
        (_no_json, r"val2017.json: not JSON"),
        (_other_json, r"val2017.json: not annotations in COCO's format: no annotations, categories"),
        (_a_list, r"val2017.json: not annotations in COCO's format"),
        (_boxes_only, r"val2017.json: none of its categories \(person\) names keypoints"),
        (_nobody_labelled, r"val2017.json: no person in it has a labelled keypoint"),
        (_wrong_count, r"val2017.json: annotation 21 has 3 numbers for its keypoints; 51 are expected"),
        (_unknown_picture, r"val2017.json: not annotations in COCO's keypoint format: .*99"),
        (_category_is_a_word, r"val2017.json: not annotations in COCO's keypoint format"),
        (_flat_skeleton, r"val2017.json: not annotations in COCO's keypoint format"),
        (_no_box, r"val2017.json: .*the key 'bbox' is missing"),
    ],
)
def test_what_cannot_be_read_is_named(small_coco: Path, spoil: Any, message: str) -> None:
    spoil(small_coco)
    with pytest.raises(UserError, match=message):
        cut_regions(read_coco_folder(small_coco, "val2017"), (64, 64))


def test_the_orientation_flag_of_a_camera_is_ignored(small_coco: Path) -> None:
    path = small_coco / "val2017" / "1.jpg"
    raw = path.read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn it
    path.write_bytes(raw[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + raw[2:])
    assert cv2.imread(str(path)).shape == (60, 80, 3)  # the flag is there
    assert read_coco_folder(small_coco, "val2017").load_picture(0).shape == (80, 60, 3)


def test_parts_by_picture_share_no_picture_and_depend_only_on_the_seed() -> None:
    people = draw_people(60, 3)
    first, second = people.split_by_picture(0.3, 7)
    assert len(first) + len(second) == len(people)
    assert not set(first.picture) & set(second.picture)
    assert len(set(second.picture)) == round(0.3 * len(set(people.picture)))
    backwards = people.take(np.arange(len(people))[::-1])
    assert set(backwards.split_by_picture(0.3, 7)[1].ids) == set(second.ids)
    assert set(people.split_by_picture(0.3, 8)[1].ids) != set(second.ids)


def test_joined_people_keep_their_pictures(small_coco: Path) -> None:
    real, drawn = read_coco_folder(small_coco, "val2017"), draw_people(5, 0)
    both = join_people(real, drawn)
    assert len(both) == 8 and len(both.bystanders.picture) == 2 + len(drawn.bystanders.picture)
    np.testing.assert_array_equal(both.load_picture(both.picture[3]), drawn.load_picture(0))
    np.testing.assert_array_equal(both.keypoints[3:], drawn.keypoints)
    other = KeypointSet.from_names(["nose"])
    with pytest.raises(UserError, match="different keypoint sets"):
        join_people(real, replace(drawn, keypoint_set=other))


# ---------------------------------------------------------------------------------------------------------------------
# batches


@pytest.fixture(scope="module")
def drawn() -> People:
    return draw_people(150, 11)


SIZE = (128, 96)
CARD = Augmentation(photometric=0.2)


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_an_epoch_can_begin_at_any_step(drawn: People) -> None:
    batches = Batches(drawn, cut_regions(drawn, SIZE), Gaussian(SIZE, 2.0), 32, augmentation=CARD, seed=5)
    whole = list(batches.epoch(2))
    assert len(whole) == len(batches) == 4
    for step, later in enumerate(batches.epoch(2, first_step=2), start=2):
        assert same(later, whole[step])
    assert not same(next(iter(batches.epoch(3))), whole[0])


def test_threads_change_nothing_but_the_time(drawn: People) -> None:
    source = cut_regions(drawn, SIZE)
    alone = Batches(drawn, source, Gaussian(SIZE, 2.0), 16, augmentation=CARD)
    helped = Batches(drawn, source, Gaussian(SIZE, 2.0), 16, augmentation=CARD, threads=2)
    assert all(same(a, b) for a, b in zip(alone.epoch(1), helped.epoch(1), strict=True))


def test_evaluation_serves_everybody_once_and_in_order(drawn: People) -> None:
    batches = Batches(drawn, open_pictures(drawn), Gaussian(SIZE, 2.0), 64)
    served = np.concatenate([batch.persons for batch in batches.epoch()])
    np.testing.assert_array_equal(served, np.arange(150))
    assert [len(batch.images) for batch in batches.epoch()] == [64, 64, 22]
    assert len(batches) == 3


def test_training_leaves_out_the_incomplete_batch_but_serves_few_persons(drawn: People) -> None:
    few = drawn.take(np.arange(20))
    batches = Batches(few, open_pictures(few), Gaussian(SIZE, 2.0), 32, augmentation=CARD)
    assert [len(batch.images) for batch in batches.epoch()] == [20]
    assert len(np.unique(next(iter(batches.epoch())).persons)) == 20


def test_targets_decoded_and_moved_back_are_the_keypoints(drawn: People) -> None:
    """Through crop, encode, decode and the way back: within half a heatmap cell of the picture's keypoints."""
    for batch in Batches(drawn, open_pictures(drawn), Gaussian(SIZE, 2.0), 50).epoch():
        assert batch.images.shape == (50, 128, 96, 3) and batch.images.dtype == np.uint8
        coordinates, _ = decode(batch.targets)
        found = apply_maps(batch.to_picture, 4 * coordinates)
        truth = drawn.keypoints[batch.persons]
        cell = 4 * np.linalg.norm(batch.to_picture[:, :, 0], axis=1)  # picture pixels
        distance = np.abs(found - truth[:, :, :2]).max(axis=2) / cell[:, None]
        whole = (batch.weights > 0) & (batch.targets.max(axis=(2, 3)) == 1)
        whole &= (coordinates > 0).all(axis=2)  # HRNet rounds what lies just outside into the first cell
        assert whole.sum() > 0.9 * (truth[:, :, 2] > 0).sum()
        assert distance[whole].max() < 0.501


def test_targets_lie_where_the_picture_shows_the_keypoint() -> None:
    """White dots on black at the keypoints: after augmentation the targets' peaks are at the dots."""
    people = draw_people(1, 4)
    height, width = people.pictures[0].height, people.pictures[0].width
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, flag in people.keypoints[0]:
        if flag:
            cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1)
    picture = Picture(1, height, width, encoded=cv2.imencode(".png", image)[1].tobytes())
    many = replace(people, pictures=(picture,)).take([0] * 24)
    card = Augmentation(rotation=40, rotation_probability=1)
    for batch in Batches(many, cut_regions(many, SIZE), Gaussian(SIZE, 2.0), 24, augmentation=card).epoch():
        coordinates, _ = decode(batch.targets)
        whole = (batch.targets.max(axis=(2, 3)) == 1) & ((coordinates > 1) & (coordinates < (22, 30))).all(axis=2)
        assert whole.sum() > 150
        for sample, point in np.argwhere(whole):
            column, row = (int(place) for place in coordinates[sample, point] * 4)
            assert batch.images[sample, row - 3 : row + 4, column - 3 : column + 4].max() > 100


@pytest.mark.data
def test_real_pictures_decode_to_their_annotated_size(coco_root: Path) -> None:
    people = read_coco_folder(coco_root, "train2017")
    regions = cut_regions(people, SIZE)
    assert len(regions.pixels) == len(people) and regions.nbytes < 200 * 2**20
    targets = np.concatenate([batch.targets for batch in Batches(people, regions, Gaussian(SIZE, 2.0), 64).epoch()])
    assert targets.max() == 1


# ---------------------------------------------------------------------------------------------------------------------
# drawn people


def test_the_same_seed_draws_the_same_people(drawn: People) -> None:
    again, other = draw_people(20, 11), draw_people(20, 12)
    np.testing.assert_array_equal(again.keypoints, drawn.keypoints[:20])
    np.testing.assert_array_equal(again.load_picture(3), drawn.load_picture(3))
    assert not np.array_equal(again.keypoints, other.keypoints)
    assert len(again) == 20


def test_drawn_labels_are_like_cocos(drawn: People) -> None:
    many = draw_people(600, 1)
    flags = many.keypoints[:, :, 2]
    labelled = flags > 0
    occluded = (flags == 1).sum() / labelled.sum()
    assert 0.10 < occluded < 0.30  # COCO: 0.11, and as many again not labelled because they are hidden
    assert 0.75 < labelled.mean() < 0.95
    persons = np.bincount(many.picture)
    several = (persons[persons > 0] > 1).mean()
    assert 0.35 < several < 0.60  # COCO: 0.52
    left, right = many.keypoints[:, 5], many.keypoints[:, 6]
    both = (left[:, 2] > 0) & (right[:, 2] > 0)
    assert 0.70 < (left[both, 0] > right[both, 0]).mean() < 0.90  # most look at us, but not all (COCO: 0.81)
    sizes = np.sqrt(many.areas)
    assert np.quantile(sizes, 0.9) > 3 * np.quantile(sizes, 0.1)  # near ones and far ones


def test_drawn_keypoints_lie_in_the_picture_and_mostly_in_the_box(drawn: People) -> None:
    labelled = drawn.keypoints[:, :, 2] > 0
    sizes = np.array([(picture.width, picture.height) for picture in drawn.pictures])[drawn.picture]
    places = drawn.keypoints[:, :, :2]
    assert (places[~labelled] == 0).all()
    assert ((places >= -0.5) & (places <= sizes[:, None] - 0.5)).all(axis=2)[labelled].all()
    low, high = drawn.boxes[:, None, :2] - 1, drawn.boxes[:, None, :2] + drawn.boxes[:, None, 2:] + 1
    inside = ((places >= low) & (places <= high)).all(axis=2)
    visible = drawn.keypoints[:, :, 2] == 2
    assert inside[visible].all()
    assert (drawn.areas <= (drawn.boxes[:, 2] + 1) * (drawn.boxes[:, 3] + 1)).all()
    ratio = drawn.areas / ((drawn.boxes[:, 2] + 1) * (drawn.boxes[:, 3] + 1))
    assert 0.3 < np.median(ratio) < 0.6  # COCO: 0.52


def test_visible_means_seen_and_hidden_means_covered() -> None:
    """Paint one person on a blank canvas, cover one half: flags say exactly what is covered."""
    from hrnas.pose.canvas import Canvas
    from hrnas.pose.drawn import _label, _load_prior
    from hrnas.pose.figures import paint_person

    prior = _load_prior()
    front = np.flatnonzero((prior.flags == 2).all(axis=1))[0]
    points = prior.poses[front] * 90 + 120
    canvas = Canvas(np.zeros((240, 240, 3), np.uint8))
    paint_person(canvas, 1, points, prior.flags[front], np.random.default_rng(0))
    whole = _label(canvas, points[None], prior.flags[front][None], b"")
    assert (whole.keypoints[0, :, 2] > 0).all() and (whole.keypoints[0, :, 2] == 2).sum() >= 13
    middle = float(np.median(points[:, 1]))
    canvas.polygon(np.array([(-5, middle), (300, middle), (300, 300), (-5, 300)]), np.full(3, 90.0))
    covered = _label(canvas, points[None], prior.flags[front][None], b"")
    below = points[:, 1] > middle + 1
    assert (covered.keypoints[0, below, 2] == 1).all()
    above = points[:, 1] < middle - 1
    np.testing.assert_array_equal(covered.keypoints[0, above], whole.keypoints[0, above])
    assert covered.areas[0] < whole.areas[0]
    assert covered.boxes[0, 1] + covered.boxes[0, 3] <= middle


def test_the_prior_is_small_and_names_its_source() -> None:
    import hrnas.pose.drawn as module

    path = Path(module.__file__).with_name("pose_prior.npz")
    assert path.stat().st_size < 300_000
    with np.load(path, allow_pickle=False) as prior:
        assert "CC BY 4.0" in str(prior["source"])
        assert prior["poses"].shape == (4500, 17, 2) and np.abs(prior["poses"]).max() <= 127
        assert prior["group_sizes"].sum() == pytest.approx(1)
    assert "CC BY 4.0" in (module.__doc__ or "") and "Creative Commons" in path.with_suffix(".md").read_text()
