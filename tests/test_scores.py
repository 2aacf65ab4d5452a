"""What was found is scored as COCO's own tool scores it, doubles are suppressed as HRNet does, and luck is told."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrnas.pose import metrics
from hrnas.pose.average_precision import (
    MOST,
    Judged,
    Truth,
    ap_by_keypoint,
    average_precision,
    number_pictures,
    resampled_ap,
)
from hrnas.pose.coco import Bystanders, People, read_coco_folder
from hrnas.pose.drawn import draw_people
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.metrics import share_within
from hrnas.pose.nms import crop_areas, suppress, suppress_softly
from hrnas.pose.results import read_boxes, read_results
from hrnas.reading import UserError

FIGURES = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l")
CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}


@pytest.fixture(scope="module")
def drawn() -> People:
    return draw_people(150, 11)


# ---------------------------------------------------------------------------------------------------------------------
# files of all kinds, and what pycocotools says of them


def random_files(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and results: crowds, persons without keypoints, missing persons, empty pictures, doubles and ties."""
    dice = np.random.default_rng(seed)
    ids = dice.permutation(1000)[:24].tolist()
    persons: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in ids:
        here = [random_person(dice, image) for _ in range(dice.choice([0, 1, 2, 3, 6]))]
        if here and dice.random() < 0.2:
            here.append(dict(here[0]))  # somebody was annotated twice
        persons += here
        for person in here:
            for _ in range(dice.choice([0, 1, 1, 2, 5])):
                results.append(random_result(dice, image, person))
        for _ in range(dice.choice([0, 0, 1, 25])):  # more than COCO judges
            results.append(random_result(dice, image, random_person(dice, image)))
        if results and dice.random() < 0.3:
            results.append(dict(results[-1], image_id=image))
    for number, person in enumerate(persons):
        person["id"] = 5000 - number
    dice.shuffle(results)  # type: ignore[arg-type]
    images = [{"id": image, "width": 640, "height": 480, "file_name": f"{image}.jpg"} for image in ids]
    return {"info": {}, "images": images, "annotations": persons, "categories": [CATEGORY]}, results


def random_person(dice: np.random.Generator, image: int) -> dict[str, Any]:
    size = dice.uniform(5, 200)
    corner = dice.uniform(0, 300, 2)
    flags = dice.integers(0, 3, 17) * (dice.random(17) < dice.choice([0, 0.1, 0.7, 1]))
    points = np.c_[corner + dice.uniform(0, size, (17, 2)).round(2), flags]
    points[flags == 0] = 0
    return {
        "image_id": image,
        "category_id": 1,
        "bbox": [*corner.tolist(), size, size * 1.5],
        "area": size * size * 0.8,
        "iscrowd": int(dice.random() < 0.15),
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": points.ravel().tolist(),
    }


def random_result(dice: np.random.Generator, image: int, person: dict[str, Any]) -> dict[str, Any]:
    points = np.reshape(person["keypoints"], (17, 3)).copy()
    unknown = points[:, 2] == 0
    left, top, width, height = person["bbox"]
    points[unknown, :2] = (left, top) + dice.uniform(0, 1, (int(unknown.sum()), 2)) * (width, height)
    points[:, :2] += dice.normal(size=(17, 2)) * dice.choice([0, 0.02, 0.05, 0.2]) * np.sqrt(person["area"])
    points[:, 2] = dice.random(17)
    score = float(dice.integers(0, 12)) / 10  # many are equal
    return {"image_id": image, "category_id": 1, "keypoints": points.ravel().tolist(), "score": score}


def save(folder: Path, annotations: Any, results: Any) -> tuple[Path, Path]:
    """Two files: results, annotations."""
    files = folder / "results.json", folder / "annotations.json"
    for file, content in zip(files, (results, annotations), strict=True):
        file.write_text(json.dumps(content))
    return files


