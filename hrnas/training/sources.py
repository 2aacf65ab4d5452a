"""The people a card's `data` means, in three parts: learn from `train`, rank by `holdout`, report on `val`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hrnas.cards.trainer import CocoData, DrawnData, MpiiData, find_root
from hrnas.pose.check import find_broken, leave_out, look_at_pictures
from hrnas.pose.coco import Fault, People, join_people, read_part
from hrnas.pose.drawn import draw_people
from hrnas.pose.mpii import read_mpii_folder
from hrnas.reading import UserError


@dataclass(frozen=True, eq=False)
class Sources:
    """The parts of a data set; no picture lies in two of them. `holdout` may be empty: then nothing can be searched.

    `faults` are what was broken in it, and left out.
    """

    train: People
    holdout: People
    val: People
    faults: tuple[Fault, ...] = ()

    @property
    def parts(self) -> dict[str, People]:
        """The three by their names."""
        return {"train": self.train, "holdout": self.holdout, "val": self.val}

    def refuse_faults(self) -> None:
        """Stop where anything is broken.

        Raises:
            UserError: it names the first of them.
        """
        if self.faults:
            raise UserError(f"{describe_faults(self.faults)}\nmend the data; `hrnas data check` names all of them")


@lru_cache(maxsize=2)
def load_sources(data: DrawnData | CocoData | MpiiData) -> Sources:
    """Read or draw the people of a card, once for each process; pictures are not opened.

    Raises:
        UserError: a folder or file is missing, or is not as expected.
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
    everybody, val = (read_part(root, part, _card(root, data)) for part in (data.train, data.val))
    if everybody.keypoint_set.names != val.keypoint_set.names:
        one, other = (", ".join(people.keypoint_set.names) for people in (everybody, val))
        raise UserError(f"data: train has the keypoints {one}, but val has {other}; they must be the same")
    train, holdout = everybody.split_by_picture(data.holdout, data.seed)
    if data.persons is not None:
        train = take_pictures(train, data.persons, data.seed)
        if data.persons:
            holdout = take_pictures(holdout, round(data.persons * data.holdout / (1 - data.holdout)), data.seed)
    if data.drawn:
        train = join_people(train, draw_people(data.drawn, 3 * data.seed))
    return Sources(train, holdout, val, everybody.faults + val.faults)


def _card(root: Path, data: CocoData) -> Path | None:
    return None if data.keypoints is None else root / data.keypoints


Broken = dict[str, dict[int, str]]  # pictures of each part by their index, and what is wrong with them


def find_broken_pictures(sources: Sources, whole_val: bool = False) -> Broken:
    """Open every picture with labelled persons once, and find those that cannot be learnt from.

    Args:
        whole_val: open all that the validation set lists, because a detector looked for persons in all of them.
    """
    return {
        name: find_broken(look_at_pictures(people, every=whole_val and name == "val"))
        for name, people in sources.parts.items()
    }


def leave_out_pictures(sources: Sources, broken: Broken) -> Sources:
    """The same people without those in broken pictures, which join the faults.

    Raises:
        UserError: nobody of some part would be left.
    """
    kept, faults = {}, sources.faults
    for name, people in sources.parts.items():
        kept[name], found = leave_out(people, broken[name])
        faults += found
        if len(people) and not len(kept[name]):
            raise UserError(f"data: no picture of the part {name} can be used; {describe_faults(found)}")
    return Sources(**kept, faults=faults)


def describe_faults(faults: Sequence[Fault], most: int = 10) -> str:
    """What was left out and why, a line for each of the first faults."""
    lines = [f"{len(faults)} broken annotations or pictures, with {sum(fault.persons for fault in faults)} persons:"]
    lines += [f"  {fault}" for fault in faults[:most]]
    return "\n".join([*lines, *([f"  and {len(faults) - most} more"] if len(faults) > most else [])])


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
