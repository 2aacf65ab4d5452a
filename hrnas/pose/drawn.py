"""Draw people: articulated figures in cluttered pictures, posed as people are in COCO. Nothing to download.

    poses of real people (pose_prior.npz) -> a scene: who stands where, before whom -> painted picture -> honest labels

A keypoint is flagged visible (2) where the finished picture shows a part of the body that it belongs to, hidden (1)
where something else covers it, and not labelled (0) outside the picture or where the real pose had no label either
(eyes at the back of a head). Areas and boxes are those of what is to be seen of a person, as in COCO.

The poses derive from the keypoint annotations of COCO 2017 (train), CC BY 4.0; see pose_prior.md beside this file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from hrnas.pose.backdrops import finish, paint_backdrop, paint_thing
from hrnas.pose.canvas import Canvas
from hrnas.pose.coco import Bystanders, People, Picture
from hrnas.pose.figures import MOST_PERSONS, SHOWN_BY, paint_person
from hrnas.pose.keypoints import COCO_17

# (height, width) of pictures: about half of COCO's, which makes drawing four times faster
_SIZES = ((240, 320), (240, 320), (320, 240), (256, 256), (288, 224), (224, 336))
_LARGEST_GROUP = 6
_ROOM = np.array([(0.05, 0.11), (0.05, 0.04)])  # left and above, right and below, as shares of the pose's extent
_SMALLEST_AREA = 150  # square pixels of a person below which it is not labelled
_FEWEST_POINTS = 5  # labelled keypoints below which it is not labelled

# For each keypoint and number in `Canvas.owner` % 16: does it show the keypoint?
_SHOWS = np.array([[part in parts for part in range(16)] for parts in SHOWN_BY])

# Chains of keypoints that turn together about their first: what moves when a limb is turned a little
_JOINTS = (
    (5, (7, 9)),
    (6, (8, 10)),
    (7, (9,)),
    (8, (10,)),
    (11, (13, 15)),
    (12, (14, 16)),
    (13, (15,)),
    (14, (16,)),
)


class _Prior(NamedTuple):
    poses: np.ndarray  # (poses, 17, 2) in -1..1
    flags: np.ndarray  # (poses, 17)
    group_sizes: np.ndarray  # (groups,) cumulative share of pictures with 1, 2, ... persons
    heights: np.ndarray  # (21,) quantiles of the height of persons as a share of the picture's


@lru_cache(maxsize=1)
def _load_prior() -> _Prior:
    with np.load(Path(__file__).with_name("pose_prior.npz"), allow_pickle=False) as arrays:
        group = arrays["group_sizes"].astype(np.float64)
        return _Prior(
            arrays["poses"].astype(np.float64) / 127,
            arrays["flags"].astype(np.int64),
            np.cumsum(group / group.sum()),
            arrays["heights"].astype(np.float64),
        )


def draw_people(count: int, seed: int) -> People:
    """Draw `count` labelled persons; the same seed gives the same people, and fewer of them are the first of more.

    Pictures are kept in memory as JPEG, about 12 kB each.
    """
    scenes: list[_Scene] = []
    persons = 0
    while persons < count:
        scenes.append(_draw_scene(np.random.default_rng((seed, len(scenes)))))
        persons += len(scenes[-1].keypoints)
    pictures = tuple(Picture(number + 1, *scene.size, encoded=scene.encoded) for number, scene in enumerate(scenes))
    numbers = np.arange(len(scenes))
    people = People(
        pictures=pictures,
        picture=np.repeat(numbers, [len(scene.keypoints) for scene in scenes]),
        boxes=np.concatenate([scene.boxes for scene in scenes]),
        keypoints=np.concatenate([scene.keypoints for scene in scenes]),
        areas=np.concatenate([scene.areas for scene in scenes]),
        ids=np.arange(persons) + 1,
        keypoint_set=COCO_17,
        bystanders=Bystanders(
            np.repeat(numbers, [len(scene.other_areas) for scene in scenes]),
            np.concatenate([scene.other_boxes for scene in scenes]),
            np.concatenate([scene.other_areas for scene in scenes]),
            np.zeros(sum(len(scene.other_areas) for scene in scenes), bool),
        ),
    )
    return people.take(np.arange(count))


# ---------------------------------------------------------------------------------------------------------------------
# one picture


class _Scene(NamedTuple):
    """A finished picture and its labels."""

    size: tuple[int, int]
    encoded: bytes
    keypoints: np.ndarray  # (persons, 17, 3)
    boxes: np.ndarray  # (persons, 4)
    areas: np.ndarray  # (persons,)
    other_boxes: np.ndarray  # (others, 4) of persons too small or too hidden to be labelled
    other_areas: np.ndarray


def _draw_scene(dice: np.random.Generator) -> _Scene:
    prior = _load_prior()
    size = _SIZES[dice.integers(len(_SIZES))]
    group = min(1 + int(np.searchsorted(prior.group_sizes, dice.random())), _LARGEST_GROUP, MOST_PERSONS)
    points, flags = _pose_group(prior, group, size, dice)
    canvas = Canvas(paint_backdrop(size, dice))
    for number in range(group):  # from far to near
        paint_person(canvas, number + 1, points[number], flags[number], dice)
        if dice.random() < 0.16:
            _hide_something(canvas, points[number], dice)
    image = finish(canvas.image, dice)
    quality = int(60 + 36 * dice.random())
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _label(canvas, points, flags, encoded.tobytes())


def _pose_group(
    prior: _Prior, group: int, size: tuple[int, int], dice: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (group, 17, 2) in pixels and flags (group, 17), sorted from far to near."""
    height, width = size
    common = dice.random()  # persons of one picture have similar sizes
    every = np.arange(len(prior.heights)) / (len(prior.heights) - 1)
    placed = []
    for _ in range(group):
        pose, flags = _draw_pose(prior, dice)
        u = dice.random(5)
        quantile = float(np.clip(common + 0.35 * (u[0] - 0.5), 0, 1)) if group > 1 else u[0]
        relative = 0.14 + 0.95 * float(np.interp(quantile, every, prior.heights))
        scale = 0.5 * relative * height * (1.5 if u[1] < 0.12 else 1.0)  # some come too close to fit
        # keypoints end at the eyes and ankles: a body needs more room
        low, high = pose.min(axis=0) * scale, pose.max(axis=0) * scale
        low, high = low - (high - low).max() * _ROOM[0], high + (high - low).max() * _ROOM[1]
        centre = _place(low[0], high[0], width, u[2]), _place(low[1], high[1], height, 0.25 + 0.6 * u[3])
        placed.append((pose * scale + np.array(centre), flags, (centre[1] + high[1]) / height + 0.3 * u[4]))
    placed.sort(key=lambda person: person[2])  # the lower its feet, the nearer
    return np.stack([person[0] for person in placed]), np.stack([person[1] for person in placed])


