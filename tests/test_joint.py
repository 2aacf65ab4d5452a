"""The space of all papers: every published point lies in it; what it proposes can be built, taught and exported."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from onnx_outputs import onnx_outputs

from hrnas.nets.cost import measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_architecture, published_names
from hrnas.space.search_space import SearchSpace, load_space

SIZE = (64, 64)


@cache
def space() -> SearchSpace:
    return load_space("joint")


def member(seed: int) -> Architecture:
    return space().decode(space().sample(np.random.default_rng(seed)))


def slowly(few: int, many: int) -> list[object]:
    """Numbers below `few`, and up to `many` in the slow run."""
    return [*range(few), *(pytest.param(number, marks=pytest.mark.slow) for number in range(few, many))]


@pytest.mark.parametrize("name", published_names())
def test_every_published_point_lies_in_it(name: str) -> None:
    space().encode(load_architecture(name))


@pytest.mark.parametrize("hundreds", slowly(2, 20))
def test_random_members_are_built_and_counted(hundreds: int) -> None:
    for seed in range(100 * hundreds, 100 * hundreds + 100):
        architecture = member(seed)
        try:
            cost = measure_cost(architecture, input=SIZE)
        except Exception as error:
            raise AssertionError(f"member {seed}: {architecture.tree()}") from error
        assert 0 < cost.params_live <= cost.params and cost.macs > 0


@pytest.mark.parametrize("seed", slowly(8, 100))
def test_a_random_member_is_taught_wherever_it_is_alive(seed: int) -> None:
    architecture = member(seed)
    net = PoseNet(architecture, keypoints=5)
    net.reset_weights("scaled")
    heatmaps = net(torch.randn(2, 3, *SIZE))
    assert heatmaps.shape == (2, 5, 16, 16)
    heatmaps.square().mean().backward()
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    taught = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert set(sizes) - taught == net.dead_parameters()
    assert all(net.get_parameter(name).grad.isfinite().all() for name in taught)
    cost = measure_cost(architecture, keypoints=5, input=SIZE)
    assert cost.params == sum(sizes.values())
    assert cost.params_live == sum(sizes[name] for name in taught)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter warns of torch
@pytest.mark.parametrize("seed", range(20))
@torch.no_grad()
def test_a_random_member_leaves_for_onnx_with_equal_heatmaps(seed: int) -> None:
    architecture = member(seed)
    once = {"modules": 1, "blocks": 1}  # every layer that is exported takes its time, and again is not otherwise
    stages = tuple(stage.model_copy(update=once) for stage in architecture.stages)
    net = PoseNet(architecture.model_copy(update={"stages": stages}), keypoints=5)
    net.reset_weights("scaled")
    image = torch.randn(1, 3, *SIZE)
    (heatmaps,) = onnx_outputs(net.eval(), (image,))
    torch.testing.assert_close(heatmaps, net(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "most"), [("params", 2e6), ("macs", 350e6)])
def test_every_member_of_mobile_is_as_small_as_its_card_says(measure: str, most: float) -> None:
    """Climbs from the largest values, gene by gene, until no change of one gene makes the network larger."""
    mobile = load_space("mobile")
    here = tuple(gene.size - 1 for gene in mobile.genes)
    largest, before = getattr(measure_cost(mobile.decode(here)), measure), 0
    while largest > before:
        before = largest
        for index, gene in enumerate(mobile.genes):
            for value in range(gene.size):
                other = (*here[:index], value, *here[index + 1 :])
                cost = getattr(measure_cost(mobile.decode(other)), measure)
                if cost > largest:
                    here, largest = other, cost
    assert 0.6 * most < largest < most
