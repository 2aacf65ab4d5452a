"""Whether a cheap ranking foretells a dear one: the statistics, and `hrnas rankcheck`."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_cli import fields, section
from test_cli import rows as rows_of_page
from toy_study import ToyEvaluator, toy_card, toy_cost, toy_recipe, toy_score, toy_space
from workshop import write_cards

from hrnas.cards.study import ZERO_COST, Rung
from hrnas.cards.trainer import Schedule
from hrnas.cli import main
from hrnas.ledger import Ledger, StudyRecord
from hrnas.rank_statistics import difference, draw_counts, estimate, kendall, ratio, spearman, top_regret
from hrnas.reading import UserError
from hrnas.report.facts import read_facts, study_facts
from hrnas.report.figures import agreement_figure, trust_figure
from hrnas.report.page import render_page
from hrnas.report.trust import Decision, Trust, decision, format_trust, trust_facts
from hrnas.search.rank_document import describe
from hrnas.search.rank_rows import Row, read_rows, read_table
from hrnas.search.rankcheck import budgets_of, check_ranking, shares_of
from hrnas.search.study import open_study
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace, load_space

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
    with pytest.raises(ValueError, match="same architectures"):
        ratio(kendall, [1, 2], [1, 2, 3], [1, 2])


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
    share = ratio(kendall, proxy, again, truth)
    counts = draw_counts(30)
    by_hand = kendall(proxy, truth, counts) / kendall(again, truth, counts)
    assert share.value == pytest.approx(stats.kendalltau(proxy, truth)[0] / stats.kendalltau(again, truth)[0])
    assert share[1:] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))
    assert ratio(kendall, truth, truth, truth) == (1, 1, 1)
    assert math.isnan(ratio(kendall, proxy, -truth, truth).value)  # two seeds that contradict each other


def test_several_seeds_of_a_proxy_count_as_their_mean():
    (first, truth), (second, _) = related_scores(15, seed=6), related_scores(15, seed=7)
    counts = draw_counts(15, 100)
    both = estimate(kendall, [first, second], truth, counts)
    by_hand = (kendall(first, truth, counts) + kendall(second, truth, counts)) / 2
    assert both[1:] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))
    assert both.value == pytest.approx(np.mean([stats.kendalltau(one, truth)[0] for one in (first, second)]))


def test_the_same_seed_gives_the_same_interval():
    proxy, truth = related_scores(20, seed=5)
    assert estimate(kendall, proxy, truth) == estimate(kendall, proxy, truth)
    assert (draw_counts(20, seed=1) != draw_counts(20, seed=2)).any()
    assert (draw_counts(20).sum(axis=1) == 20).all()


# ---------------------------------------------------------------------------------------------------------------------
# the check


def toy_zero_cost(architecture: Architecture, rung: Rung, seed: int, folder: Path, beat: Any) -> dict[str, float]:
    """As good as the parameters, and one that knows nothing."""
    blind = dict.fromkeys(ZERO_COST, 1.0)
    return {"score": 0.0, **blind, "synflow": 2 * toy_cost(architecture)["params"]}


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strata are filled from few networks: in these tests it takes longer to draw one than to train it."""
    monkeypatch.setattr("hrnas.search.rankcheck.POOL", 48)


def check(folder: Path, evaluator: Any = None, **said: Any) -> dict[str, Any]:
    """Check the toy study's ranking; its only rung has one epoch, so the reference has three."""
    card, space, recipe = toy_card(**said.pop("card", {})), toy_space(**said.pop("choices", {})), toy_recipe()
    trains = evaluator or ToyEvaluator()
    if "table" in said:
        said["table"] = read_table(said["table"], space, shares_of)
    evaluators = {"zero_cost": toy_zero_cost, "proxy": trains, "reference": trains} | said.pop("evaluators", {})
    ledger = open_study(card, space, recipe, folder, {})
    try:
        said = {"count": 12, "count_cost": toy_cost, **said}
        return check_ranking(card, space, recipe, folder, ledger, evaluators, **said)
    finally:
        ledger.close()


