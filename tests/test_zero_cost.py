"""Scores of networks that never learnt: what the papers' equations give on networks that one can work out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from toy_architectures import lite_tree
from workshop import SPACE

from hrnas.cards.study import ZERO_COST, Rung
from hrnas.nets.cost import measure_cost
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space
from hrnas.training.zero_cost import (
    CostEvaluator,
    ZeroCostEvaluator,
    jacob_cov,
    naswot,
    snip,
    synflow,
    zero_cost_scores,
    zico,
)

ARCHITECTURE = Architecture.from_tree(yaml.safe_load(SPACE)["base"])


def chain(*weights: float) -> nn.Module:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in weights))
    with torch.no_grad():
        for layer, weight in zip(net, weights, strict=True):
            layer.weight.fill_(weight)  # type: ignore[operator, union-attr]
    return net


def test_synflow_of_a_chain_is_the_product_of_its_weights_once_for_each_layer() -> None:
    assert synflow(chain(-2.0, 3.0, -5.0), torch.zeros(1, 1, 1, 1)) == pytest.approx(math.log10(3 * 30))


def test_synflow_is_finite_where_float32_is_not() -> None:
    weights = [1e10] * 6
    assert not torch.isfinite(chain(*weights)(torch.ones(1, 1, 1, 1))).all()
    assert synflow(chain(*weights), torch.zeros(1, 1, 1, 1)) == pytest.approx(60 + math.log10(6))


def test_naswot_counts_on_how_many_relus_two_pictures_agree() -> None:
    net = nn.ReLU()
    one = torch.tensor([[1.0, -1.0, 1.0, 1.0]])
    assert naswot(net, torch.cat([one, one])) == pytest.approx(math.log(5 * 5 - 4 * 4)), "nothing tells them apart"
    assert naswot(net, torch.cat([one, -one])) == pytest.approx(math.log(5 * 5 - 0))
    other = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    assert naswot(net, torch.cat([one, other])) == pytest.approx(math.log(5 * 5 - 3 * 3))


def test_snip_and_zico_of_given_gradients_are_their_sums() -> None:
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, -3.0]]))
    assert snip(net, {"weight": torch.tensor([[-5.0, 7.0]])}) == pytest.approx(10 + 21)
    batches = [{"weight": torch.tensor([[1.0, -4.0]])}, {"weight": torch.tensor([[-3.0, 4.0]])}]
    # sizes 1 and 3: mean 2, deviation 1; sizes 4 and 4 have no deviation and say nothing
    assert zico(batches) == pytest.approx(math.log(2.0))


def test_jacob_cov_is_lowest_where_all_pictures_have_the_same_slopes() -> None:
    k = 1e-5
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    expected = -(math.log(2 + k) + 1 / (2 + k) + math.log(k) + 1 / k)  # eigenvalues 2 and 0
    assert jacob_cov(linear, torch.randn(2, 1, 2, 2)) == pytest.approx(expected, rel=1e-3)

    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.square() / 2  # the slopes of a picture are the picture

    apart = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])  # eigenvalues 1 and 1
    assert jacob_cov(Square(), apart) == pytest.approx(-2 * (math.log(1 + k) + 1 / (1 + k)))


@pytest.mark.parametrize("name", ["images", "noise"])
def test_the_scores_are_the_same_for_the_same_seed_and_leave_torchs_dice_alone(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8) if name == "images" else None
    before = torch.get_rng_state()
    first, again, other = (zero_cost_scores(ARCHITECTURE, 5, (64, 64), images, seed) for seed in (0, 0, 1))
    assert first == again and torch.equal(before, torch.get_rng_state())
    assert set(first) == {"params", "macs", *ZERO_COST}
    assert all(first[score] != other[score] for score in ZERO_COST)
    cost = measure_cost(ARCHITECTURE, 5, (64, 64))
    assert (first["params"], first["macs"]) == (cost.params, cost.macs)


def test_wider_networks_have_more_of_everything_that_counts_weights() -> None:
    narrow, wide = (
        zero_cost_scores(Architecture.from_tree(lite_tree(widths=[width * 2**i for i in range(4)])), 5, (64, 64))
        for width in (16, 40)
    )
    assert all(wide[name] > narrow[name] for name in ("params", "macs", "synflow", "naswot"))


@pytest.mark.slow
def test_every_network_of_the_joint_space_has_finite_scores() -> None:
    space = load_space("joint")
    for seed in range(12):
        scores = zero_cost_scores(space.decode(space.sample(np.random.default_rng(seed))), 17, (64, 64))
        assert all(math.isfinite(value) for value in scores.values()), scores


def test_a_rung_ranks_by_its_measure_and_keeps_the_others_beside_it(tmp_path: Path) -> None:
    def beat(progress: dict[str, Any]) -> None: ...

    evaluator = ZeroCostEvaluator(5, (64, 64))
    found = evaluator(ARCHITECTURE, Rung(fidelity="zero_cost", by="synflow"), 3, tmp_path, beat)
    assert found["score"] == found["synflow"] and set(found) == {"score", *ZERO_COST}
    assert not list(tmp_path.iterdir())
    decades = CostEvaluator(5, (64, 64))(ARCHITECTURE, Rung(fidelity="cost"), 3, tmp_path, beat)
    assert decades == {"score": math.log10(measure_cost(ARCHITECTURE, 5, (64, 64)).params)}
