"""Paint one clothed person from 17 keypoints.

    far limbs -> legs, trousers or skirt -> torso, shirt -> neck and head, hair, face -> near arms

Thicknesses follow the stature that the pose suggests. Front, back and side can be told apart by what COCO's annotators
could label: eyes and a nose are painted where the pose has them, hair where it has not. Which arm lies behind the body
follows the pose's own visibility flags.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np

from hrnas.pose.canvas import Canvas, Colour, capsules, discs, ellipse, hull, waves

NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(5)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = range(5, 11)
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = range(11, 17)


class Part(IntEnum):
    """What `Canvas.owner` says of a pixel: 16 * person + part."""

    TORSO = 1
    HEAD = 2
    SKIRT = 3
    LEFT_UPPER_ARM = 4
    RIGHT_UPPER_ARM = 5
    LEFT_FOREARM = 6
    RIGHT_FOREARM = 7
    LEFT_THIGH = 8
    RIGHT_THIGH = 9
    LEFT_SHIN = 10
    RIGHT_SHIN = 11


MOST_PERSONS = 15

# A keypoint is seen where the pixel at its place shows one of these parts of its own person
SHOWN_BY: tuple[tuple[Part, ...], ...] = (
    *[(Part.HEAD,)] * 5,
    (Part.TORSO, Part.LEFT_UPPER_ARM),
    (Part.TORSO, Part.RIGHT_UPPER_ARM),
    (Part.LEFT_UPPER_ARM, Part.LEFT_FOREARM),
    (Part.RIGHT_UPPER_ARM, Part.RIGHT_FOREARM),
    (Part.LEFT_FOREARM,),
    (Part.RIGHT_FOREARM,),
    (Part.TORSO, Part.SKIRT, Part.LEFT_THIGH),
    (Part.TORSO, Part.SKIRT, Part.RIGHT_THIGH),
    (Part.SKIRT, Part.LEFT_THIGH, Part.LEFT_SHIN),
    (Part.SKIRT, Part.RIGHT_THIGH, Part.RIGHT_SHIN),
    (Part.LEFT_SHIN, Part.SKIRT),
    (Part.RIGHT_SHIN, Part.SKIRT),
)

# (first keypoint, second keypoint, length as a share of stature) of parts whose longest views tell how tall a person is
_STATURE = (
    (LEFT_HIP, LEFT_KNEE, 0.245),
    (RIGHT_HIP, RIGHT_KNEE, 0.245),
    (LEFT_KNEE, LEFT_ANKLE, 0.246),
    (RIGHT_KNEE, RIGHT_ANKLE, 0.246),
    (LEFT_SHOULDER, LEFT_ELBOW, 0.18),
    (RIGHT_SHOULDER, RIGHT_ELBOW, 0.18),
    (LEFT_ELBOW, LEFT_WRIST, 0.15),
    (RIGHT_ELBOW, RIGHT_WRIST, 0.15),
    (LEFT_SHOULDER, LEFT_HIP, 0.29),
    (RIGHT_SHOULDER, RIGHT_HIP, 0.29),
    (LEFT_SHOULDER, RIGHT_SHOULDER, 0.22),
)

_SKINS = np.array(
    [(250, 219, 196), (232, 190, 160), (205, 155, 120), (165, 115, 80), (120, 80, 55), (80, 52, 38)], float
)
_HAIRS = np.array([(30, 24, 20), (60, 40, 26), (105, 70, 40), (160, 115, 60), (215, 180, 115), (150, 150, 150)], float)


class _Limb(NamedTuple):
    start: np.ndarray
    end: np.ndarray
    first: float  # radii
    last: float
    colour: Colour
    owner: int


class Body(NamedTuple):
    """A pose and what follows from it."""

    points: np.ndarray  # (17, 2) pixels
    flags: np.ndarray  # (17,) of the pose: 0 not labelled, 1 hidden, 2 visible
    stature: float  # height of the person standing upright, in pixels
    neck: np.ndarray
    crown: np.ndarray  # middle of the head
    down: np.ndarray  # unit vector from the head towards the neck
    gaze: np.ndarray  # where the face is turned, from the head's middle, in head radii; (0, 0) towards or away from us
    head: tuple[float, float]  # radii across and along
    facing: bool  # a face is to be seen


def read_body(points: np.ndarray, flags: np.ndarray) -> Body:
    """Measure a pose."""
    stature = _measure_stature(points, flags)
    neck = points[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=0)
    hips = points[[LEFT_HIP, RIGHT_HIP]].mean(axis=0)
    known = flags[:5] > 0
    ears, eyes = points[3:5][known[3:]], points[1:3][known[1:3]]
    facing = bool(known[0]) or len(eyes) == 2
    if len(ears) == 2:
        crown = ears.mean(axis=0)
    elif len(ears) == 1 and facing:
        front = points[0] if known[0] else eyes[0]
        crown = 0.65 * ears[0] + 0.35 * front
    elif len(ears) == 1:
        crown = ears[0]
    elif len(eyes):
        crown = eyes.mean(axis=0)
    else:
        crown = points[0] + _unit(points[0] - neck) * 0.02 * stature
    across = 0.052 * stature
    if len(ears) == 2:
        across = float(np.clip(0.5 * np.linalg.norm(ears[0] - ears[1]) * 1.02, 0.045 * stature, 0.075 * stature))
    down = _unit(_unit(neck - crown) + 0.4 * _unit(hips - neck))
    gaze = np.zeros(2)
    if facing:
        front = points[0] if known[0] else eyes.mean(axis=0)
        sideways = np.array([-down[1], down[0]])
        gaze = sideways * np.clip((front - crown) @ sideways / across, -1.0, 1.0)
    turned = abs(gaze).max()
    return Body(points, flags, stature, neck, crown, down, gaze, (across * (1 + 0.15 * turned), across * 1.38), facing)


def _measure_stature(points: np.ndarray, flags: np.ndarray) -> float:
    """The third longest of all estimates: foreshortening only makes parts shorter, an error may make one longer."""
    ends = np.array([pair[:2] for pair in _STATURE])
    lengths = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) / np.array([p[2] for p in _STATURE])
    guesses = lengths.tolist()
    if flags[3] and flags[4]:
        guesses.append(float(np.linalg.norm(points[3] - points[4])) / 0.09)
    return float(np.sort(guesses)[-3]) + 1e-3


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.hypot(vector[0], vector[1]))
    return vector / length if length > 1e-9 else np.array([0.0, 1.0])


# ---------------------------------------------------------------------------------------------------------------------
# clothes


class Looks(NamedTuple):
    """What a person looks like and wears."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    accent: Colour
    girth: float
    sleeve: float  # 0 none ... 1 to the elbow ... 2 to the wrist
    leg: float  # 0 none ... 1 to the knee ... 2 to the ankle
    loose: float  # how much wider than the limb a sleeve or trouser leg is
    skirt: float  # 0 none, else its length in thighs
    hair_style: int  # 0 short, 1 long, 2 bald, 3 cap, 4 bun, 5 helmet
    pattern: int  # of the shirt: 0-3 as `waves`, above none
    light: np.ndarray  # where the light comes from, (2,) of length 1 or less


