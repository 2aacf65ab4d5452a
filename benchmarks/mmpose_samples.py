"""CPU milliseconds of one of mmpose's samples; `data_pipeline.py` runs this, in a Python that can import mmpose.

For each line that it reads it makes some samples by mmpose's usual pipeline at 256x192, and prints what one has cost.
"""

import argparse
import contextlib
import logging
import os
import sys
import time

import cv2
import mmpose.datasets  # noqa: F401  registers what the pipeline names
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

CODEC = {"type": "MSRAHeatmap", "input_size": (192, 256), "heatmap_size": (48, 64), "sigma": 2}
PIPELINE = [
    {"type": "LoadImage"},
    {"type": "GetBBoxCenterScale"},
    {"type": "RandomFlip", "direction": "horizontal"},
    {"type": "RandomHalfBody"},
    {"type": "RandomBBoxTransform", "shift_prob": 0, "rotate_factor": 60, "scale_factor": (0.75, 1.25)},
    {"type": "TopdownAffine", "input_size": CODEC["input_size"]},
    {"type": "GenerateTarget", "encoder": CODEC},
    {"type": "PackPoseInputs"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("split")
    parser.add_argument("samples", type=int)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        init_default_scope("mmpose")
        people = DATASETS.build(
            {
                "type": "CocoDataset",
                "data_root": os.path.abspath(options.root) + "/",
                "data_mode": "topdown",
                "ann_file": f"annotations/person_keypoints_{options.split}.json",
                "data_prefix": {"img": f"{options.split}/"},
                "pipeline": PIPELINE,
            }
        )
    person = 0
    for _ in sys.stdin:
        began = time.process_time()
        for _ in range(options.samples):
            people[person % len(people)]
            person += 1
        print((time.process_time() - began) / options.samples * 1e3, flush=True)


if __name__ == "__main__":
    main()
