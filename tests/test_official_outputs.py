"""Our networks compute what the authors' code computes: their outputs, stored, from weights that a formula gives.

`tests/golden/official_outputs.npz` was made by running the official code (see `tests/golden/README.md`) on weights and
an input given by the formulas below, in eval mode. Nothing of that code stands here.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_point

GOLDEN = Path(__file__).parent / "golden" / "official_outputs.npz"
NAMES = [
    "lite_hrnet_18",
    "lite_hrnet_30",
    "naive_lite_hrnet_18",
    "wider_naive_lite_hrnet_18",
    "hrnet_w8",
    "dite_hrnet_18",
    "dite_hrnet_30",
    "x_hrnet_18",
    "x_hrnet_30",
    "px_hrnet_18",
]
EVERY = 37  # each 37th value of the output is stored


def architecture(name: str) -> Architecture:
    """A published point, or PX-HRNet, or HRNet-W32 with a quarter of its widths (at full width the formula is slow)."""
    if name == "px_hrnet_18":
        tree = load_point("published/x_hrnet_18").architecture.tree()
        for stage in tree["stages"]:
            stage["row"] |= {slot: {"kind": "susa", "along": "both"} for slot in ("cross", "single")}
        return Architecture.from_tree(tree)
    if name == "hrnet_w8":
        tree = load_point("published/hrnet_w32").architecture.tree()
        return Architecture.from_tree(tree | {"widths": [8, 16, 32, 64]})
    return load_point(f"published/{name}").architecture


def noise(place: int, shape: torch.Size) -> Tensor:
    """Numbers in [-1, 1) that look random and depend only on the tensor's place and the value's index in it."""
    index = np.arange(int(np.prod(shape)), dtype=np.float64)
    parts = np.sin(index * 12.9898 + place * 78.233) * 43758.5453
    return torch.from_numpy(2 * (parts - np.floor(parts)) - 1).float().reshape(shape)


def formula(name: str, place: int, shape: torch.Size) -> Tensor:
    """The value of a tensor of the state, from the end of its name, its place in the official order and its shape."""
    values = noise(place, shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * values
    if name.endswith(("running_mean", "bias")):
        return 0.2 * values
    if len(shape) == 1:  # the scale of a norm
        return 0.5 + 0.1 * values
    return values * (6 / values[0].numel()) ** 0.5


def official_order(names: list[str]) -> list[str]:
    """Sort the names of our state as the official code does: HRNet's, the naive net's and X-HRNet's rows by branch."""
    lifted = "residual|shuffle"
    if any("susa" in name for name in names):
        lifted += r"|weighted_shuffle\.(?:cross\.susa_\w+|depthwise|single\.susa_\w+)"

    def key(item: tuple[int, str]) -> tuple[int, ...]:
        index, name = item
        match = re.match(rf"(stages\.\d\.steps\.\d+\.)blocks\.(\d+)\.(?:{lifted})\.(\d+)\.", name)
        if match is None:
            return (index,)
        start = next(i for i, other in enumerate(names) if other.startswith(match[1]))
        return (start, int(match[3]), int(match[2]), index)

    return [name for _, name in sorted(enumerate(names), key=key)]


def fill(net: PoseNet) -> None:
    """Give a network the weights of the formula; places count parameters and buffers, in the official order."""
    state = net.state_dict()
    for place, name in enumerate(official_order(list(state))):
        if not name.endswith("num_batches_tracked"):
            state[name] = formula(name, place, state[name].shape)
    net.load_state_dict(state)


def backbone_output(net: PoseNet, image: Tensor) -> Tensor:
    """What goes into the last 1x1 convolution."""
    seen: list[Tensor] = []
    final = net.head.module.final
    assert isinstance(final, nn.Conv2d)
    final.register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    with torch.no_grad():
        net.eval()(image)
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_those_of_the_official_code(name: str) -> None:
    net = PoseNet(architecture(name), keypoints=17)
    fill(net)
    found = backbone_output(net, noise(0, torch.Size([1, 3, 64, 96])))
    with np.load(GOLDEN) as golden:
        expected = torch.from_numpy(golden[name])
    # bit-equal where the references were made; other processors may sum in another order
    torch.testing.assert_close(found.flatten()[::EVERY], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    assert expected.std() > 0.1 * expected.abs().max() > 0
