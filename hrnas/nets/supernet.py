"""One store of weights for every architecture of a space.

    architecture -> its skeleton (the layers of its own PoseNet, without weights)
                 -> each parameter cut from the stored one of its name -> a network like any other

A parameter's name says where it stands and what kind of layer it belongs to, so that kinds have weights of their own,
and networks that differ in widths, kernels or depths share theirs (`hrnas/nets/windows.py` is the rule,
`hrnas/nets/layout.py` says what must be stored). There is no second definition of any network here: what is trained is
what is extracted.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hrnas.nets.layout import lay_out, make_skeleton, stored_name
from hrnas.nets.pose_net import PoseNet, Start, reset_layer
from hrnas.nets.segments import Segments, parameter_segments
from hrnas.nets.windows import cut, empty, shape_of, window
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace

Norms = Literal["shared", "by_width"]
SKELETONS = 64  # kept for architectures that come again: the largest, the smallest, the published points


@dataclass
class Path:
    """An architecture that is being trained with cut weights.

    Attributes:
        net: a PoseNet in training mode whose norms keep no statistics.
        leaves: its parameters that learn, by their names in the store, each with its segments.
    """

    architecture: Architecture
    net: PoseNet
    leaves: dict[str, tuple[Tensor, Segments]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """A parameter of a skeleton: where it is put, and where it comes from."""

    layer: nn.Module
    name: str
    stored: str
    segments: Segments
    learns: bool


class Supernet:
    """The shared weights of a space, and its networks made of them.

    Args:
        norms: whether the norms' scales and shifts are `shared` as all weights are, or each width has its own.
        start: how fresh weights are drawn, as on a trainer card.
        seed: of the fresh weights.
        weights: those stored before, instead of fresh ones; see `load`.

    `supernet(x, architecture)` is the forward pass of any member of the space, in training mode: gradients land in
    `supernet.weights`. Training goes through `path`, which costs nothing for weights that a network does not have.
    """

    def __init__(
        self,
        space: SearchSpace,
        keypoints: int,
        norms: Norms = "shared",
        start: Start = "scaled",
        seed: int = 0,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.space, self.keypoints, self.norms = space, keypoints, norms
        self.layout = lay_out(space, keypoints)
        self.segments = dict(self.layout.segments)
        self.weights: dict[str, Tensor] = {}
        self._skeletons: OrderedDict[str, tuple[PoseNet, list[_Place]]] = OrderedDict()
        if weights is not None:
            self.load(weights)
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for place, layer in self.layout.layers.items():
                self._draw(place, layer, start)

    def __call__(self, x: Tensor, architecture: Architecture) -> Tensor:
        net, places = self._skeleton(architecture)
        for place in places:
            if place.learns:
                stored = self.weight(place.stored, place.segments)
                part = _Cut.apply(stored, self.segments[place.stored], place.segments)
            else:
                part = self._cut(place)
            place.layer._parameters[place.name] = part
        return net(x)

    def path(self, architecture: Architecture) -> Path:
        """A network to take one step with; its gradients are its own, of its own size."""
        net, places = self._skeleton(architecture)
        path = Path(architecture, net)
        for place in places:
            leaf = self._cut(place)
            if place.learns:
                path.leaves[place.stored] = leaf.requires_grad_(), place.segments
            place.layer._parameters[place.name] = leaf  # type: ignore[assignment]
        return path

    def extract(self, architecture: Architecture) -> PoseNet:
        """A plain network with weights and norms of its own; its statistics are fresh: `calibrate` them.

        Raises:
            UserError: the architecture does not lie in the space.
        """
        self.space.encode(architecture)
        net, places = self._make_skeleton(architecture)
        for place in places:
            place.layer._parameters[place.name] = nn.Parameter(self._cut(place), place.learns)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                _keep_statistics(layer)
        return net.eval()

    def weight(self, name: str, segments: Segments) -> Tensor:
        """A stored tensor; a width's own norm is there from the first time that it is asked for."""
        if name not in self.weights:
            if self.norms == "shared" or "@" not in name:
                raise UserError(f"space {self.space.name}: its networks have no parameter {name}")
            like = next(iter(self.weights.values()))
            value = 1.0 if name.endswith("weight") else 0.0
            self.segments[name] = segments
            self.weights[name] = torch.full(shape_of(segments), value, device=like.device, requires_grad=True)
        return self.weights[name]

    def to(self, device: torch.device) -> Supernet:
        """Move all weights to a device."""
        self.weights = {
            name: weight.detach().to(device).requires_grad_(weight.requires_grad)
            for name, weight in self.weights.items()
        }
        return self

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights that were stored before.

        Raises:
            UserError: they are of another space; the first differences are named.
        """
        own = {name: shape_of(segments) for name, segments in self.layout.segments.items()}
        theirs = {name: tuple(weight.shape) for name, weight in weights.items() if "@" not in name}
        different = [name for name in {**own, **theirs} if own.get(name) != theirs.get(name)]
        if different:
            lines = [
                f"  {name}: was {theirs.get(name, 'absent')}, now {own.get(name, 'absent')}" for name in different[:10]
            ]
            more = [f"  and {len(different) - 10} more"] if len(different) > 10 else []
            raise UserError(
                "\n".join([f"space {self.space.name} has changed since its supernet was trained:", *lines, *more])
                + "\ntrain the supernet again, or put the space back"
            )
        for name, weight in weights.items():
            self.segments.setdefault(name, tuple((size,) for size in weight.shape))
            stored = empty(self.segments[name], weight).copy_(weight)
            if name in self.weights:
                stored = stored.to(self.weights[name].device)
            self.weights[name] = stored.requires_grad_()

    # -- the workings -------------------------------------------------------------------------------------------------

    def _draw(self, place: str, layer: nn.Module, start: Start) -> None:
        """Give the place its fresh weights, drawn as its layer draws its own."""
        fresh = copy.copy(layer)
        fresh._parameters = dict(layer._parameters)
        for name, given in layer._parameters.items():
            if given is not None:
                segments = self.segments[f"{place}.{name}"]
                weight = empty(segments, torch.empty(0))
                fresh._parameters[name] = self.weights[f"{place}.{name}"] = nn.Parameter(weight)
        if isinstance(fresh, nn.BatchNorm2d):
            fresh.track_running_stats = False
        reset_layer(fresh, start)

    def _cut(self, place: _Place) -> Tensor:
        stored = self.weight(place.stored, place.segments)
        try:
            return cut(stored.detach(), self.segments[place.stored], place.segments)
        except ValueError as error:
            raise UserError(f"space {self.space.name}: {place.stored}: {error}; is the architecture outside?") from None

    def _skeleton(self, architecture: Architecture) -> tuple[PoseNet, list[_Place]]:
        """The skeleton of an architecture, remembered for the next time."""
        if architecture.key in self._skeletons:
            self._skeletons.move_to_end(architecture.key)
        else:
            self._skeletons[architecture.key] = self._make_skeleton(architecture)
            if len(self._skeletons) > SKELETONS:
                self._skeletons.popitem(last=False)
        return self._skeletons[architecture.key]

    def _make_skeleton(self, architecture: Architecture) -> tuple[PoseNet, list[_Place]]:
        net = make_skeleton(architecture, self.keypoints)
        dead, segments = net.dead_parameters(), parameter_segments(net)
        places = []
        for where, layer in net.named_modules():
            if isinstance(layer, nn.BatchNorm2d):
                _forget_statistics(layer)
            for name in layer._parameters:
                full = f"{where}.{name}"
                if full in segments:
                    stored = self._stored_name(layer, where, name)
                    places.append(_Place(layer, name, stored, segments[full], full not in dead))
        return net.train(), places

    def _stored_name(self, layer: nn.Module, where: str, name: str) -> str:
        own = f"@{layer.num_features}" if self.norms == "by_width" and isinstance(layer, nn.BatchNorm2d) else ""
        return stored_name(f"{where}{own}.{name}")


def _forget_statistics(norm: nn.BatchNorm2d) -> None:
    """Let a norm go by its batch alone."""
    norm.track_running_stats = False
    norm._buffers = dict.fromkeys(norm._buffers)


def _keep_statistics(norm: nn.BatchNorm2d) -> None:
    norm.track_running_stats = True
    like = norm.weight
    norm._buffers = {
        "running_mean": torch.zeros(norm.num_features, device=like.device),
        "running_var": torch.ones(norm.num_features, device=like.device),
        "num_batches_tracked": torch.tensor(0, device=like.device),
    }


@torch.no_grad()
def calibrate(net: nn.Module, crops: Sequence[Tensor]) -> None:
    """Forget a network's batch statistics and measure them again: the mean over all crops, in one pass.

    Args:
        crops: batches (B, 3, H, W), normalised, on the network's device; their sizes may differ.

    Raises:
        UserError: there are fewer than two crops, which have no variance.
    """
    if sum(len(batch) for batch in crops) < 2:
        raise UserError("calibration: at least 2 crops are needed for a variance; give more")
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    was, training = [norm.momentum for norm in norms], net.training
    net.train()
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    for batch in crops:
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # the running mean over all crops so far
        net(batch)
    for norm, momentum in zip(norms, was, strict=True):
        norm.momentum = momentum
    net.train(training)


class _Cut(torch.autograd.Function):
    """`cut`, whose gradient lands in the window of a gradient as large as the stored tensor."""

    @staticmethod
    def forward(ctx: Any, stored: Tensor, full: Segments, part: Segments) -> Tensor:
        ctx.segments = full, part
        return cut(stored, full, part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        full, part = ctx.segments
        whole = empty(full, gradients[0]).zero_()
        for there, here in window(full, part):
            whole[there] = gradients[0][here]
        return whole, None, None