def row_of(document: dict[str, Any], label: str) -> dict[str, Any]:
    (row,) = [row for row in document["rows"] if row["label"] == label]
    return row


def test_every_measure_is_held_against_the_longest_training(tmp_path: Path):
    found = check(tmp_path)
    assert found["reference"] == {"measure": "proxy", "budget": 3, "seeds": [1, 2]}
    assert [row["label"] for row in found["rows"]] == ["params", "macs", *ZERO_COST, "proxy, 1 epoch, same seed"]
    nets = {row.key: toy_space().decode(row.genome) for row in read_rows(tmp_path / "rankcheck.csv")}
    assert len(nets) == found["architectures"] == 12
    truth = [toy_score(net, 3, seed=1) for net in nets.values()]
    by_hand = stats.kendalltau([toy_cost(net)["params"] for net in nets.values()], truth)[0]
    assert row_of(found, "params")["tau"][0] == pytest.approx(by_hand, abs=1e-6)
    again = stats.kendalltau([toy_score(net, 3, seed=2) for net in nets.values()], truth)[0]
    assert found["ceiling"]["tau"][0] == pytest.approx(again, abs=1e-6)
    assert row_of(found, "synflow")["of_ceiling"][0] == pytest.approx(by_hand / again, abs=1e-5)
    assert row_of(found, "synflow")["above_macs"] is None  # it ranks as they do
    assert row_of(found, "zico")["tau"] is None  # it cannot tell any two apart
    assert row_of(found, "proxy, 1 epoch, same seed")["above_macs"][0] > 0
    assert json.loads((tmp_path / "rankcheck.json").read_text()) == found
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    assert ledger.rank_check() == found
    ledger.close()


def test_a_check_that_was_killed_goes_on_and_measures_nothing_twice(tmp_path: Path):
    whole = check(tmp_path / "whole")

    def die(key: str, epoch: int) -> None:
        if len(dying.calls) == 9:
            raise KeyboardInterrupt

    dying = ToyEvaluator(hook=die)
    with pytest.raises(KeyboardInterrupt):
        check(tmp_path / "killed", dying)
    going_on = ToyEvaluator()
    found = check(tmp_path / "killed", going_on)
    assert len(dying.calls[:-1]) + len(going_on.calls) == 3 * 12  # proxy and reference, and the reference's other seed
    assert not {*dying.calls[:-1]} & {*going_on.calls}
    strip = {"measured": 0, "rows": [row | {"seconds": 0} for row in whole["rows"]]}
    assert found | strip == whole | strip
    assert check(tmp_path / "killed", dying)["rows"]  # nothing is left to do: the evaluator would die again


def test_more_architectures_keep_those_of_before(tmp_path: Path):
    few = {point["key"] for point in check(tmp_path, count=6)["points"]}
    more = {point["key"] for point in check(tmp_path, count=12)["points"]}
    assert len(few) == 6 and len(more) == 12 and few < more
    assert {point["key"] for point in check(tmp_path, count=6)["points"]} == few


def test_architectures_are_spread_over_log_macs_and_lie_within_the_limits(tmp_path: Path):
    check(tmp_path, count=24, card={"limits": {"macs": 300_000}})
    sizes = np.log10([row.value for row in read_rows(tmp_path / "rankcheck.csv") if row.measure == "macs"])
    assert 10 ** sizes.max() <= 300_000
    in_stratum, _ = np.histogram(sizes, bins=8)
    assert in_stratum.min() >= 1 and in_stratum.max() <= 5
    with pytest.raises(UserError, match="only 0 of .* networks drawn are within the limits"):
        check(tmp_path / "none", card={"limits": {"macs": 1}})


def test_published_points_in_the_space_come_on_top(tmp_path: Path):
    choices = {"widths[0]": {"from": 16, "to": 44, "step": 2}, "stages[1].row.kind": ["shuffle", "residual"]}
    found = check(tmp_path, card={"published": ["naive_lite_hrnet_18"]}, choices=choices)
    assert found["architectures"] == 13
    assert [point["title"] for point in found["points"] if point["title"]] == ["naive_lite_hrnet_18"]