def draw_looks(dice: np.random.Generator) -> Looks:
    """Draw a person's looks."""
    u = dice.random(16)
    shirt = draw_colour(dice)
    skirt = (0.5 + 1.2 * u[0]) if u[1] < 0.16 else 0.0
    angle = 2 * np.pi * u[2]
    return Looks(
        skin=_between(_SKINS, u[3]) * (0.9 + 0.2 * u[4]).clip(0, 1),
        hair=_between(_HAIRS, u[5]),
        shirt=shirt,
        trousers=shirt if u[6] < 0.15 else draw_colour(dice),
        shoes=draw_colour(dice),
        accent=draw_colour(dice),
        girth=0.85 + 0.5 * u[7] ** 2,
        sleeve=(0.0, 0.45, 0.6, 0.75, 1.6, 1.95, 1.95, 1.95)[int(8 * u[8])],
        leg=(0.3, 0.7, 0.9, 1.5, 1.95, 1.95, 1.95, 1.95)[int(8 * u[9])],
        loose=1.06 + 0.4 * u[10] ** 2,
        skirt=skirt,
        hair_style=(0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5)[int(13 * u[11])],
        pattern=int(9 * u[12]),
        light=np.array([np.cos(angle), np.sin(angle)]) * u[13],
    )


def draw_colour(dice: np.random.Generator) -> Colour:
    """A colour of cloth: often grey, black or white, else anything, seldom garish."""
    u = dice.random(5)
    if u[0] < 0.35:
        return np.full(3, 255.0) * (0.06 + 0.92 * u[1]) + (u[2:] - 0.5) * 14
    hue, dull = 6 * u[1], 0.25 + 0.75 * np.sqrt(u[2])
    pure = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return (25 + 215 * u[3]) * (1 - dull * (1 - pure))


