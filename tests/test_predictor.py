"""A predictor of scores: against the textbook's sums, by what it must not depend on, and on functions it can learn."""

from __future__ import annotations

import numpy as np
import pytest

from hrnas.search import predictor
from hrnas.search.predictor import Predictor, encode_genomes
from hrnas.space.genome import Gene


def networks(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genes, log costs and a score that depends on both, smoothly, without noise."""
    rng = np.random.default_rng(seed)
    genes = rng.random((count, 6))
    costs = (genes @ [3.0, 1, 1, 0, 0, 0] + 6)[:, None]
    return genes, costs, np.tanh(costs[:, 0] - 8) + 0.5 * genes[:, 4] * genes[:, 0]


def test_it_ranks_what_it_has_not_seen_and_says_how_well():
    known, asked = networks(80), networks(200, seed=1)
    learnt = Predictor(*known)
    mean, deviation = learnt.predict(*asked[:2])
    assert learnt.tau > 0.9 and learnt.earned
    assert np.corrcoef(mean, asked[2])[0, 1] > 0.99
    within = np.abs(mean - asked[2]) < 2 * deviation + 0.02
    assert within.mean() > 0.9


def test_the_score_of_each_network_to_the_others_is_that_of_a_predictor_that_never_saw_it():
    """Equation 5.12 against leaving out one by one, of one Gaussian process with fixed options."""
    genes, costs, scores = networks(20)
    apart = predictor._squared_distance(genes, genes), predictor._squared_distance(costs, costs)
    whole = predictor._fit(apart, scores, 1.0, 3.0, 0.03)
    for index in range(20):
        rest = np.delete(np.arange(20), index)
        part = predictor._fit(tuple(a[np.ix_(rest, rest)] for a in apart), scores[rest], 1.0, 3.0, 0.03)
        mean, _ = predictor._predict(part, tuple(a[np.ix_([index], rest)] for a in apart))
        assert mean[0] == pytest.approx(whole.left_out[index], abs=1e-9)


def test_it_is_the_gaussian_process_that_scikit_learn_has(monkeypatch: pytest.MonkeyPatch):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    monkeypatch.setattr(predictor, "REACHES", (0.5,))
    monkeypatch.setattr(predictor, "WEIGHTS", (3.0,))
    monkeypatch.setattr(predictor, "NOISES", (0.03,))
    genes, costs, scores = networks(30)
    asked, asked_costs, _ = networks(10, seed=1)
    ours, deviation = Predictor(genes, costs, scores).predict(asked, asked_costs)

    def point(genes: np.ndarray, given: np.ndarray) -> np.ndarray:
        return np.hstack([genes / np.sqrt(6), np.sqrt(3) * (given - costs.mean()) / costs.std()])

    standard = (scores - scores.mean()) / scores.std()
    theirs = GaussianProcessRegressor(Matern(0.5, nu=2.5), alpha=0.03, optimizer=None).fit(
        point(genes, costs), standard
    )
    mean, apart = theirs.predict(point(asked, asked_costs), return_std=True)
    assert ours == pytest.approx(scores.mean() + scores.std() * mean)
    scale = standard @ theirs.alpha_ / 30
    assert deviation == pytest.approx(scores.std() * np.sqrt(scale) * apart)


def test_it_is_surest_about_what_it_knows():
    known = networks(60)
    learnt = Predictor(*known)
    _, here = learnt.predict(*known[:2])
    _, far = learnt.predict(known[0] + 5, known[1] + 5)
    assert here.max() < far.min()


def test_noise_earns_it_nothing():
    genes, costs, _ = networks(60)
    learnt = Predictor(genes, costs, np.random.default_rng(2).random(60))
    assert abs(learnt.tau) < 0.4


def test_where_the_cost_alone_tells_all_it_has_not_earned_its_place():
    genes, costs, _ = networks(60)
    assert not Predictor(genes, costs, costs[:, 0]).earned


def test_the_same_networks_give_the_same_predictions_and_units_do_not_matter():
    genes, costs, scores = networks(40)
    asked = networks(5, seed=1)
    first, _ = Predictor(genes, costs, scores).predict(*asked[:2])
    again, _ = Predictor(genes, costs, scores).predict(*asked[:2])
    other, _ = Predictor(genes, 100 + 7 * costs, 3 * scores + 2).predict(asked[0], 100 + 7 * asked[1])
    assert (first == again).all()
    assert other == pytest.approx(3 * first + 2)


def test_a_measure_that_does_not_vary_is_not_looked_at():
    genes, costs, scores = networks(40)
    asked = networks(5, seed=1)
    wide = Predictor(genes, np.hstack([costs, np.full((40, 1), 3.0)]), scores)
    alone, _ = Predictor(genes, costs, scores).predict(*asked[:2])
    both, _ = wide.predict(asked[0], np.hstack([asked[1], np.full((5, 1), 9.0)]))
    assert both == pytest.approx(alone)


def test_too_few_networks_and_broken_numbers_are_refused():
    genes, costs, scores = networks(predictor.FEWEST - 1)
    with pytest.raises(ValueError, match="at least"):
        Predictor(genes, costs, scores)
    genes, costs, scores = networks(20)
    with pytest.raises(ValueError, match="finite"):
        Predictor(genes, costs, np.where(np.arange(20) == 3, np.nan, scores))


def test_steps_are_near_and_categories_equally_far():
    genes = (Gene("a", (1, 2, 3), ordered=True), Gene("b", ("x", "y", "z"), ordered=False), Gene("c", (1,), True))
    points = encode_genomes(genes, [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 2, 0)])
    apart = np.linalg.norm(points[0] - points, axis=1)
    assert apart == pytest.approx([0, 0.5, 1, 1, 1])
