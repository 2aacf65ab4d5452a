"""One store of weights for every architecture of a space.

    architecture -> its skeleton (the layers of its own PoseNet, without weights)
                 -> each parameter cut from the stored one of its name -> a network like any other

A parameter's name says where it stands and what kind of layer it belongs to, so that kinds have weights of their own,
and networks that differ in widths, kernels or depths share theirs: the narrower one has the leading channels, the
smaller kernel the centre. Channels that are a concatenation are cut part by part (`hrnas/nets/segments.py`). There is
no second definition of any network here: what is trained is what is extracted.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from hrnas.nets.pose_net import PoseNet, Start, reset_layer
from hrnas.nets.segments import Segments, parameter_segments
from hrnas.nets.skeleton import without_weights
from hrnas.reading import UserError
from hrnas.space.architecture import FIRST_STAGE, Architecture
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

Norms = Literal["shared", "by_width"]
# Rows that hand plain features to what weighs them share its weights: a weighting is of the same kind in all of them.
# (`le_ghost` and `scr` hand it a concatenation, which means other channels.)
_WEIGHTING = re.compile(
    r"(\.blocks\.[^.]+)\.(?:residual|l_basic|weighted_shuffle|dmc)((?:\.\d+)?\.(?:attention|cross|single)\.)"
)
Slices = tuple[slice, ...]
SKELETONS = 64  # kept for architectures that come again: the largest, the smallest, the published points

# ---------------------------------------------------------------------------------------------------------------------
# the rule


@lru_cache(maxsize=65536)
def window(full: Segments, part: Segments) -> tuple[tuple[Slices, Slices], ...]:
    """Where the blocks of a smaller parameter lie in the stored one, and where in itself.

    Of each part of a channel dimension the leading channels; of a kernel (its two last ones, behind two) the centre.

    Raises:
        ValueError: the smaller one does not fit, or is concatenated of another number of parts.
    """
    if len(full) != len(part) or any(len(f) != len(p) for f, p in zip(full, part, strict=True)):
        raise ValueError(f"{part} has other parts than {full}")
    ways = []
    for dimension, (stored, cut) in enumerate(zip(full, part, strict=True)):
        pieces, at, here = [], 0, 0
        for length, kept in zip(stored, cut, strict=True):
            if kept > length:
                raise ValueError(f"{part} does not fit into {full}")
            begin = at + ((length - kept) // 2 if dimension >= max(2, len(full) - 2) else 0)
            pieces.append((slice(begin, begin + kept), slice(here, here + kept)))
            at, here = at + length, here + kept
        ways.append(pieces)
    return tuple((tuple(stored for stored, _ in way), tuple(cut for _, cut in way)) for way in itertools.product(*ways))


def cut(stored: Tensor, full: Segments, part: Segments) -> Tensor:
    """A copy of the window of `part` in a stored tensor, in the layout that convolutions like."""
    found = _empty(part, stored)
    for there, here in window(full, part):
        found[here] = stored[there]
    return found


class _Cut(torch.autograd.Function):
    """`cut`, whose gradient lands in the window of a gradient as large as the stored tensor."""

    @staticmethod
    def forward(ctx: Any, stored: Tensor, full: Segments, part: Segments) -> Tensor:
        ctx.segments = full, part
        return cut(stored, full, part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        full, part = ctx.segments
        whole = _empty(full, gradients[0]).zero_()
        for there, here in window(full, part):
            whole[there] = gradients[0][here]
        return whole, None, None


def _empty(segments: Segments, like: Tensor) -> Tensor:
    layout = torch.channels_last if len(segments) == 4 else torch.contiguous_format
    return torch.empty(shape_of(segments), dtype=like.dtype, device=like.device, memory_format=layout)


def shape_of(segments: Segments) -> tuple[int, ...]:
    """The shape of a parameter."""
    return tuple(map(sum, segments))


def hull(one: Segments, other: Segments) -> Segments:
    """The smallest parameter in whose window both lie."""
    return tuple(tuple(map(max, a, b)) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# what a store must hold


@dataclass(frozen=True)
class Layout:
    """The stored parameters of a space.

    Attributes:
        ends: a genome whose ordered genes stand at the end that makes the larger network.
        segments: of every stored parameter, by its name.
        layers: one layer of each place, which knows how its weights start; on the meta device.
    """

    ends: Genome
    segments: Mapping[str, Segments]
    layers: Mapping[str, nn.Module]

    @property
    def params(self) -> int:
        """How many numbers the store holds."""
        return _count(self.segments)


def larger_ends(space: SearchSpace, keypoints: int) -> tuple[Genome, set[int]]:
    """The genome whose ordered genes stand where networks have more parameters; and the ordered genes that decide about
    the names of parameters, as the groups of an attention do."""
    ends: Genome = (0,) * len(space.genes)
    naming: set[int] = set()
    for _ in range(2):  # again, in large networks: small ones have rules mend what would not fit
        found = {
            index: _compare(space, keypoints, index, ends) for index, gene in enumerate(space.genes) if gene.ordered
        }
        naming |= {index for index, (_, names) in found.items() if names}
        ends = tuple(found[index][0] if index in found else 0 for index in range(len(space.genes)))
    return ends, naming


def _compare(space: SearchSpace, keypoints: int, index: int, ends: Genome) -> tuple[int, bool]:
    """The value of an ordered gene that makes the larger network, and whether it decides about names."""
    start, last = space.first_active(index), space.genes[index].size - 1
    if start is None or last == 0:
        return 0, False
    base = [value or end for value, end in zip(start, ends, strict=True)]
    low, high = (
        parameter_segments(_skeleton(space.decode((*base[:index], value, *base[index + 1 :])), keypoints))
        for value in (0, last)
    )
    names = [{_any_depth(name) for name in segments} for segments in (low, high)]
    return 0 if _count(low) > _count(high) else last, names[0] != names[1]


def lay_out(space: SearchSpace, keypoints: int) -> Layout:
    """Find every parameter that some architecture of the space has, as large as the largest of them.

    Raises:
        UserError: two architectures have parameters of one name that cannot share their numbers.
    """
    ends, naming = larger_ends(space, keypoints)
    found: dict[str, Segments] = {}
    layers: dict[str, nn.Module] = {}
    for architecture in _members_with_every_name(space, ends, naming):
        net = _skeleton(_shallow(architecture), keypoints)
        for name, segments in parameter_segments(net).items():
            any_depth, layer = _any_depth(_shared_name(name)), name.rpartition(".")[0]
            before = found.get(any_depth, segments)
            if [*map(len, before)] != [*map(len, segments)]:
                raise UserError(f"space {space.name}: {name} is {before} in one architecture and {segments} in another")
            found[any_depth] = hull(before, segments)
            layers.setdefault(any_depth.rpartition(".")[0], net.get_submodule(layer))
    depths = _depths(space, ends)
    names = {name: segments for place, segments in found.items() for name in _at_each_depth(place, depths)}
    places = {name: layer for place, layer in layers.items() for name in _at_each_depth(place, depths)}
    return Layout(ends, dict(sorted(names.items())), places)


def _members_with_every_name(space: SearchSpace, ends: Genome, naming: set[int]) -> Iterator[Architecture]:
    """Members among which every parameter's name occurs, where it is largest."""
    covers = list(space.cover(ends, naming))
    members = [space.decode(genome) for genome in covers]
    yield from members
    # rules mend what does not fit into a narrow network (a number of groups), which is a name of its own there
    seen = set(map(_naming_options, members))
    free = [i for i, gene in enumerate(space.genes) if gene.ordered and not gene.when and _is_width(gene.path)]
    for index in free:
        values = range(space.genes[index].size)
        for value in values if ends[index] == 0 else reversed(values):  # from the widest on
            for genome in covers:
                narrow = space.decode((*genome[:index], value, *genome[index + 1 :]))
                options = _naming_options(narrow)
                # MCAM's last third takes what its group leaves: a narrower group may have a longer one
                if options not in seen or any(label.startswith("mcam") for label in options):
                    seen.add(options)
                    yield narrow


