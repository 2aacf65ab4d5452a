"""What is behind and before drawn people: cluttered backgrounds, and things that hide them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from hrnas.pose.canvas import Canvas, capsules, ellipse, waves
from hrnas.pose.figures import draw_colour


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """Noise (640, 640, 3) around 128 with fine and coarse grains; pictures take random windows of it."""
    dice = np.random.default_rng(0)
    fine = dice.normal(size=(640, 640, 3))
    coarse = cv2.resize(dice.normal(size=(160, 160, 3)), (640, 640), interpolation=cv2.INTER_CUBIC)
    return (128 + (0.6 * fine + 0.8 * coarse) * 40).clip(0, 255).astype(np.uint8)


def paint_backdrop(size: tuple[int, int], dice: np.random.Generator) -> np.ndarray:
    """A background, uint8 RGB (height, width, 3): soft colours, ground, things far away, textures."""
    height, width = size
    image = _clouds(size, dice)
    canvas = Canvas(image)
    u = dice.random(8)
    if u[0] < 0.6:  # ground or floor
        horizon = int(height * (0.35 + 0.5 * u[1]))
        ground = draw_colour(dice) * 0.6 + draw_colour(dice) * 0.3
        image[horizon:] = (image[horizon:] * (0.25 + 0.3 * u[2]) + ground * 0.6).clip(0, 255).astype(np.uint8)
    if u[3] < 0.35:
        _paint_texture(canvas, dice)
    for _ in range(int(3 + 14 * u[4] ** 2)):
        paint_thing(canvas, dice, dice.random(2) * (width, height), (0.03 + 0.3 * dice.random() ** 2) * max(size))
    return image


def _clouds(size: tuple[int, int], dice: np.random.Generator) -> np.ndarray:
    """Smooth random colours at several scales."""
    height, width = size
    first, second = draw_colour(dice), draw_colour(dice)
    mix = dice.random((2, 2, 1))
    coarse = first * mix + second * (1 - mix) + dice.normal(size=(2, 2, 3)) * 20
    middle = dice.normal(size=(6, 8, 3)) * (5 + 40 * dice.random())
    grid = cv2.resize(coarse, (32, 24)) + cv2.resize(middle, (32, 24), interpolation=cv2.INTER_CUBIC)
    grid += dice.normal(size=(24, 32, 3)) * 30 * dice.random() ** 2
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
    canvas.pattern((0,), (left, top, right, bottom), draw_colour(dice), wave * (0.2 + 0.6 * dice.random()))


def paint_thing(canvas: Canvas, dice: np.random.Generator, place: np.ndarray, length: float) -> None:
    """Paint something about `length` pixels large that hides what is under it: box, pole, ball, leaf, panel."""
    u = dice.random(8)
    colour, angle = draw_colour(dice), u[0] * 2 * np.pi
    along = np.array([np.cos(angle), np.sin(angle)])
    if u[1] < 0.4:  # upright boxes: furniture, houses, signs, cars
        half = length * np.array([0.15 + 0.85 * u[2], 0.15 + 0.85 * u[3]]) / 2
        corners = place + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        canvas.polygon(corners, colour)
        canvas.polygon(place + (corners - place) * 0.8, colour * (0.7 + 0.5 * u[4]).clip(0, 1), 0)
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


def finish(image: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """What a camera does: uneven light, blur, noise."""
    height, width = image.shape[:2]
    u = dice.random(6)
    if u[0] < 0.5:
        light = cv2.resize((255 * (0.45 + 0.55 * dice.random((2, 2)))).astype(np.uint8), (width, height))
        image = cv2.multiply(image, cv2.merge([light, light, light]), scale=1 / 235)
    if u[1] < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 + 1.1 * u[2] ** 2)
    top, left = int(u[3] * (640 - height)), int(u[4] * (640 - width))
    strength = 0.02 + 0.28 * u[5] ** 2
    grain = _noise_tile()[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1.0, grain, strength, -128 * strength)