def judge(
    annotations: dict[str, Any], results: list[dict[str, Any]], sigmas: tuple[float, ...] | None = None
) -> COCOeval:
    """pycocotools itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(annotations))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "keypoints")
        evaluation.params.kpt_oks_sigmas = evaluation.params.kpt_oks_sigmas if sigmas is None else np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(12))
def test_the_ten_figures_are_pycocotools_to_the_last_bit(seed: int, tmp_path: Path) -> None:
    annotations, results = random_files(seed)
    expected = np.asarray(judge(annotations, results).stats)
    judged = Judged(*read_results(*save(tmp_path, annotations, results)))
    assert average_precision(judged) == {
        name: value for name, value in zip(FIGURES, expected.tolist(), strict=True) if value >= 0
    }


@pytest.mark.parametrize("seed", range(6))
def test_faster_coco_eval_says_the_same_but_for_last_bits(seed: int) -> None:
    """Its precision has no epsilon, so that it is 1 where the best detection is right, not 1 - 2e-16."""
    faster = pytest.importorskip("faster_coco_eval")
    annotations, results = random_files(seed)
    truth = faster.COCO(json.loads(json.dumps(annotations)))
    evaluation = faster.COCOeval_faster(truth, truth.loadRes(results), "keypoints", print_function=lambda *_: None)
    evaluation.run()
    expected = judge(annotations, results).stats
    np.testing.assert_allclose(evaluation.stats[: len(FIGURES)], expected, rtol=0, atol=1e-15)


def test_a_box_in_the_results_says_how_large_a_detection_is_as_pycocotools_has_it(tmp_path: Path) -> None:
    annotations, results = random_files(3)
    plain = np.asarray(judge(annotations, results).stats)
    for number, row in enumerate(results):
        row["bbox"] = [0.0, 0.0, 10.0 + number % 7 * 20, 50.0]
    expected = np.asarray(judge(annotations, results).stats)
    judged = Judged(*read_results(*save(tmp_path, annotations, results)))
    assert list(average_precision(judged).values()) == expected.tolist()
    assert (plain != expected).any(), "the boxes matter"


@pytest.mark.parametrize("seed", range(4))
def test_every_oks_is_pycocotools_to_the_last_bit(seed: int, tmp_path: Path) -> None:
    annotations, results = random_files(seed)
    theirs = judge(annotations, results, COCO_17.sigmas).ious  # its own, 1.07 / 10, is not quite 0.107
    truth, found = read_results(*save(tmp_path, annotations, results))
    judged = Judged(truth, found)
    assert (judged.oks >= 0).sum() > 100
    for place, number in enumerate(judged.pictures):
        ours = judged.oks[judged.place == place][:, judged.persons[place] >= 0]
        expected = theirs[truth.ids[number], 1]
        assert ours.tolist() == (expected.tolist() if len(expected) else [[]] * len(ours))


@pytest.mark.parametrize("seed", range(2))
def test_ap_of_a_keypoint_is_cocos_ap_when_nothing_else_has_labels(seed: int, tmp_path: Path) -> None:
    annotations, results = random_files(seed)
    ours = ap_by_keypoint(*read_results(*save(tmp_path, annotations, results)))
    assert list(ours) == list(COCO_17.names)
    for place, name in list(enumerate(COCO_17.names))[seed::6]:
        only = json.loads(json.dumps(annotations))
        for person in only["annotations"]:
            flags = person["keypoints"][2::3]
            person["keypoints"][2::3] = [flag if point == place else 0 for point, flag in enumerate(flags)]
            person["num_keypoints"] = int(flags[place] > 0)
        assert ours[name] == judge(only, results).stats[0]


def test_a_keypoint_that_is_never_labelled_has_no_ap(tmp_path: Path) -> None:
    annotations, results = random_files(0)
    for person in annotations["annotations"]:
        person["keypoints"][2] = 0
    assert list(ap_by_keypoint(*read_results(*save(tmp_path, annotations, results)))) == list(COCO_17.names[1:])


def test_only_the_best_of_a_picture_are_judged(tmp_path: Path) -> None:
    annotations, results = random_files(2)
    truth, found = read_results(*save(tmp_path, annotations, results))
    judged = Judged(truth, found)
    counts = np.bincount(judged.place)
    assert counts.max() == MOST < np.bincount(found.picture).max()


def test_whoever_is_not_found_counts(tmp_path: Path) -> None:
    annotations, _ = random_files(1)
    truth, found = read_results(*save(tmp_path, annotations, []))
    scores = metrics.evaluate_found(truth, found)
    assert scores["ap"] == scores["ar"] == scores["ap_high"] == 0
    labelled = [row for row in annotations["annotations"] if row["num_keypoints"] and not row["iscrowd"]]
    assert scores["persons"] == len(labelled)


def test_a_detection_where_nobody_is_harms_and_one_of_a_crowd_does_not(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    somebody, crowd = ({**random_person(dice, 1), "image_id": image} for image in (1, 2))
    somebody |= {"id": 1, "iscrowd": 0, "num_keypoints": 17, "keypoints": np.tile((50.0, 60.0, 2.0), 17).tolist()}
    crowd |= {"id": 2, "iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51, "bbox": [0, 0, 400, 400]}
    images = [{"id": image} for image in (1, 2, 3)]
    annotations = {"images": images, "annotations": [somebody, crowd], "categories": [CATEGORY]}
    right = {"image_id": 1, "category_id": 1, "keypoints": somebody["keypoints"], "score": 0.5}
    for image, ap in ((2, 1.0), (3, 0.5)):
        results = [right, {**right, "image_id": image, "score": 0.9}]
        truth, found = read_results(*save(tmp_path, annotations, results))
        assert metrics.evaluate_found(truth, found, resamples=0)["ap"] == pytest.approx(ap)


def test_where_nobody_has_an_area_a_part_of_the_box_stands_for_it(tmp_path: Path) -> None:
    annotations, results = random_files(4)
    for person in annotations["annotations"]:
        person["area"] = 0.53 * person["bbox"][2] * person["bbox"][3]
    expected = average_precision(Judged(*read_results(*save(tmp_path, annotations, results))))
    for person in annotations["annotations"]:
        del person["area"]
    assert average_precision(Judged(*read_results(*save(tmp_path, annotations, results)))) == expected


# ---------------------------------------------------------------------------------------------------------------------
# persons in their own boxes


def spoilt(people: People, amount: float, seed: int = 0) -> np.ndarray:
    """Predictions that miss by about `amount` times the root of the area, with scores that know a little."""
    dice = np.random.default_rng(seed)
    miss = dice.normal(size=people.keypoints[:, :, :2].shape) * amount * dice.random((len(people), 1, 1)) * 2
    places = people.keypoints[:, :, :2] + miss * np.sqrt(people.areas)[:, None, None]
    scores = np.exp(-np.abs(miss).mean(axis=2, keepdims=True) * 4) * dice.random((len(people), 17, 1))
    return np.concatenate([places, scores], axis=2)


def with_full_scores(people: People) -> np.ndarray:
    """Predictions that are the truth."""
    return np.concatenate([people.keypoints[:, :, :2], np.ones((len(people), 17, 1))], axis=2)


def as_results(people: People, predictions: np.ndarray) -> list[dict[str, Any]]:
    """As a result file has them."""
    scores = metrics.person_scores(predictions)
    return [
        {
            "image_id": people.pictures[picture].id,
            "category_id": 1,
            "keypoints": points.astype(float).ravel().tolist(),
            "score": float(score),
        }
        for picture, points, score in zip(people.picture, predictions, scores, strict=True)
    ]


def as_annotations(people: People) -> dict[str, Any]:
    """As an annotation file has them."""
    beside = people.bystanders
    labelled = zip(people.ids, people.picture, people.boxes, people.areas, people.keypoints, strict=True)
    others = zip(range(10**6, 10**7), beside.picture, beside.boxes, beside.areas, strict=False)
    rows = [*labelled, *((*other, np.zeros((17, 3))) for other in others)]
    annotations = [
        {
            "id": int(id),
            "image_id": people.pictures[picture].id,
            "category_id": 1,
            "bbox": box.tolist(),
            "area": float(area),
            "iscrowd": 0,
            "num_keypoints": int((points[:, 2] > 0).sum()),
            "keypoints": points.ravel().tolist(),
        }
        for id, picture, box, area, points in rows
    ]
    images = [{"id": picture.id} for picture in people.pictures]
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


@pytest.mark.parametrize("amount", [0.01, 0.05, 0.2])
def test_persons_in_their_own_boxes_get_pycocotools_numbers_to_the_last_bit(drawn: People, amount: float) -> None:
    predictions = spoilt(drawn, amount)
    ours = metrics.evaluate(drawn, predictions, resamples=0)
    expected = judge(as_annotations(drawn), as_results(drawn, predictions)).stats
    assert [ours[name] for name in FIGURES] == list(expected)
    assert 0 < ours["ap"] < 1


def test_similarity_has_its_closed_form(drawn: People) -> None:
    one = drawn.take([0])
    shifted = one.keypoints.copy()
    shifted[0, :, 0] += 3.0
    expected = np.exp(-9 / (2 * one.areas[0] * (2 * np.array(COCO_17.sigmas)) ** 2))
    labelled = one.keypoints[0, :, 2] > 0
    assert metrics.object_keypoint_similarity(one, shifted)[0] == pytest.approx(expected[labelled].mean())


def test_perfect_predictions_score_one_and_lost_ones_nothing(drawn: People) -> None:
    perfect = metrics.evaluate(drawn, with_full_scores(drawn))
    assert all(perfect[name] == 1 for name in ("ap", "ar", "oks", "oks50", "ap_low", "ap_high", "oks_low"))
    lost = metrics.evaluate(drawn, drawn.keypoints + (5000, 0, 0))
    assert lost["ap"] == lost["oks"] == lost["ap_high"] == 0


def test_a_persons_score_is_the_mean_of_its_confident_keypoints() -> None:
    predictions = np.zeros((3, 4, 3))
    predictions[0, :, 2] = (0.2, 0.4, 0.6, 0.1)
    predictions[1, :, 2] = 0.1
    np.testing.assert_allclose(metrics.person_scores(predictions), [0.5, 0, 0])
    np.testing.assert_allclose(metrics.person_scores(predictions, 0.0), [0.325, 0.1, 0])


def test_a_resampled_ap_is_the_ap_of_the_resampled_pictures(drawn: People) -> None:
    """Counting a picture twice gives what pycocotools gives for two copies of it."""
    people = replace(drawn, bystanders=Bystanders.none())
    predictions = spoilt(people, 0.06)
    pictures = np.unique(people.picture)
    counts = metrics.draw_again(len(pictures), 3, 0)
    judged = Judged(Truth.of(people), metrics.in_own_boxes(people, predictions))
    by_number = pictures[np.argsort(number_pictures(people)[pictures])]
    for count, ap in zip(counts, resampled_ap(judged, counts), strict=True):
        drawn_again = np.repeat(by_number, count)
        persons = [np.flatnonzero(people.picture == picture) for picture in drawn_again]
        index = np.concatenate(persons)
        copies = replace(
            people.take(index),
            pictures=tuple(
                replace(people.pictures[picture], id=place) for place, picture in enumerate(drawn_again, start=1)
            ),
            picture=np.repeat(np.arange(len(persons)), [len(rows) for rows in persons]),
        )
        again = metrics.evaluate(copies, predictions[index], resamples=0)
        assert ap == pytest.approx(again["ap"], abs=1e-9)


def test_intervals_hold_the_value_and_shrink_with_more_pictures(drawn: People) -> None:
    predictions = spoilt(drawn, 0.06)
    scores = metrics.evaluate(drawn, predictions)
    few = metrics.evaluate(drawn.take(np.arange(30)), predictions[:30])
    for name in ("ap", "oks", "oks50"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    narrow, wide = (at["oks_high"] - at["oks_low"] for at in (scores, few))
    assert wide > 1.3 * narrow


def test_the_bootstrap_agrees_with_the_textbook_error_of_a_mean() -> None:
    values = np.random.default_rng(0).random(150)  # one person in each picture, so that persons are units
    means = metrics.resampled_mean(values, np.arange(150), metrics.draw_again(150, 4000, 0))
    ends = metrics.interval("x", means)
    error = values.std() / np.sqrt(len(values))
    assert (ends["x_high"] - ends["x_low"]) / 2 == pytest.approx(1.96 * error, rel=0.08)


@pytest.mark.data
def test_perfect_predictions_on_real_pictures_have_ap_one(coco_root: Path) -> None:
    people = read_coco_folder(coco_root, "val2017")
    scores = metrics.evaluate(people, with_full_scores(people))
    assert scores["ap"] == scores["ar"] == scores["oks"] == 1


@pytest.mark.data
def test_real_pictures_give_pycocotools_numbers_to_the_last_bit(coco_root: Path, tmp_path: Path) -> None:
    people = read_coco_folder(coco_root, "val2017")
    file = coco_root / "annotations" / "person_keypoints_val2017.json"
    predictions = spoilt(people, 0.08)
    results = as_results(people, predictions)
    expected = list(judge(json.loads(file.read_text()), results).stats)
    assert list(metrics.evaluate(people, predictions, resamples=0).values())[:10] == expected
    (tmp_path / "results.json").write_text(json.dumps(results))
    judged = Judged(*read_results(tmp_path / "results.json", file))
    assert list(average_precision(judged).values()) == expected


# ---------------------------------------------------------------------------------------------------------------------
# doubles


def crowded(seed: int) -> dict[str, Any]:
    """Detections of which many are of one person, in seven pictures, with tied scores."""
    dice = np.random.default_rng(seed)
    count = 150
    persons = dice.uniform(0, 200, (12, 17, 2))
    who = dice.integers(0, 12, count)
    keypoints = persons[who] + dice.normal(size=(count, 17, 2)) * dice.choice([0, 1, 4, 12], (count, 1, 1))
    return {
        "picture": dice.permutation(np.repeat([3, 4, 5, 9, 11, 12, 20], [1, 2, 40, 60, 7, 20, 20])),
        "keypoints": keypoints,
        "areas": dice.uniform(5_000, 40_000, 12)[who] * dice.uniform(0.9, 1.1, count),
        "scores": dice.integers(1, 30, count) / 30,
    }


def oks_of_two(one: int, other: int, keypoints: np.ndarray, areas: np.ndarray) -> float:
    """As the papers write it: the mean over all keypoints, the area that of the two persons' mean."""
    terms = [
        np.exp(-((a - b) ** 2).sum() / (2 * (2 * sigma) ** 2 * (areas[one] + areas[other]) / 2))
        for a, b, sigma in zip(keypoints[one], keypoints[other], COCO_17.sigmas, strict=True)
    ]
    return float(np.mean(terms))


