"""Crops, augmentation and heatmaps: HRNet's geometry, checked against closed forms, OpenCV and properties."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnas.cards.trainer import Augmentation
from hrnas.pose.augment import draw_transforms, plain_transforms
from hrnas.pose.batches import Batches, move_keypoints
from hrnas.pose.coco import Bystanders, People, Picture
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import (
    Pixels,
    affine_maps,
    apply_maps,
    crop_batch,
    cut_regions,
    frame_boxes,
    invert_maps,
    open_pictures,
)
from hrnas.pose.drawn import draw_people
from hrnas.pose.heatmaps import STRIDE, decode, encode, flip_back
from hrnas.pose.keypoints import COCO_17

SIZE = (128, 96)
sides = st.floats(5, 500)
places = st.floats(-50, 600)


def encoded(image: np.ndarray) -> bytes:
    """PNG, so that pixels come back as they went."""
    return cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes()


def one_person(image: np.ndarray, box: tuple[float, float, float, float], keypoints: np.ndarray) -> People:
    return People(
        pictures=(Picture(1, *image.shape[:2], encoded=encoded(image)),),
        picture=np.zeros(1, np.int64),
        boxes=np.array([box], float),
        keypoints=keypoints[None],
        areas=np.array([1000.0]),
        ids=np.array([1]),
        keypoint_set=COCO_17,
        bystanders=Bystanders.none(),
    )


def smooth_image(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / a + y / b) for a, b in ((17, 23), (31, 13), (12, 29))]
    return np.stack(waves, axis=2).astype(np.uint8)


def standing(left: float, top: float, height: float) -> np.ndarray:
    """17 labelled keypoints of somebody upright; (17, 3)."""
    rows = np.array([0, 0, 0, 0.02, 0.02, 0.15, 0.15, 0.33, 0.33, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1])
    columns = np.where(np.arange(17) % 2 == 1, 0.3, 0.1)
    return np.stack([left + columns * height, top + rows * height, np.full(17, 2.0)], axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# affine maps


@settings(deadline=None)
@given(places, places, sides, st.floats(-180, 180))
def test_a_map_is_the_one_that_opencv_finds_through_hrnets_three_points(x: float, y: float, w: float, r: float) -> None:
    turn = math.radians(r)
    middle = np.array([SIZE[1] / 2, SIZE[0] / 2])
    source_up = np.array([math.sin(turn), -math.cos(turn)]) * w / 2
    target_up = np.array([0, -SIZE[1] / 2])
    beside = lambda up: np.array([-up[1], up[0]])  # noqa: E731
    source = np.array([(0, 0), source_up, source_up - beside(source_up)])
    target = np.array([(0, 0), target_up, target_up - beside(target_up)]) + middle
    expected = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32))
    ours = affine_maps(np.zeros((1, 2)), np.array([w]), SIZE, r)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    moved = affine_maps(np.array([[x, y]]), np.array([w]), SIZE, r)
    np.testing.assert_allclose(apply_maps(moved, np.array([[[x, y]]]))[0, 0], middle, atol=1e-6)


@settings(deadline=None)
@given(places, places, sides, st.floats(-180, 180), st.booleans())
def test_a_map_and_its_inverse_undo_each_other(x: float, y: float, w: float, r: float, flipped: bool) -> None:
    maps = affine_maps(np.array([[x, y]]), np.array([w]), SIZE, r, np.array([flipped]))
    points = np.array([[[0.0, 0.0], [95.0, 127.0], [-20.0, 300.0]]])
    np.testing.assert_allclose(apply_maps(maps, apply_maps(invert_maps(maps), points)), points, atol=1e-6)


def test_a_frame_is_a_quarter_larger_than_the_box_and_has_the_inputs_aspect() -> None:
    boxes = np.array([[10, 20, 30, 200], [10, 20, 300, 40]], float)
    centres, widths = frame_boxes(boxes, (256, 192))
    np.testing.assert_allclose(centres, [[25, 120], [160, 40]])
    np.testing.assert_allclose(widths, [200 * 0.75 * 1.25, 300 * 1.25])


def test_a_flipped_map_is_the_map_of_the_mirrored_picture() -> None:
    image, width = smooth_image(150, 200), 200
    centre, frame, degrees = np.array([[80.0, 70.0]]), np.array([90.0]), 20.0
    mirrored_centre = np.array([[width - 1 - 80.0, 70.0]])
    expected = cv2.warpAffine(
        np.ascontiguousarray(image[:, ::-1]), affine_maps(mirrored_centre, frame, SIZE, degrees)[0], SIZE[::-1]
    )
    ours = cv2.warpAffine(image, affine_maps(centre, frame, SIZE, degrees, np.array([True]))[0], SIZE[::-1])
    assert np.abs(expected.astype(int) - ours.astype(int)).max() <= 2  # OpenCV rounds places to 1/32 of a pixel


# ---------------------------------------------------------------------------------------------------------------------
# crops


def test_a_crop_from_the_cache_shows_what_a_crop_from_the_picture_shows() -> None:
    people = one_person(smooth_image(300, 400), (120, 60, 80, 160), standing(120, 60, 160))
    persons = np.zeros(64, np.int64)
    card = Augmentation(flip=0.5, scale=0.2, rotation=40, rotation_probability=1, half_body=0.5)
    maps = draw_transforms(people, persons, SIZE, card, 0, 0).maps
    direct = crop_batch(open_pictures(people), persons, maps, SIZE)
    native = crop_batch(cut_regions(people, SIZE, max_scale=9), persons, maps, SIZE)
    reduced = crop_batch(cut_regions(people, SIZE, max_scale=1), persons, maps, SIZE)
    assert np.abs(direct.astype(int) - native).max() <= 2
    assert np.abs(direct.astype(int) - reduced).mean() < 1.5
    half = cut_regions(people, SIZE, max_scale=1).of(0)
    assert half.scale[0] == pytest.approx(96 / (160 * 0.75 * 1.25), rel=0.02)


def test_a_crop_is_opencvs_own_warp_of_three_channels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    people = one_person(image, (120, 60, 80, 160), standing(120, 60, 160))
    persons, card = np.zeros(32, np.int64), Augmentation(flip=0.5, scale=0.4, rotation=60, rotation_probability=1)
    maps = draw_transforms(people, persons, SIZE, card, 0, 0).maps
    crops = crop_batch(open_pictures(people), persons, maps, SIZE)
    for crop, matrix in zip(crops, maps, strict=True):
        np.testing.assert_array_equal(crop, cv2.warpAffine(image, matrix, SIZE[::-1], flags=cv2.INTER_LINEAR))


def test_what_lies_outside_the_picture_is_black() -> None:
    people = one_person(np.full((60, 60, 3), 200, np.uint8), (0, 0, 20, 59), standing(0, 0, 59))
    crop = crop_batch(
        cut_regions(people, SIZE), np.array([0]), plain_transforms(people, np.array([0]), SIZE).maps, SIZE
    )
    assert (crop[0, :, :10] == 0).all() and (crop[0, 40:60, 50:80] == 200).all()


def test_pixels_know_where_they_lie() -> None:
    image = smooth_image(100, 100)
    part = Pixels(np.ascontiguousarray(image[10:, 20:]), offset=(-20.0, -10.0))

    class Source:
        def of(self, person: int) -> Pixels:
            return part if person else Pixels(image)

    maps = np.repeat(np.array([[[1.0, 0, -30], [0, 1, -25]]]), 2, axis=0)
    crops = crop_batch(Source(), np.array([0, 1]), maps, (64, 64))
    np.testing.assert_array_equal(crops[0], crops[1])
    np.testing.assert_array_equal(crops[0], image[25:89, 30:94])


# ---------------------------------------------------------------------------------------------------------------------
# augmentation


def test_a_sample_depends_only_on_seed_epoch_and_person() -> None:
    people = one_person(smooth_image(50, 50), (10, 10, 20, 30), standing(10, 10, 30)).take([0] * 40)
    card = Augmentation(photometric=0.3)
    everyone = draw_transforms(people, np.arange(40), SIZE, card, 3, 5)
    some = draw_transforms(people, np.array([31, 7]), SIZE, card, 3, 5)
    np.testing.assert_array_equal(everyone.maps[[31, 7]], some.maps)
    np.testing.assert_array_equal(everyone.tones[[31, 7]], some.tones)
    for seed, epoch in ((3, 6), (4, 5)):
        assert not np.allclose(draw_transforms(people, np.arange(40), SIZE, card, seed, epoch).maps, everyone.maps)


def test_scale_rotation_flip_and_half_body_follow_hrnets_distributions() -> None:
    count = 20_000
    people = one_person(smooth_image(50, 50), (10, 10, 20, 30), standing(10, 10, 30)).take([0] * count)
    card = Augmentation(flip=0.5, scale=0.25, rotation=30, rotation_probability=0.6, half_body=0.0)
    drawn = draw_transforms(people, np.arange(count), SIZE, card, 0, 0)
    linear = drawn.maps[:, :, :2]
    usual = SIZE[1] / frame_boxes(people.boxes[:1], SIZE)[1][0]
    scale = usual / np.sqrt(np.abs(np.linalg.det(linear)))
    degrees = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 1, 1]))
    assert drawn.flipped.mean() == pytest.approx(0.5, abs=0.015)
    assert scale.min() == pytest.approx(0.75) and scale.max() == pytest.approx(1.25)
    assert (np.abs(scale - 1) > 0.2499).mean() == pytest.approx(0.3173, abs=0.015)  # a normal number beyond 1 sigma
    turned = np.abs(degrees) > 1e-9
    assert turned.mean() == pytest.approx(0.6, abs=0.015)
    assert np.abs(degrees).max() == pytest.approx(60)
    assert (np.abs(degrees[turned]) > 59.99).mean() == pytest.approx(0.0455, abs=0.008)
    assert np.abs(degrees[turned]).std() > 5 and degrees[turned].mean() == pytest.approx(0, abs=1)

    half = Augmentation(flip=0, scale=0, rotation=0, half_body=0.3)
    drawn = draw_transforms(people, np.arange(count), SIZE, half, 0, 0)
    plain = plain_transforms(people, np.arange(count), SIZE).maps
    halved = ~np.isclose(drawn.maps, plain).all(axis=(1, 2))
    assert halved.mean() == pytest.approx(0.3, abs=0.015)
    middle = apply_maps(invert_maps(drawn.maps), np.broadcast_to([[48.0, 64.0]], (count, 1, 2)))[:, 0, 1]
    upper, lower = people.keypoints[0, :11, 1].mean(), people.keypoints[0, 11:, 1].mean()
    assert np.isclose(middle[halved], upper).mean() == pytest.approx(0.6915, abs=0.02)
    assert (np.isclose(middle[halved], upper) | np.isclose(middle[halved], lower)).all()


def test_half_a_body_needs_enough_labelled_keypoints() -> None:
    keypoints = standing(10, 10, 30)
    keypoints[8:, 2] = 0
    people = one_person(smooth_image(50, 50), (10, 10, 20, 30), keypoints).take([0] * 50)
    card = Augmentation(flip=0, scale=0, rotation=0, half_body=1.0)
    drawn = draw_transforms(people, np.arange(50), SIZE, card, 0, 0).maps
    np.testing.assert_allclose(drawn, plain_transforms(people, np.arange(50), SIZE).maps)


def test_no_augmentation_is_the_plain_crop() -> None:
    people = one_person(smooth_image(50, 50), (10, 10, 20, 30), standing(10, 10, 30)).take([0] * 9)
    card = Augmentation(flip=0, scale=0, rotation=0, half_body=0)
    drawn = draw_transforms(people, np.arange(9), SIZE, card, 0, 0)
    np.testing.assert_allclose(drawn.maps, plain_transforms(people, np.arange(9), SIZE).maps)
    assert drawn.tones is None


def test_flipped_keypoints_change_sides() -> None:
    people = one_person(smooth_image(50, 50), (10, 10, 20, 30), standing(10, 10, 30))
    person = np.array([0])
    plain, _ = move_keypoints(people, person, plain_transforms(people, person, SIZE))
    card = Augmentation(flip=1, scale=0, rotation=0, half_body=0)
    flipped, labelled = move_keypoints(people, person, draw_transforms(people, person, SIZE, card, 0, 0))
    np.testing.assert_allclose(flipped[0, 5], (96 - plain[0, 6, 0], plain[0, 6, 1]))
    assert labelled.all()


def test_tones_change_brightness_and_contrast_within_the_amount() -> None:
    people = one_person(np.full((50, 50, 3), 128, np.uint8), (10, 10, 20, 30), standing(10, 10, 30)).take([0] * 300)
    tones = draw_transforms(people, np.arange(300), SIZE, Augmentation(photometric=0.4), 0, 0).tones
    assert tones is not None and tones.shape == (300, 256, 3)
    assert (np.diff(tones.astype(int), axis=1) >= 0).all()
    middle = tones[:, 128].astype(float) / 128
    assert 0.47 < middle.min() < 0.65 and 1.35 < middle.max() < 1.69  # (1 -+ 0.4) times (1 -+ 0.2)
    crop = crop_batch(
        open_pictures(people), np.array([0]), plain_transforms(people, np.array([0]), SIZE).maps, SIZE, tones
    )
    np.testing.assert_array_equal(crop[0, 64, 48], tones[0, 128])


# ---------------------------------------------------------------------------------------------------------------------
# heatmaps


@pytest.mark.parametrize(("size", "sigma"), [((32, 24), 2), ((64, 48), 2), ((96, 72), 3)])
def test_a_target_is_the_gaussian_of_its_cell_cut_at_three_sigma(size: tuple[int, int], sigma: int) -> None:
    dice = np.random.default_rng(0)
    keypoints = dice.uniform(-0.4, 1.4, (4, 17, 2)) * np.array(size[::-1]) * STRIDE
    labelled = dice.random((4, 17)) < 0.8
    targets, weights = encode(keypoints, labelled, size, sigma)
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    for sample, point in np.ndindex(4, 17):
        column, row = (int(value / STRIDE + 0.5) for value in keypoints[sample, point])
        near = (np.abs(x - column) <= 3 * sigma) & (np.abs(y - row) <= 3 * sigma)
        squares = ((x - column) ** 2 + (y - row) ** 2).astype(np.float32)
        gaussian = np.exp(-squares / np.float32(2 * sigma**2)) * near
        outside = any(
            place - 3 * sigma >= side or place + 3 * sigma + 1 < 0
            for place, side in zip((column, row), size[::-1], strict=True)
        )
        assert weights[sample, point] == (labelled[sample, point] and not outside)
        expected = gaussian if weights[sample, point] else np.zeros(size)
        np.testing.assert_allclose(targets[sample, point], expected, atol=1e-7)
    assert targets.dtype == weights.dtype == np.float32 and targets.max() == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(8, 87), st.floats(8, 119)), min_size=1, max_size=17))
def test_a_keypoint_comes_back_within_half_a_cell(points: list[tuple[float, float]]) -> None:
    keypoints = np.array([points])
    targets, _ = encode(keypoints, np.ones(keypoints.shape[:2]), (32, 24), 2)
    coordinates, scores = decode(targets)
    assert np.abs(coordinates * STRIDE - keypoints).max() <= 0.5 * STRIDE + 1e-5
    assert (scores == 1).all()


def test_decoding_moves_a_quarter_towards_the_higher_neighbour_away_from_the_border() -> None:
    maps = np.zeros((1, 6, 8, 6), np.float32)
    for index, (y, x) in enumerate([(3, 3), (3, 2), (3, 1), (6, 4), (7, 4), (4, 5)]):
        maps[0, index, y, x] = 1
        if x + 1 < 6:
            maps[0, index, y, x + 1] = 0.5
        maps[0, index, y - 1, x] = 0.5
    coordinates, scores = decode(maps)
    expected = [(3.25, 2.75), (2.25, 2.75), (1, 3), (4.25, 5.75), (4, 7), (5, 4)]
    np.testing.assert_allclose(coordinates[0], expected)
    assert (scores == 1).all()


def test_a_map_without_a_positive_value_gives_the_corner() -> None:
    maps = np.full((1, 2, 8, 6), -1.0, np.float32)
    maps[0, 1, 3, 3] = -0.5
    coordinates, scores = decode(maps)
    assert (coordinates == 0).all()
    np.testing.assert_allclose(scores, [[-1, -0.5]])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_flipping_twice_changes_nothing(seed: int) -> None:
    maps = np.random.default_rng(seed).random((2, 17, 8, 6), np.float32)
    np.testing.assert_array_equal(flip_back(flip_back(maps, COCO_17, shift=False), COCO_17, shift=False), maps)


def test_the_flip_test_puts_both_peaks_onto_the_same_cell() -> None:
    """A mirrored input's keypoint at x lies at width - x; at multiples of the stride the shift is exact."""
    keypoints = np.random.default_rng(0).integers(2, 22, (3, 17, 2)) * 4.0
    maps, _ = encode(keypoints, np.ones((3, 17)), (32, 24), 2)
    mirrored = keypoints[:, COCO_17.flip_order]
    mirrored = np.stack([SIZE[1] - mirrored[:, :, 0], mirrored[:, :, 1]], axis=2)
    of_mirrored, _ = encode(mirrored, np.ones((3, 17)), (32, 24), 2)
    back = flip_back(of_mirrored, COCO_17)
    np.testing.assert_array_equal(decode(back)[0], decode(maps)[0])
    np.testing.assert_array_equal(back[..., 1:], maps[..., 1:])


