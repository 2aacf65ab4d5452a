"""`hrnas data`, and training on data of one's own: checked, made smaller, drawn, learnt from without what is broken."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO
from safetensors.torch import load_file
from small_coco import annotation, load, points, write
from workshop import SPACE, write_coco, write_mpii

from hrnas.cards.keypoints import KeypointCard
from hrnas.cards.trainer import CocoData, Part, Recipe
from hrnas.cli import main
from hrnas.pose import writing
from hrnas.pose.check import KINDS
from hrnas.pose.coco import Bystanders, People, Picture, read_coco_folder
from hrnas.pose.drawn import draw_people
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.subset import choose_pictures, find_strata
from hrnas.reading import UserError, read_yaml, validate, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.training.full import train_architecture
from hrnas.training.sources import load_sources, take_pictures

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
CARD = {"name": "tiny", "input": "64x64", "epochs": 1, "batch_size": 4, "flip_test": False, "cache": True}


def say(capsys: pytest.CaptureFixture[str], command: str, status: int = 0) -> Any:
    """Say a word that must end so; its JSON, or its text."""
    capsys.readouterr()
    assert main(command.split()) == status
    printed = capsys.readouterr()
    return json.loads(printed.out) if "--json" in command else printed.out + printed.err


def spoil(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = load(root)
    change(data)
    write(root, data)


# ---------------------------------------------------------------------------------------------------------------------
# check


def test_a_whole_data_set_is_counted(small_coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = say(capsys, f"data check {small_coco} --json")
    (part,) = found["parts"]
    assert found["mend"] == 0 and [fault["kind"] for fault in found["faults"]] == ["box outside"]
    assert part["annotations"].endswith("person_keypoints_val2017.json") and part["part"] == "val2017"
    counts = {key: part[key] for key in ("pictures", "pictures_used", "persons", "crowds", "without_keypoints")}
    assert list(counts.values()) == [3, 2, 3, 1, 1] and part["left_out"] == 0
    assert part["keypoints_per_person"] == [0] * 16 + [3]
    assert list(part["box_sizes"].values())[:3] == [1, 2, 0]  # 59 x 9, and 39 x 49 twice
    assert set(part["labelled"].values()) == {3}
    text = say(capsys, f"data check {small_coco}")
    assert "3 persons in 2 of 3 pictures" in text and "note  1 boxes that reach out of their picture" in text


def two_pictures_alike(root: Path) -> None:
    shutil.copyfile(root / "val2017" / "1.jpg", root / "val2017" / "2.jpg")


def two_parts(root: Path) -> None:
    shutil.copytree(root / "val2017", root / "train2017")
    file = write(root, load(root))
    file.with_name("person_keypoints_train2017.json").write_text(file.read_text())


FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "annotation": (
        lambda root: spoil(root, lambda data: data["annotations"][2].update(bbox=[1, 2, 3])),
        "annotation 13",
        "four numbers are expected",
    ),
    "picture": (lambda root: (root / "val2017" / "2.jpg").write_bytes(b""), "2.jpg", "the file is empty"),
    "both parts": (two_parts, "val2017/1.jpg", "the same picture as .*train2017/1.jpg"),
    "person twice": (
        lambda root: spoil(root, lambda data: data["annotations"].append(annotation(17, 1, keypoints=points(20)))),
        "annotation 17",
        "the same person as annotation 12",
    ),
    "id twice": (
        lambda root: spoil(root, lambda data: data["annotations"].append(annotation(13, 1, keypoints=points(40)))),
        "annotation 13",
        "2 of this id",
    ),
    "picture twice": (two_pictures_alike, "2.jpg", "the same picture as .*1.jpg"),
    "box outside": (lambda root: None, "annotation 12", r"bbox \[-5.0, 70.0, 100.0, 30.0\] in a picture of 60x80"),
    "keypoint outside": (
        lambda root: spoil(root, lambda data: data["annotations"][2]["keypoints"].__setitem__(0, 62)),
        "annotation 13",
        "nose",
    ),
    "no area": (
        lambda root: spoil(root, lambda data: [row.pop("area") for row in data["annotations"][:2]]),
        "annotations",
        "2 of 5 have none; 0.53 of the box stands for it",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_is_found_and_named(kind: str, small_coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiler, where, what = FAULTS[kind]
    spoiler(small_coco)
    mend, title = KINDS[kind]
    text = say(capsys, f"data check {small_coco}", status=int(mend))
    assert f"{'mend' if mend else 'note'}  " in text and title in text
    found = say(capsys, f"data check {small_coco} --json", status=int(mend))
    faults = [fault for fault in found["faults"] if fault["kind"] == kind]
    assert any(fault["where"].endswith(where) and re.search(what, fault["what"]) for fault in faults)
    assert all(fault["mend"] == mend for fault in faults)
    assert found["parts"][0]["left_out"] == sum(fault["persons"] for fault in found["faults"]) <= 1


def test_persons_who_stand_close_are_not_one(small_coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(small_coco, lambda data: data["annotations"].append(annotation(17, 1, keypoints=points(25))))
    assert not [f for f in say(capsys, f"data check {small_coco} --json")["faults"] if f["kind"] == "person twice"]


def test_the_page_names_every_field_and_kind(small_coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = PAGE.split("## hrnas data check\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(.+?)`", "".join(re.findall(r"^\| (`.+?`) \|", section, flags=re.MULTILINE))))
    found = say(capsys, f"data check {small_coco} --json")
    fields = {*found, *(f"parts[].{key}" for key in found["parts"][0]), *(f"faults[].{k}" for k in found["faults"][0])}
    assert fields | set(KINDS) | {"DATA", "--quiet", "--json"} == named - {" "}


def test_other_data_are_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mpii(tmp_path / "mpii")  # its validation picture is one of those that are learnt from
    text = say(capsys, f"data check {tmp_path}/mpii", status=1)
    assert "train.json" in text and "3 persons in 2 of 2 pictures" in text and "1 persons in 1 of 1 pictures" in text
    assert "mend  1 pictures in two parts" in text
    card = tmp_path / "drawn.yaml"
    write_yaml(card, CARD | {"data": {"kind": "drawn"}})
    assert "annotations in COCO's format are expected" in say(capsys, f"data check {card}", status=2)
    (tmp_path / "empty").mkdir()
    assert "give a trainer card that says them" in say(capsys, f"data check {tmp_path}/empty", status=2)


@pytest.mark.parametrize("command", ["data", "data chek x", "data --help"])
def test_half_a_word_is_answered_with_the_whole_ones(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "data check" in say(capsys, command, status=2)


# ---------------------------------------------------------------------------------------------------------------------
# subset


@pytest.fixture(scope="module")
def many() -> People:
    """Persons of all sizes, alone and in company; those in company are smaller, and less of them is to be seen."""
    dice = np.random.default_rng(0)
    company = 1 + dice.poisson(1.5, 450)
    picture = np.repeat(np.arange(450), company)
    count = len(picture)
    flags = 2.0 * (dice.random((count, 17)) < dice.random((count, 1)) + 1 / company[picture][:, None])
    sides = np.exp(dice.normal(5 - 0.2 * company[picture], 0.7))
    return People(
        pictures=tuple(Picture(1 + 7 * index % 450, 500, 500) for index in range(450)),
        picture=picture,
        boxes=np.stack([sides, sides, sides, sides], axis=1),
        keypoints=np.stack([flags, flags, flags], axis=2),
        areas=sides**2,
        ids=np.arange(count),
        keypoint_set=COCO_17,
        bystanders=Bystanders.none(),
    )


def spread(people: People, rows: np.ndarray) -> float:
    """How far the strata of these persons are from those of all: the total variation distance."""
    strata = find_strata(people)
    count = strata.max() + 1
    all_of_them, these = (np.bincount(which, minlength=count) / len(which) for which in (strata, strata[rows]))
    return float(np.abs(all_of_them - these).sum() / 2)


@pytest.mark.parametrize("persons", [60, 300])
def test_a_subset_is_more_like_the_whole_than_chance_makes_it(persons: int, many: People) -> None:
    pictures = len(np.unique(many.picture)) * persons / len(many)
    for seed in range(3):
        chosen = choose_pictures(many, persons, seed)
        rows = np.flatnonzero(np.isin(many.picture, chosen))
        assert persons - 3 <= len(rows) <= persons, "whole pictures, as many as there is room for"
        assert 0.75 * pictures < len(chosen) < 1.25 * pictures, "crowded pictures are taken no more than others"
        chance = [take_pictures(many, persons, other).ids for other in range(5)]
        by_chance = [spread(many, np.flatnonzero(np.isin(many.ids, ids))) for ids in chance]
        assert spread(many, rows) < 0.7 * np.mean(by_chance)


def test_a_subset_depends_on_the_seed_and_not_on_the_order(many: People) -> None:
    def ids(people: People, seed: int) -> set[int]:
        return {people.pictures[index].id for index in choose_pictures(people, 100, seed)}

    backwards = many.take(np.arange(len(many))[::-1])
    assert ids(many, 1) == ids(backwards, 1) != ids(many, 2)
    assert len(choose_pictures(many, len(many), 0)) == len(np.unique(many.picture))
    assert len(choose_pictures(many.take(np.flatnonzero(many.picture == 1)), 0, 0)) == 1


@pytest.mark.parametrize("copy", ["", "--copy"])
def test_a_subset_is_a_data_set(copy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, small = tmp_path / "whole", tmp_path / "small"
    write_coco(whole, pictures=12)
    out = say(capsys, f"data subset {whole} --persons 5 --seed 3 --out {small} --json {copy}")
    counts = {"persons": 5, "pictures": 5}
    assert out == {"out": str(small), "parts": [{"part": part, **counts} for part in ("train2017", "val2017")]}
    if copy:
        assert len(list((small / "train2017").iterdir())) == 5
        shutil.rmtree(whole)
    people = read_coco_folder(small, "train2017")
    assert len(people) == 5 and people.load_picture(0).shape == (120, 100, 3) and people.faults == ()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(small / "annotations" / "person_keypoints_val2017.json")
    assert len(coco.getImgIds()) == len(coco.getAnnIds()) == 5
    before = sorted(tmp_path.rglob("*"))
    assert "there is something already" in say(capsys, f"data subset {small} --persons 5 --out {small}", status=2)
    assert sorted(tmp_path.rglob("*")) == before


def test_everything_annotated_in_a_chosen_picture_is_kept(small_coco: Path, tmp_path: Path) -> None:
    spoil(small_coco, lambda data: data.update(info={"year": 2017}, licenses=[{"id": 3}]))
    main(["data", "subset", str(small_coco), "--persons", "3", "--out", str(tmp_path / "out")])
    kept, whole = load(tmp_path / "out"), load(small_coco)
    assert kept["annotations"] == [row for row in whole["annotations"] if row["image_id"] in (1, 2)]
    assert kept["images"] == whole["images"][:2]
    assert {key: kept[key] for key in ("info", "licenses", "categories")} == {
        key: whole[key] for key in ("info", "licenses", "categories")
    }


def test_what_cannot_be_finished_leaves_nothing(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_write", stop)
    for command in (f"data subset {small_coco} --persons 3", "data draw --persons 2"):
        assert main([*command.split(), "--out", str(tmp_path / "new" / "out")]) == 130
        assert list((tmp_path / "new").iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# draw


def test_drawn_people_are_read_from_disk_as_they_were_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawn"
    assert "train2017: 12 persons in" in say(capsys, f"data draw --persons 12 --seed 2 --out {out}")
    drawn = draw_people(12, 6)  # as a card with drawn people and this seed learns from
    for people, name in ((drawn, "train2017"), (draw_people(3, 8), "val2017")):
        read = read_coco_folder(out, name)
        for field in ("picture", "boxes", "keypoints", "areas", "ids"):
            np.testing.assert_array_equal(getattr(read, field), getattr(people, field))
        for field in ("picture", "boxes", "areas", "crowd"):
            np.testing.assert_array_equal(getattr(read.bystanders, field), getattr(people.bystanders, field))
        assert read.keypoint_set == people.keypoint_set and read.faults == ()
        np.testing.assert_array_equal(read.load_picture(0), people.load_picture(0))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(out / "annotations" / "person_keypoints_train2017.json")
    assert len(coco.getAnnIds()) == 12 + len(drawn.bystanders.picture)
    found = say(capsys, f"data check {out} --json")
    assert found["mend"] == 0 and {fault["kind"] for fault in found["faults"]} <= {"box outside"}


# ---------------------------------------------------------------------------------------------------------------------
# learning from data of one's own

NET = Architecture.from_tree(yaml.safe_load(SPACE)["base"])


def write_own_set(root: Path) -> dict[str, Any]:
    """Five keypoints, both parts' pictures in one folder, names that are nobody's; the card's data."""
    write_coco(root / "coco", pictures=10)
    (root / "labels").mkdir()
    (root / "photos").mkdir()
    for part in ("train", "val"):
        data = json.loads((root / "coco" / "annotations" / f"person_keypoints_{part}2017.json").read_text())
        for image in data["images"]:
            file = f"{part}/{image['file_name']}"
            (root / "photos" / part).mkdir(exist_ok=True)
            (root / "coco" / f"{part}2017" / image["file_name"]).rename(root / "photos" / file)
            image["file_name"] = file
        for row in data["annotations"]:
            row["keypoints"] = row["keypoints"][:15]
        data["categories"] = [{"id": 1, "name": "hand"}]
        (root / "labels" / f"{part}.json").write_text(json.dumps(data))
    shutil.rmtree(root / "coco")
    names = ["palm", "left_thumb", "right_thumb", "left_end", "right_end"]
    write_yaml(root / "labels" / "hand.yaml", {"keypoints": names, "skeleton": [["palm", 2]], "sigmas": {"palm": 0.03}})
    return {
        "kind": "coco",
        "name": "hands",
        "root": str(root),
        "train": {"annotations": "labels/train.json", "pictures": "photos"},
        "val": {"annotations": "labels/val.json", "pictures": "photos"},
        "keypoints": "labels/hand.yaml",
        "holdout": 0,
    }


