"""Read arrays of numbers from MATLAB's .mat files, versions 5 to 7: what MPII's ground truth and predictions are in.

A file is a header of 128 bytes and elements of tag and data, padded to 8 bytes; an array is an element whose data are
elements again: class, shape, name, numbers. MathWorks, MAT-File Format (level 5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hrnas.reading import UserError

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC_CLASSES = range(6, 16)  # others are cells, structures, text


def read_mat(path: Path | str) -> dict[str, np.ndarray]:
    """The numeric arrays of a file by name, as float64; cells, structures and text are left out.

    Raises:
        UserError: the file cannot be read, or is another.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) < 128 or raw[126:128] not in (b"IM", b"MI"):
        raise UserError(f"{path}: not a .mat file of version 5 to 7 (save it with -v7)")
    order = "<" if raw[126:128] == b"IM" else ">"
    try:
        found = [_read_array(data, order) for kind, data in _elements(raw[128:], order) if kind == _MATRIX]
    except (IndexError, KeyError, ValueError, struct.error, zlib.error):
        raise UserError(f"{path}: the file is broken or ends too early; fetch it again") from None
    return {name: array for name, array in found if array is not None}


def _elements(raw: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Kind and data of each element; compressed ones are unpacked."""
    place = 0
    while place < len(raw):
        kind, length = struct.unpack_from(order + "II", raw, place)
        begin, end = place + 8, place + 8 + length
        if kind >> 16:  # at most four bytes lie in the tag itself
            kind, length = kind & 0xFFFF, kind >> 16
            begin, end = place + 4, place + 4 + length
            place += 8
        else:
            place = end if kind == _COMPRESSED else begin + -(-length // 8) * 8
        if end > len(raw):
            raise ValueError("ends too early")
        if kind == _COMPRESSED:
            yield from _elements(zlib.decompress(raw[begin:end]), order)
        else:
            yield kind, raw[begin:end]


def _read_array(raw: bytes, order: str) -> tuple[str, np.ndarray | None]:
    parts = list(_elements(raw, order))
    flags = struct.unpack_from(order + "I", parts[0][1])[0]
    shape = np.frombuffer(parts[1][1], order + "i4")
    name = parts[2][1].decode("ascii")
    if flags & 0xFF not in _NUMERIC_CLASSES:
        return name, None
    kind, data = parts[3]
    # numbers may be stored in a smaller type than their class, columns first
    return name, np.frombuffer(data, order + _NUMBERS[kind]).astype(np.float64).reshape(shape, order="F")
