"""Architecture search for high-resolution pose networks: a study card in, a Pareto front out.

The Python face does what the command line does; nothing heavy is imported before it is needed.

    network = hrnas.build("published/lite_hrnet_18")     # a PoseNet: (B, 3, H, W) -> (B, 17, H/4, W/4)
    architecture = hrnas.load("quickstart#4f1c09")       # a frozen value; .tree() is its YAML
    trials = hrnas.open("quickstart").trials()           # everything a study remembers
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrnas.ledger import Ledger
    from hrnas.nets.pose_net import PoseNet
    from hrnas.space.architecture import Architecture

__version__ = "0.1.0"
__all__ = ["__version__", "build", "load", "open"]


def load(name: str, runs: Path | str | None = None) -> Architecture:
    """Read an architecture: a name on the shelf (`published/lite_hrnet_18`), a YAML file, or `STUDY#KEY`.

    Raises:
        UserError: there is no such architecture, or mistakes in its card (all at once).
    """
    from hrnas.names import find_architecture

    return find_architecture(name, runs)


def build(architecture: Architecture | str, keypoints: int = 17) -> PoseNet:
    """Build the network of an architecture, or of the name of one, with fresh weights."""
    from hrnas.nets.pose_net import PoseNet

    return PoseNet(load(architecture) if isinstance(architecture, str) else architecture, keypoints)


def open(study: str, runs: Path | str | None = None) -> Ledger:
    """Open the ledger of a study, by its name under `runs` (default: HRNAS_RUNS or `runs/`) or by its folder.

    Raises:
        UserError: there is no such study.
    """
    from hrnas.names import open_study

    return open_study(study, runs)
