"""How long an evaluation takes from heatmaps to AP, beside the usual way: person by person, then pycocotools.

    python benchmarks/evaluation.py --out benchmarks/results/evaluation.csv
    python benchmarks/evaluation.py --persons 1000          (scaled down)

Both ways get the same heatmaps (256x192, 17 keypoints) and the same boxes: two persons in a picture, ten detections of
each, of which many are so near to another that they are suppressed. They take turns, some pictures at a time, and must
agree: the same coordinates, the same survivors, the same ten figures. Times are CPU seconds.

The usual way is written here from the description of HRNet's evaluation: an argmax and a step to the higher neighbour
for each keypoint of each person, suppression pair by pair in each picture, and a list of results for pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrnas.pose.average_precision import Found, Judged, Truth, average_precision
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import affine_maps, apply_maps, invert_maps
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.metrics import person_scores
from hrnas.pose.nms import THRESHOLD, crop_areas, suppress

SIZE = (256, 192)
TIMES = 10  # how often each person was detected
PER_PICTURE = 2
POSES = 256  # different heatmaps: all of them would not fit into memory
BATCH = 64
STAGES = ("decode", "suppression", "AP")


class Scene:
    """People at random places, and boxes around them that miss a little."""

    def __init__(self, persons: int, seed: int = 0) -> None:
        dice = np.random.default_rng(seed)
        poses = dice.uniform((30, 40), (160, 210), (POSES, 17, 2))
        codec = Gaussian(SIZE, 2.0)
        heights = dice.uniform(0.3, 1, (POSES, 17, 1, 1)).astype(np.float32)
        noise = dice.uniform(0, 0.05, (POSES, 17, 64, 48)).astype(np.float32)
        self.heatmaps = codec.targets(poses, np.ones((POSES, 17)))[0] * heights + noise

        pose = dice.integers(0, POSES, persons)
        widths = dice.uniform(60, 300, persons)
        centres = dice.uniform(100, 500, (persons, 2)) + np.arange(persons)[:, None] % PER_PICTURE * 400
        points = apply_maps(invert_maps(affine_maps(centres, widths, SIZE)), poses[pose])
        keypoints = np.concatenate([points, 2.0 * (dice.random((persons, 17, 1)) < 0.7)], axis=2)
        corners, opposites = points.min(axis=1), points.max(axis=1)
        areas = (opposites - corners).prod(axis=1) * 0.6
        picture = np.arange(persons) // PER_PICTURE
        counts = (keypoints[:, :, 2] > 0).sum(axis=1)
        boxes = np.concatenate([corners, opposites - corners], axis=1)
        self.truth = Truth(
            np.arange(picture[-1] + 1), picture, keypoints, boxes, areas, np.zeros(persons, bool), counts, COCO_17
        )

        who = np.repeat(np.arange(persons), TIMES)
        miss = dice.normal(size=(len(who), 2)) * widths[who, None] * dice.choice([0.005, 0.03, 0.1], (len(who), 1))
        self.widths = widths[who] * np.exp(0.03 * dice.normal(size=len(who)))
        self.to_picture = invert_maps(affine_maps(centres[who] + miss, self.widths, SIZE))
        self.pose, self.picture, self.sureness = pose[who], picture[who], dice.random(len(who)).round(3)

    def parts(self, count: int) -> Iterator[slice]:
        """Whole pictures with about `count` detections."""
        step = max(1, count // (TIMES * PER_PICTURE)) * TIMES * PER_PICTURE
        return (slice(begin, begin + step) for begin in range(0, len(self.pose), step))


class Ours:
    """As hrnas evaluates."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.codec = scene, Gaussian(SIZE, 2.0)
        self.found: list[Found] = []

    def decode(self, part: slice, heatmaps: np.ndarray) -> np.ndarray:
        parts = [self.codec.decode(heatmaps[begin : begin + BATCH]) for begin in range(0, len(heatmaps), BATCH)]
        points, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return np.concatenate([apply_maps(self.scene.to_picture[part], points), scores[:, :, None]], axis=2)

    def suppress(self, part: slice, keypoints: np.ndarray) -> None:
        scene = self.scene
        scores = scene.sureness[part] * person_scores(keypoints)
        areas = crop_areas(scene.widths[part], SIZE)
        kept = suppress(scene.picture[part], keypoints, areas, scores, COCO_17)
        self.found.append(Found(scene.picture[part][kept], keypoints[kept], scores[kept]))

    def score(self) -> list[float]:
        names = ("picture", "keypoints", "scores")
        found = Found(*(np.concatenate([getattr(one, name) for one in self.found]) for name in names))
        return list(average_precision(Judged(self.scene.truth, found)).values())


