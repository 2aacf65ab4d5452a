"""Read MPII's people from the lists that HRNet made of its annotations, and score predictions by PCKh.

    annot/SPLIT.json + images/*.jpg -> People with 16 keypoints; SPLIT is train or valid

A person is `image`, `center`, `scale` (its height in units of 200 pixels), 16 `joints` and `joints_vis`; coordinates
count from 1. Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art Analysis (CVPR 2014).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hrnas.pose.coco import Bystanders, People, Picture
from hrnas.pose.keypoints import MPII_16
from hrnas.pose.metrics import resample_pictures
from hrnas.reading import UserError

HEADS = 8  # how many head sizes tall MPII's scale takes a person to be
UNCOUNTED = [MPII_16.names.index(name) for name in ("pelvis", "thorax")]  # PCKh leaves them out


def read_mpii_folder(root: Path | str, split: str) -> People:
    """Read one split: the persons with at least one labelled keypoint.

    The crop is HRNet's: the centre moves down by 15 * scale pixels, and the box is a square of the person's height, to
    which the usual padding of 1.25 comes. Hidden keypoints are not told from visible ones: flags are 0 or 2.

    Raises:
        UserError: the layout, the annotations or the pictures are not as expected.
    """
    file, folder = Path(root) / "annot" / f"{split}.json", Path(root) / "images"
    try:
        return _to_people(json.loads(file.read_text(encoding="utf-8")), folder)
    except OSError as error:
        layout = f"expected annot/train.json and annot/valid.json, as HRNet names them, and images/ in {root}"
        raise UserError(f"{file}: the annotations cannot be read: {error.strerror}; {layout}") from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file}: not MPII's annotations as HRNet lists them: {reason}") from None


def _to_people(rows: list[dict[str, Any]], folder: Path) -> People:
    count = len(MPII_16)
    odd = next((row for row in rows if len(row["joints"]) != count or len(row["joints_vis"]) != count), None)
    if odd is not None:
        raise ValueError(f"{odd['image']} has {len(odd['joints'])} joints; {count} are expected")
    labelled = np.array([row["joints_vis"] for row in rows]).reshape(-1, count) > 0
    keep = np.flatnonzero(labelled.any(axis=1))
    if not len(keep):
        raise ValueError("nobody in it has a labelled keypoint")

    scales = np.array([row["scale"] for row in rows], np.float64)
    centres = np.array([row["center"] for row in rows], np.float64) - 1  # counted from 0
    centres[:, 1] += 15 * scales
    sides = np.stack([200 * scales, 200 * scales], axis=1)
    joints = np.array([row["joints"] for row in rows], np.float64) - 1
    keypoints = np.concatenate([joints, np.full((len(rows), count, 1), 2.0)], axis=2)

    names = sorted({row["image"] for row in rows})
    place = {name: index for index, name in enumerate(names)}
    people = People(
        pictures=tuple(_find_picture(index, folder / name) for index, name in enumerate(names)),
        picture=np.array([place[row["image"]] for row in rows]),
        boxes=np.concatenate([centres - sides / 2, sides], axis=1),
        keypoints=np.where(labelled[:, :, None], keypoints, 0.0),
        areas=np.full(len(rows), np.nan),
        ids=np.arange(len(rows)),
        keypoint_set=MPII_16,
        bystanders=Bystanders.none(),
    )
    return people.take(keep)


def _find_picture(number: int, path: Path) -> Picture:
    """A picture whose size is read from its header: the annotations do not tell it."""
    try:
        height, width = read_jpeg_size(path)
    except OSError as error:
        raise UserError(f"{path}: the picture cannot be read: {error.strerror}; put MPII's pictures there") from None
    except (struct.error, ValueError):
        raise UserError(f"{path}: not a JPEG file; replace it by MPII's picture") from None
    return Picture(number, height, width, str(path))


def read_jpeg_size(path: Path) -> tuple[int, int]:
    """Height and width of a JPEG file, without decoding it.

    Raises:
        ValueError, struct.error: it is no JPEG, or it ends before it tells.
    """
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            raise ValueError("no JPEG")
        while True:
            marker, length = struct.unpack(">HH", file.read(4))
            if marker < 0xFF00 or length < 2:
                raise ValueError("no JPEG")
            if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):  # a frame, in whatever coding
                _, height, width = struct.unpack(">BHH", file.read(5))
                return height, width
            file.seek(length - 2, 1)


# ---------------------------------------------------------------------------------------------------------------------
# scoring


def head_sizes(people: People) -> np.ndarray:
    """What PCKh measures each person by, 0.6 of the diagonal of the head's box: (persons,) in pixels.

    The lists do not hold that box, but the scale comes from it; the tests compare the two.
    """
    return people.boxes[:, 3] / HEADS


def evaluate_mpii(people: People, predictions: np.ndarray, *, resamples: int = 200, seed: int = 0) -> dict[str, float]:
    """PCKh@0.5: the share of labelled keypoints found within half a head size, pelvis and thorax left out.

    Args:
        predictions: (persons, 16, 2 or more) x, y in picture pixels.
        resamples: of the bootstrap over pictures.

    Returns:
        `pckh` in 0..1 with its 95 % interval `pckh_low pckh_high`, `persons`, `pictures`.
    """
    errors = np.linalg.norm(predictions[:, :, :2] - people.keypoints[:, :, :2], axis=2)
    counted = people.keypoints[:, :, 2] > 0
    counted[:, UNCOUNTED] = False
    right = counted & (errors <= 0.5 * head_sizes(people)[:, None])

    _, place = np.unique(people.picture, return_inverse=True)
    drawn = resample_pictures(people, resamples, seed)
    sums = [drawn @ np.bincount(place, weights=which.sum(axis=1)) for which in (right, counted)]
    low, high = np.quantile(sums[0] / np.maximum(sums[1], 1), (0.025, 0.975))
    return {
        "pckh": float(right.sum() / max(1, counted.sum())),
        "pckh_low": float(low),
        "pckh_high": float(high),
        "persons": len(people),
        "pictures": int(place.max()) + 1,
    }
