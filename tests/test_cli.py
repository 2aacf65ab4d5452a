"""The command line: every mistake is answered in words, every word does what docs/cli.md says."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mat_files import mat_truth, write_mat
from workshop import CARDS, write_cards, write_coco

import hrnas
from hrnas.cards.study import load_study
from hrnas.cards.trainer import CocoData, load_recipe
from hrnas.cli import WORDS, front_page, main, word_parser
from hrnas.doctor import examine
from hrnas.nets.cost import measure_cost
from hrnas.pose.keypoints import COCO_17
from hrnas.reading import UserError, read_yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with three tiny cards, and nothing else."""
    write_cards(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HRNAS_DATA", raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; what SQLite keeps beside a ledger comes and goes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if not p.name.endswith(("-wal", "-shm"))}


# ---------------------------------------------------------------------------------------------------------------------
# bad input


def edit(card: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of one of the tiny cards."""

    def change(folder: Path) -> None:
        text = (folder / card).read_text(encoding="utf-8")
        assert old in text
        (folder / card).write_text(text.replace(old, new), encoding="utf-8")

    return change


def network(old: str, new: str) -> Callable[[Path], None]:
    """`net.yaml`, an architecture with something wrong in it."""

    def write(folder: Path) -> None:
        tree = CARDS["search_spaces/tiny.yaml"].split("base:\n")[1].split("choices:")[0]
        assert old in tree
        (folder / "net.yaml").write_text("architecture:\n" + tree.replace(old, new), encoding="utf-8")

    return write


def pictures(spoil: Callable[[Path], None], keypoints: bool = True, cache: bool = False) -> Callable[[Path], None]:
    """A data set in the folder `pictures` with something wrong in it."""

    def write(folder: Path) -> None:
        if cache:
            edit(TRAINER, "batch_size: 8", "batch_size: 8\ncache: true")(folder)
        write_coco(folder / "pictures", keypoints=keypoints)
        spoil(folder / "pictures")

    return write


def nothing(folder: Path) -> None:
    """Change nothing."""


ANNOTATIONS = "pictures/annotations/person_keypoints_val2017.json"


def results(change: dict[str, Any]) -> Callable[[Path], None]:
    """`found.json`, somebody's results on three pictures, of which the second has something wrong."""

    def write(folder: Path) -> None:
        write_coco(folder / "pictures")
        spots = [value for k in range(17) for value in (15.0 + 3 * k, 16.0 + 5 * k, 0.5)]
        rows = [{"image_id": n, "category_id": 1, "keypoints": spots, "score": 1 / n} for n in (1, 2, 3)]
        rows[1].update(change)
        (folder / "found.json").write_text(json.dumps(rows))

    return write


def another_study(folder: Path) -> None:
    """A study called `tiny` was begun with this card, but fewer trials."""
    from hrnas.search.launch import study_recipe
    from hrnas.search.study import open_study
    from hrnas.space.search_space import load_space

    card = load_study("tiny").with_changes(trials=1)
    open_study(card, load_space(card.space), study_recipe(card), folder / "runs" / "tiny", {}).close()


STUDY, TRAINER, SPACE = "studies/tiny.yaml", "trainers/tiny.yaml", "search_spaces/tiny.yaml"
BAD_INPUT: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "a misspelt key in a study": (
        edit(STUDY, "trials: 2", "trails: 2"),
        "search tiny",
        [f"{STUDY}: trails: there is no such key (got 2)", f"{STUDY}: trials: this key is missing"],
    ),
    "an unknown key in a trainer": (
        edit(TRAINER, "batch_size: 8", "batch_size: 8\nworkers: 4"),
        "search tiny",
        [f"{TRAINER}: workers: there is no such key (got 4)"],
    ),
    "an unknown key in a space": (
        edit(SPACE, "stages[*].blocks", "stages[*].depth"),
        "search tiny",
        [f"{SPACE}: ", "stages[*].depth", "blocks"],
    ),
    "a kind that does not exist": (
        edit(SPACE, "[shuffle, residual]", "[shuffle, resnet]"),
        "search tiny",
        [f"{SPACE}: ", "resnet", "residual", "weighted_shuffle"],
    ),
    "a wrong type": (edit(STUDY, "trials: 2", "trials: many"), "search tiny", [f"{STUDY}: trials: ", 'got "many"']),
    "a truth where a number belongs": (
        edit(TRAINER, "batch_size: 8", "batch_size: true"),
        "search tiny",
        [f"{TRAINER}: batch_size: ", "integer", "got true"],
    ),
    "a value out of range": (
        edit(STUDY, "trials: 2", "trials: 0"),
        "search tiny",
        [f"{STUDY}: trials: expected greater than or equal to 1", "got 0"],
    ),
    "several mistakes at once": (
        edit(TRAINER, "epochs: 1\nbatch_size: 8", "epocs: 1\nbatch_size: -8\nema: 7"),
        "train lite_hrnet_18 --trainer tiny",
        [f"{TRAINER}: epocs: ", f"{TRAINER}: epochs: ", f"{TRAINER}: batch_size: ", f"{TRAINER}: ema: "],
    ),
    "a key that stands twice": (
        edit(STUDY, "trials: 2", "trials: 2\ntrials: 3"),
        "search tiny",
        [f"{STUDY}: trials: the key stands twice, in line 9 and in line 10"],
    ),
    "1e-3 is a number, here of epochs": (
        edit(TRAINER, "epochs: 1\n", "epochs: 1e-3\n"),
        "search tiny",
        [f"{TRAINER}: epochs: ", "integer", "got 0.001"],
    ),
    "what only looks like a number": (
        edit(TRAINER, "rate: 1e-3", "rate: 1e-3x"),
        "search tiny",
        [f"{TRAINER}: optimiser.rate: ", "expected a number", 'got "1e-3x"'],
    ),
    "no YAML at all": (edit(STUDY, "goals: {", "goals: {{"), "search tiny", [f"{STUDY}: line ", "not YAML"]),
    "a width that a shuffle block cannot split": (
        network("[16, 32, 64]", "[15, 30, 60]"),
        "profile net.yaml",
        ["net.yaml: ", "15", "width"],
    ),
    "a space around an impossible network": (
        edit(SPACE, "widths: [16, 32, 64]", "widths: [15, 30, 60]"),
        "search tiny",
        [f"{SPACE}: base: ", "15", "width"],
    ),
    "an input that is not divisible by 32": (
        edit(TRAINER, "input: 64x64", "input: 64x48"),
        "search tiny",
        [f"{TRAINER}: input: both sides must be divisible by 32: 64x48 is not, 64x64 is"],
    ),
    "such an input on the command line": (
        nothing,
        "profile published/lite_hrnet_18 --input 64x48",
        ["hrnas profile: argument --input: ", "divisible by 32: 64x48 is not, 64x64 is"],
    ),
    "a data folder that is not there": (nothing, "search tiny --data {shop}/pictures", ["pictures", "no folder"]),
    "a data folder that is empty": (
        lambda folder: (folder / "pictures").mkdir(),
        "search tiny --data {shop}/pictures",
        ["pictures", "person_keypoints_train2017.json"],
    ),
    "a data folder whose variable is not set": (
        edit(TRAINER, "{kind: drawn, train: 16, holdout: 8, val: 8, seed: 0}", "{kind: coco, root: $HRNAS_DATA/coco}"),
        "search tiny",
        ["$HRNAS_DATA/coco", "not set", "--data DIR"],
    ),
    "annotations without keypoints": (
        pictures(nothing, keypoints=False),
        "search tiny --data {shop}/pictures",
        ["person_keypoints_train2017.json", "keypoints"],
    ),
    "a picture that is missing": (
        pictures(lambda root: (root / "train2017" / "000000000002.jpg").unlink()),
        "search tiny --data {shop}/pictures",
        ["000000000002.jpg"],
    ),
    "a picture that does not decode": (
        pictures(lambda root: (root / "train2017" / "000000000002.jpg").write_bytes(b"no picture"), cache=True),
        "search tiny --data {shop}/pictures",
        ["000000000002.jpg"],
    ),
    "a study of this name with another card": (
        another_study,
        "search tiny",
        ["tiny", "another card", "trials: was 1, now 2"],
    ),
    "a word that does not exist": (nothing, "serch tiny", ["hrnas has no word 'serch'; did you mean search?"]),
    "an option that does not exist": (nothing, "search tiny --trails 3", ["'--trails'; did you mean --trials"]),
    "an option without its value": (nothing, "search tiny --trials", ["--trials", "expected one argument"]),
    "an option with a wrong value": (nothing, "search tiny --trials 0", ["--trials", "1 or more (got 0)"]),
    "a seed that no generator takes": (nothing, "search tiny --seed 4294967296", ["--seed", "from 0 to 4294967295"]),
    "a seed that is longer than any number": (nothing, f"search tiny --seed {'9' * 5000}", ["--seed", "whole number"]),
    "such a seed on a card": (
        edit(STUDY, "kind: random, seed: 0", "kind: random, seed: 9223372036854775808"),
        "search tiny",
        [f"{STUDY}: ", "seed: expected less than or equal to 4294967295"],
    ),
    "more keypoints than anybody has": (
        nothing,
        "profile published/lite_hrnet_18 --keypoints 1M",
        ["--keypoints", "1000 or less (got 1M)"],
    ),
    "a scale of a paper with a suffix": (
        edit(STUDY, "trials: 2", "trials: 2\nlimits: {lite_scale: <= 250M, params: <= 0.5}"),
        "search tiny",
        [f"{STUDY}: limits: ", "lite_scale is given in M (2^20)", 'got "<= 250M"', "params: expected a whole number"],
    ),
    "a card that does not exist": (nothing, "search tinny", ["no card 'tinny' in studies; did you mean tiny?"]),
    "an architecture that does not exist": (
        nothing,
        "profile lite_hrnet_19",
        ["'lite_hrnet_19'", "did you mean", "published/lite_hrnet_18"],
    ),
    "a study that does not exist": (another_study, "front tinny", ["no study 'tinny' in runs; did you mean tiny?"]),
    "picks of nothing": (another_study, "front tiny --pick knee", ["tiny: no trial has finished yet"]),
    "a way to pick that does not exist": (another_study, "front tiny --pick nee", ["--pick", "'nee'", "spread"]),
    "how many, but not of what": (another_study, "front tiny --count 2", ["--count and --budget", "add --pick knee"]),
    "a budget for knees": (
        another_study,
        "front tiny --pick knee --budget macs=1M",
        ["--budget", "does not go with --pick knee"],
    ),
    "a budget of something that costs nothing": (
        another_study,
        "front tiny --pick budget --budget makes=1M",
        ["--budget", "no such cost to limit; there are: params", "(got makes=1M)"],
    ),
    "a budget that is no amount": (
        another_study,
        "front tiny --pick budget --budget macs=1M,much",
        ["--budget", "expected a number", "(got macs=1M,much)"],
    ),
    "picks to train of nothing": (
        another_study,
        "retrain tiny --pick knee --trainer tiny",
        ["tiny: no trial has finished yet"],
    ),
    "picks to train, but not how": (another_study, "retrain tiny --pick knee", ["--trainer", "required"]),
    "a study against itself": (another_study, "report tiny --against ./runs/tiny", ["the study itself; name another"]),
    "a key that does not exist": (another_study, "profile tiny#123456", ["tiny#123456: no architecture"]),
    "such a key where a card may stand": (another_study, "show tiny#123456", ["tiny#123456: no architecture"]),
    "results of other pictures": (
        results({"image_id": 99}),
        f"evaluate --predictions found.json --annotations {ANNOTATIONS}",
        [
            "found.json: result 2 is of picture 99",
            "person_keypoints_val2017.json does not know (1 of 3 results are such)",
        ],
    ),
    "results with another number of keypoints": (
        results({"keypoints": [1.0, 2.0, 1.0]}),
        f"evaluate --predictions found.json --annotations {ANNOTATIONS}",
        ["found.json: keypoints of result 2: 51 numbers (x, y, score of 17 keypoints) expected, 3 numbers came"],
    ),
    "results that are not there": (
        results({}),
        f"evaluate --predictions fund.json --annotations {ANNOTATIONS}",
        ["fund.json: cannot be read: No such file"],
    ),
    "results for annotations": (
        results({}),
        "evaluate --predictions found.json --annotations found.json",
        ["found.json: not annotations in COCO's format"],
    ),
    "annotations for a ground truth of MPII": (
        results({}),
        "evaluate --predictions found.json --annotations truth.mat",
        ["truth.mat: cannot be read: No such file"],
    ),
    "nothing to count": (nothing, "profile --input 64x64", ["hrnas profile: say which ARCHITECTURE", "--published"]),
    "an architecture beside all published ones": (
        nothing,
        "profile lite_hrnet_18 --published --keypoints 16",
        ["--published counts", "leave out ARCHITECTURE and --keypoints"],
    ),
}


@pytest.mark.parametrize("mistake", BAD_INPUT)
def test_every_mistake_is_answered_in_words(mistake: str, shop: Path, capsys: pytest.CaptureFixture[str]):
    make_it, command, expected = BAD_INPUT[mistake]
    make_it(shop)
    before = contents(shop)
    assert main(command.format(shop=shop).split()) == 2
    printed = capsys.readouterr()
    missing = [text for text in expected if text not in printed.err]
    assert not missing, f"{missing} not in:\n{printed.err}"
    assert "Traceback" not in printed.err and printed.out == ""
    assert contents(shop) == before, "something was half-written"


def test_a_study_with_a_broken_picture_goes_on_when_it_is_mended(shop: Path, capsys: pytest.CaptureFixture[str]):
    """Pictures are opened when they are needed, so a study may have begun; what it began is given back, not failed."""
    edit(TRAINER, "batch_size: 8", "batch_size: 4")(shop)
    write_coco(shop / "pictures")
    broken = shop / "pictures" / "train2017" / "000000000002.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    command = f"search tiny --quiet --data {shop}/pictures".split()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert str(broken) in said and "Traceback" not in said
    if (shop / "runs" / "tiny").exists():
        ledger = hrnas.open("tiny")
        assert ledger.evaluations() == []
        ledger.close()
    broken.write_bytes(whole)
    assert main(command) == 0


def test_a_mapping_may_take_up_another(tmp_path: Path):
    card = tmp_path / "card.yaml"
    card.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {y: 4, <<: [*b, {z: 5, x: 6}]}\n")
    assert read_yaml(card) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 4, "z": 5}}
    for text, says in {
        "a: &a {x: 1}\nb: {<<: *a, y: 2, y: 3}": "y: the key stands twice, in line 2 and in line 2",
        "a: &a {x: 1}\nb: {<<: *a, <<: *a}": "<<: the key stands twice",
        "a: &a [1]\nb: {<<: *a}": "line 2, column 11: not YAML: expected a mapping for merging",
    }.items():
        card.write_text(text)
        with pytest.raises(UserError) as caught:
            read_yaml(card)
        assert says in str(caught.value) or says.split(": ", 1)[1] in str(caught.value)