def suppress_slowly(
    picture: np.ndarray, keypoints: np.ndarray, areas: np.ndarray, scores: np.ndarray, soft: bool, most: int = 20
) -> list[int]:
    """One picture, one detection, one pair at a time."""
    kept = []
    for here in sorted(set(picture.tolist())):
        left = {int(row): float(scores[row]) for row in np.flatnonzero(picture == here)}
        while left and not (soft and most == 0):
            best = max(left, key=lambda row: (left[row], -row))
            del left[best]
            kept.append(best)
            similar = {row: oks_of_two(best, row, keypoints, areas) for row in left}
            if soft:
                left = {row: score * np.exp(-(similar[row] ** 2) / 0.9) for row, score in left.items()}
                if sum(picture[row] == here for row in kept) == most:
                    break
            else:
                left = {row: score for row, score in left.items() if similar[row] <= 0.9}
    return sorted(kept)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_that_of_a_slow_loop(seed: int) -> None:
    case = crowded(seed)
    kept = suppress(**case, keypoint_set=COCO_17)
    assert kept.tolist() == suppress_slowly(**case, soft=False)
    assert 20 < len(kept) < 140
    softly = suppress_softly(**case, keypoint_set=COCO_17)
    assert softly.tolist() == suppress_slowly(**case, soft=True)
    assert np.bincount(case["picture"][softly]).max() == 20


