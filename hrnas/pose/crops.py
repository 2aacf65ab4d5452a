"""Cut persons out of pictures: HRNet's crop geometry, and the cache of surroundings that makes it cheap.

    box -> centre and width (x 1.25, aspect of the input) -> affine map -> one bilinear warp to the input

Pixels come from a person's surroundings, decoded once and kept (`cut_regions`), or from the original picture, decoded
when it is needed (`open_pictures`). Both give an image and the map from picture to image, and the one function
`crop_batch` warps from either, so that a recipe chooses only where the pixels lie.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol, TypeVar

import cv2
import numpy as np

from hrnas.pose.cache import Put, keep
from hrnas.pose.coco import People, Picture

# A warp of one person takes 0.1 ms: waking a second thread for it costs more, and takes the core from the training.
cv2.setNumThreads(0)

PADDING = 1.25  # how much larger than the box the crop is

Done = TypeVar("Done")


class Pixels(NamedTuple):
    """Pixels around a person, and where they lie: image coordinates are `scale` * picture coordinates + `offset`."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    scale: np.ndarray | tuple[float, float] = (1.0, 1.0)  # image pixels per picture pixel, along x and y
    offset: np.ndarray | tuple[float, float] = (0.0, 0.0)


class PixelSource(Protocol):
    """Gives the pixels around a person."""

    def of(self, person: int) -> Pixels: ...


# ---------------------------------------------------------------------------------------------------------------------
# geometry


def frame_boxes(boxes: np.ndarray, size: tuple[int, int], padding: float = PADDING) -> tuple[np.ndarray, np.ndarray]:
    """Where to look for the persons in boxes (n, 4): centres (n, 2) and widths (n,) in picture pixels.

    The shorter side is lengthened to the input's aspect, then both grow by `padding`; the height follows from the
    aspect. `size` is the input's (height, width).
    """
    aspect = size[1] / size[0]
    centres = boxes[:, :2] + boxes[:, 2:] * 0.5
    widths = np.maximum(boxes[:, 2], boxes[:, 3] * aspect) * padding
    return centres, np.maximum(widths, 1e-3)  # a box may be a point


def affine_maps(
    centres: np.ndarray,
    widths: np.ndarray,
    size: tuple[int, int],
    degrees: np.ndarray | float = 0.0,
    flipped: np.ndarray | bool = False,
    aligned: bool = False,
) -> np.ndarray:
    """Maps (n, 2, 3) from picture to input coordinates: HRNet's `get_affine_transform`, in closed form.

    The centre goes to (width / 2, height / 2) of the input and `widths` to its width; the picture is turned by
    `degrees`. A flipped sample is mirrored first: as its centre is mirrored too, the picture's width cancels out.

    Args:
        aligned: count the input's sides between the centres of its first and last pixels, as UDP does.
    """
    radians = np.deg2rad(np.broadcast_to(np.asarray(degrees, np.float64), widths.shape))
    height, width = (side - 1 if aligned else side for side in size)
    across = (width / widths)[:, None]
    down = (height / (widths * size[0] / size[1]))[:, None]
    cosine, sine = np.cos(radians), np.sin(radians)
    side = np.where(flipped, -1.0, 1.0)
    linear = np.stack(
        [across * np.stack([cosine * side, sine], -1), down * np.stack([-sine * side, cosine], -1)], axis=-2
    )
    middle = np.array([width * 0.5, height * 0.5])
    offsets = middle - np.einsum("nij,nj->ni", linear, centres)
    return np.concatenate([linear, offsets[:, :, None]], axis=2)


def invert_maps(maps: np.ndarray) -> np.ndarray:
    """The inverses (n, 2, 3) of affine maps."""
    inverse = np.linalg.inv(maps[:, :, :2])
    return np.concatenate([inverse, -inverse @ maps[:, :, 2:]], axis=2)