def _between(colours: np.ndarray, place: float) -> Colour:
    """A colour between two neighbours of a list."""
    first, share = divmod(place * (len(colours) - 1), 1)
    return colours[int(first)] * (1 - share) + colours[int(first) + 1] * share


# ---------------------------------------------------------------------------------------------------------------------
# painting


def paint_person(canvas: Canvas, number: int, points: np.ndarray, flags: np.ndarray, dice: np.random.Generator) -> None:
    """Paint person number 1 to 15.

    Args:
        points: (17, 2) x, y in pixels; unlabelled points of the head are not looked at.
        flags: (17,) of the pose.
    """
    body, looks = read_body(points, flags), draw_looks(dice)
    u = dice.random(16)
    base = 16 * number
    behind = _arms_behind(body, u[0])
    legs_first = not _sits_towards_us(body)
    long_hair = looks.hair_style == 1

    for side in (0, 1):
        if behind[side]:
            _paint_limbs(canvas, _arm(body, looks, base, side), looks)
    if long_hair and body.facing:
        _paint_long_hair(canvas, body, looks, base)
    if legs_first:
        _paint_legs(canvas, body, looks, base, u)
    _paint_torso(canvas, body, looks, base, u)
    if not legs_first:
        _paint_legs(canvas, body, looks, base, u)
    _paint_head(canvas, body, looks, base, u)
    if long_hair and not body.facing:
        _paint_long_hair(canvas, body, looks, base)
    for side in (0, 1):
        if not behind[side]:
            _paint_limbs(canvas, _arm(body, looks, base, side), looks)
    if u[1] < 0.15:
        _paint_held_thing(canvas, body, looks, side=int(u[2] < 0.5), u=u[3:7])


def _arms_behind(body: Body, luck: float) -> tuple[bool, bool]:
    """Whether the left and the right arm lie behind the body: as the flags say, else by how the person is turned."""
    points, flags = body.points, body.flags
    spread = (points[LEFT_SHOULDER] - points[RIGHT_SHOULDER])[0] / body.stature
    result = []
    for side in (0, 1):
        hidden = int(flags[LEFT_ELBOW + side] == 1) + int(flags[LEFT_WRIST + side] == 1)
        if hidden:
            result.append(hidden == 2 or luck < 0.5)
        elif not body.facing and abs(spread) > 0.08:
            wrist = points[LEFT_WRIST + side]
            result.append(_within_torso(body, wrist))  # seen from the back, hands before the belly are hidden
        else:
            # whoever looks to our left turns the left side to us
            turn = body.gaze[0]
            result.append(abs(turn) > 0.5 and (turn > 0) == (side == 0))
    return result[0], result[1]


def _within_torso(body: Body, point: np.ndarray) -> bool:
    corners = body.points[[LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_HIP, LEFT_HIP]]
    inside = cv2.pointPolygonTest(hull(corners).reshape(-1, 1, 2), (float(point[0]), float(point[1])), False)
    return bool(inside > 0)


def _sits_towards_us(body: Body) -> bool:
    """Thighs much shortened and knees not far below the hips, seen from the front: the legs come before the torso."""
    hips, knees = body.points[[LEFT_HIP, RIGHT_HIP]].mean(axis=0), body.points[[LEFT_KNEE, RIGHT_KNEE]].mean(axis=0)
    return body.facing and bool(np.linalg.norm(knees - hips) < 0.17 * body.stature)