def _place(low: float, high: float, length: int, luck: float) -> float:
    """Where the middle goes so that `low`..`high` around it mostly fits into 0..length."""
    slack = 0.08 * (high - low)
    first, last = -low - slack, length - high + slack
    if first > last:
        first, last = last, first
    return first + luck * (last - first)


def _draw_pose(prior: _Prior, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A real pose, mirrored or not, a little turned and bent: points (17, 2) about their middle, and flags (17,)."""
    number = dice.integers(len(prior.poses))
    points, flags = prior.poses[number].copy(), prior.flags[number]
    if dice.random() < 0.5:
        points, flags = (points * (-1, 1))[COCO_17.flip_order], flags[COCO_17.flip_order]
    bends = dice.normal(size=len(_JOINTS)) * 0.12
    for (centre, moved), angle in zip(_JOINTS, bends, strict=True):
        rows = list(moved)
        points[rows] = points[centre] + (points[rows] - points[centre]) @ _rotation(angle)
    points = points @ _rotation(dice.normal() * 0.12) * (0.9 + 0.2 * dice.random(2))
    unknown = flags == 0
    points[unknown] = points[~unknown].mean(axis=0)
    return points - (points.min(axis=0) + points.max(axis=0)) / 2, flags


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _hide_something(canvas: Canvas, points: np.ndarray, dice: np.random.Generator) -> None:
    """Put something before a part of a person: a table before the legs, a pole, a bag."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    if dice.random() < 0.25:  # a wall or table that hides everything below some height
        height, width = canvas.size
        top = low[1] + (0.45 + 0.45 * dice.random()) * (high[1] - low[1])
        left = low[0] - dice.random() * extent
        right = high[0] + dice.random() * extent
        u = dice.random(4)
        board = np.array([(left, top), (right, top), (right, height + 5), (left, height + 5)])
        canvas.polygon(board, 60 + 160 * u[:3] * (0.4 + 0.6 * u[3]))
        canvas.polygon(board[[0, 1, 1, 0]] + np.array([(0, 0), (0, 0), (0, 4), (0, 4)]), 240 * u[:3])
        return
    aim = points[dice.integers(5, 17)]
    paint_thing(canvas, dice, aim + dice.normal(size=2) * 0.08 * extent, extent * (0.2 + 0.45 * dice.random()))


def _label(canvas: Canvas, points: np.ndarray, flags: np.ndarray, encoded: bytes) -> _Scene:
    """Read the labels off the finished picture."""
    height, width = canvas.size
    group = len(points)
    persons = canvas.owner >> 4
    areas = np.bincount(persons.ravel(), minlength=group + 1)[1 : group + 1].astype(np.float64)
    boxes = np.array([_bounds(persons == number + 1) for number in range(group)], np.float64).reshape(-1, 4)

    cell = np.rint(points).astype(int)
    inside = ((cell >= 0) & (cell < (width, height))).all(axis=2)
    cell = np.clip(cell, 0, (width - 1, height - 1))
    owner = canvas.owner[cell[:, :, 1], cell[:, :, 0]]
    mine = (owner >> 4) == np.arange(1, group + 1)[:, None]
    seen = mine & _SHOWS[np.arange(17)[None, :], owner & 15]
    known = inside & (flags > 0)
    keypoints = np.concatenate([points, np.where(seen, 2.0, 1.0)[:, :, None]], axis=2) * known[:, :, None]

    labelled = (areas >= _SMALLEST_AREA) & (known.sum(axis=1) >= _FEWEST_POINTS) & ((seen & known).sum(axis=1) >= 3)
    others = ~labelled & (areas > 0)
    return _Scene(
        canvas.size, encoded, keypoints[labelled], boxes[labelled], areas[labelled], boxes[others], areas[others]
    )


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width, height of what is set in a mask; as HRNet reads boxes, one pixel less than it covers."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]), int(rows[-1] - rows[0])
