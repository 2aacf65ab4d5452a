"""Score a network that never learnt: a few passes instead of a training.

None of them ranks networks better than their number of parameters does; together with it they tell a predictor more
than it does alone, and a first rung of a ladder may sort by one of them. Each is larger for better networks.

    architecture -> fresh weights by seed -> one forward pass in float64 (synflow), one of all pictures (naswot),
    gradients of halves of the pictures (snip, grad_norm, zico) and with respect to the pictures (jacob_cov)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.cards.study import ZERO_COST, Rung
from hrnas.nets.cost import measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.training.loop import to_input

PICTURES = 8  # where none are given: noise
Gradients = dict[str, Tensor]


def zero_cost_scores(
    architecture: Architecture, keypoints: int, input: tuple[int, int], images: np.ndarray | None = None, seed: int = 0
) -> dict[str, float]:
    """All zero-cost scores of an architecture, the same for the same seed.

    Args:
        input: (height, width) in pixels.
        images: an even number of pictures, uint8 RGB (pictures, height, width, 3); noise without them.

    Returns:
        `params` and `macs` in single units, and the scores of `ZERO_COST`: `synflow` in decades, the others as their
        papers have them.
    """
    cost = measure_cost(architecture, keypoints, input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PoseNet(architecture, keypoints)
        net.reset_weights("scaled")
        pictures = torch.randn(PICTURES, 3, *input) if images is None else to_input(images, torch.device("cpu"))
        scores = network_scores(net, pictures)
    return {"params": float(cost.params), "macs": float(cost.macs), **scores}


def network_scores(net: nn.Module, pictures: Tensor) -> dict[str, float]:
    """The scores of `ZERO_COST` of a network with its weights; the targets are noise from torch's generator.

    Args:
        pictures: (an even number, channels, height, width) float32.
    """
    flow = synflow(net, pictures[:1])
    halves = [_gradients(net, half) for half in pictures.chunk(2)]
    both = {name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]}
    return {
        "naswot": naswot(net, pictures),
        "synflow": flow,
        "zico": zico(halves),
        "snip": snip(net, both),
        "grad_norm": sum(float(gradient.norm()) for gradient in both.values()),  # Abdelfattah et al., section 3.1
        "jacob_cov": jacob_cov(net, pictures),
    }


def synflow(net: nn.Module, picture: Tensor) -> float:
    """log10 of what flows through all weights, made positive, of a picture of ones: sum of weight times gradient.

    Tanaka et al., Pruning neural networks without any data, 2020, arXiv 2006.05467, equation 2; as a score of networks
    Abdelfattah et al., Zero-cost proxies, 2021, arXiv 2101.08134, equation 2.

    In float64: where many branches are summed again and again the flow passes what float32 can hold.
    """
    positive = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    flow = positive(torch.ones_like(picture, dtype=torch.float64)).sum()
    weights = [parameter for parameter in positive.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad(flow, weights, allow_unused=True)
    pairs = zip(weights, slopes, strict=True)
    total = sum(float((weight.detach() * slope).abs().sum()) for weight, slope in pairs if slope is not None)
    return math.log10(max(total, 1e-300))


def naswot(net: nn.Module, pictures: Tensor) -> float:
    """log det of the kernel of how many ReLUs agree on two pictures, over all ReLUs of the network.

    Mellor et al., Neural architecture search without training, 2021, arXiv 2006.04647, equation 2.

    # Unlike the paper: one more on the diagonal, so that pictures that nothing tells apart give a small number and not
    # minus infinity.
    """
    count = len(pictures)
    agree = torch.eye(count, dtype=torch.float64)

    def listen(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        on = (output.detach() > 0).reshape(count, -1).float()
        off = 1 - on
        agree.add_((on @ on.T + off @ off.T).double())

    ears = [layer.register_forward_hook(listen) for layer in net.modules() if isinstance(layer, nn.ReLU)]
    try:
        with torch.no_grad():
            _train_mode(net)(pictures)
    finally:
        for ear in ears:
            ear.remove()
    return float(torch.linalg.slogdet(agree).logabsdet)


def snip(net: nn.Module, gradients: Gradients) -> float:
    """Sum of |weight times gradient|: what the loss would change if weights were taken away.

    Lee et al., SNIP, 2019, arXiv 1810.02340, equation 4; summed as in Abdelfattah et al., section 3.2.
    """
    weights = dict(net.named_parameters())
    return sum(float((weights[name].detach() * gradient).abs().sum()) for name, gradient in gradients.items())


def zico(batches: list[Gradients]) -> float:
    """Sum over layers of log of the sum over weights of mean over deviation of |gradient| between batches.

    Li et al., ZiCo, 2023, arXiv 2301.11300, equation 12.
    """
    total = 0.0
    for name in batches[0]:
        sizes = torch.stack([batch[name] for batch in batches]).abs().double()
        mean, deviation = sizes.mean(dim=0), sizes.std(dim=0, correction=0)
        told = deviation > 0
        if told.any():
            total += math.log(float((mean[told] / deviation[told]).sum()))
    return total


def jacob_cov(net: nn.Module, pictures: Tensor) -> float:
    """How little the slopes with respect to different pictures are correlated.

    Mellor et al., first version of arXiv 2006.04647: minus the sum of log(v + k) + 1 / (v + k) over the eigenvalues v
    of the correlation matrix, k = 1e-5.
    """
    x = pictures.clone().requires_grad_(True)
    (slopes,) = torch.autograd.grad(_train_mode(net)(x).sum(), x)
    rows = slopes.reshape(len(x), -1).double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + 1e-5  # equal rows may have one just below 0
    return -float((values.log() + 1 / values).sum())


def _gradients(net: nn.Module, pictures: Tensor) -> Gradients:
    """Of the weights of convolutions and linear layers, of the squared error to noise."""
    output = _train_mode(net)(pictures)
    loss = functional.mse_loss(output, torch.rand_like(output))
    weights = {
        f"{place}.weight" if place else "weight": layer.weight
        for place, layer in net.named_modules()
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) and layer.weight.requires_grad
    }
    slopes = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: slope for name, slope in zip(weights, slopes, strict=True) if slope is not None}


def _train_mode(net: nn.Module) -> nn.Module:
    """Norms by the batch: a fresh network's running statistics know nothing."""
    return net.train()


