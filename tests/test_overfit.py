"""The machine can learn at all: a Lite-HRNet-18 comes to know 32 real persons by heart."""

from pathlib import Path

import numpy as np
import pytest

from hrnas.cards.trainer import Recipe
from hrnas.pose.batches import Batches
from hrnas.pose.coco import read_coco_folder
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import cut_regions
from hrnas.space.published import load_architecture
from hrnas.training.evaluation import score_people
from hrnas.training.loop import Training
from hrnas.training.proxy import make_net

EPOCHS = 160
# Slightly turned and scaled, so that keypoints lie at every place within a heatmap's cell: learnt by heart from one
# view each, they would be no more exact than the cells that targets are rounded to.
RECIPE = {
    "name": "by heart",
    "data": {"kind": "coco"},
    "input": "192x128",
    "epochs": EPOCHS,
    "batch_size": 8,
    "augmentation": {"flip": 0.0, "scale": 0.05, "rotation": 5, "half_body": 0.0},
    "loss": {"kind": "cross_entropy"},
    "optimiser": {"kind": "adam", "rate": 3e-3},
    "schedule": {"kind": "cosine", "warmup_steps": 10},
    "start": "scaled",
    "clip": 1.0,
    "flip_test": False,
}


@pytest.mark.slow
@pytest.mark.data
def test_a_lite_hrnet_18_learns_32_real_persons_by_heart(coco_root: Path) -> None:
    people = read_coco_folder(coco_root, "train2017")
    well_labelled = np.flatnonzero((people.keypoints[:, :, 2] > 0).sum(axis=1) >= 8)[:32]
    people, recipe = people.take(well_labelled), Recipe.model_validate(RECIPE)
    pixels = cut_regions(people, recipe.input)
    batches = Batches(people, pixels, Gaussian(recipe.input, 2.0), recipe.batch_size, augmentation=recipe.augmentation)
    training = Training(make_net(load_architecture("lite_hrnet_18"), 17, recipe, seed=0), recipe)
    before = score_people(training.best_net, people, pixels, recipe, training.device)
    training.run(batches, EPOCHS)
    after = score_people(training.best_net, people, pixels, recipe, training.device)
    print(f"AP {after['ap']:.3f}, mean OKS {after['oks']:.3f}")  # seen with -rP
    assert len(people) == 32 and before["ap"] < 0.01
    assert after["ap"] >= 0.90