def apply_maps(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points (n, points, 2) by affine maps (n, 2, 3)."""
    return np.einsum("nij,npj->npi", maps[:, :, :2], points) + maps[:, None, :, 2]


# ---------------------------------------------------------------------------------------------------------------------
# where the pixels lie


@dataclass(frozen=True, eq=False)
class Regions:
    """The surroundings of every person, decoded once and kept in the cache; their places follow from the people.

    Attributes:
        pixels: all regions (height, width, 3) one after another, as uint8.
        starts: (persons + 1,) where each region begins.
        plan: what each region shows.
    """

    pixels: np.ndarray
    starts: np.ndarray
    plan: RegionPlan

    def of(self, person: int) -> Pixels:
        """The surroundings of a person."""
        height, width = self.plan.shapes[person]
        image = self.pixels[self.starts[person] : self.starts[person + 1]].reshape(height, width, 3)
        return Pixels(image, self.plan.scales[person], self.plan.offsets[person])


class RegionPlan(NamedTuple):
    """Which part of its picture each region shows, and how large: all are (persons, 2)."""

    corners: np.ndarray  # the first column and row of the part
    opposites: np.ndarray  # behind the last ones
    shapes: np.ndarray  # height and width of the region
    scales: np.ndarray  # as `Pixels` has them
    offsets: np.ndarray


class Originals:
    """The original pictures, decoded when needed; the last few are kept, as persons of one picture come in a row."""

    def __init__(self, people: People, keep: int = 8) -> None:
        self._people = people
        self._keep = keep
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = Lock()  # batches may be prepared by several threads

    def of(self, person: int) -> Pixels:
        """The whole picture that a person is in."""
        picture = int(self._people.picture[person])
        with self._lock:
            image = self._decoded.get(picture)
        if image is None:
            image = self._people.load_picture(picture)
        with self._lock:
            self._decoded[picture] = image
            self._decoded.move_to_end(picture)
            while len(self._decoded) > self._keep:
                self._decoded.popitem(last=False)
        return Pixels(image)


def open_pictures(people: People) -> Originals:
    """Warp from the original pictures, as published recipes do; costs about 1 ms more for each sample than a cache."""
    return Originals(people)


def cut_regions(people: People, size: tuple[int, int], *, reach: float = 1.25, max_scale: float = 1.5) -> Regions:
    """Decode every picture once and keep what crops of its persons can need, on disk for all runs (`hrnas.pose.cache`).

    A region holds a crop that is `reach` times wider than the usual one, turned by any angle; what lies farther out, or
    outside the picture, is black in crops. A region has at most `max_scale` times the input's resolution (reduced by
    area averaging) and never more than the picture's own.

    Args:
        size: (height, width) of the input.

    Raises:
        UserError: the regions are more than the cache may have, or a picture cannot be read.
        OSError: the cache cannot be written to.
    """
    plan = _plan_regions(people, size, reach, max_scale)
    starts = np.concatenate([[0], np.cumsum(3 * plan.shapes.prod(axis=1))])
    pictures, shown_in = np.unique(people.picture, return_inverse=True)

    def write(put: Put) -> None:
        def cut(number: int) -> None:
            image = people.load_picture(int(pictures[number]))
            for person in np.flatnonzero(shown_in == number).tolist():
                put(int(starts[person]), _cut(image, plan, person))

        _for_each(cut, range(len(pictures)))

    contents = _for_each(lambda picture: _digest_picture(people.pictures[picture]), pictures.tolist())
    digest = hashlib.blake2b(f"area averages by OpenCV {cv2.__version__}".encode(), digest_size=16)
    for part in (*contents, shown_in.tobytes(), *(part.tobytes() for part in plan)):
        digest.update(part)
    return Regions(keep(digest.hexdigest(), int(starts[-1]), write), starts, plan)


def _plan_regions(people: People, size: tuple[int, int], reach: float, max_scale: float) -> RegionPlan:
    centres, widths = frame_boxes(people.boxes, size)
    radius = 0.5 * reach * widths * np.hypot(1.0, size[0] / size[1])  # the crop's circumscribed circle
    sizes = np.array([(one.width, one.height) for one in people.pictures])[people.picture]
    corners = np.clip(np.floor(centres - radius[:, None]), 0, sizes - 1).astype(np.int64)
    opposites = np.clip(np.ceil(centres + radius[:, None]) + 1, corners + 1, sizes).astype(np.int64)
    parts = opposites - corners
    wanted = np.minimum(1.0, max_scale * size[1] / widths)
    shapes = np.maximum(1, np.rint(parts[:, ::-1] * wanted[:, None])).astype(np.int64)
    scales = shapes[:, ::-1] / parts  # rounding makes the two differ a little
    # coordinates are those of pixel centres, so that the corner of the picture's corner pixel is (-0.5, -0.5)
    return RegionPlan(corners, opposites, shapes, scales, scales * (0.5 - corners) - 0.5)


def _cut(image: np.ndarray, plan: RegionPlan, person: int) -> np.ndarray:
    (left, top), (right, bottom) = plan.corners[person], plan.opposites[person]
    height, width = plan.shapes[person]
    return cv2.resize(image[top:bottom, left:right], (width, height), interpolation=cv2.INTER_AREA)


def _digest_picture(picture: Picture) -> bytes:
    """Of all that its pixels depend on: the same for the same file, wherever it lies."""
    size = f"{picture.width}x{picture.height} "  # a camera's orientation may be followed to get it
    return hashlib.blake2b(size.encode() + picture.read(), digest_size=16).digest()


def _for_each(work: Callable[[int], Done], numbers: Iterable[int]) -> list[Done]:
    """All that `work` gives, done by as many threads as there are cores: OpenCV and files need no interpreter."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return list(pool.map(work, numbers))
    finally:  # who interrupts does not wait for the rest
        pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------------------------------------------------------------
# crops


def crop_batch(
    source: PixelSource,
    persons: np.ndarray,
    maps: np.ndarray,
    size: tuple[int, int],
    tones: np.ndarray | None = None,
) -> np.ndarray:
    """Warp persons into inputs: uint8 RGB (persons, height, width, 3), black outside the picture.

    Args:
        maps: (persons, 2, 3) from picture to input coordinates.
        tones: (persons, 256, 3) new values of each level of each colour, or None.
    """
    height, width = size
    crops = np.empty((len(persons), height, width, 3), np.uint8)
    for number, person in enumerate(persons):
        image, scale, offset = source.of(int(person))
        matrix = maps[number].copy()
        matrix[:, :2] /= scale
        matrix[:, 2] -= matrix[:, :2] @ offset
        crop = crops[number]
        # OpenCV 5 warps four channels in half the time of three, to the same values; adding one costs a tenth of that
        four = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), matrix, (width, height), flags=cv2.INTER_LINEAR)
        cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=crop)
        if tones is not None:
            cv2.LUT(crop, tones[number][:, None, :], dst=crop)
    return crops
