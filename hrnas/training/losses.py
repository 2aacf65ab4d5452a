"""What a heatmap is compared by, and what it means when it is read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def mean_squared_error(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Half the mean squared error over every pixel of every keypoint, as HRNet's JointsMSELoss; unlabelled keypoints
    count 0.

    Args:
        heatmaps, targets: (batch, keypoints, height, width).
        weights: (batch, keypoints), 0 for keypoints without a label.
    """
    return 0.5 * ((heatmaps - targets) * weights[:, :, None, None]).square().mean()


def cross_entropy(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy between the target as a distribution over the pixels and the heatmap's softmax, mean over
    labelled keypoints.

    It teaches where a keypoint is within minutes, where the squared error still learns that most pixels are 0.
    """
    wanted = targets.flatten(2)
    wanted = wanted / wanted.sum(dim=2, keepdim=True).clamp_min(1e-6)
    surprise = -(wanted * F.log_softmax(heatmaps.flatten(2), dim=2)).sum(dim=2)
    return (surprise * weights).sum() / weights.sum().clamp_min(1.0)


def as_confidence(heatmaps: Tensor, loss: str) -> Tensor:
    """Heatmaps as confidences: as they are for `mse`, a softmax over the pixels for `cross_entropy`."""
    if loss == "mse":
        return heatmaps
    return heatmaps.flatten(2).softmax(dim=2).view_as(heatmaps)


LOSSES: dict[str, Loss] = {"mse": mean_squared_error, "cross_entropy": cross_entropy}


def is_finite(value: Tensor) -> bool:
    """Whether a loss or a gradient's norm can still be learnt from."""
    return bool(torch.isfinite(value))
