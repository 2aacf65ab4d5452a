"""The parts of a data set: nothing is learnt from and scored on at once, and a card can bound how much there is."""

from pathlib import Path

import numpy as np
import pytest
from workshop import write_coco

from hrnas.cards.trainer import CocoData, DrawnData, Recipe
from hrnas.pose.coco import join_people
from hrnas.pose.drawn import draw_people
from hrnas.reading import UserError, validate
from hrnas.space.published import load_architecture
from hrnas.training.full import train_architecture
from hrnas.training.sources import load_sources, take_pictures

CARD = {"name": "card", "input": "64x64", "epochs": 1, "batch_size": 1}


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


def test_a_card_that_leaves_nobody_to_learn_from_is_refused() -> None:
    with pytest.raises(UserError, match="data: persons: 0 takes nobody of the training pictures; give drawn people"):
        validate(Recipe, {**CARD, "data": {"kind": "coco", "persons": 0}}, "card.yaml")
    validate(Recipe, {**CARD, "data": {"kind": "coco", "persons": 0, "drawn": 10}}, "card.yaml")


def test_full_training_needs_somebody_to_learn_from(tmp_path: Path) -> None:
    write_coco(tmp_path / "pictures", pictures=2)
    data = {"kind": "coco", "root": str(tmp_path / "pictures"), "holdout": 0.9}
    recipe = validate(Recipe, {**CARD, "data": data}, "card.yaml")
    with pytest.raises(UserError, match="nobody is left to learn from"):
        train_architecture(load_architecture("lite_hrnet_18"), recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_coco_parts_share_no_picture(coco_root: Path) -> None:
    parts = load_sources(CocoData(kind="coco", root=str(coco_root), holdout=0.3, persons=100, drawn=20))
    names = [{part.pictures[i].path for i in np.unique(part.picture)} - {None} for part in parts.parts.values()]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert len(parts.train) <= 120 and 0 < len(parts.holdout) <= 43
