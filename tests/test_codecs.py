"""Codecs: what they draw and read is what their papers say, and what mmpose computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_architectures import lite_tree

from hrnas.cards.trainer import Codec as Options
from hrnas.cards.trainer import Recipe, load_recipe
from hrnas.pose.batches import Batches
from hrnas.pose.codecs import Codec, make_codec
from hrnas.pose.crops import affine_maps, apply_maps, invert_maps, open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.pose.keypoints import COCO_17
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.training.evaluation import score_people
from hrnas.training.loop import Training
from hrnas.training.proxy import make_net

SIZES = [(256, 192), (384, 288)]
KINDS = ["gaussian", "dark", "udp", "simcc"]
PEER = Path(__file__).parent / "golden" / "mmpose_codecs.npz"


def codec(kind: str, size: tuple[int, int] = (256, 192)) -> Codec:
    return make_codec(Options(kind=kind, sigma=6.0 if kind == "simcc" else "by_input"), size)


def keypoints_inside(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    low, high = np.array([64.0, 64.0]), np.array(size[::-1]) - 64.0  # a Gaussian and its blur lie whole in the map
    return np.random.default_rng(seed).uniform(low, high, (30, 17, 2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "pixels"), [("gaussian", 2.9), ("dark", 0.06), ("udp", 0.06), ("simcc", 0.36)], ids=KINDS
)
def test_what_is_drawn_is_read_as_exactly_as_the_codec_can(kind: str, pixels: float, size: tuple[int, int]) -> None:
    """`gaussian` is rounded to cells of 4 pixels, `simcc` to half a pixel; the others know the exact place."""
    keypoints = keypoints_inside(size)
    targets, weights = codec(kind, size).targets(keypoints, np.ones((30, 17)))
    found, scores = codec(kind, size).decode(targets)
    assert (weights == 1).all() and (scores > 0.8).all()
    assert np.linalg.norm(found - keypoints, axis=2).max() < pixels


@pytest.mark.parametrize("kind", KINDS)
def test_no_label_and_no_place_in_the_map_is_nothing_to_learn(kind: str) -> None:
    keypoints, labelled = keypoints_inside((256, 192)), np.ones((30, 17))
    labelled[0] = 0
    keypoints[1] = -400.0
    targets, weights = codec(kind).targets(keypoints, labelled)
    assert not weights[:2].any() and not targets[:2].any() and weights[2:].all()
    assert targets.dtype == weights.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_back_is_what_the_unmirrored_input_would_have_given(kind: str) -> None:
    """Targets of a mirrored person, flipped back, are read where the person is."""
    size = (256, 192)
    one = codec(kind, size)
    # the mirror of pixel x is the last pixel minus x
    keypoints = np.rint(keypoints_inside(size))
    mirrored = keypoints[:, COCO_17.flip_order] * (-1, 1) + (size[1] - 1, 0)
    back = one.flip_back(one.targets(mirrored, np.ones((30, 17)))[0], COCO_17)
    error = np.abs(one.decode(back)[0] - keypoints).max()
    # HRNet's shift of one cell, 4 pixels, makes up for 3 of them
    assert error < {"gaussian": 4.1, "dark": 1.1, "udp": 0.1, "simcc": 1.1}[kind]


def test_udp_maps_the_box_to_the_centres_of_the_outer_pixels() -> None:
    centre, width = np.array([[50.0, 70.0]]), np.array([30.0])
    maps = affine_maps(centre, width, (256, 192), aligned=True)
    corners = np.array([[[35.0, 50.0], [65.0, 90.0]]])
    np.testing.assert_allclose(apply_maps(maps, corners), [[[0, 0], [191, 255]]], atol=1e-9)
    np.testing.assert_allclose(apply_maps(invert_maps(maps), [[[0, 0], [191, 255]]]), corners, atol=1e-9)


@pytest.mark.parametrize("size", SIZES, ids=["256x192", "384x288"])
@pytest.mark.parametrize("kind", KINDS)
def test_mmpose_draws_and_reads_the_same(kind: str, size: tuple[int, int]) -> None:
    """Stored: keypoints, mmpose 1.3.2's targets (each 997th value), weights, and what it reads off rippled targets."""
    one = codec(kind, size)
    with np.load(PEER) as stored:
        peer = {name: stored[f"{kind} {size[0]} {name}"] for name in ("targets", "weights", "read", "scores")}
        keypoints, labelled = stored[f"{size[0]} keypoints"], stored[f"{size[0]} labelled"]
    targets, weights = one.targets(keypoints.astype(float), labelled)
    np.testing.assert_array_equal(weights, peer["weights"])
    # mmpose's distributions sum to about 1, ours have height 1: losses normalise both
    height = 6 * np.sqrt(2 * np.pi) if kind == "simcc" else 1.0
    np.testing.assert_allclose(targets.ravel()[::997], height * peer["targets"], atol=3e-6)
    found, scores = one.decode(rippled(targets))
    if kind == "udp":  # mmpose stretches the last pixel's centre to the input's edge, and shrinks it when it maps back
        found = found * np.array(size[::-1]) / (np.array(size[::-1]) - 1)
    told = weights > 0  # of an empty map mmpose says -1, HRNet 0
    if kind == "gaussian":  # near a border mmpose still moves along it, HRNet does not
        cells = np.rint(peer["read"] / 4)
        told &= ((cells > 1) & (cells < np.array(targets.shape[:1:-1]) - 1)).all(axis=2)
    assert told.mean() > 0.3
    np.testing.assert_allclose(found[told], peer["read"][told], atol=1e-4)
    np.testing.assert_allclose(scores[told], peer["scores"][told], rtol=1e-5)


def rippled(targets: np.ndarray) -> np.ndarray:
    """Targets with waves on them, so that they are not exactly what was drawn."""
    waves = np.cos(0.9 * np.arange(targets.size, dtype=np.float64)).reshape(targets.shape)
    return (targets * (1 + 0.05 * waves)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_by_every_codec(kind: str) -> None:
    """From drawn people, through loss, flip test and reading: it finds eight persons better than it did untrained."""
    recipe = Recipe.model_validate(
        {
            "name": "little",
            "data": {"kind": "drawn", "train": 8, "holdout": 1, "val": 1},
            "input": "64x64",
            "epochs": 40,
            "batch_size": 8,
            "augmentation": {"flip": 0, "scale": 0, "rotation": 0, "half_body": 0},
            "codec": {"kind": kind, "sigma": 6.0 if kind == "simcc" else 1.5},
            "loss": {"kind": "cross_entropy"},
            "optimiser": {"rate": 5e-3},
            "start": "scaled",
        }
    )
    tree = lite_tree(head={"kind": "simcc" if kind == "simcc" else "iterative"})
    people = draw_people(8, 5)
    pixels = open_pictures(people)
    training = Training(make_net(Architecture.from_tree(tree), 17, recipe, seed=0), recipe)

    def oks() -> float:
        return float(score_people(training.net, people, pixels, recipe, training.device)["score"])

    before = oks()
    training.run(Batches(people, pixels, make_codec(recipe.codec, (64, 64)), 8, augmentation=recipe.augmentation), 40)
    assert oks() > before + 0.1


def test_a_head_that_a_codec_cannot_read_is_refused() -> None:
    gaussian, architecture = load_recipe("proxy_drawn"), Architecture.from_tree(lite_tree(head={"kind": "simcc"}))
    with pytest.raises(UserError, match="codec: gaussian does not read what the head simcc gives"):
        make_net(architecture, 17, gaussian, seed=0)
