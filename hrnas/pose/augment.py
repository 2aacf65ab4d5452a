"""HRNet's augmentation, for a whole batch at once: half body, then scale, then rotation, then flip.

Every sample draws its own numbers from (seed, epoch, person) alone: neither the batch size, nor the order, nor a
process that was stopped and started again changes what a person looks like in an epoch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hrnas.cards.trainer import Augmentation
from hrnas.pose.coco import People
from hrnas.pose.crops import affine_maps, frame_boxes

_UPPER_HALF = 0.6914624612740131  # HRNet takes the upper half when a normal number is below 0.5
_HALF_BODY_PADDING = 1.5


class Transforms(NamedTuple):
    """How each sample of a batch is cut out."""

    maps: np.ndarray  # (batch, 2, 3) picture -> input coordinates
    flipped: np.ndarray  # (batch,) bool
    tones: np.ndarray | None  # (batch, 256, 3) uint8: new levels of each colour
    holes: np.ndarray | None = None  # (batch, 4) int: left, top, right, bottom in the input; empty where nothing is cut


def plain_transforms(people: People, persons: np.ndarray, size: tuple[int, int], aligned: bool = False) -> Transforms:
    """Every person upright, centred and unaltered; `aligned` as in `affine_maps`."""
    centres, widths = frame_boxes(people.boxes[persons], size)
    return Transforms(affine_maps(centres, widths, size, aligned=aligned), np.zeros(len(persons), bool), None)


def draw_transforms(
    people: People,
    persons: np.ndarray,
    size: tuple[int, int],
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    aligned: bool = False,
) -> Transforms:
    """Draw one augmented view of each person.

    Args:
        size: (height, width) of the input.
        aligned: as in `affine_maps`.
    """
    dice = _Dice(seed, epoch, persons)
    centres, widths = frame_boxes(people.boxes[persons], size)

    halves, half_widths, possible = _half_bodies(people, persons, size, augmentation, dice.uniform())
    half = possible & (dice.uniform() < augmentation.half_body)
    centres = np.where(half[:, None], halves, centres)
    widths = np.where(half, half_widths, widths)

    spread = augmentation.scale
    widths = widths * np.clip(1.0 + spread * dice.normal(), 1.0 - spread, 1.0 + spread)
    turn = np.clip(dice.normal(), -2.0, 2.0) * augmentation.rotation
    degrees = np.where(dice.uniform() < augmentation.rotation_probability, turn, 0.0)
    flipped = dice.uniform() < augmentation.flip
    tones = _draw_tones(dice, augmentation.photometric) if augmentation.photometric else None
    holes = _draw_holes(dice, augmentation.cutout, size) if augmentation.cutout else None
    return Transforms(affine_maps(centres, widths, size, degrees, flipped, aligned), flipped, tones, holes)


def _half_bodies(
    people: People, persons: np.ndarray, size: tuple[int, int], augmentation: Augmentation, chance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (batch, 2) and widths (batch,) of one half of each body, and whether there is enough of it (batch,)."""
    keypoints = people.keypoints[persons]
    labelled = keypoints[:, :, 2] > 0
    upper = np.isin(np.arange(labelled.shape[1]), people.keypoint_set.upper_body)
    in_upper, in_lower = labelled & upper, labelled & ~upper
    enough_upper, enough_lower = in_upper.sum(axis=1) > 2, in_lower.sum(axis=1) > 2
    take_upper = ((chance < _UPPER_HALF) & enough_upper) | ~enough_lower
    chosen = np.where(take_upper[:, None], in_upper, in_lower)

    count = chosen.sum(axis=1)
    points = keypoints[:, :, :2]
    mask = chosen[:, :, None]
    centres = (points * mask).sum(axis=1) / np.maximum(count, 1)[:, None]
    extent = np.where(mask, points, -np.inf).max(axis=1) - np.where(mask, points, np.inf).min(axis=1)
    widths = np.maximum(extent[:, 0], extent[:, 1] * size[1] / size[0]) * _HALF_BODY_PADDING
    possible = (labelled.sum(axis=1) > augmentation.half_body_keypoints) & (count >= 2) & (widths > 0)
    return centres, np.where(possible, widths, 1.0), possible


def _draw_tones(dice: _Dice, amount: float) -> np.ndarray:
    """Tables (batch, 256, 3) of brightness, contrast and, half as strong, a colour cast; each up to `amount`."""
    contrast, brightness = (1.0 + amount * (2.0 * dice.uniform() - 1.0) for _ in range(2))
    cast = np.stack([1.0 + 0.5 * amount * (2.0 * dice.uniform() - 1.0) for _ in range(3)], axis=1)
    levels = (np.arange(256.0) - 127.5)[None, :] * contrast[:, None] + 127.5 * brightness[:, None]
    return np.clip(levels[:, :, None] * cast[:, None, :] + 0.5, 0, 255).astype(np.uint8)


def _draw_holes(dice: _Dice, chance: float, size: tuple[int, int]) -> np.ndarray:
    """Rectangles (batch, 4) left, top, right, bottom of 20 to 40 % of the input's sides, anywhere inside it."""
    wanted = dice.uniform() < chance
    sides = np.stack([(0.2 + 0.2 * dice.uniform()) * side for side in size[::-1]], axis=1) * wanted[:, None]
    corners = np.stack([dice.uniform() for _ in range(2)], axis=1) * (np.array(size[::-1]) - sides)
    return np.rint(np.concatenate([corners, corners + sides], axis=1)).astype(int)


class _Dice:
    """A stream of random numbers for each sample, by hashing (seed, epoch, person, throw) with splitmix64.

    One numpy generator for each sample would cost more than the sample's warp.
    Steele, Lea and Flood, Fast splittable pseudorandom number generators (OOPSLA 2014).
    """

    def __init__(self, seed: int, epoch: int, persons: np.ndarray) -> None:
        key = _mix(np.array([seed % 2**64], np.uint64))
        key = _mix(key ^ np.array([epoch % 2**64], np.uint64))
        self._keys = _mix(key ^ persons.astype(np.uint64))
        self._throw = 0

    def uniform(self) -> np.ndarray:
        """The next number of every sample: (batch,) in [0, 1)."""
        self._throw += 1
        bits = _mix(self._keys + np.array([self._throw], np.uint64) * _GOLDEN)
        return (bits >> np.uint64(11)) * 2.0**-53

    def normal(self) -> np.ndarray:
        """The next normal number of every sample: (batch,), from two uniform ones (Box and Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform()))
        return radius * np.cos(2.0 * np.pi * self.uniform())


_GOLDEN = np.array([0x9E3779B97F4A7C15], np.uint64)


def _mix(bits: np.ndarray) -> np.ndarray:
    """Splitmix64's step and finaliser; arrays of uint64 wrap around silently."""
    bits = bits + _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
