"""Run a study from its card: card -> space, recipe, data, evaluators -> trials -> report."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import Recipe, load_recipe


def study_recipe(card: StudyCard) -> Recipe:
    """The trainer card of a study, with the study's own data and input where it names them."""
    return load_recipe(card.trainer).with_changes(data=card.data, input=card.input)


def describe_environment() -> dict[str, Any]:
    """The machine and the versions that a score came from."""
    packages = ("hrnas", "torch", "numpy", "optuna", "pycocotools", "faster-coco-eval", "opencv-python-headless")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": versions,
        "commit": _commit(),
    }


def _commit() -> str:
    """The checkout's commit, `+` where files differ from it; empty where hrnas is not run from a checkout."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