def _paint_limbs(canvas: Canvas, layers: list[list[_Limb]], looks: Looks) -> None:
    """Paint the limbs of each layer as one thing, with a dark edge and a lighter core towards the light."""
    limbs = [limb for layer in layers for limb in layer]
    starts, ends = np.array([limb.start for limb in limbs]), np.array([limb.end for limb in limbs])
    first, last = np.array([limb.first for limb in limbs]), np.array([limb.last for limb in limbs])
    shift = looks.light * np.minimum(first, last)[:, None] * 0.3
    outer = iter(capsules(starts, ends, first, last))
    inner = iter(capsules(starts + shift, ends + shift, 0.7 * first, 0.7 * last))
    for layer in layers:
        for limb in layer:
            canvas.polygon(next(outer), limb.colour * 0.78, limb.owner)
        for limb in layer:
            canvas.polygon(next(inner), limb.colour, None)


def _arm(body: Body, looks: Looks, base: int, side: int) -> list[list[_Limb]]:
    shoulder, elbow, wrist = (body.points[index + side] for index in (LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST))
    size = body.stature * looks.girth
    upper, fore = base + Part.LEFT_UPPER_ARM + side, base + Part.LEFT_FOREARM + side
    hand = wrist + _unit(wrist - elbow) * 0.045 * body.stature
    limbs = [
        _Limb(shoulder, elbow, 0.030 * size, 0.024 * size, looks.skin, upper),
        _Limb(elbow, wrist, 0.025 * size, 0.017 * size, looks.skin, fore),
        _Limb(wrist, hand, 0.018 * body.stature, 0.022 * body.stature, looks.skin, fore),
    ]
    sleeve = _cover(
        shoulder, elbow, wrist, looks.sleeve, (0.032 * size, 0.027 * size, 0.021 * size), looks, upper, fore
    )
    return [limbs, sleeve]


def _cover(
    top: np.ndarray,
    middle: np.ndarray,
    bottom: np.ndarray,
    length: float,
    radii: tuple[float, float, float],
    looks: Looks,
    upper: int,
    lower: int,
    colour: Colour | None = None,
) -> list[_Limb]:
    """A sleeve or trouser leg that ends after `length` (0 to 2) of a limb's two halves; cut straight, so unrounded."""
    colour = looks.shirt if colour is None else colour
    limbs = []
    wide = looks.loose
    if length > 0.05:
        share = min(length, 1.0)
        end = top + (middle - top) * share
        last = radii[0] + (radii[1] - radii[0]) * share
        limbs.append(_Limb(top, end, radii[0] * wide, last * wide, colour, upper))
    if length > 1.05:
        share = length - 1
        end = middle + (bottom - middle) * share
        last = radii[1] + (radii[2] - radii[1]) * share
        limbs.append(_Limb(middle, end, radii[1] * wide, last * wide, colour, lower))
    return limbs


def _leg(body: Body, looks: Looks, base: int, side: int) -> list[list[_Limb]]:
    hip, knee, ankle = (body.points[index + side] for index in (LEFT_HIP, LEFT_KNEE, LEFT_ANKLE))
    size = body.stature * looks.girth
    thigh, shin = base + Part.LEFT_THIGH + side, base + Part.LEFT_SHIN + side
    calf = knee + (ankle - knee) * 0.3
    limbs = [
        _Limb(hip, knee, 0.050 * size, 0.032 * size, looks.skin, thigh),
        _Limb(knee, calf, 0.031 * size, 0.034 * size, looks.skin, shin),
        _Limb(calf, ankle, 0.034 * size, 0.020 * size, looks.skin, shin),
    ]
    trousers = _cover(
        hip, knee, ankle, looks.leg, (0.052 * size, 0.036 * size, 0.026 * size), looks, thigh, shin, looks.trousers
    )
    along = _unit(ankle - knee)
    sideways = np.array([-along[1], along[0]])
    if not body.facing:
        toes = along * 0.035  # seen from behind, a foot is short
    elif abs(body.gaze[0]) > 0.35:
        toes = along * 0.03 + sideways * np.sign(sideways @ body.gaze) * 0.085
    else:
        toes = along * 0.06 + sideways * np.sign(sideways[0]) * (0.025 if side == 0 else -0.025)
    heel = ankle + along * 0.012 * body.stature
    shoe = _Limb(heel, heel + toes * body.stature, 0.024 * size, 0.022 * size, looks.shoes, shin)
    return [limbs, [shoe], trousers]


