"""Parting people, serving them in batches, and drawing them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hrnas.cards.trainer import Augmentation
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People, Picture, join_people, read_coco_folder
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import apply_maps, cut_regions, open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.pose.heatmaps import decode
from hrnas.pose.keypoints import KeypointSet
from hrnas.reading import UserError

# ---------------------------------------------------------------------------------------------------------------------
# parts


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
    other = KeypointSet(("nose",), (), (0.026,))
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
    assert len(regions.starts) == len(people) + 1 and regions.pixels.nbytes < 200 * 2**20
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
