"""Read MPII's people from the lists that HRNet made of its annotations, and score predictions by PCKh.

    annot/SPLIT.json + images/*.jpg -> People with 16 keypoints; SPLIT is train or valid
    gt_valid.mat + anybody's .mat   -> how far their predictions lie off

A person is `image`, `center`, `scale` (its height in units of 200 pixels), 16 `joints` and `joints_vis`; coordinates
count from 1, in both kinds of file. Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art
Analysis (CVPR 2014).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from hrnas.pose.coco import Bystanders, Fault, People, Picture
from hrnas.pose.keypoints import MPII_16
from hrnas.pose.matlab import read_mat
from hrnas.pose.metrics import RESAMPLES, draw_again, interval
from hrnas.reading import UserError, read_json

HEADS = 8  # how many head sizes tall MPII's scale takes a person to be
HEAD_SHARE = 0.6  # of the diagonal of the head's box: what PCKh measures by
COUNTED = [place for place, name in enumerate(MPII_16.names) if name not in ("pelvis", "thorax")]


def read_mpii_folder(root: Path | str, split: str) -> People:
    """Read one split: the persons with at least one labelled keypoint.

    The crop is HRNet's: the centre moves down by 15 * scale pixels, and the box is a square of the person's height, to
    which the usual padding of 1.25 comes. Hidden keypoints are not told from visible ones: flags are 0 or 2.

    Raises:
        UserError: the layout, the annotations or the pictures are not as expected.
    """
    file, folder = Path(root) / "annot" / f"{split}.json", Path(root) / "images"
    if not file.is_file():
        layout = f"expected annot/train.json and annot/valid.json, as HRNet names them, and images/ in {root}"
        raise UserError(f"{file}: there is no such file; {layout}")
    try:
        return _to_people(read_json(file), folder)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file}: not MPII's annotations as HRNet lists them: {reason}") from None


def _to_people(rows: list[dict[str, Any]], folder: Path) -> People:
    reasons = [_find_fault(row) for row in rows]
    faults = [Fault("annotation", f"person {number}", what, 1) for number, what in enumerate(reasons) if what]
    sound = [number for number, row in enumerate(rows) if not reasons[number] and max(row["joints_vis"]) > 0]
    pictures: dict[str, Picture] = {}
    for number, name in enumerate(sorted({rows[number]["image"] for number in sound})):
        picture = _find_picture(number, folder / name)
        if isinstance(picture, Picture):
            pictures[name] = picture
        else:
            persons = sum(rows[number]["image"] == name for number in sound)
            faults.append(Fault("picture", str(folder / name), picture, persons))
    keep = [number for number in sound if rows[number]["image"] in pictures]
    if not keep:
        first = f"; the first of {len(faults)} broken ones: {faults[0]}" if faults else ""
        raise ValueError(f"nobody in it has a labelled keypoint and a picture{first}")

    place = {name: index for index, name in enumerate(pictures)}
    rows = [rows[number] for number in keep]
    labelled = np.array([row["joints_vis"] for row in rows]) > 0
    scales = np.array([row["scale"] for row in rows], np.float64)
    centres = np.array([row["center"] for row in rows], np.float64) - 1  # counted from 0
    centres[:, 1] += 15 * scales
    sides = np.stack([200 * scales, 200 * scales], axis=1)
    joints = np.array([row["joints"] for row in rows], np.float64) - 1
    keypoints = np.concatenate([joints, np.full((len(rows), len(MPII_16), 1), 2.0)], axis=2)
    return People(
        pictures=tuple(pictures.values()),
        picture=np.array([place[row["image"]] for row in rows]),
        boxes=np.concatenate([centres - sides / 2, sides], axis=1),
        keypoints=np.where(labelled[:, :, None], keypoints, 0.0),
        areas=np.full(len(rows), np.nan),
        ids=np.array(keep),
        keypoint_set=MPII_16,
        bystanders=Bystanders.none(),
        faults=tuple(faults),
    )


def _find_fault(row: dict[str, Any]) -> str | None:
    """Why a person cannot be learnt from, or None."""
    shapes = {"joints": (len(MPII_16), 2), "joints_vis": (len(MPII_16),), "center": (2,), "scale": ()}
    for key, shape in shapes.items():
        try:
            values = np.array(row[key], np.float64)
        except (TypeError, ValueError):
            return f"its {key} are not all numbers, or not all of one length"
        if values.shape != shape:
            return f"its {key} have the shape {values.shape}; {shape} is expected"
        if not np.isfinite(values).all():
            return f"its {key} are not all numbers"
    return None if row["scale"] > 0 else f"its scale is {row['scale']}; a number above 0 is expected"


def _find_picture(number: int, path: Path) -> Picture | str:
    """A picture whose size is read from its header, as the annotations do not tell it; or why there is none."""
    try:
        height, width = read_jpeg_size(path)
    except OSError as error:
        return f"the picture cannot be read: {error.strerror}; put MPII's pictures there"
    except (struct.error, ValueError):
        return "not a JPEG file; replace it by MPII's picture"
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
    """What PCKh measures each person by: (persons,) in pixels.

    The lists do not hold that box, but the scale comes from it; the tests compare the two.
    """
    return people.boxes[:, 3] / HEADS


def evaluate_mpii(
    people: People, predictions: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """PCKh of persons in their own boxes.

    Args:
        predictions: (persons, 16, 2 or more) x, y in picture pixels.
        resamples: of the bootstrap over pictures.

    Returns:
        What `pckh` does, the 95 % interval `pckh_low pckh_high`, `persons`, `pictures`.
    """
    distances = np.linalg.norm(predictions[:, :, :2] - people.keypoints[:, :, :2], axis=2) / head_sizes(people)[:, None]
    labelled = people.keypoints[:, :, 2] > 0
    pictures, place = np.unique(people.picture, return_inverse=True)
    drawn = draw_again(len(pictures), resamples, seed)
    right, counted = (
        drawn @ np.bincount(place, weights=which[:, COUNTED].sum(axis=1))
        for which in (labelled & (distances <= 0.5), labelled)
    )
    return {
        **pckh(distances, labelled),
        **interval("pckh", right / np.maximum(counted, 1)),
        "persons": len(people),
        "pictures": len(pictures),
    }


def pckh(distances: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """The share of labelled keypoints that were found near enough, pelvis and thorax left out.

    Args:
        distances: (persons, 16) from the truth, in head sizes.
        labelled: (persons, 16) bool.

    Returns:
        `pckh` within half a head size; `pckh_0.1` and `pckh_0.11` within these parts of one, of which the second is
        what HRNet's code and the papers after it call PCKh@0.1; `pckh_by_keypoint`, at half a head size too, of all
        keypoints with labels.
    """

    def share(within: float) -> float:
        right = labelled & (distances <= within)
        return float(right[:, COUNTED].sum() / max(1, labelled[:, COUNTED].sum()))

    right, of = (labelled & (distances <= 0.5)).sum(axis=0), labelled.sum(axis=0)
    parts = {name: float(right[place] / of[place]) for place, name in enumerate(MPII_16.names) if of[place]}
    return {"pckh": share(0.5), "pckh_0.1": share(0.1), "pckh_0.11": share(0.11), "pckh_by_keypoint": parts}


def evaluate_mat(predictions: Path, annotations: Path) -> dict[str, Any]:
    """PCKh of a `.mat` file with `preds` (persons, 16, 2), by MPII's ground truth of the same persons.

    Returns:
        What `pckh` does, and `persons`.

    Raises:
        UserError: one of the files is not as it must be, or they are not of equally many persons.
    """
    truth = read_mat(annotations)
    missing = [name for name in ("jnt_missing", "pos_gt_src", "headboxes_src") if name not in truth]
    if missing:
        raise UserError(f"{annotations}: not MPII's ground truth: no {', '.join(missing)} in it; give its gt_valid.mat")
    found = read_mat(predictions)
    if "preds" not in found:
        raise UserError(f"{predictions}: no array 'preds' in it; there are: {', '.join(found) or 'none'}")
    places, preds = np.moveaxis(truth["pos_gt_src"], 2, 0), found["preds"]
    if preds.shape != places.shape:
        came, wanted = (" x ".join(map(str, array.shape)) for array in (preds, places))
        raise UserError(f"{predictions}: preds is {came}; {wanted} is expected, the persons of {annotations} in order")
    if not np.isfinite(preds).all():
        person = int(np.flatnonzero(~np.isfinite(preds).all(axis=(1, 2)))[0])
        raise UserError(f"{predictions}: preds of person {person + 1} is not finite")
    corners = truth["headboxes_src"]
    heads = HEAD_SHARE * np.linalg.norm(corners[1] - corners[0], axis=0)
    distances = np.linalg.norm(preds - places, axis=2) / heads[:, None]
    return {**pckh(distances, truth["jnt_missing"].T == 0), "persons": len(preds)}