def _paint_legs(canvas: Canvas, body: Body, looks: Looks, base: int, u: np.ndarray) -> None:
    points = body.points
    hidden = [int((body.flags[[LEFT_KNEE + side, LEFT_ANKLE + side]] == 1).sum()) for side in (0, 1)]
    far = 0 if hidden[0] > hidden[1] or (hidden[0] == hidden[1] and u[7] < 0.5) else 1
    for side in (far, 1 - far):
        _paint_limbs(canvas, _leg(body, looks, base, side), looks)
    if looks.skirt:
        hips, knees = points[[LEFT_HIP, RIGHT_HIP]], points[[LEFT_KNEE, RIGHT_KNEE]]
        hem = hips + (knees - hips) * min(looks.skirt, 1.0)
        if looks.skirt > 1:
            hem = hem + (points[[LEFT_ANKLE, RIGHT_ANKLE]] - knees) * (looks.skirt - 1)
        size = body.stature * looks.girth
        radii = np.array([0.055, 0.055, 0.062, 0.062]) * size
        outline = hull(discs(np.concatenate([hips, hem]), radii))
        canvas.polygon(outline, looks.trousers, base + Part.SKIRT)
        _paint_folds(canvas, hips, hem, looks.trousers * 0.8, 0.008 * size)


def _paint_folds(canvas: Canvas, top: np.ndarray, hem: np.ndarray, colour: Colour, radius: float) -> None:
    shares = np.array([0.2, 0.55, 0.85])[:, None]
    starts = top[0] + (top[1] - top[0]) * shares
    ends = hem[0] + (hem[1] - hem[0]) * shares
    for fold in capsules(starts, ends, np.full(3, 0.3 * radius), np.full(3, radius)):
        canvas.polygon(fold, colour, None)


def _paint_torso(canvas: Canvas, body: Body, looks: Looks, base: int, u: np.ndarray) -> None:
    points, size = body.points, body.stature * looks.girth
    shoulders, hips = points[[LEFT_SHOULDER, RIGHT_SHOULDER]], points[[LEFT_HIP, RIGHT_HIP]]
    middle = 0.45 * shoulders + 0.55 * hips
    waist = middle.mean(axis=0) + (middle - middle.mean(axis=0)) * 0.9
    owner = base + Part.TORSO
    upper = hull(discs(np.concatenate([shoulders, waist]), np.array([0.036, 0.036, 0.055, 0.055]) * size))
    lower = hull(discs(np.concatenate([waist, hips]), np.array([0.055, 0.055, 0.058, 0.058]) * size))
    canvas.polygon(lower, looks.shirt * 0.85, owner)
    canvas.polygon(upper, looks.shirt * 0.85, owner)
    centre = np.concatenate([shoulders, hips]).mean(axis=0) - looks.light * 0.012 * size
    for outline in (lower, upper):
        canvas.polygon(centre + (outline - centre) * 0.86, looks.shirt, None)
    _paint_pattern(canvas, looks, np.concatenate([upper, lower]), owner, u)

    spine = hips.mean(axis=0) - body.neck
    if u[8] < 0.5:  # the shirt is tucked in
        top = hips - spine * (0.08 + 0.1 * u[15])
        pelvis = hull(discs(np.concatenate([top, hips]), np.array([0.052, 0.052, 0.06, 0.06]) * size))
        centre = pelvis.mean(axis=0)
        canvas.polygon(pelvis, looks.trousers * 0.8, owner)
        canvas.polygon(centre + (pelvis - centre) * (0.9, 0.97), looks.trousers, None)
    if body.facing and abs(body.gaze[0]) < 0.6:
        _paint_front(canvas, body, looks, spine, size, u)
    elif u[9] < 0.25:  # a rucksack
        pack = hull(discs(0.85 * (middle + shoulders) / 2 + 0.15 * centre, np.full(2, 0.06 * size)))
        canvas.polygon(pack, looks.accent, owner)


