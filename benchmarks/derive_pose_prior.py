"""Derive hrnas/pose/pose_prior.npz, the poses that drawn people take, from the keypoints of COCO train2017.

    python benchmarks/derive_pose_prior.py person_keypoints_train2017.json hrnas/pose/pose_prior.npz

Kept are 4,500 random persons of the training pictures (none of the validation pictures) whose twelve body points and
at least one point of the head are labelled and who are more than 120 pixels long; only their normalised keypoints, no
picture. Beside them: how many labelled persons a picture has, and how high persons are in it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

COUNT, LONGEST_GROUP = 4500, 12
SOURCE = (
    "Poses and counts derived from the keypoint annotations of COCO 2017 (train), Lin et al., Microsoft COCO, "
    "https://cocodataset.org, annotations under CC BY 4.0; changed: selected, normalised, rounded."
)


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """Keypoints (persons, 17, 3), boxes (persons, 4), picture ids (persons,) and heights of pictures (persons,).

    Also reads an .npz that holds those of all splits under the names used here (`is_val` marks the validation split).
    """
    if path.suffix == ".npz":
        arrays = np.load(path)
        train = arrays["is_val"] == 0
        return {
            "keypoints": arrays["keypoints"][train].astype(np.float64),
            "boxes": arrays["bbox_xywh"][train].astype(np.float64),
            "pictures": arrays["image_id"][train],
            "heights": arrays["wh"][train, 1].astype(np.float64),
        }
    data = json.loads(path.read_text())
    heights = {image["id"]: image["height"] for image in data["images"]}
    rows = [row for row in data["annotations"] if row.get("num_keypoints")]
    return {
        "keypoints": np.array([row["keypoints"] for row in rows], np.float64).reshape(-1, 17, 3),
        "boxes": np.array([row["bbox"] for row in rows], np.float64),
        "pictures": np.array([row["image_id"] for row in rows]),
        "heights": np.array([heights[row["image_id"]] for row in rows], np.float64),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    people = read_annotations(arguments.annotations)
    keypoints, boxes = people["keypoints"], people["boxes"]
    flags = keypoints[:, :, 2]
    complete = (flags[:, 5:] > 0).all(axis=1) & (flags[:, :5] > 0).any(axis=1)
    large = boxes[:, 2:].max(axis=1) > 120
    chosen = np.random.default_rng(17).choice(np.flatnonzero(complete & large), COUNT, replace=False)

    points, labelled = keypoints[chosen][:, :, :2], flags[chosen] > 0
    low = np.where(labelled[:, :, None], points, np.inf).min(axis=1)
    high = np.where(labelled[:, :, None], points, -np.inf).max(axis=1)
    half = (high - low).max(axis=1) / 2
    unit = (points - ((low + high) / 2)[:, None]) / half[:, None, None]
    poses = np.where(labelled[:, :, None], np.rint(unit * 127), 0).astype(np.int8)

    _, crowd = np.unique(people["pictures"], return_counts=True)
    group = np.bincount(np.minimum(crowd, LONGEST_GROUP), minlength=LONGEST_GROUP + 1)[1:]
    np.savez_compressed(
        arguments.output,
        poses=poses,
        flags=flags[chosen].astype(np.uint8),
        group_sizes=(group / group.sum()).astype(np.float32),
        heights=np.quantile(boxes[:, 3] / people["heights"], np.linspace(0, 1, 21)).astype(np.float32),
        source=np.array(SOURCE),
    )
    print(f"{arguments.output}: {COUNT} poses, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
