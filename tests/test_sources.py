"""The parts of a data set: nothing is learnt from and scored on at once, and a card can bound how much there is."""

from pathlib import Path

import numpy as np
import pytest

from hrnas.cards.trainer import CocoData, DrawnData
from hrnas.pose.coco import join_people
from hrnas.pose.drawn import draw_people
from hrnas.training.sources import load_sources, take_pictures


def test_drawn_parts_differ_and_come_again() -> None:
    data = DrawnData(kind="drawn", train=12, holdout=6, val=6, seed=5)
    parts = load_sources(data)
    assert [len(parts.train), len(parts.holdout), len(parts.val)] == [12, 6, 6]
    load_sources.cache_clear()
    again = load_sources(data)
    np.testing.assert_array_equal(parts.holdout.keypoints, again.holdout.keypoints)
    assert not np.array_equal(parts.holdout.keypoints[:6], parts.train.keypoints[:6])
    assert not np.array_equal(parts.holdout.keypoints, parts.val.keypoints)


@pytest.mark.parametrize("count", [1, 10, 25, 1000])
def test_persons_are_bounded_by_whole_pictures(count: int) -> None:
    people = draw_people(40, 1)
    kept = take_pictures(people, count, seed=3)
    most = np.bincount(people.picture).max()
    assert 0 < len(kept) <= max(count, most)
    for picture in np.unique(kept.picture):
        assert (kept.picture == picture).sum() == (people.picture == picture).sum()
    if count >= len(people):
        assert len(kept) == len(people)


def test_no_person_at_all_can_be_asked_for() -> None:
    people = draw_people(10, 1)
    assert len(take_pictures(people, 0, seed=3)) == 0
    assert len(join_people(people.take([]), people)) == 10


@pytest.mark.data
def test_coco_parts_share_no_picture(coco_root: Path) -> None:
    parts = load_sources(CocoData(kind="coco", root=str(coco_root), holdout=0.3, persons=100, drawn=20))
    names = [{part.pictures[i].path for i in np.unique(part.picture)} - {None} for part in parts.__dict__.values()]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert len(parts.train) <= 120 and 0 < len(parts.holdout) <= 43
