"""Write `cost.json`, `parameter_names.json` and docs/faithfulness.md again: `make golden`, only on purpose."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

from hrnas.faithfulness import format_rows, read_rows
from hrnas.nets.cost import cost_as_json, measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_point, published_names

HERE = Path(__file__).parent
FAITHFULNESS = HERE.parent.parent / "docs" / "faithfulness.md"
SETTINGS = {"coco 256x192": (17, (256, 192)), "coco 384x288": (17, (384, 288)), "mpii 256x256": (16, (256, 256))}

# the kinds that no published point has
UNPUBLISHED_STAGE = {
    "modules": 1,
    "blocks": 1,
    "transition": {"kind": "ghost"},
    "row": {"kind": "residual", "attention": {"kind": "coordinate"}},
    "fusion": {"kind": "ghost"},
}
UNPUBLISHED = {
    "stem": {"kind": "shuffle"},
    "widths": [32, 64, 128],
    "stages": [UNPUBLISHED_STAGE, UNPUBLISHED_STAGE | {"row": {"kind": "bottleneck"}}],
    "head": {"kind": "simcc"},
}


def costs() -> dict[str, Any]:
    """The cost of every published point at the papers' inputs."""
    return {
        name: {
            setting: cost_as_json(measure_cost(load_point(name).architecture, keypoints, size))
            for setting, (keypoints, size) in SETTINGS.items()
        }
        for name in published_names()
    }


def networks() -> dict[str, Architecture]:
    """Networks in which every kind stands."""
    points = {name: load_point(name).architecture for name in published_names()}
    return points | {"unpublished kinds": Architecture.from_tree(UNPUBLISHED)}


def parameter_names() -> dict[str, Any]:
    """The names with every number made `#`, once each, and a digest of each network's names and shapes in order."""
    patterns: set[str] = set()
    digests = {}
    for name, architecture in networks().items():
        with torch.device("meta"):
            state = PoseNet(architecture, keypoints=17).state_dict()
        lines = [f"{key} {tuple(value.shape)}" for key, value in state.items()]
        patterns |= {re.sub(r"\b\d+", "#", key) for key in state}
        digests[name] = {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    return {"networks": digests, "names": sorted(patterns)}


def keys() -> dict[str, str]:
    """The key of every published point."""
    return {name: load_point(name).architecture.key for name in published_names()}


def faithfulness() -> str:
    """docs/faithfulness.md with the table that the code gives now."""
    words, _, _ = FAITHFULNESS.read_text(encoding="utf-8").partition("```\n")
    return f"{words}```\n{format_rows(read_rows())}\n```\n"


if __name__ == "__main__":
    for file, content in {"cost.json": costs(), "keys.json": keys(), "parameter_names.json": parameter_names()}.items():
        (HERE / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {HERE / file}")
    FAITHFULNESS.write_text(faithfulness(), encoding="utf-8")
    print(f"wrote {FAITHFULNESS}")