def _paint_pattern(canvas: Canvas, looks: Looks, outline: np.ndarray, owner: int, u: np.ndarray) -> None:
    if looks.pattern > 3:
        return
    height, width = canvas.size
    low = np.clip(np.floor(outline.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)), 0, (width, height)).astype(int)
    if (high - low < 4).any():
        return
    extent = high - low
    angle = (0.0, np.pi / 2, np.pi / 4, u[10] * np.pi)[int(4 * u[11])]
    wave = waves(int(extent[1]), int(extent[0]), looks.pattern, max(3.0, extent.max() * (0.06 + 0.2 * u[12])), angle)
    canvas.pattern(owner, (low[0], low[1], high[0], high[1]), looks.accent, wave * 0.85)


def _paint_front(canvas: Canvas, body: Body, looks: Looks, spine: np.ndarray, size: float, u: np.ndarray) -> None:
    """What only a front has: a neckline, an open jacket, a tie or a print."""
    neck, across = body.neck, body.points[LEFT_SHOULDER] - body.points[RIGHT_SHOULDER]
    if u[9] < 0.5:
        collar = np.stack([neck - across * 0.16, neck + across * 0.16, neck + spine * (0.08 + 0.15 * u[10])])
        canvas.polygon(collar, looks.skin * 0.95, None)
    elif u[9] < 0.65:
        strip = np.stack([neck - across * 0.14, neck + across * 0.14, neck + spine * 0.95])
        canvas.polygon(strip, looks.accent, None)
    elif u[9] < 0.8:
        print_ = ellipse(neck + spine * 0.35, _unit(spine), 0.05 * size, (0.02 + 0.04 * u[10]) * size, 10)
        canvas.polygon(print_, looks.accent, None)
    elif u[9] < 0.9:
        tie = capsules(
            (neck + spine * 0.02)[None], (neck + spine * 0.6)[None], np.full(1, 0.008 * size), np.full(1, 0.016 * size)
        )
        canvas.polygon(tie[0], looks.accent, None)


# ---------------------------------------------------------------------------------------------------------------------
# head


def _paint_long_hair(canvas: Canvas, body: Body, looks: Looks, base: int) -> None:
    across, along = body.head
    end = body.crown + body.down * along * 1.5
    lock = capsules(body.crown[None], end[None], np.array([across * 1.12]), np.array([across * 0.95]))[0]
    canvas.polygon(lock, looks.hair * 0.9, base + Part.HEAD)


def _paint_head(canvas: Canvas, body: Body, looks: Looks, base: int, u: np.ndarray) -> None:
    across, along = body.head
    crown, down, gaze = body.crown, body.down, body.gaze
    owner = base + Part.HEAD
    throat = capsules(
        (crown + down * along * 0.5)[None],
        (body.neck + (crown - body.neck) * 0.08)[None],
        np.array([across * 0.62]),
        np.array([across * 0.72]),
    )[0]
    canvas.polygon(throat, looks.skin * 0.8, base + Part.TORSO)
    hair = looks.skin if looks.hair_style == 2 else looks.accent if looks.hair_style == 5 else looks.hair
    if looks.hair_style == 4:
        bun = ellipse(crown - down * along * 0.95 - gaze * across * 0.6, down, across * 0.45, across * 0.45, 10)
        canvas.polygon(bun, hair, owner)
    canvas.polygon(ellipse(crown - down * along * 0.06, down, across * 1.06, along * 1.0), hair * 0.92, owner)
    if body.facing:
        _paint_face(canvas, body, looks, owner, u)
    else:
        nape = ellipse(crown + down * along * 0.62, down, across * 0.7, along * 0.36, 12)
        canvas.polygon(nape, looks.skin * 0.85, owner)
    for ear in (LEFT_EAR, RIGHT_EAR):
        if body.flags[ear] > 0 and looks.hair_style != 1:
            place = 0.8 * body.points[ear] + 0.2 * crown
            canvas.polygon(ellipse(place, down, across * 0.2, along * 0.22, 10), looks.skin * 0.86, owner)
    if looks.hair_style == 3:
        _paint_cap(canvas, body, looks, owner)


