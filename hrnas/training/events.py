"""Curves for TensorBoard, written without it: scalars in the event files that it reads.

A file is a row of records: length, its checksum, content, its checksum. A content is a protocol buffer `Event` with
wall time (1), step (2), file version (3) or a `Summary` (5) of values, each with tag (1) and simple value (2); see
TensorFlow's `event.proto`, `summary.proto` and `record_writer.cc`.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path


class EventWriter:
    """One file of events for each start of a training: what a crash tears is the last record of the file before."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of the curves."""
        records = [encode_scalars(time.time(), step, values)]
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            records.insert(0, encode_version(time.time()))
        with self._path.open("ab") as file:
            file.write(b"".join(records))


def encode_version(seconds: float) -> bytes:
    """The record that a file begins with."""
    return _record(_wall_time(seconds) + _message(3, b"brain.Event:2"))


def encode_scalars(seconds: float, step: int, values: Mapping[str, float]) -> bytes:
    """The record of some values at a step, written so many seconds after the epoch."""
    named = [_message(1, tag.encode()) + b"\x15" + struct.pack("<f", value) for tag, value in values.items()]
    summary = b"".join(_message(1, value) for value in named)
    return _record(_wall_time(seconds) + b"\x10" + _varint(step) + _message(5, summary))


def _wall_time(seconds: float) -> bytes:
    return b"\x09" + struct.pack("<d", seconds)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*coded, number])


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    """CRC-32C, turned by 15 bits and shifted by a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC_32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_32C = [_crc_of_byte(byte) for byte in range(256)]
