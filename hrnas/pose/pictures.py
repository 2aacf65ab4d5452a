"""Decode pictures as their annotations count pixels, and find damage that a decoder lets pass.

Whatever a file holds (grey, CMYK, 16 bits a channel, transparency, a palette) becomes RGB with 8 bits.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

_JPEG, _END = b"\xff\xd8", b"\xff\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # in coded data 0xff stands before 0 or a restart only


def decode(raw: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """Decode a file's bytes to RGB, uint8 (height, width, 3), or None where that cannot be.

    A camera's orientation flag is ignored, as in HRNet, because annotations refer to the pixels as they are stored.
    Where `size` (height, width) is that of the picture turned upright, they refer to that, and the flag is followed.
    """
    if not raw or (raw[:2] == _JPEG and not raw.endswith(_END) and find_damage(raw)):
        return None  # some decoders fill with grey what a cut-off file lacks
    data = np.frombuffer(raw, np.uint8)
    pixels: np.ndarray | None = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is not None and pixels.shape[:2] == size[::-1] != size:
        upright: np.ndarray | None = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        pixels = upright if upright is not None and upright.shape[:2] == size else pixels
    return pixels


def find_damage(raw: bytes) -> str | None:
    """What is wrong with a file's bytes though a decoder may take them, or None.

    A JPEG is followed from marker to marker: it must come to its end, and hold no marker that there is not.
    """
    if not raw:
        return "the file is empty"
    if raw[:2] != _JPEG:
        return None
    place = 2
    while (marker := _MARKER.search(raw, place)) is not None:
        code = marker[1][0]
        if code == _END[1]:
            return None
        if code < 0xC0 or code == _JPEG[1]:
            return "the file is damaged: something else was written over a part of it"
        place = marker.end() + int.from_bytes(raw[marker.end() : marker.end() + 2], "big")
    return "the file is cut off: it has a beginning, but no end"
