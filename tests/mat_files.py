"""MATLAB's files of version 5, written by their description, and a ground truth of MPII in one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    """As MATLAB writes them: what is short lies in the tag."""
    if 0 < len(data) <= 4:
        return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    padding = 0 if kind == 15 else -len(data) % 8
    return struct.pack(order + "II", kind, len(data)) + data + bytes(padding)


def array_element(name: str, values: np.ndarray, kind: int = 6, order: str = "<") -> bytes:
    """An array of a class; its numbers in their own type."""
    numbers = {"f4": 7, "f8": 9, "u1": 2, "i2": 3}[values.dtype.str[1:]]
    parts = [
        (6, struct.pack(order + "II", kind, 0)),
        (5, np.array(values.shape, order + "i4").tobytes()),
        (1, name.encode()),
        (numbers, values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")),
    ]
    return element(14, b"".join(element(*part, order) for part in parts), order)


def write_mat(path: Path, arrays: dict[str, np.ndarray], compressed: bool = False, order: str = "<") -> Path:
    """A file of these arrays, and of a cell that says what the joints are called, as MPII's ground truth has one."""
    parts = [array_element(name, values, order=order) for name, values in arrays.items()]
    names = (6, struct.pack(order + "II", 1, 0)), (5, np.array((1, 1), order + "i4").tobytes()), (1, b"dataset_joints")
    parts.append(element(14, b"".join(element(*part, order) for part in names) + parts[0], order))
    if compressed:
        parts = [element(15, zlib.compress(part), order) for part in parts]
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "H", 0x0100)
    path.write_bytes(header + (b"IM" if order == "<" else b"MI") + b"".join(parts))
    return path


def mat_truth(persons: int = 4) -> dict[str, np.ndarray]:
    """Heads of 30 x 40 pixels, so that PCKh measures by 30; nobody has a right ankle."""
    places = np.random.default_rng(1).uniform(50, 300, (16, 2, persons))
    missing = np.zeros((16, persons), np.uint8)
    missing[0] = 1
    boxes = np.zeros((2, 2, persons))
    boxes[1] = np.array([30, 40])[:, None]
    return {"jnt_missing": missing, "pos_gt_src": places, "headboxes_src": boxes}