def test_a_set_of_ones_own_is_learnt_from_checked_and_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_yaml("hands.yaml", CARD | {"data": write_own_set(tmp_path / "own")})
    write_yaml("net.yaml", {"architecture": NET.tree()})
    assert say(capsys, "data check hands.yaml --json")["parts"][1]["labelled"]["palm"] == 10
    say(capsys, "data subset hands.yaml --persons 4 --out small --copy")
    shutil.rmtree("own")
    result = say(capsys, "train net.yaml --trainer hands.yaml --data small --out out --quiet --json")
    assert result["data"].startswith("hands (hold-out 0 of") and (result["persons_train"], result["persons"]) == (4, 4)
    assert result["left_out"] == [] and 0 <= result["ap"] <= 1
    saved = read_yaml("out/recipe.yaml")["data"]
    assert saved["train"] == {"annotations": "labels/train.json", "pictures": "photos"}
    people = load_sources(CocoData.model_validate(saved)).val
    assert people.keypoint_set.flip_pairs == ((1, 2), (3, 4)) and people.keypoint_set.sigmas[0] == 0.03
    assert read_yaml("out/keypoints.yaml")["keypoints"] == list(people.keypoint_set.names)
    assert any(len(weight) == 5 for weight in load_file("out/weights.safetensors").values() if weight.ndim)


