"""What people type for a study or an architecture: `coco_small`, `published/lite_hrnet_18`, `coco_small#4f1c`."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path

from hrnas.ledger import Ledger, Trial
from hrnas.reading import UserError, read_yaml
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_architecture

LEDGER_FILE = "ledger.sqlite"
CARD_FILE = "study.yaml"
SUPERNET_FOLDER, SUPERNET_FILE = "supernet", "supernet.json"


def runs_folder(runs: Path | str | None = None) -> Path:
    """Where studies lie: what was said, else HRNAS_RUNS, else `runs/`."""
    return Path(runs or os.environ.get("HRNAS_RUNS") or "runs")


def training_folder(trained: Path, key: str, trainer: str, seed: int) -> Path:
    """Where the training of an architecture by a trainer card lies, among others in `runs/trained`."""
    return trained / f"{key}-{trainer}-seed{seed}"


def find_study(study: str, runs: Path | str | None = None) -> Path:
    """The run folder of a study, given by its name under `runs` or by the folder itself.

    Raises:
        UserError: there is no such study; the nearest names are suggested.
    """
    folder = runs_folder(runs)
    for candidate in (folder / study, Path(study)):
        if (candidate / CARD_FILE).is_file() or (candidate / LEDGER_FILE).is_file():
            return candidate
    there = sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))
    near = difflib.get_close_matches(study, there, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = f"there are: {', '.join(there) or 'none yet'}; `hrnas search CARD` makes one, --runs says where they lie"
    raise UserError(f"no study '{study}' in {folder}; {hint}")


def supernet_id(folder: Path) -> str:
    """The name of the supernet that was trained in a study's run folder; it changes with every bit of its weights.

    Raises:
        UserError: none was trained there.
    """
    path = folder / SUPERNET_FOLDER / SUPERNET_FILE
    if not path.is_file():
        raise UserError(f"{path.parent}: there is no trained supernet here; `hrnas supernet train CARD` trains it")
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])


def study_as_typed(folder: Path, name: str) -> str:
    """What finds a study again on the command line: its name where it lies under the runs folder, else the path."""
    expected = os.path.abspath(runs_folder() / name)
    return name if os.path.abspath(folder) == expected else str(folder)


def open_study(study: str, runs: Path | str | None = None) -> Ledger:
    """Open the ledger of a study.

    Raises:
        UserError: there is no such study, or its ledger cannot be read.
    """
    folder = find_study(study, runs)
    card = read_yaml(folder / CARD_FILE) if (folder / CARD_FILE).is_file() else {}
    return Ledger.open(card.get("ledger") or folder / LEDGER_FILE, card.get("name"))


def find_trial(study: str, key: str, runs: Path | str | None = None) -> Trial:
    """A study's trial by the beginning of its key.

    Raises:
        UserError: no such study, or no key or several keys begin so.
    """
    ledger = open_study(study, runs)
    try:
        trials = ledger.trials()
    finally:
        ledger.close()
    found = [trial for trial in trials if key and trial.key.startswith(key.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{study}#{key}: several keys begin so: {', '.join(trial.key for trial in found)}")
    near = difflib.get_close_matches(key, [trial.key for trial in trials], n=3, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else f"`hrnas front {study}` lists the best of its {len(trials)}"
    )
    raise UserError(f"{study}#{key}: no architecture of this study has such a key; {hint}")


def find_architecture(name: str, runs: Path | str | None = None) -> Architecture:
    """Read an architecture: a published point's name, a YAML file, or `STUDY#KEY`.

    Raises:
        UserError: there is no such architecture, or mistakes in its card (all at once).
    """
    study, hash_sign, key = name.rpartition("#")
    if not hash_sign:
        return load_architecture(name)
    return Architecture.from_tree(find_trial(study, key, runs).architecture, source=name)
