"""Measure a network on people: heatmaps -> keypoints in the picture -> mean OKS, AP and what else they tell.

People are looked for in their own boxes, or in those of a detector; then doubles are suppressed. MPII's people have no
outline that OKS could measure by; their measure is PCKh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from hrnas.cards.reading import Reading
from hrnas.cards.trainer import Recipe, find_root
from hrnas.pose.average_precision import Found, Truth, ap_by_keypoint, number_pictures
from hrnas.pose.batches import Batch, Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import Codec, make_codec
from hrnas.pose.crops import PixelSource, apply_maps, frame_boxes
from hrnas.pose.keypoints import KeypointSet
from hrnas.pose.metrics import VISIBLE_ABOVE, evaluate, evaluate_found, in_own_boxes, person_scores
from hrnas.pose.mpii import evaluate_mpii
from hrnas.pose.nms import crop_areas, suppress, suppress_softly
from hrnas.pose.results import Candidates, read_boxes
from hrnas.training.loop import autocast, to_input
from hrnas.training.losses import as_confidence

EVALUATION_BATCH = 64


@torch.no_grad()
def predict_people(
    net: nn.Module,
    people: People,
    pixels: PixelSource,
    reading: Reading,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
    on_output: Callable[[Batch, np.ndarray], None] | None = None,
) -> np.ndarray:
    """Find the keypoints of persons whose boxes are known.

    Args:
        reading: a recipe, or what else says how the network looks at pictures.
        on_batch: told after each batch how many persons are done.
        on_output: given each batch and what the network says of it: (batch, keypoints, ...), as the codec reads it.

    Returns:
        (persons, keypoints, 3): x and y in picture pixels, and the confidence.
    """
    was_training = net.training
    net.eval()
    found = np.zeros((len(people), len(people.keypoint_set.names), 3), np.float32)
    codec = make_codec(reading.codec, reading.input)
    for batch in Batches(people, pixels, codec, EVALUATION_BATCH).epoch():
        output = _confidences(net, batch.images, reading, codec, people.keypoint_set, device)
        places, scores = codec.decode(output)
        found[batch.persons, :, :2] = apply_maps(batch.to_picture, places)
        found[batch.persons, :, 2] = scores
        if on_output is not None:
            on_output(batch, output)
        if on_batch is not None:
            on_batch(int(batch.persons[-1]) + 1)
    net.train(was_training)
    return found


def _confidences(
    net: nn.Module, images: np.ndarray, reading: Reading, codec: Codec, keypoint_set: KeypointSet, device: torch.device
) -> np.ndarray:
    """(batch, keypoints, ...), averaged with the mirrored images' where the reading says so."""

    def look(pictures: np.ndarray) -> np.ndarray:
        with autocast(reading, device):
            output = net(to_input(pictures, device))
        return as_confidence(output.float(), reading.loss.kind, codec.parts).cpu().numpy()

    upright = look(images)
    if not reading.flip_test:
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
    scores = evaluate(people, found, visible_above=visible_above(recipe))
    return {"score": scores["oks"], **scores}


def visible_above(reading: Reading) -> float:
    """The score above which a keypoint counts in its person's."""
    # a softmax's peak is low where the network is unsure: HRNet's threshold is meant for squared-error heatmaps
    return VISIBLE_ABOVE if reading.loss.kind == "mse" else 0.0


# ---------------------------------------------------------------------------------------------------------------------
# for a report


def find_candidates(recipe: Recipe, people: People) -> Candidates:
    """Where a recipe looks for people: in their own boxes, or in a detector's.

    Raises:
        UserError: the detector's file is not as it must be.
    """
    if recipe.boxes.file is None:
        return Candidates(people, np.ones(len(people)))
    assert recipe.data.kind == "coco"
    return read_boxes(find_root(recipe.data.root) / recipe.boxes.file, people, recipe.boxes.threshold)


def score_candidates(
    net: nn.Module,
    people: People,
    candidates: Candidates,
    pixels: PixelSource,
    recipe: Recipe,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What a report says of a network: COCO's figures and AP of each keypoint, mean OKS only where people have their
    own boxes; on MPII the PCKh.

    Args:
        people: who is to be found.
        pixels: of `candidates.people`.
    """
    found = predict_people(net, candidates.people, pixels, recipe, device, on_batch)
    if recipe.data.kind == "mpii":
        return evaluate_mpii(people, found)
    if candidates.people is people:
        detections = in_own_boxes(people, found, visible_above(recipe))
        scores = evaluate(people, found, visible_above=visible_above(recipe))
    else:
        detections = suppress_doubles(candidates, found, recipe)
        scores = evaluate_found(Truth.of(people), detections)
    return {**scores, "ap_by_keypoint": ap_by_keypoint(Truth.of(people), detections)}


def suppress_doubles(candidates: Candidates, found: np.ndarray, recipe: Recipe) -> Found:
    """What was found in a detector's boxes as HRNet hands it in: rescored, and of several of one person the best."""
    people = candidates.people
    scores = candidates.scores * person_scores(found, visible_above(recipe))
    areas = crop_areas(frame_boxes(people.boxes, recipe.input)[1], recipe.input)
    choose = {"hard": suppress, "soft": suppress_softly}[recipe.boxes.suppression]
    kept = choose(people.picture, found, areas, scores, people.keypoint_set)
    return Found(number_pictures(people)[people.picture[kept]], found[kept].astype(np.float64), scores[kept])
