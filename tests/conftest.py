"""What every test gets: the same dice every time, an empty place for runs, and pictures where there are some."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no mistake of what is tested
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """The cache of the person who tests stays out of the tests, and of the programs that they start."""
    cache = TemporaryDirectory(prefix="hrnas-cache-")
    config.add_cleanup(cache.cleanup)
    os.environ["HRNAS_CACHE"] = cache.name
    os.environ.pop("HRNAS_CACHE_LIMIT", None)


@pytest.fixture(autouse=True)
def same_dice_every_time() -> None:
    """Seed the global generators; a test that needs another seed makes its own generator.

    Training flushes denormal numbers to zero, for the whole thread; the next test has them again.
    """
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the person who tests stay out of the tests."""
    monkeypatch.delenv("HRNAS_RUNS", raising=False)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of pictures: `coco/`, `lsp/`, `mpii/` below it."""
    return Path(os.environ["HRNAS_DATA"])


@pytest.fixture(scope="session")
def coco_root(data_root: Path) -> Path:
    """A folder in COCO's layout."""
    root = data_root / "coco"
    if not (root / "annotations").is_dir():
        pytest.skip(f"no COCO pictures in {root}")
    return root


@pytest.fixture(scope="session")
def mpii_root(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in HRNet's layout of MPII; the small set of five pictures has one list, which serves for both parts."""
    root = data_root / "mpii"
    if (root / "annot").is_dir():
        return root
    small = root / "annotations" / "mpii_small.json"
    if not small.is_file():
        pytest.skip(f"no MPII pictures in {root}")
    folder = tmp_path_factory.mktemp("mpii")
    (folder / "annot").mkdir()
    (folder / "images").symlink_to(root / "images")
    for part in ("train", "valid"):
        (folder / "annot" / f"{part}.json").symlink_to(small)
    return folder


@pytest.fixture
def small_coco(tmp_path: Path) -> Path:
    """The folder of `small_coco.py`."""
    from small_coco import write_small_coco

    write_small_coco(tmp_path / "coco")
    return tmp_path / "coco"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data"):
        root = os.environ.get("HRNAS_DATA")
        if not root:
            pytest.skip("needs pictures: set HRNAS_DATA to a folder that holds coco/")
        if not Path(root).is_dir():
            pytest.fail(f"HRNAS_DATA is {root}, which is no folder")
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