def recipe(root: Path, **changes: Any) -> Recipe:
    return validate(Recipe, CARD | {"data": {"kind": "coco", "root": str(root), "holdout": 0}} | changes, "card")


def break_three(root: Path) -> None:
    """An annotation and a picture to learn from, and a picture to validate on."""
    file = root / "annotations" / "person_keypoints_train2017.json"
    data = json.loads(file.read_text())
    data["annotations"][4]["keypoints"] = [1, 2, 2]
    file.write_text(json.dumps(data))
    for name in ("train2017/000000000002.jpg", "val2017/000000000003.jpg"):
        raw = (root / name).read_bytes()
        (root / name).write_bytes(raw[: len(raw) // 2])


def remove_three(root: Path) -> None:
    """The same persons are not in the annotations at all."""
    for part, gone in (("train", (2, 5)), ("val", (3,))):
        file = root / "annotations" / f"person_keypoints_{part}2017.json"
        data = json.loads(file.read_text())
        data["annotations"] = [row for row in data["annotations"] if row["id"] not in gone]
        file.write_text(json.dumps(data))


@pytest.mark.parametrize("cache", [True, False])
def test_what_is_broken_is_left_out_as_if_it_had_never_been_there(cache: bool, tmp_path: Path) -> None:
    for folder, change in (("broken", break_three), ("removed", remove_three)):
        write_coco(tmp_path / folder, pictures=12)
        change(tmp_path / folder)
    results = [
        train_architecture(NET, recipe(tmp_path / folder, cache=cache), tmp_path / f"out {folder}")
        for folder in ("broken", "removed")
    ]
    assert results[0] and results[1]
    named = results[0].pop("left_out")
    assert [re.sub(r".*/", "", line).split(":")[0] for line in named] == [
        "annotation 5",
        "000000000002.jpg",
        "000000000003.jpg",
    ]
    assert results[1].pop("left_out") == [] and results[0] == results[1]
    assert (results[0]["persons_train"], results[0]["persons"]) == (10, 11)
    weights = [(tmp_path / f"out {folder}" / "weights.safetensors").read_bytes() for folder in ("broken", "removed")]
    assert weights[0] == weights[1]


def test_a_broken_picture_without_anybody_does_not_stop_a_detector(tmp_path: Path) -> None:
    """A detector looks at all validation pictures, those of nobody too."""
    root = tmp_path / "pictures"
    write_coco(root, pictures=6)
    remove_three(root)
    (root / "val2017" / "000000000003.jpg").write_bytes(b"")
    boxes = [
        {"image_id": number, "category_id": 1, "bbox": [9.0, 9.0, 60.0, 99.0], "score": 0.9} for number in range(1, 7)
    ]
    (root / "boxes.json").write_text(json.dumps(boxes))
    data = {"kind": "coco", "root": str(root), "holdout": 0, "boxes": "boxes.json"}
    result = train_architecture(NET, recipe(root, data=data), tmp_path / "out")
    assert result and result["persons"] == 5
    assert [line.endswith("000000000003.jpg: the file is empty") for line in result["left_out"]] == [True]


def test_strict_stops_before_anything_is_written(tmp_path: Path) -> None:
    write_coco(tmp_path / "pictures", pictures=12)
    break_three(tmp_path / "pictures")
    with pytest.raises(
        UserError, match=r"3 broken annotations or pictures, with 3 persons:\n  annotation 5: 3 numbers"
    ):
        train_architecture(NET, recipe(tmp_path / "pictures"), tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_training_names_at_its_end_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "pictures", pictures=12)
    break_three(tmp_path / "pictures")
    write_yaml("tiny.yaml", CARD | {"data": {"kind": "coco", "holdout": 0}})
    write_yaml("net.yaml", {"architecture": NET.tree()})
    command = "train net.yaml --trainer tiny.yaml --data pictures --out out --quiet"
    assert "--strict" not in command and say(capsys, f"{command} --strict", status=2).count("cut off") == 2
    told = say(capsys, command)
    assert "left out, because broken:\n  annotation 5: 3 numbers for its keypoints; 51 are expected" in told
    assert told.count("the file is cut off") == 2 and "left_out" in told


def test_a_part_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "pictures", pictures=4)
    for file in (tmp_path / "pictures" / "val2017").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no picture of the part val can be used; 4 broken annotations or pictures"):
        train_architecture(NET, recipe(tmp_path / "pictures"), tmp_path / "out")


def test_parts_with_other_keypoints_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "pictures", pictures=4)
    file = tmp_path / "pictures" / "annotations" / "person_keypoints_val2017.json"
    file.write_text(file.read_text().replace('"nose"', '"snout"'))
    with pytest.raises(UserError, match="train has the keypoints nose, .* but val has snout, "):
        load_sources(CocoData(kind="coco", root=str(tmp_path / "pictures")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": "train"}, r"card: data: name: coco is COCO 2017 .* call these data otherwise, as in name: lsp"),
        ({"name": "own", "val": {"annotations": "a.json"}}, r"card: data.val.pictures: this key is missing"),
        (
            {"name": "own", "val": {"annotations": "/a.json", "pictures": "b"}},
            r"data.val.annotations: .* below data.root",
        ),
        ({"name": "own", "keypoints": "../a.yaml"}, r"data.keypoints: this must lie below data.root"),
        ({"name": "own", "train": 5}, r"data.train: expected an object \(got 5\)"),
    ],
)
def test_a_mistake_in_a_cards_data_is_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(Recipe, CARD | {"data": {"kind": "coco", **data}}, "card")