def test_of_equal_doubles_the_first_stays() -> None:
    case = crowded(0)
    same = {name: np.repeat(values[:1], 3, axis=0) for name, values in case.items()}
    assert suppress(**same, keypoint_set=COCO_17).tolist() == [0]
    assert suppress_softly(**same, keypoint_set=COCO_17, most=2).tolist() == [0, 1]


def test_suppressing_again_changes_nothing_and_nobody_is_nobody() -> None:
    case = crowded(1)
    kept = suppress(**case, keypoint_set=COCO_17)
    fewer = {name: values[kept] for name, values in case.items()}
    assert len(suppress(**fewer, keypoint_set=COCO_17)) == len(kept)
    nobody = {name: values[:0] for name, values in case.items()}
    assert len(suppress(**nobody, keypoint_set=COCO_17)) == len(suppress_softly(**nobody, keypoint_set=COCO_17)) == 0


def test_an_area_is_that_of_the_padded_crop() -> None:
    assert crop_areas(np.array([192.0, 30.0]), (256, 192)).tolist() == [192 * 256, 30 * 40]


# ---------------------------------------------------------------------------------------------------------------------
# what cannot be read


def change_row(place: int, **changes: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A change of one result, or with place -1 of one annotation."""

    def change(annotations: Any, results: Any) -> tuple[Any, Any]:
        row = annotations["annotations"][0] if place < 0 else results[place]
        row |= changes
        for key in [key for key, value in row.items() if value is ...]:
            del row[key]
        return annotations, results

    return change


BAD_FILES: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], str]] = {
    "an unknown picture": (
        change_row(4, image_id=123456),
        r"results\.json: result 5 is of picture 123456, which .*annotations\.json does not know \(1 of \d+ results",
    ),
    "a picture without an id": (change_row(0, image_id=...), "image_id of result 1: a whole number expected, nothing"),
    "a picture with half an id": (change_row(0, image_id=1.5), r"image_id of result 1: a whole number .*, 1\.5 came"),
    "another category": (change_row(2, category_id=3), "result 3 is of category 3; .* category 1"),
    "too few keypoints": (
        change_row(1, keypoints=[1.0] * 42),
        r"keypoints of result 2: 51 numbers \(x, y, score of 17 keypoints\) expected, 42 numbers came",
    ),
    "a keypoint that is no number": (change_row(1, keypoints=["left"] * 51), "keypoints of result 2 holds what is no"),
    "a keypoint nowhere": (change_row(1, keypoints=[float("nan")] * 51), "keypoints of result 2 is not finite"),
    "a keypoint at infinity": (change_row(1, keypoints=[float("inf")] * 51), "keypoints of result 2 is not finite"),
    "no score": (change_row(0, score=...), "score of result 1: a number expected, nothing came"),
    "a score that is no number": (change_row(0, score=float("nan")), "score of result 1 is not finite"),
    "a box in the first result alone": (change_row(0, bbox=[0, 0, 1, 1]), "bbox of result 2: 4 numbers .* nothing"),
    "not a list": (lambda a, r: (a, {"annotations": r}), "a list of results .* expected, not dict"),
    "a list of something else": (lambda a, r: (a, [1, 2]), "image_id of result 1: a whole number expected, 1 came"),
    "annotations without pictures": (lambda a, r: ({**a, "images": []}, r), "does not know"),
    "annotations of nobody": (lambda a, r: ({**a, "annotations": []}, r), "no person in it has a labelled keypoint"),
    "results for annotations": (lambda a, r: (r, r), r"annotations\.json: not annotations in COCO's format"),
    "annotated keypoints of the wrong length": (
        change_row(-1, keypoints=[1, 2, 2]),
        "keypoints of annotation 1: 51 numbers",
    ),
    "an annotation whose area is no number": (change_row(-1, area="large"), "area of annotation 1 is not finite"),
    "an annotation with half a box": (change_row(-1, bbox=[1, 2]), "bbox of annotation 1: 4 numbers"),
    "an annotation that lies nowhere": (
        change_row(-1, bbox=[1, 2, 3, float("nan")]),
        "bbox of annotation 1 is not finite",
    ),
    "an annotation of no picture": (change_row(-1, image_id=-4), "annotation 1 is of picture -4"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_cannot_be_judged_are_named(
    tmp_path: Path, spoil: Callable[[Any, Any], tuple[Any, Any]], message: str
) -> None:
    files = save(tmp_path, *spoil(*random_files(0)))
    with pytest.raises(UserError, match=message):
        read_results(*files)


# ---------------------------------------------------------------------------------------------------------------------
# a detector's boxes


def box(image: int, score: float = 0.5, **changes: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": [5.0, 6.0, 40.0, 50.0], "score": score, **changes}


def test_boxes_are_read_as_hrnet_reads_them(drawn: People, tmp_path: Path) -> None:
    """Persons only, however far outside the picture, and none below the threshold; picture by picture."""
    first, second = (drawn.pictures[place].id for place in (0, 1))
    rows = [
        box(second, 0.9, bbox=[-20.0, 3.5, 400.0, 2.0]),
        box(first, 0.3),
        box(second, 0.29),
        box(first, 0.8, category_id=17, bbox=[0, 0, 0, 0]),
        box(10**9, 0.9),
        box(first, 0.7),
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    people, scores = read_boxes(tmp_path / "boxes.json", drawn, 0.3)
    assert people.picture.tolist() == [0, 0, 1] and scores.tolist() == [0.3, 0.7, 0.9]
    assert people.boxes.tolist() == [[5, 6, 40, 50], [5, 6, 40, 50], [-20, 3.5, 400, 2]]
    assert people.pictures is drawn.pictures and not people.keypoints.any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"boxes": []}, "a list of boxes .* expected, not dict"),
        ([], "none of its 0 boxes"),
        ([box(10**9)], "none of its 1 boxes is a person's in a picture of this data"),
        ([box(1, bbox=[1, 2, 0, 5])], r"box 1 is \[1, 2, 0, 5\]; width and height must be above 0"),
        ([box(1, bbox=[1, 2, 3, float("nan")])], "bbox of box 1 is not finite"),
        ([box(1), box(1, bbox=[1, 2])], "bbox of box 2: 4 numbers"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], "category_id of box 1: a whole number expected, nothing"),
    ],
)
def test_boxes_that_cannot_be_used_are_named(drawn: People, tmp_path: Path, rows: Any, message: str) -> None:
    ids = {box["image_id"] for box in rows if isinstance(box, dict)} if isinstance(rows, list) else set()
    pictures = (replace(drawn.pictures[0], id=1), *drawn.pictures[1:]) if 1 in ids else drawn.pictures
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=message):
        read_boxes(tmp_path / "boxes.json", replace(drawn, pictures=pictures))


def test_pck_counts_labelled_keypoints_within_a_tenth_of_the_longer_side() -> None:
    people = draw_people(1, 0)
    long = people.boxes[0, 2:].max()
    off = people.keypoints[:, :, :2].astype(np.float64)
    off[0, 0, 0] += 0.09 * long
    off[0, 1, 1] -= 0.11 * long
    labelled = people.keypoints[0, :, 2] > 0
    assert labelled[:2].all(), "the drawn person shows its nose and its left eye"
    assert share_within(people, off) == pytest.approx(1 - 1 / labelled.sum())
    assert share_within(people, off, share=0.2) == 1.0
