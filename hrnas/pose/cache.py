"""Pixels made once and kept on disk, for every process and every later run.

    digest of all that goes into them -> file of that name -> mapped into memory, its pages shared by all who read it

A file never changes: other pictures, boxes or settings have another digest. Readers open by name and need no lock; who
makes a file holds the folder's lock, writes beside it and renames. What was not used for longest goes first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from hrnas.reading import UserError, read_count

Put = Callable[[int, np.ndarray], None]  # writes an array from a byte on; several threads may do so at once

_LIMIT = "64G"
_WHOLE, _UNFINISHED = ".pixels", ".part"


def cache_folder() -> Path:
    """Where the files lie: HRNAS_CACHE, else `hrnas` in the user's cache."""
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HRNAS_CACHE") or Path(users) / "hrnas")


def cache_limit() -> int:
    """How many bytes they may take together: HRNAS_CACHE_LIMIT, else 64 GB.

    Raises:
        UserError: what was said is no number of bytes.
    """
    said = os.environ.get("HRNAS_CACHE_LIMIT") or _LIMIT
    try:
        return read_count(said)
    except ValueError as error:
        raise UserError(f"HRNAS_CACHE_LIMIT: {error} (got {said!r})") from None


def keep(digest: str, size: int, write: Callable[[Put], None]) -> np.ndarray:
    """The bytes of this digest, (size,) uint8, read-only; what is not there yet, or is torn, is written.

    Raises:
        UserError: they are more than the cache may have.
        OSError: the folder cannot be written to.
    """
    if not size:
        return np.zeros(0, np.uint8)
    folder = cache_folder()
    file = folder / f"{digest}{_WHOLE}"
    pixels = _map(file, size)
    if pixels is None:
        with _explaining(folder, size), _alone(folder):
            pixels = _map(file, size)  # another process may just have made it
            if pixels is None:
                _make_room(folder, size)
                _write_file(file, write)
                pixels = _map(file, size)
    assert pixels is not None and len(pixels) == size, "as many bytes were written as were announced"
    return pixels


def _map(file: Path, size: int) -> np.ndarray | None:
    """The file in memory, marked as used; None if it is not there, or not whole."""
    try:
        pixels = np.asarray(np.memmap(file, np.uint8, "r"))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last is numpy's word for an empty file
        return None
    with suppress(OSError):  # a cache that others keep
        os.utime(file)
    return pixels if len(pixels) == size else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process that has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _explaining(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = f"{size / 2**30:.1f} GiB were to be kept here; set HRNAS_CACHE to a folder that can take them"
        raise OSError(error.errno, f"{error.strerror}: {advice}", str(folder)) from error


def _make_room(folder: Path, size: int) -> None:
    """Remove what a killed process left, then files, until `size` more bytes fit; who has one open keeps it."""
    for left in folder.glob(f"*{_UNFINISHED}"):
        left.unlink()
    files = sorted(((path, path.stat()) for path in folder.glob(f"*{_WHOLE}")), key=lambda file: file[1].st_mtime_ns)
    taken, limit = sum(stat.st_size for _, stat in files), cache_limit()
    room = min(limit, taken + shutil.disk_usage(folder).free)
    if size > room:
        reason = f"the {limit / 2**30:.1f} GiB that it may have (HRNAS_CACHE_LIMIT)" if room == limit else "fit there"
        raise UserError(
            f"{folder}: {size / 2**30:.1f} GiB are to be kept in the cache, more than {reason}: "
            "take fewer persons, a smaller input or no cache, or set HRNAS_CACHE to another folder"
        )
    for path, stat in files:
        if taken + size <= room:
            return
        path.unlink()
        taken -= stat.st_size


def _write_file(file: Path, write: Callable[[Put], None]) -> None:
    unfinished = file.with_suffix(_UNFINISHED)
    try:
        with open(unfinished, "wb") as opened:
            write(partial(_put, opened.fileno()))
            os.fsync(opened.fileno())
        os.replace(unfinished, file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _put(file: int, start: int, array: np.ndarray) -> None:
    rest = np.ascontiguousarray(array).data.cast("B")
    while rest:  # a disk that is nearly full takes a part before it complains
        written = os.pwrite(file, rest, start)
        rest, start = rest[written:], start + written
