"""Trained networks, read from the folder that `hrnas train` or `hrnas import` left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from hrnas.cards.keypoints import KeypointCard
from hrnas.cards.reading import Reading, ReadingCard
from hrnas.cards.trainer import Recipe
from hrnas.nets.pose_net import PoseNet
from hrnas.pose.keypoints import COCO_17, MPII_16, KeypointSet
from hrnas.reading import UserError, read_yaml, validate, write_atomically
from hrnas.space.published import load_architecture

ARCHITECTURE, RECIPE, READING, KEYPOINTS = "architecture.yaml", "recipe.yaml", "reading.yaml", "keypoints.yaml"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights, how it looks at pictures, and what its keypoints are called."""

    net: PoseNet
    reading: Reading
    keypoint_set: KeypointSet


def load_trained(path: Path) -> Trained:
    """Read a trained network, in evaluation mode.

    Args:
        path: the folder, or one of the weights in it (`best.safetensors`).

    Raises:
        UserError: the folder or a file in it is missing, or they do not belong together.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    folder = weights.parent
    if not weights.is_file():
        raise UserError(f"{path}: there are no weights here; the folder of `hrnas train` or `hrnas import` is expected")
    if weights.suffix != ".safetensors":
        raise UserError(f"{path}: .safetensors is expected; `hrnas import` makes it of an official checkpoint")
    if not (folder / ARCHITECTURE).is_file():
        raise UserError(f"{folder}: there is no {ARCHITECTURE} beside the weights, so that nobody knows the network")
    try:
        tensors = load(weights.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{weights}: not weights in the format safetensors: {error}") from None
    reading = _read_reading(folder)
    points = _read_keypoints(folder, reading)
    net = PoseNet(load_architecture(str(folder / ARCHITECTURE)), len(points)).eval()
    try:
        net.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{weights}: these are not the weights of {folder / ARCHITECTURE} with {len(points)} keypoints; "
            "the files of one folder belong together"
        ) from None
    return Trained(net, reading, points)


def save_weights(path: Path, net: nn.Module) -> None:
    """Write a network's weights as `load_trained` reads them, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    write_atomically(path, save(tensors))


def _read_reading(folder: Path) -> Reading:
    """The recipe, or the reading card of a network that was imported."""
    if (folder / RECIPE).is_file():
        tree = {key: value for key, value in read_yaml(folder / RECIPE).items() if key != "seed"}
        return validate(Recipe, tree, str(folder / RECIPE))
    if (folder / READING).is_file():
        return validate(ReadingCard, read_yaml(folder / READING), str(folder / READING))
    raise UserError(f"{folder}: neither {RECIPE} nor {READING} says how the network looks at pictures")


def _read_keypoints(folder: Path, reading: Reading) -> KeypointSet:
    if (folder / KEYPOINTS).is_file():
        return KeypointSet.from_card(validate(KeypointCard, read_yaml(folder / KEYPOINTS), str(folder / KEYPOINTS)))
    return MPII_16 if isinstance(reading, Recipe) and reading.data.kind == "mpii" else COCO_17