class ZeroCostEvaluator:
    """Score a rung of fidelity `zero_cost`: by the rung's measure, with all other scores beside it."""

    def __init__(self, keypoints: int, input: tuple[int, int], images: np.ndarray | None = None) -> None:
        """`images`: as `zero_cost_scores` takes them."""
        self._keypoints, self._input, self._images = keypoints, input, images

    def __call__(
        self,
        architecture: Architecture,
        rung: Rung,
        seed: int,
        folder: Path,
        beat: Callable[[dict[str, Any]], None],
    ) -> Mapping[str, Any]:
        """The scores by name, and as `score` the one that the rung ranks by."""
        scores = zero_cost_scores(architecture, self._keypoints, self._input, self._images, seed)
        return {"score": scores[rung.measure], **{name: scores[name] for name in ZERO_COST}}


class CostEvaluator:
    """Score a rung of fidelity `cost`: the decades of a cost, of which more is better for its price in the other goals.

    No other zero-cost score ranked the networks of NAS-Bench-MR better than their parameters did.
    """

    def __init__(self, keypoints: int, input: tuple[int, int]) -> None:
        """`input`: (height, width) in pixels."""
        self._keypoints, self._input = keypoints, input

    def __call__(
        self,
        architecture: Architecture,
        rung: Rung,
        seed: int,
        folder: Path,
        beat: Callable[[dict[str, Any]], None],
    ) -> Mapping[str, Any]:
        """The score of an architecture."""
        cost = measure_cost(architecture, self._keypoints, self._input)
        return {"score": math.log10(getattr(cost, rung.measure))}
