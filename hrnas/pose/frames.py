"""Pictures, folders and videos as one stream of frames, and videos written back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from hrnas.pose.pictures import find_damage
from hrnas.reading import UserError

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"))
USUAL_RATE = 25.0  # frames in a second of a video that does not say


class Frame(NamedTuple):
    """A picture, or one of a video's."""

    path: Path
    number: int | None  # of a video's frames, from 1
    image: np.ndarray  # (height, width, 3) uint8 RGB


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEOS


def list_files(inputs: Iterable[Path]) -> list[Path]:
    """The pictures and videos that are meant: files as they are, of folders what lies in them, by name; each once.

    Raises:
        UserError: one of them is not there, or a folder holds nothing to look at.
    """
    files: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES | VIDEOS)
            if not found:
                kinds = ", ".join(sorted(PICTURES | VIDEOS))
                raise UserError(f"{path}: there is no picture and no video in this folder ({kinds})")
        elif path.exists():
            found = [path]
        else:
            raise UserError(f"{path}: there is no such file or folder")
        for file in found:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def count_frames(path: Path) -> int:
    """How many frames a file says it has; 1 of a picture, and of a video that does not say."""
    return max(1, int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))) if is_video(path) else 1


def frame_rate(path: Path) -> float:
    """The frames that a video shows in a second."""
    return cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) or USUAL_RATE


def read_frames(path: Path, as_stored: bool) -> Iterator[Frame]:
    """The picture, or a video's frames in turn.

    Args:
        as_stored: do not turn a picture as its camera says: COCO's boxes refer to the pixels as they are stored.

    Raises:
        UserError: it cannot be read.
    """
    if not is_video(path):
        yield Frame(path, None, _read_picture(path, as_stored))
        return
    video = cv2.VideoCapture(str(path))
    number = 0
    while True:
        there, pixels = video.read()
        if not there:
            break
        number += 1
        yield Frame(path, number, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    if not number:
        raise UserError(f"{path}: not a video that can be decoded")


def _read_picture(path: Path, as_stored: bool) -> np.ndarray:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the picture cannot be read: {error.strerror}") from None
    damage = find_damage(raw)
    turning = cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0
    pixels = None if damage else cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | turning)
    if pixels is None:
        raise UserError(f"{path}: {damage or 'not a picture that can be decoded'}")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


class VideoWriter:
    """Writes frames of one size to an MP4 file.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
        if not self._writer.isOpened():
            raise UserError(f"{path}: the video cannot be written; is there room on the disk, and OpenCV with FFmpeg?")

    def write(self, image: np.ndarray) -> None:
        """Add a frame: (height, width, 3) uint8 RGB."""
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """End the file."""
        self._writer.release()


def unique_stems(files: Sequence[Path]) -> dict[Path, str]:
    """A name for what is made of each file: its own without the suffix, and a number where several have the same."""
    names: dict[Path, str] = {}
    for file in files:
        taken, name, number = set(names.values()), file.stem, 2
        while name in taken:
            name, number = f"{file.stem}-{number}", number + 1
        names[file] = name
    return names
