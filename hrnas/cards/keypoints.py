"""The keypoint card: what the points of a person are called, which mirror each other, how exactly they are judged.

It says it in the words of a category of COCO's format, so that an annotation file's own category is read as a card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from hrnas.reading import Number, Options, UserError, read_yaml, validate

Point = str | int  # a keypoint's name, or its number from 1, as COCO's skeletons have it
Pair = tuple[Point, Point]


def _by_name(sigmas: Any, card: ValidationInfo) -> Any:
    names = card.data.get("keypoints")
    if not isinstance(sigmas, list) or names is None:
        return sigmas
    if len(names) != len(sigmas):
        raise ValueError(f"{len(sigmas)} numbers for {len(names)} keypoints; one for each is expected")
    return dict(zip(names, sigmas, strict=True))


class KeypointCard(Options):
    """A keypoint set. All but the names may be left out: `hrnas.pose.keypoints` says what then stands for them.

    `sigmas` are the constants of OKS, by name, or a list with one for each keypoint. `upper_body` are the points that a
    half-body crop counts as the upper half; the rest are the lower.
    """

    keypoints: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    skeleton: tuple[Pair, ...] = ()
    flip_pairs: tuple[Pair, ...] | None = None
    sigmas: Annotated[dict[str, Annotated[Number, Field(gt=0)]], BeforeValidator(_by_name)] = {}
    upper_body: tuple[Point, ...] | None = None

    @model_validator(mode="after")
    def _points_are_there_and_mirror_once(self) -> KeypointCard:
        _refuse_twice("keypoints", self.keypoints)
        said: dict[str, list[Point]] = {
            "skeleton": [point for pair in self.skeleton for point in pair],
            "flip_pairs": [point for pair in self.flip_pairs or () for point in pair],
            "sigmas": list(self.sigmas),
            "upper_body": list(self.upper_body or ()),
        }
        for key, points in said.items():
            for point in points:
                self._check(key, point)
        _refuse_twice("flip_pairs", [self.keypoints[self.place(point)] for point in said["flip_pairs"]])
        return self

    def _check(self, key: str, point: Point) -> None:
        if isinstance(point, int) and not 1 <= point <= len(self.keypoints):
            raise ValueError(f"{key}: there is no keypoint {point}; they are counted from 1 to {len(self.keypoints)}")
        if isinstance(point, str) and point not in self.keypoints:
            raise ValueError(f"{key}: there is no keypoint '{point}'; there are: {', '.join(self.keypoints)}")

    def place(self, point: Point) -> int:
        """A point's place, from 0."""
        return point - 1 if isinstance(point, int) else self.keypoints.index(point)


def _refuse_twice(key: str, names: Sequence[str]) -> None:
    often = [name for name, count in Counter(names).items() if count > 1]
    if often:
        raise ValueError(f"{key}: '{often[0]}' stands twice; it may stand once")


def read_keypoint_card(category: Mapping[str, Any], source: str, file: Path | None = None) -> KeypointCard:
    """Read what a COCO category says of its keypoints; where there is a card, what that says comes first.

    Raises:
        UserError: naming the file and what is wrong in it.
    """
    known = {key: category[key] for key in KeypointCard.model_fields if category.get(key) is not None}
    if file is None:
        return validate(KeypointCard, known, source)
    card = read_yaml(file)
    mine, theirs = ([str(name) for name in said.get("keypoints", ())] for said in (card, known))
    # other names for the same points are welcome, another order would put every label on the wrong point
    if mine and theirs and (len(mine) != len(theirs) or (mine != theirs and sorted(mine) == sorted(theirs))):
        raise UserError(f"{file}: keypoints: {source} has these, in this order: {', '.join(theirs)}")
    return validate(KeypointCard, known | card, str(file))
