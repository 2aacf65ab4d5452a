"""Whether a cheap ranking foretells a dear one: the statistics, and `hrnas rankcheck`."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from hrnas.rank_statistics import difference, draw_counts, estimate, kendall, ratio, spearman, top_regret

# ---------------------------------------------------------------------------------------------------------------------
# statistics


def related_scores(n: int, seed: int, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A proxy and the truth of n architectures; tied ones have a few distinct values."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    proxy = truth + rng.normal(size=n)
    return (np.round(proxy), np.round(truth)) if tied else (proxy, truth)


def written_out(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The resample that counts stand for."""
    return np.repeat(values, counts.astype(int))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [2, 3, 24])
def test_every_draw_has_scipys_tau_and_rho(n: int, tied: bool):
    proxy, truth = related_scores(n, seed=n, tied=tied)
    counts = draw_counts(n, 40)
    ours = kendall(proxy, truth, counts), spearman(proxy, truth, counts)
    for draw, row in enumerate(counts):
        pair = written_out(proxy, row), written_out(truth, row)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of constant scores, and gives NaN as we do
            theirs = stats.kendalltau(*pair).statistic, stats.spearmanr(*pair).statistic
        assert [one[draw] for one in ours] == pytest.approx(theirs, nan_ok=True)


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("tied", [False, True])
def test_regret_is_what_is_lost_by_training_only_the_proxys_best(k: int, tied: bool):
    proxy, truth = related_scores(12, seed=1, tied=tied)
    counts = draw_counts(12, 50)
    for draw, row in enumerate(counts):
        there = sorted((-proxy[i], truth[i]) for i in range(12) if row[i])  # what is tied: worst first
        lost = max(t for _, t in there) - max(t for _, t in there[:k])
        assert top_regret(k)(proxy, truth, counts)[draw] == pytest.approx(lost)


def test_a_perfect_proxy_a_reversed_one_and_a_blind_one():
    truth = np.arange(9.0)
    perfect, reversed_, blind = truth**3, -truth, np.ones(9)
    assert estimate(kendall, perfect, truth) == estimate(spearman, perfect, truth) == (1, 1, 1)
    assert estimate(kendall, reversed_, truth) == (-1, -1, -1)
    assert all(math.isnan(part) for part in estimate(kendall, blind, truth))
    assert estimate(top_regret(1), perfect, truth) == (0, 0, 0)
    assert estimate(top_regret(2), reversed_, truth).value == 7
    assert estimate(top_regret(1), blind, truth).value == 8  # it gets no credit for luck


def test_two_architectures_have_a_tau_and_one_has_none():
    assert estimate(kendall, [1, 2], [3, 4]) == (1, 1, 1)  # draws of one of them twice say nothing
    assert all(math.isnan(part) for part in estimate(kendall, [1], [3]))


def test_scores_of_different_architectures_or_without_a_number_are_refused():
    with pytest.raises(ValueError, match="same architectures"):
        estimate(kendall, [1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="not a finite number"):
        estimate(kendall, [1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="got 2 and 3"):
        ratio(kendall, ([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3]))


def test_an_interval_holds_the_true_tau_about_as_often_as_it_says():
    """Of two normal scores with correlation r, tau is 2 / pi * asin(r): Kruskal, JASA 1958."""
    r, n, held = 0.7, 40, 0
    true = 2 / math.pi * math.asin(r)
    rng = np.random.default_rng(0)
    counts = draw_counts(n, 400)
    for _ in range(200):
        proxy, truth = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=n).T
        _, low, high = estimate(kendall, proxy, truth, counts)
        held += low <= true <= high
    assert 0.89 <= held / 200 <= 0.99


def test_pairing_sees_a_difference_that_two_separate_intervals_hide():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=60)
    worse = truth + 1.2 * rng.normal(size=60)
    better = truth + 0.6 * (worse - truth)  # the same luck, less of it
    ours, theirs = estimate(kendall, better, truth), estimate(kendall, worse, truth)
    assert ours.low < theirs.high
    gap = difference(kendall, better, worse, truth)
    assert gap.value == pytest.approx(ours.value - theirs.value) and gap.low > 0
    back = difference(kendall, worse, better, truth)
    assert back == pytest.approx((-gap.value, -gap.high, -gap.low))
    assert difference(kendall, worse, worse, truth) == (0, 0, 0)


def test_the_share_of_a_ceiling_is_taken_draw_by_draw():
    proxy, truth = related_scores(30, seed=3)
    again = truth + 0.5 * np.random.default_rng(4).normal(size=30)
    share = ratio(kendall, (proxy, truth), (again, truth))
    counts = draw_counts(30)
    by_hand = kendall(proxy, truth, counts) / kendall(again, truth, counts)
    assert share.value == pytest.approx(stats.kendalltau(proxy, truth)[0] / stats.kendalltau(again, truth)[0])
    assert share[1:] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))
    assert ratio(kendall, (truth, truth), (truth, truth)) == (1, 1, 1)
    assert math.isnan(ratio(kendall, (proxy, truth), (-truth, truth)).value)  # two seeds that contradict each other


def test_the_same_seed_gives_the_same_interval():
    proxy, truth = related_scores(20, seed=5)
    assert estimate(kendall, proxy, truth) == estimate(kendall, proxy, truth)
    assert (draw_counts(20, seed=1) != draw_counts(20, seed=2)).any()
    assert (draw_counts(20).sum(axis=1) == 20).all()