def test_cutout_blackens_one_rectangle_as_often_as_the_card_says() -> None:
    people = draw_people(60, 3)
    white = SimpleNamespace(of=lambda person: Pixels(np.full((800, 800, 3), 255, np.uint8), offset=(200.0, 200.0)))
    still = {"scale": 0, "rotation": 0, "half_body": 0, "flip": 0}

    def served(cutout: float, batch_size: int) -> dict[int, np.ndarray]:
        card = Augmentation(**still, cutout=cutout)
        batches = Batches(people, white, Gaussian(SIZE, 2.0), batch_size, augmentation=card, seed=4)
        return {
            int(p): image for batch in batches.epoch() for p, image in zip(batch.persons, batch.images, strict=True)
        }

    plain, cut, alone = served(0.0, 60), served(0.5, 60), served(0.5, 1)
    holes = {person: (plain[person] != image).any(axis=2) for person, image in cut.items()}
    assert all(np.array_equal(alone[person], image) for person, image in cut.items()), "whoever is served beside it"
    assert 15 < sum(hole.any() for hole in holes.values()) < 45
    for person, hole in holes.items():
        rows, columns = hole.any(axis=1).sum(), hole.any(axis=0).sum()
        assert hole.sum() == rows * columns and not cut[person][hole].any(), "a black rectangle"
        if hole.any():
            assert 0.2 * SIZE[0] - 1 <= rows <= 0.4 * SIZE[0] + 1 and 0.2 * SIZE[1] - 1 <= columns <= 0.4 * SIZE[1] + 1
