"""The people a card's `data` means, in three parts: learn from `train`, rank by `holdout`, report on `val`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrnas.cards.trainer import CocoData, DrawnData, MpiiData, find_root
from hrnas.pose.coco import People, join_people, read_coco_folder
from hrnas.pose.drawn import draw_people
from hrnas.pose.mpii import read_mpii_folder


@dataclass(frozen=True, eq=False)
class Sources:
    """The parts of a data set; no picture lies in two of them. `holdout` may be empty: then nothing can be searched."""

    train: People
    holdout: People
    val: People


@lru_cache(maxsize=2)
def load_sources(data: DrawnData | CocoData | MpiiData) -> Sources:
    """Read or draw the people of a card, once for each process.

    Raises:
        UserError: a folder or file is missing, or an annotation cannot be read.
    """
    if isinstance(data, DrawnData):
        seeds = [3 * data.seed + part for part in range(3)]  # the three parts never share a picture
        counts = (data.train, data.holdout, data.val)
        train, holdout, val = (draw_people(count, seed) for count, seed in zip(counts, seeds, strict=True))
        return Sources(train, holdout, val)
    root = find_root(data.root)
    if isinstance(data, MpiiData):
        train = read_mpii_folder(root, "train")
        return Sources(train, train.take([]), read_mpii_folder(root, "valid"))
    train, holdout = read_coco_folder(root, "train2017").split_by_picture(data.holdout, data.seed)
    if data.persons is not None:
        train = take_pictures(train, data.persons, data.seed)
        if data.persons:
            holdout = take_pictures(holdout, round(data.persons * data.holdout / (1 - data.holdout)), data.seed)
    if data.drawn:
        train = join_people(train, draw_people(data.drawn, 3 * data.seed))
    return Sources(train, holdout, read_coco_folder(root, "val2017"))


def take_pictures(people: People, count: int, seed: int) -> People:
    """At most `count` of these people, in whole pictures drawn by seed: one picture at least, none if `count` is 0."""
    if len(people) <= count:
        return people
    if count == 0:
        return people.take([])
    pictures = np.unique(people.picture)
    drawn = np.random.default_rng(seed).permutation(pictures)
    persons = np.bincount(people.picture, minlength=len(people.pictures))[drawn]
    kept = drawn[np.cumsum(persons) <= max(count, persons[0])]
    return people.take(np.flatnonzero(np.isin(people.picture, kept)))