class Usual:
    """Person by person, pair by pair."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.results: list[dict[str, object]] = []
        self.variances = (np.array(COCO_17.sigmas) * 2) ** 2

    def decode(self, part: slice, heatmaps: np.ndarray) -> np.ndarray:
        ways_back = self.scene.to_picture[part]
        return np.array([self._decode(maps, way) for maps, way in zip(heatmaps, ways_back, strict=True)])

    @staticmethod
    def _decode(maps: np.ndarray, to_picture: np.ndarray) -> list[list[float]]:
        height, width = maps.shape[1:]
        best = maps.reshape(len(maps), -1).argmax(axis=1)
        points = []
        for heat, cell in zip(maps, best.tolist(), strict=True):
            y, x = divmod(cell, width)
            shift = np.zeros(2)
            if 1 < x < width - 1 and 1 < y < height - 1:
                shift = 0.25 * np.sign([heat[y, x + 1] - heat[y, x - 1], heat[y + 1, x] - heat[y - 1, x]])
            place = to_picture @ np.array([4 * (x + shift[0]), 4 * (y + shift[1]), 1.0])
            points.append([place[0], place[1], heat[y, x]])
        return points

    def suppress(self, part: slice, keypoints: np.ndarray) -> None:
        scene = self.scene
        pictures = defaultdict(list)
        for row, points in enumerate(keypoints, start=part.start):
            sure = points[points[:, 2] > 0.2, 2]
            score = scene.sureness[row] * (sure.mean() if len(sure) else 0.0)
            area = scene.widths[row] ** 2 * SIZE[0] / SIZE[1]
            pictures[int(scene.picture[row])].append((score, points, area))
        for picture, persons in pictures.items():
            left = sorted(persons, key=lambda person: -person[0])
            while left:
                (score, points, area), left = left[0], left[1:]
                row = {"image_id": picture, "category_id": 1, "keypoints": points.ravel().tolist()}
                self.results.append({**row, "score": float(score)})
                left = [other for other in left if self._oks(points, area, other) <= THRESHOLD]

    def _oks(self, points: np.ndarray, area: float, other: tuple[float, np.ndarray, float]) -> float:
        squares = ((points[:, :2] - other[1][:, :2]) ** 2).sum(axis=1)
        return float(np.exp(-squares / self.variances / ((area + other[2]) / 2) / 2).mean())

    def score(self) -> list[float]:
        truth = self.scene.truth
        columns = (truth.picture, truth.keypoints.reshape(-1, 51), truth.boxes, truth.areas, truth.counts)
        names = ("image_id", "keypoints", "bbox", "area", "num_keypoints")
        rows = [
            dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": int(number)} for number in truth.ids],
                "categories": [{"id": 1}],
                "annotations": [
                    {"id": number, "category_id": 1, "iscrowd": 0, **row} for number, row in enumerate(rows, start=1)
                ],
            }
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(self.results), "keypoints")
            evaluation.params.kpt_oks_sigmas = np.array(COCO_17.sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats if value >= 0]


def measure(persons: int) -> list[dict[str, object]]:
    """CPU seconds of each stage in both ways.

    Raises:
        SystemExit: the two do not agree.
    """
    scene = Scene(persons)
    ways = {"hrnas": Ours(scene), "usual": Usual(scene)}
    seconds = {name: dict.fromkeys(STAGES, 0.0) for name in ways}

    def timed(name: str, stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        before = time.process_time()
        result = work(*arguments)
        seconds[name][stage] += time.process_time() - before
        return result

    for number, part in enumerate(scene.parts(640)):
        seen, heatmaps = {}, scene.heatmaps[scene.pose[part]]
        for name in list(ways)[:: -1 if number % 2 else 1]:  # nobody is always first
            seen[name] = timed(name, "decode", ways[name].decode, part, heatmaps)
            timed(name, "suppression", ways[name].suppress, part, seen[name])
        if not np.allclose(seen["hrnas"], seen["usual"], rtol=0, atol=1e-4):
            raise SystemExit("the two ways decode different coordinates")
    kept = sum(len(found.scores) for found in ways["hrnas"].found)
    if kept != len(ways["usual"].results):
        raise SystemExit("the two ways keep different detections")
    figures = {name: timed(name, "AP", way.score) for name, way in ways.items()}
    if not np.allclose(figures["hrnas"], figures["usual"], rtol=0, atol=1e-12):
        raise SystemExit(f"the two ways count different figures: {figures}")
    print(f"{len(scene.pose)} detections of {persons} persons, {kept} kept, AP {figures['hrnas'][0]:.4f} both ways")
    for name in ways:
        seconds[name]["all"] = sum(seconds[name].values())
    return [
        {
            "persons": persons,
            "detections": len(scene.pose),
            "kept": kept,
            "stage": stage,
            "hrnas_cpu_s": round(seconds["hrnas"][stage], 2),
            "usual_cpu_s": round(seconds["usual"][stage], 2),
            "ratio": round(seconds["usual"][stage] / seconds["hrnas"][stage], 2),
        }
        for stage in (*STAGES, "all")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="write the table as CSV")
    arguments = parser.parse_args()
    rows = measure(arguments.persons)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if arguments.out:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
