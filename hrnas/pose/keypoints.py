"""A keypoint set: what the points of a person are called, which mirror each other, and how exactly they are judged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrnas.cards.keypoints import KeypointCard, Pair

# COCO's constants (Ronchi and Perona, ICCV 2017): how far annotators scatter, as a share of the root of a person's area
_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
_OTHER_SIGMA = 0.072  # the median of COCO's, for points that COCO does not know
_LOWER_BODY = ("hip", "knee", "ankle", "foot", "feet", "toe", "heel", "pelvis", "leg", "thigh", "shin")


@dataclass(frozen=True)
class KeypointSet:
    """The points of a person, in the order in which arrays hold them.

    Attributes:
        flip_pairs: indices of points that swap when a picture is mirrored.
        sigmas: OKS constants, one for each point (COCO's convention: the standard deviation is twice that).
        skeleton: pairs of points to join in drawings.
        upper_body: points that a half-body crop counts as the upper half.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    skeleton: tuple[tuple[int, int], ...] = ()
    upper_body: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_order(self) -> np.ndarray:
        """Which point stands at each place after mirroring: (points,) int."""
        order = np.arange(len(self))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order

    @classmethod
    def from_card(cls, card: KeypointCard) -> KeypointSet:
        """Make a set from a card; what it leaves out is read off the names.

        `left_...` and `right_...` mirror each other, known parts of the body take COCO's sigmas, and hips and what lies
        below them are the lower body.
        """
        names = card.keypoints
        upper = _above_the_hips(names) if card.upper_body is None else sorted(map(card.place, card.upper_body))
        return cls(
            names=names,
            flip_pairs=_mirrored(names) if card.flip_pairs is None else _places(card, card.flip_pairs),
            sigmas=tuple(card.sigmas.get(name, _usual_sigma(name)) for name in names),
            skeleton=_places(card, card.skeleton),
            upper_body=tuple(upper),
        )

    def to_category(self) -> dict[str, Any]:
        """What a category of COCO's format, or a keypoint card, says of this set: `from_card` makes the same of it."""
        return {
            "keypoints": list(self.names),
            "skeleton": [[first + 1, second + 1] for first, second in self.skeleton],
            "flip_pairs": [[self.names[left], self.names[right]] for left, right in self.flip_pairs],
            "sigmas": list(self.sigmas),
            "upper_body": [self.names[index] for index in self.upper_body],
        }


def _places(card: KeypointCard, pairs: Iterable[Pair]) -> tuple[tuple[int, int], ...]:
    return tuple((card.place(first), card.place(second)) for first, second in pairs)


def _mirrored(names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of places whose names differ only in their side."""
    sides = {_split_side(name): index for index, name in enumerate(names)}
    return tuple(
        (index, sides["right", part])
        for (side, part), index in sides.items()
        if side == "left" and ("right", part) in sides
    )


def _above_the_hips(names: Iterable[str]) -> list[int]:
    return [index for index, name in enumerate(names) if not any(part in name.lower() for part in _LOWER_BODY)]


def _split_side(name: str) -> tuple[str, str]:
    """`left_knee`, `L-knee`, `knee_l` -> `("left", "knee")`; names without a side have the side ""."""
    words = re.split(r"[\s_.-]+", name.lower())
    for word, side in (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right")):
        if word in words and len(words) > 1:
            words.remove(word)
            return side, "_".join(words)
    return "", name.lower()


def _usual_sigma(name: str) -> float:
    part = _split_side(name)[1]
    return _SIGMAS.get(part, _OTHER_SIGMA)


COCO_17 = KeypointSet.from_card(
    KeypointCard(
        keypoints=(
            "nose",
            *(f"{side}_{part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist") for side in ("left", "right")),
            *(f"{side}_{part}" for part in ("hip", "knee", "ankle") for side in ("left", "right")),
        ),
        skeleton=(
            *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
            *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
        ),
    )
)

MPII_16 = KeypointSet.from_card(
    KeypointCard(
        keypoints=(
            *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
            *("pelvis", "thorax", "upper_neck", "head_top"),
            *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
        ),
        skeleton=(
            *((1, 2), (2, 3), (3, 7), (7, 4), (4, 5), (5, 6), (7, 8), (8, 9), (9, 10)),
            *((11, 12), (12, 13), (13, 8), (8, 14), (14, 15), (15, 16)),
        ),
    )
)