def test_a_training_that_fails_is_named_and_tried_again_the_next_time(tmp_path: Path):
    class Diverging(ToyEvaluator):
        def __call__(self, *said: Any) -> dict[str, object]:
            if said[0].widths[0] == 16:
                raise ArithmeticError("the loss is not a number")
            return super().__call__(*said)

    found = check(tmp_path, Diverging())
    assert found["failed"] and all("ArithmeticError: the loss is not a number" in text for text in found["failed"])
    assert found["architectures"] < 12
    found = check(tmp_path)
    assert found["architectures"] == 12 and found["failed"] == []


def test_too_few_architectures_are_refused_in_words(tmp_path: Path):
    with pytest.raises(UserError, match="only 3 architectures are trained for 3 epochs; a rank check needs 4"):
        check(tmp_path, count=3)


def test_at_a_constant_rate_short_trainings_are_pieces_of_the_reference():
    card = toy_card(ladder=[{"epochs": 8}])
    constant = toy_recipe().with_changes(schedule=Schedule(kind="constant"))
    assert budgets_of(card, toy_recipe()) == (8, 24)
    assert budgets_of(card, constant) == (3, 6, 8, 24)


class ToySupernet:
    """Knows the networks' true worth a little better than their sizes do, and has a name for its weights."""

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.calls: list[str] = []

    def __call__(self, architecture: Architecture, *rest: Any) -> dict[str, float]:
        self.calls.append(architecture.key)
        return {"score": toy_score(architecture, 1, seed=1), "ap": 0.1}


def test_inherited_scores_are_asked_again_of_a_supernet_that_learnt_on(tmp_path: Path):
    trains, young, old = ToyEvaluator(), ToySupernet("supernet a"), ToySupernet("supernet b")
    found = check(tmp_path, trains, evaluators={"inherited": young})
    assert row_of(found, "inherited")["tau"] == row_of(found, "proxy, 1 epoch, same seed")["tau"]
    check(tmp_path, trains, evaluators={"inherited": young})
    assert len(young.calls) == 12
    check(tmp_path, trains, evaluators={"inherited": old})
    assert sorted(old.calls) == sorted(young.calls) and len(trains.calls) == 3 * 12


def test_proxies_that_start_from_shared_weights_are_no_pieces_of_the_reference(tmp_path: Path):
    card = {"supernet": {"trainer": "toy"}, "init": "supernet"}
    constant = toy_recipe().with_changes(schedule=Schedule(kind="constant"))
    assert budgets_of(toy_card(**card, ladder=[{"epochs": 8}]), constant) == (8, 24)
    proxy, reference = ToyEvaluator(), ToyEvaluator()
    evaluators = {"inherited": ToySupernet("supernet a"), "proxy": proxy, "reference": reference}
    check(tmp_path, card=card, evaluators=evaluators)
    assert {call[1:] for call in proxy.calls} == {(1, 1)} and {call[1:] for call in reference.calls} == {(3, 1), (3, 2)}
    check(tmp_path, card=card, evaluators=evaluators | {"inherited": ToySupernet("supernet b")})
    assert len(proxy.calls) == 2 * 12 and len(reference.calls) == 2 * 12


# ---------------------------------------------------------------------------------------------------------------------
# the recorded table