def _is_width(path: str) -> bool:
    return path.startswith("widths") or path == "stem.out"


def _naming_options(architecture: Architecture) -> tuple[str, ...]:
    """All that parameters' names depend on, apart from depths."""
    same = architecture.stem.out == architecture.widths[0]  # then the first transition leaves the finest branch alone
    return (f"{same}", *_labels(architecture.stem), *_labels(architecture.head), *_labels(architecture.stages))


def _labels(options: object) -> Iterator[str]:
    if isinstance(options, tuple):
        for each in options:
            yield from _labels(each)
    elif isinstance(options, BaseModel):
        yield getattr(options, "label", "")
        for name in type(options).model_fields:
            yield from _labels(getattr(options, name))


def sizes_by_part(layout: Layout) -> dict[str, int]:
    """How many numbers each kind of part has in the store, the largest first: a row, a weighting inside rows, ..."""
    sizes: dict[str, int] = {}
    for name, segments in layout.segments.items():
        words = [word for word in _any_depth(name).split(".") if word != "*" and not word.isdigit()]
        part = " ".join(
            words[:2] if words[0] in ("stem", "head") else words[1:3] if "steps" not in words else words[2:4]
        )
        sizes[part] = sizes.get(part, 0) + math.prod(shape_of(segments))
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _depths(space: SearchSpace, ends: Genome) -> dict[int, set[tuple[int, int]]]:
    """The (step, block) pairs that a stage can have, by the stage's index."""
    pairs: dict[int, set[tuple[int, int]]] = {}
    deciding = [index for index, gene in enumerate(space.genes) if re.search(r"\.(modules|blocks)$", gene.path)]
    for genome in space.settings_of(deciding, ends):
        for index, stage in enumerate(space.decode(genome).stages):
            pairs.setdefault(index, set()).update(itertools.product(range(stage.modules), range(stage.blocks)))
    return pairs


