"""Weights for tests that look at gradients and outputs."""

from __future__ import annotations

import torch
from torch import nn


def enliven(module: nn.Module) -> nn.Module:
    """Draw weights so large, and open ReLUs so wide, that no signal and no gradient dies on its way."""
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter)
            elif not isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(parameter)
    return module


@torch.no_grad()
def at_work(module: nn.Module) -> nn.Module:
    """The module in eval mode with weights, and statistics of its norms, drawn from everywhere."""
    torch.manual_seed(1)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1 if value.dim() == 1 else torch.randn_like(value))
    return module.eval()
