"""What a training leaves behind.

architecture.yaml  recipe.yaml     what was trained, and how
keypoints.yaml                     what its keypoints are called, and which belong together
training.pt                        the last checkpoint: the same command goes on from it
weights.safetensors                the network to use (the moving average where there is one) of the last evaluation
best.safetensors                   the same of the evaluation with the best AP (MPII: PCKh)
samples/EPOCH.jpg                  what the network saw in a few persons at each evaluation
result.json                        the scores of the last evaluation
log.csv                            a line for each evaluation, written when all its other files are
tensorboard/                       curves: loss and rate of each epoch, scores of each evaluation
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hrnas.cards.trainer import Recipe
from hrnas.pose.keypoints import KeypointSet
from hrnas.reading import UserError, read_yaml, write_atomically, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.training.events import EventWriter
from hrnas.training.trained import ARCHITECTURE, KEYPOINTS, RECIPE, WEIGHTS, save_weights

TIMES = ("epoch", "loss", "seconds", "waiting")
LOGGED = {  # by what a network is judged when it is fully trained
    "ap": ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "oks"),
    "pckh": ("pckh",),
}


class RunFolder:
    """The folder of one training. Nothing is written before `begin`.

    Raises:
        UserError: another training was begun in it.
    """

    def __init__(
        self, path: Path, architecture: Architecture, recipe: Recipe, keypoint_set: KeypointSet, seed: int
    ) -> None:
        self.path = path
        self.checkpoint = path / "training.pt"
        self.measure = "pckh" if recipe.data.kind == "mpii" else "ap"  # what the best weights are best in
        self._log: list[dict[str, Any]] = []
        self._events = EventWriter(path / "tensorboard")
        wanted = {"seed": seed, **recipe.model_dump(mode="json")}
        cards = {
            ARCHITECTURE: {"architecture": architecture.tree()},
            RECIPE: wanted,
            KEYPOINTS: keypoint_set.to_category(),
        }
        self._cards: dict[str, Any] = json.loads(json.dumps(cards))  # tuples become lists, as YAML reads them
        for name, tree in self._cards.items():
            if (path / name).exists() and read_yaml(path / name) != tree:
                raise UserError(
                    f"{path / name}: this folder holds the training of something else; say another one with --out"
                )

    def begin(self, epoch: int) -> None:
        """Say what is trained here, and remember the evaluations up to an epoch."""
        for name, tree in self._cards.items():
            write_yaml(self.path / name, tree)
        self._log = _read_log(self.path / "log.csv", epoch)

    def is_evaluated(self, epoch: int) -> bool:
        """Whether the log has a line for the network after so many epochs."""
        return any(line["epoch"] == epoch for line in self._log)

    def add_epoch(self, epoch: int, values: Mapping[str, float | None]) -> None:
        """Add to the curves of training what is known of an epoch."""
        self._events.write(epoch, {f"train/{name}": value for name, value in values.items() if value is not None})

    def add_evaluation(
        self, times: Mapping[str, Any], result: Mapping[str, Any], net: nn.Module, samples: bytes
    ) -> None:
        """Write all that an evaluation leaves.

        Args:
            times: the values of `TIMES`.
            samples: a JPEG.
        """
        epoch = times["epoch"]
        self._log.append({**times, **result, "epoch": epoch})
        save_weights(self.path / WEIGHTS, net)
        if result[self.measure] >= max(line[self.measure] for line in self._log):
            save_weights(self.path / "best.safetensors", net)
        write_atomically(self.path / "samples" / f"{epoch:04d}.jpg", samples)
        scores = {name: result[name] for name in LOGGED[self.measure] if name in result}
        self._events.write(epoch, {f"val/{name}": value for name, value in scores.items()})
        write_atomically(self.path / "result.json", json.dumps(result, indent=2))
        # last: an evaluation without its line is made again
        _write_log(self.path / "log.csv", self._log, (*TIMES, *LOGGED[self.measure]))

    def result(self) -> dict[str, Any]:
        """The document of the last evaluation."""
        return json.loads((self.path / "result.json").read_text(encoding="utf-8"))


def _read_log(path: Path, epoch: int) -> list[dict[str, Any]]:
    """The lines of a log up to an epoch."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [{name: float(value) for name, value in line.items() if value} for line in csv.DictReader(file)]
    return [{**line, "epoch": int(line["epoch"])} for line in lines if line["epoch"] <= epoch]


def _write_log(path: Path, log: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_atomically(path, text.getvalue())
