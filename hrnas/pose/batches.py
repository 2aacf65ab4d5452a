"""Serve people in batches: inputs, targets, weights, and the way back to the picture.

A batch depends only on (seed, epoch, step), so that training can begin at any step and gets what it would have got.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hrnas.cards.trainer import Augmentation
from hrnas.pose.augment import Transforms, draw_transforms, plain_transforms
from hrnas.pose.coco import People
from hrnas.pose.codecs import Codec
from hrnas.pose.crops import PixelSource, apply_maps, crop_batch, invert_maps


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one step."""

    images: np.ndarray  # (batch, height, width, 3) uint8 RGB
    targets: np.ndarray  # (batch, points, ...) float32, as the codec makes them
    weights: np.ndarray  # (batch, points) float32
    persons: np.ndarray  # (batch,) rows of the people
    to_picture: np.ndarray  # (batch, 2, 3) maps from input to picture coordinates


class Batches:
    """All samples of an epoch, batch by batch.

    With an augmentation it serves training: shuffled anew in every epoch, the last incomplete batch left out (a batch
    of one has no statistics). Without one it serves evaluation: every person once, in order, unaltered.

    Args:
        source: where the pixels come from: `cut_regions(...)` or `open_pictures(...)` of the same people.
        codec: what makes targets of keypoints; it knows the size of the input.
        threads: batches prepared ahead by as many threads; 0 prepares each when it is asked for.
        share: give only this part of each batch: which, of how many (of the processes that train together).
    """

    def __init__(
        self,
        people: People,
        source: PixelSource,
        codec: Codec,
        batch_size: int,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        threads: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.people = people
        self.codec = codec
        self._source = source
        self._batch_size = min(batch_size, len(people))
        self._augmentation = augmentation
        self._seed = seed
        self._threads = threads
        self._share = share

    def __len__(self) -> int:
        """Steps in an epoch."""
        if self._augmentation is not None:
            return len(self.people) // self._batch_size
        return -(-len(self.people) // self._batch_size)

    def epoch(self, epoch: int = 0, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from a step on."""
        steps = range(first_step, len(self))
        order = self._order(epoch)
        if not self._threads:
            yield from (self._batch(order, epoch, step) for step in steps)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step in steps:
                waiting.append(pool.submit(self._batch, order, epoch, step))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)

    def _order(self, epoch: int) -> np.ndarray:
        if self._augmentation is None:
            return np.arange(len(self.people))
        return np.random.default_rng((self._seed, epoch)).permutation(len(self.people))

    def _batch(self, order: np.ndarray, epoch: int, step: int) -> Batch:
        which, parts = self._share
        persons = order[step * self._batch_size : (step + 1) * self._batch_size][which::parts]
        transforms = self._transforms(persons, epoch)
        points, labelled = move_keypoints(self.people, persons, transforms)
        targets, weights = self.codec.targets(points, labelled)
        images = crop_batch(self._source, persons, transforms.maps, self.codec.size, transforms.tones)
        if transforms.holes is not None:
            for image, (left, top, right, bottom) in zip(images, transforms.holes, strict=True):
                image[top:bottom, left:right] = 0
        return Batch(images, targets, weights, persons, invert_maps(transforms.maps))

    def _transforms(self, persons: np.ndarray, epoch: int) -> Transforms:
        if self._augmentation is None:
            return plain_transforms(self.people, persons, self.codec.size, self.codec.aligned)
        return draw_transforms(
            self.people, persons, self.codec.size, self._augmentation, self._seed, epoch, self.codec.aligned
        )


def move_keypoints(people: People, persons: np.ndarray, transforms: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (batch, points, 2) in input pixels and whether they are labelled (batch, points).

    In mirrored samples left and right points change places.
    """
    keypoints = people.keypoints[persons]
    mirrored = keypoints[:, people.keypoint_set.flip_order]
    keypoints = np.where(transforms.flipped[:, None, None], mirrored, keypoints)
    return apply_maps(transforms.maps, keypoints[:, :, :2]), keypoints[:, :, 2] > 0