def _paint_cap(canvas: Canvas, body: Body, looks: Looks, owner: int) -> None:
    across, along = body.head
    top = body.crown - body.down * along * 0.42
    canvas.polygon(ellipse(top - body.down * along * 0.12, body.down, across * 1.1, along * 0.58), looks.accent, owner)
    if body.facing:
        peak = top + body.down * along * 0.18 + body.gaze * across * 0.8
        canvas.polygon(ellipse(peak, body.down, across * 0.85, along * 0.14, 12), looks.accent * 0.7, owner)


def _paint_face(canvas: Canvas, body: Body, looks: Looks, owner: int, u: np.ndarray) -> None:
    across, along = body.head
    crown, down, gaze = body.crown, body.down, body.gaze
    turned = float(abs(gaze).max())
    middle = crown + down * along * 0.14 + gaze * across * 0.3
    face = ellipse(middle, down, across * (0.95 - 0.2 * turned), along * 0.84)
    canvas.polygon(face, looks.skin * 0.88, owner)
    canvas.polygon(middle + (face - middle) * 0.82 + looks.light * across * 0.1, looks.skin, None)
    dark = looks.hair * 0.4
    for eye in (LEFT_EYE, RIGHT_EYE):
        if body.flags[eye] > 0:
            place = body.points[eye]
            canvas.polygon(ellipse(place, down, across * 0.2, along * 0.09, 8), np.array([235.0, 235, 235]), None)
            canvas.polygon(ellipse(place, down, across * 0.1, along * 0.09, 8), dark, None)
            brow = place - down * along * 0.17
            canvas.polygon(ellipse(brow, down, across * 0.26, along * 0.045, 8), dark, None)
    nose = body.points[NOSE] if body.flags[NOSE] > 0 else middle
    bridge = nose - down * along * 0.2
    ridge = capsules(bridge[None], nose[None], np.array([across * 0.06]), np.array([across * 0.14]))[0]
    canvas.polygon(ridge, looks.skin * 0.78, None)
    mouth = nose + down * along * 0.3 - gaze * across * 0.1
    canvas.polygon(ellipse(mouth, down, across * 0.32, along * 0.07, 8), looks.skin * np.array([0.8, 0.45, 0.45]), None)
    if u[13] < 0.12:  # a beard
        beard = ellipse(middle + down * along * 0.62, down, across * 0.6, along * 0.24, 10)
        canvas.polygon(beard, looks.hair, None)


def _paint_held_thing(canvas: Canvas, body: Body, looks: Looks, side: int, u: np.ndarray) -> None:
    """A bat, a bag, a ball or a board in one hand."""
    wrist, elbow = body.points[LEFT_WRIST + side], body.points[LEFT_ELBOW + side]
    ahead = _unit(wrist - elbow)
    hand = wrist + ahead * 0.05 * body.stature
    angle = u[0] * 2 * np.pi
    away = np.array([np.cos(angle), np.sin(angle)])
    if u[1] < 0.4:
        end = hand + away * (0.15 + 0.35 * u[2]) * body.stature
        thing = capsules(hand[None], end[None], np.full(1, 0.009 * body.stature), np.full(1, 0.02 * body.stature))[0]
    elif u[1] < 0.7:
        radius = (0.03 + 0.06 * u[2]) * body.stature
        thing = ellipse(hand + away * radius, away, radius, radius)
    else:
        side_, length = (0.04 + 0.08 * u[2]) * body.stature, (0.06 + 0.1 * u[3]) * body.stature
        across = np.array([-away[1], away[0]])
        far = hand + away * length * 2
        thing = np.stack([hand - across * side_, hand + across * side_, far + across * side_, far - across * side_])
    canvas.polygon(thing, looks.accent)
