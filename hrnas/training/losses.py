"""What an output is compared by, and what it means when it is read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor, tuple[int, ...]], Tensor]


def mean_squared_error(output: Tensor, targets: Tensor, weights: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Half the mean squared error over every value of every keypoint, as HRNet's JointsMSELoss; unlabelled keypoints
    count 0.

    Args:
        output, targets: (batch, keypoints, ...).
        weights: (batch, keypoints), 0 for keypoints without a label.
        parts: the sizes of the distributions that an output consists of (a codec's `parts`).
    """
    return 0.5 * ((output - targets).flatten(2) * weights[:, :, None]).square().mean()


def cross_entropy(output: Tensor, targets: Tensor, weights: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Cross-entropy between each part of the target as a distribution and the softmax of the output's, summed over the
    parts, mean over labelled keypoints; arguments as above.

    It teaches where a keypoint is within minutes, where the squared error still learns that most pixels are 0.
    """
    surprise = output.new_zeros(weights.shape)
    for values, wanted in zip(output.flatten(2).split(parts, 2), targets.flatten(2).split(parts, 2), strict=True):
        wanted = wanted / wanted.sum(dim=2, keepdim=True).clamp_min(1e-6)
        surprise = surprise - (wanted * F.log_softmax(values, dim=2)).sum(dim=2)
    return (surprise * weights).sum() / weights.sum().clamp_min(1.0)


def as_confidence(output: Tensor, loss: str, parts: tuple[int, ...]) -> Tensor:
    """An output as confidences: as it is for `mse`, each part's softmax for `cross_entropy`."""
    if loss == "mse":
        return output
    return torch.cat([values.softmax(dim=2) for values in output.flatten(2).split(parts, 2)], dim=2).view_as(output)


LOSSES: dict[str, Loss] = {"mse": mean_squared_error, "cross_entropy": cross_entropy}


def is_finite(value: Tensor) -> bool:
    """Whether a loss or a gradient's norm can still be learnt from."""
    return bool(torch.isfinite(value))