def write_table(path: Path, count: int = 10, epochs: int = 9, twice: int = 6, space: SearchSpace | None = None) -> Path:
    """The toy's trainings as `benchmarks/record_table.py` records real ones."""
    space, rng = space or toy_space(), np.random.default_rng(0)
    nets = {space.decode(genome).key: genome for genome in (space.sample(rng) for _ in range(3 * count))}
    lines = ["key,genome,seed,epoch,score,ap,loss,params,macs,seconds"]
    for number, (key, genome) in enumerate([*nets.items()][:count]):
        net = space.decode(genome)
        params, macs = toy_cost(net)["params"], toy_cost(net)["macs"]
        for seed in (0, 1) if number < twice else (0,):
            for epoch in range(1, epochs + 1):
                score = toy_score(net, epoch, seed)
                row = (key, json.dumps(genome), seed, epoch, score, score / 4, 1.0, params, macs, 2.0 * epoch)
                lines.append(",".join(f'"{cell}"' for cell in row))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_recorded_table_stands_for_the_trainings(tmp_path: Path):
    trains = ToyEvaluator()
    found = check(tmp_path, trains, table=write_table(tmp_path / "table.csv"), count=None)
    assert trains.calls == []
    assert found["reference"] == {"measure": "proxy", "budget": 9, "seeds": [0, 1]} and found["ceiling"]["n"] == 6
    assert found["trainings"] == "the recorded table table.csv"
    epochs = [f"proxy, {n}, {which} seed" for n in ("1 epoch", "2 epochs", "3 epochs") for which in ("other", "same")]
    assert [row["label"] for row in found["rows"]] == ["params", "macs", *ZERO_COST, *epochs]
    assert row_of(found, "proxy, 3 epochs, same seed")["n"] == 10
    assert row_of(found, "proxy, 3 epochs, other seed")["n"] == 6
    assert row_of(found, "proxy, 3 epochs, other seed")["seconds"] == 6.0
    assert {row.measure for row in read_rows(tmp_path / "rankcheck.csv")} == {*ZERO_COST}
    assert check(tmp_path, table=tmp_path / "table.csv", count=4)["architectures"] == 4