def test_a_part_may_be_named_as_coco_names_its_own() -> None:
    said = validate(
        Recipe, CARD | {"data": {"kind": "coco", "name": "lsp", "train": "train", "val": "val"}}, "card"
    ).data
    assert isinstance(said, CocoData) and said.label.startswith("lsp (hold-out 0.25")
    assert said.train == Part(annotations="annotations/person_keypoints_train.json", pictures="train")
    plain = CocoData(kind="coco")
    assert plain.label == "coco (hold-out 0.25 of the training pictures, seed 0)"
    assert plain.train.pictures == "train2017" and plain.val.annotations.endswith("person_keypoints_val2017.json")


def test_every_card_on_the_page_is_valid() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)]
    names = [validate(Recipe, CARD | block, "page").data.label.split(" ")[0] for block in blocks if "data" in block]
    (keypoints,) = (validate(KeypointCard, block, "page") for block in blocks if "data" not in block)
    assert set(names) == {"coco", "lsp", "hands"} and len(keypoints.keypoints) == 4
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == set(KeypointCard.model_fields)


@pytest.mark.data
def test_a_network_learns_lsps_fourteen_keypoints(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (data_root / "lsp" / "annotations").is_dir():
        pytest.skip("no LSP pictures")
    monkeypatch.chdir(tmp_path)
    data = {"kind": "coco", "name": "lsp", "root": "$HRNAS_DATA/lsp", "train": "train", "val": "val", "holdout": 0}
    write_yaml("lsp.yaml", CARD | {"data": data, "flip_test": True, "augmentation": {"half_body": 0.5}})
    say(capsys, "data subset lsp.yaml --persons 12 --out small")
    assert read_yaml("lsp.yaml")["data"]["name"] == "lsp"
    result = say(capsys, "train lite_hrnet_18 --trainer lsp.yaml --data small --out out --quiet --json")
    assert result["persons_train"] == result["persons"] == 12 and result["left_out"] == [] and 0 <= result["oks"] <= 1
    assert len(result["ap_by_keypoint"]) == 14
    assert cv2.imread(str(next((tmp_path / "out" / "samples").iterdir()))) is not None