@pytest.mark.parametrize("text", ["1e-3", "0.001"])
def test_a_number_may_be_written_either_way(text: str, shop: Path):
    edit(TRAINER, "rate: 1e-3", f"rate: {text}")(shop)
    assert load_recipe("tiny").optimiser.rate == 0.001


# ---------------------------------------------------------------------------------------------------------------------
# the page that describes it all


def section(word: str) -> str:
    """The part of docs/cli.md about one word."""
    found = re.search(rf"^## hrnas {word}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md says nothing of {word}"
    return found[1]


def rows(text: str, head: str) -> dict[str, str]:
    """The rows of the table whose first column is called `head`; several names may share a row."""
    found = re.search(rf"^\| {head} \| \|\n\|---\|---\|\n((?:\|.*\n?)*)", text, flags=re.MULTILINE)
    lines = re.findall(r"^\| (`.+`) \| (.*) \|$", found[1], flags=re.MULTILINE) if found else []
    return {name: told for names, told in lines for name in re.findall(r"`(.+?)`", names)}


def fields(document: Any, path: str = "") -> set[str]:
    """The names of a JSON document's fields, with those of lists of objects: `front[].key`."""
    if isinstance(document, list):
        return set().union(*(fields(item, f"{path}[].") for item in document)) if document else set()
    names = set()
    for name, value in document.items():
        names.add(path + name)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            names |= fields(value, path + name)
    return names


def say(capsys: pytest.CaptureFixture[str], command: str) -> Any:
    """Say a word that must succeed; its JSON, or its text."""
    capsys.readouterr()
    status = main(command.split())
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return json.loads(printed.out) if "--json" in command else printed.out


def test_the_page_and_the_program_know_the_same_words():
    assert re.findall(r"^## hrnas (.+)$", PAGE, flags=re.MULTILINE) == list(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_the_page_lists_every_argument_in_the_words_of_the_help(word: str):
    told = {f"{argument.name} {argument.value}".strip(): argument.help for argument in WORDS[word].arguments}
    assert rows(section(word), "argument") == told
    assert list(rows(section(word), "argument")) == list(told)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_a_help_page(word: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main([*word.split(), "--help"])
    assert left.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(argument.name in printed for argument in WORDS[word].arguments)
    assert word_parser(word).description and WORDS[word].about in front_page()


def test_json_has_the_fields_of_the_page(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("hrnas.faithfulness.published_names", lambda: ["published/lite_hrnet_18"])
    profile = fields(say(capsys, "profile published/lite_hrnet_18 --json"))
    assert profile | fields(say(capsys, "profile --published --json")) == set(rows(section("profile"), "field"))
    assert set(say(capsys, "cards --json")) == set(rows(section("cards"), "field"))
    assert fields([finding._asdict() for finding in examine()]) == set(rows(section("doctor"), "field"))
    shown: set[str] = set()
    for card in ("search_spaces/tiny", "published/lite_hrnet_18"):
        shown |= set(say(capsys, f"show {card} --json"))
    of_card = {*load_study("tiny").model_dump(), *load_recipe("tiny").model_dump()}
    for card in ("trainers/tiny", "studies/tiny"):
        shown |= set(say(capsys, f"show {card} --json")) - of_card | {"epochs"}
    assert shown - {"name"} == set(rows(section("show"), "field"))


def test_scores_of_files_have_the_fields_of_the_page(shop: Path, capsys: pytest.CaptureFixture[str]):
    results({})(shop)
    truth = mat_truth()
    write_mat(shop / "truth.mat", truth)
    write_mat(shop / "found.mat", {"preds": np.moveaxis(truth["pos_gt_src"], 2, 0) + 9})
    coco = f"evaluate --predictions found.json --annotations {ANNOTATIONS}"
    mpii = "evaluate --predictions found.mat --annotations truth.mat"
    documents = [say(capsys, f"{command} --json") for command in (coco, mpii)]
    elsewhere = {"ap_l", "ar_l"}  # nobody there is large
    assert fields(documents[0]) | fields(documents[1]) | elsewhere == set(rows(section("evaluate"), "field"))
    assert all(document[name] is None for document in documents for name in ("split", "boxes", "input", "flip_test"))
    assert (documents[0]["persons"], documents[0]["pictures"], documents[0]["detections"]) == (16, 16, 3)
    assert documents[0]["ar"] == pytest.approx(3 / 16) and set(documents[0]["ap_by_keypoint"]) == set(COCO_17.names)
    assert (documents[1]["pckh"], documents[1]["pckh_0.11"]) == (1, 0)
    assert "ap_by_keypoint:\n  nose: " in say(capsys, coco) and "boxes" in say(capsys, coco)
    assert "left_hip: 1" in say(capsys, mpii)


# ---------------------------------------------------------------------------------------------------------------------
# what the words do


def test_no_word_at_all_is_a_question(capsys: pytest.CaptureFixture[str]):
    assert say(capsys, "") == say(capsys, "--help") == say(capsys, "help") == front_page() + "\n"


def test_a_copy_is_found_before_the_card_it_was_made_from(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert say(capsys, "copy lite_hrnet_18").strip() == "search_spaces/published/lite_hrnet_18.yaml"
    listed = say(capsys, "cards --json")["search_spaces"]
    assert Path(listed["published/lite_hrnet_18"]["file"]).parent.parent.parent == shop
    (shop / "mine").mkdir()
    assert say(capsys, "copy lite_hrnet_30 mine").strip() == "mine/lite_hrnet_30.yaml"
    assert say(capsys, "copy studies/tiny mine/other.yaml").strip() == "mine/other.yaml"
    assert (shop / "mine/other.yaml").read_bytes() == (shop / STUDY).read_bytes()
    assert main(["copy", "studies/tiny", "mine/other.yaml"]) == 2
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_end_is_answered_with_how_to_go_on(
    end: signal.Signals,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
):
    def interrupted(name: str) -> None:
        signal.raise_signal(end)

    # a program begun in the background ignores Ctrl-C, and these tests may be
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr("hrnas.cards.study.load_study", interrupted)
    assert main(["search", "tiny", "--runs", "my runs"]) == 130
    said = capsys.readouterr().err
    assert "hrnas search tiny --runs 'my runs'" in said and "Traceback" not in said


def test_the_doctor_sees_what_is_missing(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HRNAS_DATA", str(shop))
    write_coco(shop / "coco", pictures=3)
    (shop / "coco" / "annotations" / "person_keypoints_val2017.json").unlink()
    data = {finding.found.split(":")[0].split("/")[-1]: finding for finding in examine() if finding.name == "data"}
    assert data["train2017"].state == "ok" and "3 pictures" in data["train2017"].found
    assert data["val2017"].state == "note" and "person_keypoints_val2017.json" in data["val2017"].advice
    monkeypatch.setattr("hrnas.doctor.REQUIRED", {"no-such-package": "no_such_package"})
    assert any(finding.state == "mend" and "no-such-package" in finding.advice for finding in examine())


# ---------------------------------------------------------------------------------------------------------------------
# a whole study, in seconds


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study was run to its end."""
    folder = tmp_path_factory.mktemp("searched")
    write_cards(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["search", "tiny", "--quiet"]) == 0
    return folder


def test_a_search_leaves_the_files_of_the_page(searched: Path):
    left = {path.name for path in (searched / "runs" / "tiny").iterdir()}
    told = {name.split("/")[0] for name in rows_of_files("search")}
    assert told <= left
    assert (searched / "runs" / "tiny" / "report.html").stat().st_size > 10_000


def rows_of_files(word: str) -> list[str]:
    """The files that docs/cli.md says a word writes."""
    return list(rows(section(word), "file"))


def test_the_front_tells_the_fields_of_the_page(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched)
    document = say(capsys, "front tiny --json")
    picks = say(capsys, "front tiny --pick spread --count 1 --json")
    assert fields(document) | fields(picks) == set(rows(section("front"), "field"))
    assert picks["picks"][0] == {
        name: document["front"][0].get(name, "even cover of the front") for name in picks["picks"][0]
    }
    assert document["finished"] == document["wanted"] == 2
    for member in document["front"]:
        assert 0 <= member["score"] <= 1 and isinstance(member["params"], int)
        assert member["key"] in say(capsys, "front tiny")
        counted = say(capsys, f"profile tiny#{member['key'][:6]} --input 64x64 --json")
        assert (counted["params"], counted["macs"]) == (member["params"], member["macs"])
        shown = say(capsys, f"show tiny#{member['key'][:6]} --json")
        assert (shown["key"], shown["cost"]["params"]) == (member["key"], member["params"])


def test_a_finished_study_is_not_searched_again(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched)
    ledger = hrnas.open("tiny")
    version = ledger.version()
    printed = say(capsys, "search tiny")
    assert "report: runs/tiny/report.html" in printed
    assert ledger.version() == version
    ledger.close()


def test_the_report_is_written_again(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched.parent)
    page = searched / "runs" / "tiny" / "report.html"
    page.unlink()
    assert say(capsys, f"report tiny --runs {searched}/runs").strip() == str(page)
    assert page.is_file()


def test_the_python_face_does_what_the_words_do(searched: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(searched)
    ledger = hrnas.open("tiny")
    trials = ledger.trials()
    ledger.close()
    architecture = hrnas.load(f"tiny#{trials[0].key}")
    assert architecture.key == trials[0].key
    net = hrnas.build(architecture, keypoints=5)
    assert sum(p.numel() for p in net.parameters()) == measure_cost(architecture, keypoints=5).params
    assert hrnas.load("published/lite_hrnet_18") == hrnas.load("lite_hrnet_18")


def test_a_found_network_is_trained_and_the_same_command_finds_it_done(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched)
    key = say(capsys, "front tiny --json")["front"][0]["key"]
    result = say(capsys, f"train tiny#{key} --trainer tiny --out trained --quiet --json")
    elsewhere = {
        "ap_l",
        "ar_l",
        "pckh",
        "pckh_low",
        "pckh_high",
        "pckh_0.1",
        "pckh_0.11",
        "pckh_by_keypoint",
    }  # nobody there is large, and it is not MPII
    assert fields(result) | elsewhere == set(rows(section("train"), "field"))
    assert {name.rstrip("/") for name in rows_of_files("train")} == {p.name for p in (searched / "trained").iterdir()}
    assert say(capsys, f"train tiny#{key} --trainer tiny --out trained --quiet --json") == result
    before = contents(searched / "trained")
    assert main(["train", "lite_hrnet_18", "--trainer", "tiny", "--out", "trained", "--quiet"]) == 2
    assert "--out" in capsys.readouterr().err and contents(searched / "trained") == before


def test_a_trial_is_repeated_with_other_seeds_and_each_seed_once(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched)
    key = say(capsys, "front tiny --json")["front"][0]["key"]
    document = say(capsys, f"repeat tiny#{key} --seeds 2 --quiet --json")
    assert [row["seed"] for row in document["seeds"]] == [0, 1]
    one, other = (row["score"] for row in document["seeds"])
    assert one != other and document["mean"] == pytest.approx((one + other) / 2)
    assert document["deviation"] == pytest.approx(abs(one - other) / 2**0.5)
    assert say(capsys, f"repeat tiny#{key} --seeds 2 --quiet --json") == document
    trainer = searched / "trainers" / "tiny.yaml"
    card = trainer.read_text()
    trainer.write_text(card.replace("1e-3", "2e-3"))
    assert main(["repeat", f"tiny#{key}", "--quiet"]) == 2
    assert "have changed since: recipe was tiny " in capsys.readouterr().err
    trainer.write_text(card)


def test_seeds_without_a_score_are_said(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from hrnas.training.proxy import ProxyTrainer

    def diverge(*anything: Any) -> Any:
        raise RuntimeError("the loss is nan")

    monkeypatch.chdir(searched)
    monkeypatch.setattr(ProxyTrainer, "__call__", diverge)
    key = say(capsys, "front tiny --json")["front"][-1]["key"]
    assert main(f"repeat tiny#{key} --seeds 9 --quiet --json".split()) == 1
    printed = capsys.readouterr()
    done = [row["seed"] for row in json.loads(printed.out)["seeds"]]
    said = [
        line
        for line in printed.err.splitlines()
        if line.endswith("has no score: failed: RuntimeError: the loss is nan")
    ]
    assert len(done) + len(said) == 9 and said[-1].startswith("seed 8 has no score")


def test_picks_are_trained_in_full_once_and_remembered(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(searched)
    before = say(capsys, "front tiny --json")
    command = "retrain tiny --pick spread --count 1 --trainer tiny --seeds 2 --quiet --json"
    document = say(capsys, command)
    assert fields(document) == set(rows(section("retrain"), "field"))
    (pick,) = document["picks"]
    assert pick["key"] == before["front"][0]["key"] and [row["seed"] for row in pick["seeds"]] == [0, 1]
    again = say(capsys, f"train tiny#{pick['key']} --trainer tiny --quiet --json")
    assert again["score"] == pick["seeds"][0]["score"]  # it lies where `hrnas train` looks for it
    ledger = hrnas.open("tiny")
    full = [e for e in ledger.evaluations() if e.identity.fidelity == "full"]
    assert [(e.identity.key, e.identity.seed, e.scores["score"]) for e in full] == [
        (pick["key"], row["seed"], row["score"]) for row in pick["seeds"]
    ]
    assert full[0].identity.recipe.endswith(", 1 epochs") and full[0].scores["split"] == "val"
    monkeypatch.setattr("hrnas.search.retrain.train_architecture", None)  # whoever trains now fails
    assert say(capsys, command) == document
    assert [e for e in ledger.evaluations() if e.identity.fidelity == "full"] == full
    ledger.close()
    assert "Full, input 64x64" in (searched / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    after = say(capsys, "front tiny --json")  # the search's front is what it was
    assert (after["finished"], after["front"]) == (before["finished"], before["front"])


def test_a_full_training_fails_by_diverging_only(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from hrnas.training.loop import Diverged

    monkeypatch.chdir(searched)
    pick = "--pick knee --count 1 --trainer tiny --seeds 4"
    command = f"retrain tiny {pick} --out elsewhere --quiet --json".split()
    ended = {2: OSError(28, "No space left on device"), 3: Diverged("the loss is nan")}

    def end(architecture: Any, recipe: Any, out: Path, seed: int, *more: Any) -> Any:
        if seed in ended:
            raise ended[seed]
        return {"score": 0.5}

    monkeypatch.setattr("hrnas.search.retrain.train_architecture", end)
    assert main(command) == 1 and "No space left" in capsys.readouterr().err  # given back: nothing says that it failed
    ended.pop(2)
    assert main(command) == 1
    printed = capsys.readouterr()
    assert [row["seed"] for row in json.loads(printed.out)["picks"][0]["seeds"]] == [0, 1, 2]
    assert "seed 3 has no score: Diverged: the loss is nan" in printed.err
    ended.clear()
    assert main(command) == 1  # what diverged would diverge again


def test_another_folder_of_pictures_changes_only_the_folder(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop)
    write_coco(shop / "pictures")
    trainer = shop / "trainers" / "tiny.yaml"
    own = "data: {kind: coco, root: nowhere, holdout: 0.5, persons: 9, seed: 3}"
    trainer.write_text(re.sub("data: .*", own, trainer.read_text()))
    assert main(["search", "tiny", "--data", "pictures", "--trials", "1", "--quiet"]) == 0
    data = read_yaml(shop / "runs" / "tiny" / "study.yaml")["data"]
    moved = CocoData(kind="coco", root=str(shop / "pictures"), holdout=0.5, persons=9, seed=3)
    assert data == moved.model_dump(mode="json")
