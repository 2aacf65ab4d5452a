"""What is behind and before drawn people: cluttered backgrounds, and things that hide them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from hrnas.pose.canvas import Canvas, capsules, ellipse, waves
from hrnas.pose.figures import draw_colour

_TILE = 640  # pixels: larger than any picture

# Colours above and below the horizon: sky, fog, walls, woods; grass, sand, snow, asphalt, wood, water
_ABOVE = np.array(
    [(140, 180, 225), (200, 205, 210), (225, 215, 195), (70, 95, 60), (120, 110, 100), (60, 60, 70)], float
)
_BELOW = np.array(
    [(95, 130, 60), (190, 170, 130), (230, 235, 240), (110, 110, 115), (140, 100, 65), (60, 100, 125)], float
)


@lru_cache(maxsize=1)
def _tiles() -> tuple[np.ndarray, np.ndarray]:
    """Two grey patterns (640, 640, 3) around 128, of which pictures take random windows.

    Clouds have detail at all scales, falling with frequency as in photographs; grain is what a camera adds.
    """
    dice = np.random.default_rng(0)
    clouds = np.zeros((_TILE, _TILE), np.float32)
    for cells in (8, 16, 32, 64, 128, 256):
        octave = dice.normal(size=(cells, cells)).astype(np.float32) / cells**0.6
        clouds += cv2.resize(octave, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    grain = dice.normal(size=(_TILE, _TILE, 3)) * 0.7
    grain += cv2.resize(dice.normal(size=(_TILE // 3, _TILE // 3, 3)), (_TILE, _TILE)) * 0.7
    grey = (128 + clouds / clouds.std() * 50).clip(0, 255).astype(np.uint8)
    return cv2.merge([grey, grey, grey]), (128 + grain * 50).clip(0, 255).astype(np.uint8)


def _add(image: np.ndarray, tile: np.ndarray, strength: float, dice: np.random.Generator) -> np.ndarray:
    """Add a random window of a pattern, `strength` times."""
    height, width = image.shape[:2]
    top, left = (int(u * (_TILE - side)) for u, side in zip(dice.random(2), (height, width), strict=True))
    window = tile[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1.0, window, strength, -128 * strength)


def paint_backdrop(size: tuple[int, int], dice: np.random.Generator) -> np.ndarray:
    """A background, uint8 RGB (height, width, 3): light and ground, textures, things far away, at times unsharp."""
    height, width = size
    u = dice.random(8)
    image = _paint_ground(size, dice)
    image = _add(image, _tiles()[0], 0.7 * u[0], dice)
    canvas = Canvas(image)
    if u[1] < 0.4:
        _paint_texture(canvas, dice)
    for _ in range(int(3 + 27 * u[2] ** 1.5)):
        paint_thing(canvas, dice, dice.random(2) * (width, height), (0.04 + 0.45 * dice.random() ** 2) * max(size))
    if u[3] < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), 0.8 + 2.5 * u[4])
    return image


def _paint_ground(size: tuple[int, int], dice: np.random.Generator) -> np.ndarray:
    """What is above and below the horizon, or one wall, in colours that change smoothly."""
    height, width = size
    u = dice.random(6)
    above = _ABOVE[int(len(_ABOVE) * u[0])] if u[1] < 0.7 else draw_colour(dice)
    below = _BELOW[int(len(_BELOW) * u[2])] if u[1] < 0.7 else draw_colour(dice)
    horizon = 0.2 + 0.7 * u[3] if u[4] < 0.75 else 1.0
    rows = np.clip((np.linspace(0, 1, 24) - horizon) * (40 if u[5] < 0.5 else 6) + 0.5, 0, 1)[:, None, None]
    grid = above * (1 - rows) + below * rows + dice.normal(size=(24, 1, 3)) * 6
    bright = 1 + 0.25 * dice.normal(size=(3, 4, 1))
    grid = grid * cv2.resize(bright, (32, 24), interpolation=cv2.INTER_CUBIC)[:, :, None]
    grid = grid + cv2.resize(dice.normal(size=(4, 5, 3)) * 12, (32, 24), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(grid.clip(0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)


def _paint_texture(canvas: Canvas, dice: np.random.Generator) -> None:
    """Bricks, tiles, stripes or leaves over a part of the picture."""
    height, width = canvas.size
    u = dice.random(6)
    left, right = sorted((u[:2] * width).astype(int))
    top, bottom = sorted((u[2:4] * height).astype(int))
    if right - left < 8 or bottom - top < 8:
        return
    angle = (0.0, np.pi / 2, dice.random() * np.pi)[int(3 * u[4])]
    wave = waves(bottom - top, right - left, int(4 * u[5]), 4 + 28 * dice.random(), angle)
    canvas.pattern(0, (left, top, right, bottom), draw_colour(dice), wave * (0.2 + 0.6 * dice.random()))


def paint_thing(canvas: Canvas, dice: np.random.Generator, place: np.ndarray, length: float) -> None:
    """Paint something about `length` pixels large that hides what is under it: box, pole, ball, leaf, panel."""
    u = dice.random(8)
    colour, angle = draw_colour(dice), u[0] * 2 * np.pi
    along = np.array([np.cos(angle), np.sin(angle)])
    if u[1] < 0.4:  # upright boxes: furniture, houses, signs, cars
        half = length * np.array([0.15 + 0.85 * u[2], 0.15 + 0.85 * u[3]]) / 2
        corners = place + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        canvas.polygon(corners, colour)
        if u[4] < 0.4:
            canvas.polygon(place + (corners - place) * (0.5 + 0.4 * u[5]), colour * (0.4 + 0.5 * u[6]))
        elif u[4] < 0.7:
            _paint_front(canvas, corners, dice)
    elif u[1] < 0.6:  # poles, branches, and limbs that belong to nobody
        end = place + along * length
        radii = length * np.array([0.02 + 0.08 * u[2], 0.02 + 0.08 * u[3]])
        canvas.polygon(capsules(place[None], end[None], radii[:1], radii[1:])[0], colour * 0.8)
        canvas.polygon(capsules(place[None], end[None], radii[:1] * 0.6, radii[1:] * 0.6)[0], colour)
    elif u[1] < 0.8:  # balls, heads, wheels, lamps
        outline = ellipse(place, along, length * (0.1 + 0.3 * u[2]), length * (0.1 + 0.3 * u[3]))
        canvas.polygon(outline, colour * 0.8)
        canvas.polygon(place + (outline - place) * (0.3 + 0.5 * u[4]), colour * 0.5 + draw_colour(dice) * 0.5, 0)
    else:  # ragged shapes: plants, rocks, coats
        spokes = 5 + int(7 * u[2])
        angles = np.arange(spokes) * (2 * np.pi / spokes)
        radii = length * (0.15 + 0.35 * dice.random(spokes))
        canvas.shape(place + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None], colour)


def _paint_front(canvas: Canvas, corners: np.ndarray, dice: np.random.Generator) -> None:
    """Windows, shelves or slats on an upright box."""
    height, width = canvas.size
    left, top = np.clip(corners[0], 0, (width, height)).astype(int)
    right, bottom = np.clip(corners[2], 0, (width, height)).astype(int)
    if right - left > 6 and bottom - top > 6:
        wave = waves(bottom - top, right - left, int(3 * dice.random()), 4 + 20 * dice.random(), np.pi / 2)
        canvas.pattern(0, (left, top, right, bottom), draw_colour(dice), wave * 0.7)


def finish(image: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """What light and a camera do to a scene: uneven light, folds and stains, blur, grain."""
    height, width = image.shape[:2]
    u = dice.random(6)
    clouds, grain = _tiles()
    image = _add(image, clouds, 0.45 * u[0] ** 2, dice)
    if u[1] < 0.5:
        light = cv2.resize((255 * (0.45 + 0.55 * dice.random((2, 2)))).astype(np.uint8), (width, height))
        image = cv2.multiply(image, cv2.merge([light, light, light]), scale=1 / 195)
    if u[2] < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 + 0.9 * u[3] ** 2)
    return _add(image, grain, 0.02 + 0.18 * u[4] ** 3, dice)
