"""Look at the machine and say, line by line, what is ready and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from hrnas import __version__
from hrnas.names import runs_folder
from hrnas.shelf import SHELVES, list_cards

State = Literal["ok", "note", "mend"]  # note: something more is possible; mend: hrnas cannot work like this

REQUIRED = {  # distribution -> module
    "torch": "torch",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyyaml": "yaml",
    "pydantic": "pydantic",
    "typing-extensions": "typing_extensions",
    "optuna": "optuna",
    "sqlalchemy": "sqlalchemy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "plotly": "plotly",
    "jinja2": "jinja2",
    "tqdm": "tqdm",
    "safetensors": "safetensors",
    "opencv-python-headless": "cv2",
}
EXTRAS = {  # extra -> the module whose presence tells
    "nni": "nni",
    "dashboard": "dash",
    "export": "onnxruntime",
    "distributed": "psycopg",
    "ray": "ray",
    "dev": "pytest",
}
ENOUGH_DISK = 2 * 10**9  # bytes: checkpoints of a small study


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what to do when it is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine(runs: Path | None = None) -> list[Finding]:
    """Everything that a search needs or could use, the most important first."""
    findings = [_python(), *_packages()]
    if importlib.util.find_spec("torch"):
        findings += _torch()
    return [*findings, _disk(runs_folder(runs)), *_data(), *_cards(), *_extras()]


def _python() -> Finding:
    system = platform.platform(terse=True)
    return Finding("python", "ok", f"Python {platform.python_version()}, hrnas {__version__}, {system}")


def _packages() -> Iterator[Finding]:
    missing = [name for name, module in REQUIRED.items() if importlib.util.find_spec(module) is None]
    if missing:
        yield Finding("packages", "mend", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    there = [f"{name} {_version(name)}" for name in REQUIRED if name not in missing]
    yield Finding("packages", "ok", ", ".join(there))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("device", "ok", f"CUDA: {names}")
        bf16 = torch.cuda.is_bf16_supported()
        yield Finding("amp", "ok" if bf16 else "note", f"bf16 {'works' if bf16 else 'is not supported'} on this device")
    else:
        yield Finding("device", "ok", "CPU", "proxies run on it; full training on COCO wants a GPU")
    cores, threads = len(_cores()), torch.get_num_threads()
    advice = f"more threads than cores slow each other down: set OMP_NUM_THREADS={cores}" if threads > cores else ""
    yield Finding("threads", "note" if advice else "ok", f"{threads} threads on {cores} cores", advice)


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _disk(runs: Path) -> Finding:
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("disk", "mend", f"{place} cannot be written to", "say another folder with --runs or HRNAS_RUNS")
    if free < ENOUGH_DISK:
        return Finding("disk", "note", f"{free / 1e9:.1f} GB free in {place}", "checkpoints of a study take 1 to 2 GB")
    return Finding("disk", "ok", f"{free / 1e9:.0f} GB free in {place}")


def _data() -> Iterator[Finding]:
    root = os.environ.get("HRNAS_DATA")
    if not root:
        advice = "drawn people need none; for pictures set HRNAS_DATA to a folder that holds coco/"
        yield Finding("data", "ok", "HRNAS_DATA is not set", advice)
        return
    coco = Path(root) / "coco"
    if not coco.is_dir():
        yield Finding("data", "note", f"HRNAS_DATA is {root}", f"there is no folder {coco}")
        return
    for split in ("train2017", "val2017"):
        annotations = coco / "annotations" / f"person_keypoints_{split}.json"
        pictures = sum(1 for path in (coco / split).glob("*.jpg")) if (coco / split).is_dir() else 0
        found = f"{coco / split}: {pictures} pictures"
        if not annotations.is_file():
            yield Finding("data", "note", found, f"there is no {annotations}")
        elif not pictures:
            yield Finding("data", "note", found, f"put COCO's pictures of {split} there")
        else:
            yield Finding("data", "ok", found)


def _cards() -> Iterator[Finding]:
    for shelf in SHELVES:
        count = len(list_cards(shelf))
        state: State = "ok" if count else "mend"
        yield Finding(
            "cards", state, f"{shelf}: {count}", "" if count else "the installation lost its cards: reinstall"
        )


def _extras() -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module):
            yield Finding(f"extra {extra}", "ok", "installed")
        else:
            yield Finding(f"extra {extra}", "ok", "not installed", f"pip install 'hrnas[{extra}]' if you want it")
