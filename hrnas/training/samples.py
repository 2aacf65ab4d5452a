"""A sheet of a few persons with the skeletons that a network sees in them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from hrnas.cards.trainer import Recipe
from hrnas.pose.augment import plain_transforms
from hrnas.pose.coco import People
from hrnas.pose.crops import apply_maps, crop_batch, open_pictures
from hrnas.pose.skeletons import draw_skeleton
from hrnas.training.evaluation import predict_people

HEIGHT = 256  # of each crop, in pixels
IN_A_ROW = 4


def pick_samples(people: People, count: int = 8) -> People:
    """The persons with the most labelled keypoints, each in another picture."""
    order = np.argsort(-(people.keypoints[:, :, 2] > 0).sum(axis=1), kind="stable")
    first = np.sort(np.unique(people.picture[order], return_index=True)[1])
    return people.take(order[first[:count]])


def draw_samples(net: nn.Module, people: People, recipe: Recipe, device: torch.device) -> bytes:
    """What a network sees in these people, each in its crop, side by side in one JPEG."""
    pixels = open_pictures(people)
    found = predict_people(net, people, pixels, recipe, device)
    size = (HEIGHT, round(HEIGHT * recipe.input[1] / recipe.input[0]))
    persons = np.arange(len(people))
    maps = plain_transforms(people, persons, size).maps
    found[:, :, :2] = apply_maps(maps, found[:, :, :2])
    crops = crop_batch(pixels, persons, maps, size)
    for crop, points in zip(crops, found, strict=True):
        draw_skeleton(crop, points, people.keypoint_set)
    blank = np.zeros((-len(crops) % IN_A_ROW, *crops.shape[1:]), np.uint8)
    rows = np.concatenate([crops, blank]).reshape(-1, IN_A_ROW, *crops.shape[1:])
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    return cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