def _skeleton(architecture: Architecture, keypoints: int) -> PoseNet:
    with without_weights():
        return PoseNet(architecture, keypoints)


def _count(segments: Mapping[str, Segments]) -> int:
    """How many numbers these parameters hold."""
    return sum(math.prod(shape_of(each)) for each in segments.values())


def _shallow(architecture: Architecture) -> Architecture:
    """The same with few modules and blocks: every further one has parameters of the same shapes."""
    stages = tuple(
        stage.model_copy(update={"modules": min(stage.modules, 2), "blocks": 1}) for stage in architecture.stages
    )
    return architecture.model_copy(update={"stages": stages})


def _shared_name(name: str) -> str:
    """The stored parameter that a network's parameter is cut from."""
    return _WEIGHTING.sub(r"\1\2", name)


def _any_depth(name: str) -> str:
    """`stages.3.steps.1.blocks.2.…` -> `stages.3.steps.*.blocks.*.…`."""
    return re.sub(r"^(stages\.\d+\.steps)\.\d+(\.blocks)?(?:(?<=blocks)\.\d+)?", _starred, name)


def _starred(match: re.Match[str]) -> str:
    return f"{match[1]}.*" + (".blocks.*" if match[2] else "")


def _at_each_depth(place: str, depths: Mapping[int, set[tuple[int, int]]]) -> Iterator[str]:
    if "*" not in place:
        yield place
        return
    pairs = depths[int(place.split(".")[1]) - FIRST_STAGE]
    if "blocks.*" in place:
        yield from (place.replace("steps.*.blocks.*", f"steps.{step}.blocks.{block}") for step, block in sorted(pairs))
    else:
        yield from (place.replace("steps.*", f"steps.{step}") for step in sorted({step for step, _ in pairs}))


# ---------------------------------------------------------------------------------------------------------------------
# the store


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
            stored = _empty(self.segments[name], weight).copy_(weight)
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
                weight = _empty(segments, torch.empty(0))
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
        net = _skeleton(architecture, self.keypoints)
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
        return _shared_name(f"{where}{own}.{name}")


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
