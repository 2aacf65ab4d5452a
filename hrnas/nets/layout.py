"""What the store of a space must hold: every parameter that some network of it has, as large as the largest of them.

members in which every kind stands -> their skeletons' parameters by name -> the hull of their sizes, at every depth
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from torch import nn

from hrnas.nets.pose_net import PoseNet
from hrnas.nets.segments import Segments, parameter_segments
from hrnas.nets.skeleton import without_weights
from hrnas.nets.windows import hull, shape_of
from hrnas.reading import UserError
from hrnas.space.architecture import FIRST_STAGE, Architecture
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

# Rows that hand plain features to what weighs them share its weights: a weighting is of the same kind in all of them.
# (`le_ghost` and `scr` hand it a concatenation, which means other channels.)
_WEIGHTING = re.compile(
    r"(\.blocks\.[^.]+)\.(?:residual|l_basic|weighted_shuffle|dmc)((?:\.\d+)?\.(?:attention|cross|single)\.)"
)


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
        parameter_segments(make_skeleton(space.decode((*base[:index], value, *base[index + 1 :])), keypoints))
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
        net = make_skeleton(_shallow(architecture), keypoints)
        for name, segments in parameter_segments(net).items():
            any_depth, layer = _any_depth(stored_name(name)), name.rpartition(".")[0]
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


def make_skeleton(architecture: Architecture, keypoints: int) -> PoseNet:
    """The layers of an architecture's network, without weights."""
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


def stored_name(name: str) -> str:
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
