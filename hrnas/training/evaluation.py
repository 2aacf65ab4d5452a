"""Measure a network on people: heatmaps -> keypoints in the picture -> mean OKS, AP and what else they tell.

MPII's people have no outline that OKS could measure by; their measure is PCKh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from hrnas.cards.trainer import Recipe
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import Codec, make_codec
from hrnas.pose.crops import PixelSource, apply_maps
from hrnas.pose.keypoints import KeypointSet
from hrnas.pose.metrics import evaluate
from hrnas.pose.mpii import evaluate_mpii
from hrnas.training.loop import autocast, to_input
from hrnas.training.losses import as_confidence

EVALUATION_BATCH = 64


@torch.no_grad()
def predict_people(
    net: nn.Module,
    people: People,
    pixels: PixelSource,
    recipe: Recipe,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Find the keypoints of persons whose boxes are known.

    Args:
        on_batch: told after each batch how many persons are done.

    Returns:
        (persons, keypoints, 3): x and y in picture pixels, and the confidence.
    """
    was_training = net.training
    net.eval()
    found = np.zeros((len(people), len(people.keypoint_set.names), 3), np.float32)
    codec = make_codec(recipe.codec, recipe.input)
    for batch in Batches(people, pixels, codec, EVALUATION_BATCH).epoch():
        places, scores = codec.decode(_confidences(net, batch.images, recipe, codec, people.keypoint_set, device))
        found[batch.persons, :, :2] = apply_maps(batch.to_picture, places)
        found[batch.persons, :, 2] = scores
        if on_batch is not None:
            on_batch(int(batch.persons[-1]) + 1)
    net.train(was_training)
    return found


def _confidences(
    net: nn.Module, images: np.ndarray, recipe: Recipe, codec: Codec, keypoint_set: KeypointSet, device: torch.device
) -> np.ndarray:
    """(batch, keypoints, ...), averaged with the mirrored images' where the recipe says so."""

    def look(pictures: np.ndarray) -> np.ndarray:
        with autocast(recipe, device):
            output = net(to_input(pictures, device))
        return as_confidence(output.float(), recipe.loss.kind, codec.parts).cpu().numpy()

    upright = look(images)
    if not recipe.flip_test:
        return upright
    mirrored = look(np.ascontiguousarray(images[:, :, ::-1]))
    return 0.5 * (upright + codec.flip_back(mirrored, keypoint_set))


def score_people(
    net: nn.Module,
    people: People,
    pixels: PixelSource,
    recipe: Recipe,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Scores of a network on people with ground-truth boxes, in 0..1; `score` is the mean OKS, on MPII the PCKh."""
    found = predict_people(net, people, pixels, recipe, device, on_batch)
    if recipe.data.kind == "mpii":
        scores = evaluate_mpii(people, found)
        return {"score": scores["pckh"], **scores}
    # a softmax's peak is low where the network is unsure: HRNet's threshold of 0.2 is meant for squared-error heatmaps
    visible_above = 0.2 if recipe.loss.kind == "mse" else 0.0
    scores = evaluate(people, found, visible_above=visible_above)
    return {"score": scores["oks"], **scores}