def test_a_table_of_another_space_is_refused(tmp_path: Path):
    path = write_table(tmp_path / "table.csv")
    _, first, *_ = path.read_text().splitlines()
    key = first.split('"')[1]
    path.write_text(path.read_text().replace(key, "0123456789ab"))
    with pytest.raises(UserError, match="is not of the space toy as it is now"):
        check(tmp_path, table=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such table"),
        ("key,genome\n", "missing: seed, epoch"),
        ("key,genome,seed,epoch,score,ap,params,macs,seconds\n", "the table is empty"),
        ("key,genome,seed,epoch,score,ap,params,macs,seconds\na,[1],x,1,1,1,1,1,1\n", "line 2: .*'x'"),
        (
            "key,genome,seed,epoch,score,ap,params,macs,seconds\na,[1],0,1,1,1,1,1,1\n",
            "a does not lie in the space toy",
        ),
    ],
)
def test_a_spoilt_table_is_refused_in_words(tmp_path: Path, text: str | None, message: str):
    if text is not None:
        (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        check(tmp_path / "run", table=tmp_path / "table.csv")


def test_rows_of_another_recipe_are_measured_again(tmp_path: Path):
    check(tmp_path)
    path = tmp_path / "rankcheck.csv"
    path.write_text(path.read_text().replace('"toy ', '"other '))
    trains = ToyEvaluator()
    check(tmp_path, trains)
    assert len(trains.calls) == 3 * 12
    assert isinstance(read_rows(path)[0], Row)


# ---------------------------------------------------------------------------------------------------------------------
# what the page says

PROXY = Decision("proxy", 3)


def made_up(n: int = 24, seeds: int = 2) -> dict[str, Any]:
    """A document of made-up rows: the costs know next to nothing, NASWOT a little, the proxy of three epochs much."""
    rng = np.random.default_rng(0)
    noise = {("params", 0): 9.0, ("macs", 0): 9.0, ("naswot", 0): 1.0, ("proxy", 3): 0.5, ("proxy", 9): 0.3}
    rows = [
        Row(f"{number:012x}", (number,), name, budget, seed, float(worth + far * rng.normal()), None, 2.0 * budget, "x")
        for number, worth in enumerate(rng.normal(size=n))
        for (name, budget), far in noise.items()
        for seed in range(seeds if name == "proxy" else 1)
    ]
    found = describe(rows, 9, {"0" * 12: "<b>a point</b>"})
    return {"study": "toy", "space": "toy", "measured": 0.0, "trainings": "made up", "failed": [], **found}


def test_a_study_that_was_never_checked_says_so():
    card = {"name": "toy", "ladder": [{"fidelity": "proxy", "epochs": 2}, {"fidelity": "proxy", "epochs": 6}]}
    facts = study_facts(StudyRecord("toy", card, {}, {}, 0.0), [], [])
    assert facts.trust.verdict == (
        "What decides is proxy training of 6 epochs. How far its ranking can be trusted is unknown: never measured; "
        "`hrnas rankcheck toy` measures it."
    )
    assert "unknown: never measured; `hrnas rankcheck toy` measures it" in render_page(facts)


def test_what_decides_is_what_the_rung_measures():
    ladder = [{"fidelity": "cost"}, {"fidelity": "zero_cost", "by": "zico"}, {"fidelity": "inherited"}, {"epochs": 4}]
    assert decision("cost", 0, ladder) == ("params", 0)
    assert decision("zero_cost", 1, ladder) == ("zico", 0)
    assert decision("inherited", 2, ladder) == ("inherited", 0)
    assert decision("proxy", 3, ladder) == ("proxy", 4)
    assert decision("full", 0, ladder) == ("full", 0)


def test_the_verdict_is_of_the_budget_that_decided_and_of_another_seed():
    document = made_up()
    trust = trust_facts(document, PROXY, "toy")
    assert [row.name for row in trust.rows if row.decided] == [
        "proxy, 3 epochs, other seed",
        "proxy, 3 epochs, same seed",
    ]
    value, low, high = row_of(document, "proxy, 3 epochs, other seed")["tau"]
    assert (
        f"agrees with that of trainings of 9 epochs by Kendall's tau {value:.2f} [{low:.2f}, {high:.2f}]"
        in trust.verdict
    )
    assert "over 24 architectures." in trust.verdict and "Two seeds of those agree by" in trust.verdict
    assert "It ranks better than MACs alone, by" in trust.verdict
    other = trust_facts(document, Decision("proxy", 5), "toy").verdict
    assert "What decides is proxy training of 5 epochs. How far it can be trusted is unknown" in other
    assert "It is no stand-in for anything longer" in trust_facts(document, Decision("proxy", 9), "toy").verdict
    assert (
        "What decides is full training. It is no stand-in" in trust_facts(document, Decision("full", 0), "toy").verdict
    )
    assert trust_facts(document, Decision("naswot", 0), "toy").verdict.startswith("What decides is NASWOT. Its ranking")


def test_one_seed_alone_is_said_to_share_its_luck():
    verdict = trust_facts(made_up(seeds=1), PROXY, "toy").verdict
    assert "with the same seed as theirs and so with part of their luck" in verdict
    assert "How well two seeds of those agree with each other was not measured" in verdict


def test_a_measure_that_is_not_shown_to_beat_a_cost_is_said_not_to_be():
    document = made_up()
    row = row_of(document, "proxy, 3 epochs, other seed")
    row["above_macs"], row["above_params"] = [0.1, -0.1, 0.3], [-0.2, -0.3, -0.1]
    verdict = trust_facts(document, PROXY, "toy").verdict
    assert "That it ranks better than MACs alone is not shown: the difference is 0.10 [-0.10, 0.30]." in verdict
    assert "It ranks worse than the number of parameters alone" in verdict
    row["tau"] = None
    assert "It cannot tell the 24 architectures of the rank check apart" in trust_facts(document, PROXY, "toy").verdict


def test_figures_show_what_the_document_says():
    document = made_up()
    trust = trust_facts(document, PROXY, "toy")
    (bars,) = trust_figure(trust).data
    assert {*zip(bars.y, bars.x, strict=True)} == {(row.name, row.tau.value) for row in trust.rows if row.tau}
    lines = [shape for shape in trust_figure(trust).layout.shapes if shape.type == "line"]
    assert [line.x0 for line in lines] == [document["ceiling"]["tau"][0]]
    (points,) = agreement_figure(trust).data
    assert trust.shown == "proxy, 3 epochs, other seed" and len(points.x) == 24
    first = document["points"][0]
    assert points.x[0] == first["values"][trust.shown]
    assert points.y[0] == pytest.approx(np.mean(first["reference"]))
    assert points.y[0] + points.error_y.array[0] == pytest.approx(max(first["reference"]))
    assert "&lt;b&gt;a point" in points.hovertext[0]
    assert not trust_figure(trust_facts(made_up(seeds=1), PROXY, "toy")).layout.shapes


def test_the_page_and_the_terminal_show_every_measure():
    document = made_up() | {"failed": ["abc: proxy: Diverged: <NaN>"]}
    card = {"name": "toy", "ladder": [{"fidelity": "proxy", "epochs": 3}]}
    facts = study_facts(StudyRecord("toy", card, {}, {}, 0.0), [], [], document)
    page, text = render_page(facts), format_trust(facts.trust)
    for row in document["rows"]:
        for part in row["tau"]:
            assert f"{part:.2f}" in page and f"{part:.2f}" in text
    assert '"agreement":' in page and "Not measured: abc: proxy: Diverged: &lt;NaN&gt;" in page
    assert facts.trust.verdict in text and "failed: abc: proxy" in text
    assert isinstance(facts.trust, Trust)


def test_the_word_checks_a_card_and_then_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_cards(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["rankcheck", "tiny", "--count", "4", "--quiet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    told = set(rows_of_page(section("rankcheck"), "field"))
    assert {name for name in fields(document) if not name.startswith("points[].values.")} == told
    assert document["architectures"] == 4 and document["reference"]["budget"] == 3
    rows = (tmp_path / "runs/tiny/rankcheck.csv").read_text()
    assert main(["rankcheck", "tiny", "--count", "4", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert (tmp_path / "runs/tiny/rankcheck.csv").read_text() == rows  # nothing was measured again
    assert "proxy, 1 epoch, same seed" in printed.out and "report: runs/tiny/report.html" in printed.out
    assert "Its ranking agrees with that of trainings of 3 epochs" in re.sub(
        "<[^>]*>", "", (tmp_path / "runs/tiny/report.html").read_text()
    )
    assert main(["search", "tiny", "--quiet"]) == 0  # the run folder is the search's
    ledger = Ledger.open(tmp_path / "runs/tiny/ledger.sqlite")
    assert read_facts(ledger).finished == 2 and any(row.decided for row in read_facts(ledger).trust.rows)
    ledger.close()
    assert main(["rankcheck", "tyni"]) == 2
    error = capsys.readouterr().err
    assert "no study 'tyni'" in error and "no card 'tyni' in studies; did you mean tiny?" in error
    assert main(["rankcheck", "tiny", "--table", "none.csv"]) == 2
    assert "none.csv: there is no such table" in capsys.readouterr().err
    (tmp_path / "studies/tiny.yaml").rename(tmp_path / "studies/other.yaml")
    assert main(["rankcheck", "other", "--table", "none.csv", "--runs", "new"]) == 2
    assert not (tmp_path / "new").exists()  # a mistake leaves no folder behind


def test_a_table_needs_no_pictures_and_what_does_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_cards(tmp_path)
    trainer = tmp_path / "trainers/tiny.yaml"
    drawn = "data: {kind: drawn, train: 16, holdout: 8, val: 8, seed: 0}"
    assert drawn in trainer.read_text()
    trainer.write_text(trainer.read_text().replace(drawn, "data: {kind: coco, root: nowhere, holdout: 0.2}"))
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "table.csv", space=load_space("tiny"))
    assert main(["rankcheck", "tiny", "--table", "table.csv", "--json", "--quiet"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert {row["measure"] for row in document["rows"]} == {"params", "macs", "proxy"}
    assert len(document["failed"]) == 1 and "nowhere" in document["failed"][0]
    assert "zero-cost and inherited scores: " in printed.err
