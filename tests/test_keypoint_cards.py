"""Keypoint sets: read off names, from a category of COCO's format, or from a card; and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval
from small_coco import annotation, load, write

from hrnas.cards.keypoints import read_keypoint_card
from hrnas.pose.coco import read_coco_folder, read_people
from hrnas.pose.keypoints import COCO_17, MPII_16, KeypointSet
from hrnas.reading import UserError, write_yaml

DOG = {
    "keypoints": ["snout", "l_paw", "r_paw", "tail"],
    "skeleton": [["snout", "tail"], [1, 2]],
    "flip_pairs": [["l_paw", 3]],
    "sigmas": {"tail": 0.2},
    "upper_body": ["tail", "snout"],
}


def read(category: dict[str, Any], card: dict[str, Any] | None = None, folder: Path | None = None) -> KeypointSet:
    file = None
    if card is not None and folder is not None:
        file = folder / "card.yaml"
        write_yaml(file, card)
    return KeypointSet.from_card(read_keypoint_card(category, "file.json", file))


def test_the_coco_set_has_cocos_constants() -> None:
    assert len(COCO_17) == 17
    np.testing.assert_allclose(COCO_17.sigmas, COCOeval(iouType="keypoints").params.kpt_oks_sigmas)
    assert COCO_17.upper_body == tuple(range(11))
    assert [COCO_17.names[index] for index in COCO_17.flip_order[:3]] == ["nose", "right_eye", "left_eye"]
    assert COCO_17.skeleton[0] == (15, 13) and len(COCO_17.skeleton) == 19


def test_sides_and_sigmas_are_read_from_names() -> None:
    points = read({"keypoints": ["head_top", "L-knee", "R-knee", "wrist_l", "wrist_r", "left tail"]})
    assert points.flip_pairs == ((1, 2), (3, 4))
    assert points.sigmas == (0.072, 0.087, 0.087, 0.062, 0.062, 0.072)
    assert points.upper_body == (0, 3, 4, 5)
    np.testing.assert_array_equal(points.flip_order[points.flip_order], np.arange(6))


def test_a_category_may_say_everything() -> None:
    points = read({"id": 3, "name": "dog", "supercategory": "animal", **DOG})
    assert points == KeypointSet(
        names=("snout", "l_paw", "r_paw", "tail"),
        flip_pairs=((1, 2),),
        sigmas=(0.072, 0.072, 0.072, 0.2),
        skeleton=((0, 3), (0, 1)),
        upper_body=(0, 3),
    )
    assert read({"keypoints": ["nose", "tail"], "sigmas": [0.1, 0.2], "skeleton": None}).sigmas == (0.1, 0.2)
    assert read({**DOG, "flip_pairs": []}).flip_pairs == (), "said to be none, whatever the names"


@pytest.mark.parametrize("points", [COCO_17, MPII_16, read(DOG)])
def test_a_set_that_is_written_is_read_again(points: KeypointSet, tmp_path: Path) -> None:
    tree = json.loads(json.dumps(points.to_category()))
    assert read(tree) == points
    assert read({"keypoints": [f"point {number}" for number in range(len(points))]}, tree, tmp_path) == points


def test_a_card_comes_before_the_category(tmp_path: Path) -> None:
    own = read(DOG, {"sigmas": {"snout": 0.3}, "upper_body": [2]}, tmp_path)
    assert own.sigmas == (0.3, 0.072, 0.072, 0.072) and own.upper_body == (1,)
    assert (own.names, own.flip_pairs, own.skeleton) == (read(DOG).names, read(DOG).flip_pairs, read(DOG).skeleton)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": []}, r"file.json: keypoints: .*at least 1 item"),
        ({"keypoints": "nose"}, r"file.json: keypoints: expected a valid array"),
        ({"keypoints": ["snout", "l_paw", "r_paw", ""]}, r"keypoints\[3\]: .*at least 1 character"),
        ({"keypoints": ["snout", "l_paw", "r_paw", "snout"]}, r"keypoints: 'snout' stands twice"),
        ({"skeleton": [["snout", "head"]]}, r"skeleton: there is no keypoint 'head'; there are: snout, l_paw, r_paw, "),
        ({"skeleton": [[0, 1]]}, r"skeleton: there is no keypoint 0; they are counted from 1 to 4"),
        ({"skeleton": [1, 2]}, r"skeleton\[0\]: expected a valid array"),
        ({"flip_pairs": [[2, 2]]}, r"flip_pairs: 'l_paw' stands twice"),
        ({"flip_pairs": [[1, 2], ["l_paw", 4]]}, r"flip_pairs: 'l_paw' stands twice"),
        ({"sigmas": [0.1, 0.2]}, r"sigmas: 2 numbers for 4 keypoints; one for each is expected"),
        ({"sigmas": {"tail": 0}}, r"sigmas.tail: .*greater than 0"),
        ({"sigmas": {"ear": 0.1}}, r"sigmas: there is no keypoint 'ear'"),
        ({"upper_body": [5]}, r"upper_body: there is no keypoint 5"),
    ],
)
def test_a_mistake_in_a_set_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(DOG | change)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"sigma": {}}, r"card.yaml: sigma: there is no such key"),
        ({"keypoints": ["a", "b"], "flip_pairs": [], "skeleton": [], "sigmas": {}, "upper_body": []}, "has these, in"),
        (
            {"keypoints": ["snout", "r_paw", "l_paw", "tail"]},
            r"file.json has these, in this order: snout, l_paw, r_paw",
        ),
    ],
)
def test_a_card_that_does_not_fit_the_annotations_is_refused(
    card: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read(DOG, card, tmp_path)


def test_annotations_without_names_take_them_from_a_card(small_coco: Path, tmp_path: Path) -> None:
    data = load(small_coco)
    data["categories"] = [{"id": 2, "name": "cat"}, {"id": 7, "name": "person"}]
    data["annotations"] = [annotation(1, 1, category_id=7, keypoints=[1, 2, 2, 0, 0, 0])]
    file, pictures, card = write(small_coco, data), small_coco / "val2017", tmp_path / "card.yaml"
    with pytest.raises(
        UserError, match=r"none of its categories \(cat, person\) names keypoints; .* or a keypoint card"
    ):
        read_people(file, pictures)
    write_yaml(card, {"keypoints": ["thumb", "palm"]})
    people = read_people(file, pictures, card)
    assert people.keypoint_set.names == ("thumb", "palm") and people.ids.tolist() == [1]
    write_yaml(card, {"skeleton": []})
    with pytest.raises(UserError, match=r"card.yaml: keypoints: this key is missing"):
        read_people(file, pictures, card)


@pytest.mark.data
def test_lsp_is_read_with_its_fourteen_keypoints(data_root: Path) -> None:
    if not (data_root / "lsp" / "annotations").is_dir():
        pytest.skip("no LSP pictures")
    people = read_coco_folder(data_root / "lsp", "val")
    points = people.keypoint_set
    assert len(people) == 400 and len(points) == 14 and not people.faults
    assert [points.names[index] for index in points.flip_order] == [
        {"left": "right", "right": "left"}.get(side, side) + (f"_{part}" if part else "")
        for side, _, part in (name.partition("_") for name in points.names)
    ]
    assert points.upper_body == tuple(range(6, 14)) and len(points.skeleton) == 15
