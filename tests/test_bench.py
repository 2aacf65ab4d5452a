"""Comparisons of search methods: sums by hand, rules by what a cheat would gain, the page by its files."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from plotly.offline import get_plotlyjs
from test_nas_bench_mr import Network
from test_nas_bench_mr import count as count_modules

from benchmarks import search_page
from hrnas.bench import nas_bench_mr, problems
from hrnas.bench.comparison import compare, distance_to_front
from hrnas.bench.drawing import draw_svg, write_page
from hrnas.bench.methods import default_method, driver_options, find_methods, known_methods, usual_methods
from hrnas.bench.nas_bench_mr import GENES, Table, count, read_table, table_path
from hrnas.bench.problems import Modelled, PlainSpace, Problem, Recorded, RecordedSpace, load_problem, read_training
from hrnas.bench.records import Run, evaluations_to_reach, quartiles, read_runs, write_runs
from hrnas.bench.stopping import LADDERS, ladder_card, read_replays, replay
from hrnas.bench.stopping import as_table as as_ladders
from hrnas.bench.summary import as_table, summarise
from hrnas.cli import main
from hrnas.pareto import hypervolume
from hrnas.reading import UserError
from hrnas.search.drivers import DRIVERS
from hrnas.space.genome import Gene, Genome
from hrnas.space.search_space import load_space

QUICK = ("random", "evolution", "local", "optuna_nsga2", "optuna_alone", "random_repeating")
EPOCHS = 9


@pytest.fixture
def toy() -> Problem:
    """36 networks of two genes, all recorded: a score and a cost that grow with both."""
    genes = tuple(Gene(name, tuple(range(6)), ordered=True) for name in "ab")
    values = {(a, b): {"score": 0.1 + 0.02 * a + 0.01 * b * (6 - b), "macs": 1e6 * (1 + a + b)} for a, b in _pairs()}
    space = RecordedSpace(PlainSpace("toy", genes), [*values])
    return Problem(
        "toy", "a toy", space, {"score": "maximize", "macs": "minimize"}, {"score": 0.1, "macs": 12e6}, 20,
        Recorded(space, values),
    )  # fmt: skip


def _pairs() -> list[Genome]:
    return [(a, b) for a in range(6) for b in range(6)]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table as `benchmarks/record_table.py` writes it: 30 networks of small_joint, with made-up scores."""
    space, rng, path = load_space("small_joint"), np.random.default_rng(0), tmp_path / "small_joint.csv"
    genomes = [*dict.fromkeys(space.sample(rng) for _ in range(40))][:30]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("key", "genome", "seed", "epoch", "score", "ap", "loss", "params", "macs", "seconds"))
        for number, genome in enumerate(genomes):
            macs = 10 ** (6.5 + 1.2 * rng.random())
            end = 0.1 * np.log10(macs) - 0.45 + 0.05 * rng.random()
            for epoch in range(1, EPOCHS + 1):
                score = end * (1 - 0.5**epoch)
                told = (score, 0.0, 5.0, macs / 30, macs, 10.0 * epoch)
                writer.writerow((f"{number:012x}", json.dumps(list(genome)), 0, epoch, *told))
    monkeypatch.setattr(problems, "TABLE", path)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# what is measured


def test_the_distance_to_a_front_is_what_points_are_worse_by():
    """IGD+ by hand: a front from (0, 1) to (2, 0), so that the first goal counts half."""
    front = np.array([[0.0, 1.0], [2.0, 0.0]])
    assert distance_to_front(front, front) == 0
    assert distance_to_front(np.array([[-5.0, -5.0]]), front) == 0  # better than the front is not far from it
    assert distance_to_front(np.array([[1.0, 1.0]]), front) == pytest.approx((0.5 + 1.0) / 2)
    assert distance_to_front(np.array([[1.0, 1.0], [9.0, 0.25]]), front) == pytest.approx((0.5 + 1.0) / 2)


def test_the_median_says_when_a_volume_is_reached():
    runs = [Run("a", seed, 0, 0, np.array(volumes)) for seed, volumes in enumerate([[0, 1, 3], [1, 2, 2], [0, 0, 9]])]
    assert quartiles(runs)[1].tolist() == [0, 1, 3]
    assert [evaluations_to_reach(runs, target) for target in (0, 0.5, 1, 1.1, 3, 4)] == [1, 2, 2, 3, 3, None]


def test_runs_are_found_again_as_they_were_written(tmp_path: Path):
    rng = np.random.default_rng(1)
    volumes = np.maximum.accumulate(np.round(rng.random(50), 4) * (rng.random(50) < 0.3))
    runs = {"b": [Run("b", 3, 0.25, 1.5, volumes)], "a": [Run("a", 0, 0.0, 0.0, np.ones(50))]}
    write_runs(tmp_path / "runs.csv", runs, 50)
    found, evaluations = read_runs(tmp_path / "runs.csv")
    assert evaluations == 50 and [*found] == ["b", "a"]
    assert (found["b"][0].hypervolumes == volumes).all()
    assert (found["b"][0].seed, found["b"][0].distance, found["b"][0].seconds) == (3, 0.25, 1.5)
    assert read_runs(tmp_path / "none.csv") == ({}, 0)
    (tmp_path / "strange.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no file of"):
        read_runs(tmp_path / "strange.csv")


def test_a_table_has_the_best_first_and_says_when_it_was_as_good(toy: Problem):
    runs = {name: [Run(name, 0, 0.1, 1, np.linspace(0, end, 20))] for name, end in (("random", 0.5), ("best", 1.0))}
    lines = summarise(runs)
    assert [line["method"] for line in lines] == ["best", "random"]
    assert lines[0]["reaches"] == {"random": 11} and lines[1]["reaches"] == {"random": 20}
    assert lines[0]["hypervolume"]["20"] == [1, 1, 1]
    text = as_table(lines).splitlines()
    assert len({len(line) for line in text}) == 1 and text[2].startswith("| best ")


def test_curves_are_drawn_for_every_method(toy: Problem, tmp_path: Path):
    runs = {f"m<{i}": [Run("m", s, 0, 0, np.linspace(0, 1 - i / 20, 20)) for s in (0, 1)] for i in range(9)}
    picture = draw_svg(runs, "a & b")
    assert picture.count('fill="none"') == 9 and "m&lt;8" in picture and "a &amp; b" in picture
    write_page(tmp_path / "curves.html", {"toy": runs})
    page = (tmp_path / "curves.html").read_text()
    assert "http" not in page.replace(get_plotlyjs(), "")


# ---------------------------------------------------------------------------------------------------------------------
# who is asked


def test_every_driver_is_a_method_and_the_default_is_one_of_them():
    kinds = {kind for kind in DRIVERS if any(name.split("_")[0] == kind for name in known_methods())}
    assert kinds >= {*DRIVERS} - {"nni"}
    assert default_method() in usual_methods() and {*usual_methods()} < {*known_methods()}
    assert driver_options()["evolution_predictor"] == {"kind": "evolution", "predictor": True}
    with pytest.raises(UserError, match="no method 'tpe'; there are: random,.*optuna_alone"):
        find_methods(["tpe"])


@pytest.mark.parametrize("method", QUICK)
def test_the_same_seed_searches_the_same_way(method: str, toy: Problem):
    search = known_methods()[method]
    first, again, other = ([*islice(search(toy, seed), 15)] for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("method", QUICK)
def test_only_what_is_recorded_is_answered_with_its_own_values(method: str, toy: Problem):
    answers = {tuple(toy.answer(genome, set()).values.values()) for genome in _pairs()}
    values = [tuple(each.values()) for each in islice(known_methods()[method](toy, 0), 30)]
    assert {*values} <= answers
    if method != "random_repeating":
        assert len({*values}) > 20  # equal values of different networks apart: nothing is evaluated twice


def test_the_nearest_network_that_was_not_seen_answers(toy: Problem):
    assert toy.answer((2, 2), set()).genome == (2, 2)
    assert toy.answer((2, 2), {(2, 2)}).genome in {(1, 2), (3, 2), (2, 1), (2, 3)}
    assert toy.answer((0, 0), {*_pairs()} - {(5, 5)}).genome == (5, 5)
    with pytest.raises(UserError, match="all 36 recorded networks"):
        toy.answer((0, 0), {*_pairs()})


def test_every_recorded_network_is_found_and_no_other():
    genes = (Gene("a", (1, 2, 3, 4), ordered=True), Gene("b", tuple("xyz"), ordered=False))
    space = RecordedSpace(PlainSpace("toy", genes), [(0, 0), (3, 2), (1, 1)])
    rng = np.random.default_rng(0)
    assert {space.sample(rng) for _ in range(50)} == {(0, 0), (3, 2), (1, 1)}
    assert space.canonical((2, 2)) == (3, 2) and space.canonical((1, 1)) == (1, 1)
    assert all(space.mutate((0, 0), rng) in {(3, 2), (1, 1)} for _ in range(50))
    assert {*space.neighbours((0, 0))} == {(3, 2), (1, 1)}


def test_a_comparison_counts_evaluations_and_ends_at_the_best_known_front(toy: Problem):
    runs = [*compare(toy, find_methods(["random"]), [("random", 0), ("random", 1)], 36)]
    assert [run.seed for run in runs] == [0, 1]
    for run in runs:
        assert len(run.hypervolumes) == 36 and (np.diff(run.hypervolumes) >= 0).all()
        assert run.hypervolumes[-1] == pytest.approx(1) and run.distance == 0
    assert not (runs[0].hypervolumes == runs[1].hypervolumes).all()


# ---------------------------------------------------------------------------------------------------------------------
# NAS-Bench-MR


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_counts_what_our_modules_count(seed: int):
    rng = np.random.default_rng(seed)
    numbers = [int(rng.choice(gene.values)) for gene in GENES]
    with torch.device("meta"):
        network = Network({gene.path: str(number) for gene, number in zip(GENES, numbers, strict=True)})
    assert count(numbers) == count_modules(network)
    assert [cost.tolist() for cost in count(np.array([numbers, numbers]))] == [[cost] * 2 for cost in count(numbers)]


@pytest.mark.data
def test_the_closed_form_gives_every_digit_of_the_table(data_root: Path):
    if not (data_root / nas_bench_mr.FILE).exists():
        pytest.skip(f"no table {nas_bench_mr.FILE}")
    table = read_table(table_path(data_root))
    params, operations = count(table.numbers)
    assert (params == table.params).all() and (operations == table.operations).all()
    assert len(table.scores) == 2507 and len(table.genomes) == 2503


def made_up_table(rows: int = 200) -> Table:
    rng = np.random.default_rng(0)
    numbers = np.stack([rng.choice(gene.values, size=rows) for gene in GENES], axis=1)
    params, operations = count(numbers)
    return Table(numbers, 0.4 + 0.05 * np.log10(params) - 0.002 * numbers[:, 5], params, operations)


def test_the_surrogate_learns_scores_and_counts_costs(monkeypatch: pytest.MonkeyPatch):
    table = made_up_table()
    surrogate = nas_bench_mr.Surrogate(table)
    assert surrogate.tau > 0.7
    genome = tuple(0 for _ in GENES)
    answer = Modelled(surrogate, "params").answer(genome, set())
    assert answer.genome == genome
    assert answer.values["params"] == count([gene.values[0] for gene in GENES])[0]
    assert nas_bench_mr.Surrogate(table).scores(table.numbers).tolist() == surrogate.scores(table.numbers).tolist()


def test_the_best_known_front_of_the_surrogate_is_better_than_random_draws():
    source = Modelled(nas_bench_mr.Surrogate(made_up_table()), "all_ops")
    corner = [-0.55, np.log10(5.0)]
    drawn = source.best_known(generations=1)
    assert hypervolume(source.best_known(generations=12), corner) > 1.1 * hypervolume(drawn, corner)


def test_without_the_table_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HRNAS_DATA", raising=False)
    with pytest.raises(UserError, match="HRNAS_DATA is not set.*docs/search.md"):
        load_problem("mr_flops")
    with pytest.raises(UserError, match="no file .*nas_bench_mr.csv.*docs/search.md"):
        load_problem("mr_flops", tmp_path)
    path = tmp_path / nas_bench_mr.FILE
    path.parent.mkdir()
    path.write_text("stem1_ch\n8\n")
    with pytest.raises(UserError, match="not the known table: SHA-256"):
        load_problem("mr_flops", tmp_path)
    with pytest.raises(UserError, match="no problem 'mr'; there are: mr_flops"):
        load_problem("mr")


# ---------------------------------------------------------------------------------------------------------------------
# our own table


def test_the_recorded_table_has_every_epoch_of_every_training(recorded: Path):
    trained = read_training()
    assert len(trained) == 30 and all(len(each.scores) == EPOCHS for each in trained)
    assert trained[3].seconds == [10.0 * epoch for epoch in range(1, EPOCHS + 1)]
    with pytest.raises(UserError, match="record_table.py"):
        read_training(recorded.with_name("none.csv"))


def test_without_a_ladder_every_network_is_trained_to_the_end(recorded: Path):
    problem, trained = load_problem("small_joint_macs"), {each.genome: each for each in read_training()}
    whole = replay(problem, trained, ladder_card(problem, {"kind": "random", "seed": 1}, [EPOCHS], 30))
    assert (whole.epochs, whole.finished) == (30 * EPOCHS, 30)
    assert whole.hypervolume == pytest.approx(1)


def test_a_ladder_that_keeps_all_trains_no_epoch_twice(recorded: Path):
    problem, trained = load_problem("small_joint_macs"), {each.genome: each for each in read_training()}
    card = ladder_card(problem, {"kind": "random", "seed": 1}, [1, 2, EPOCHS], 12, keep=1)
    assert replay(problem, trained, card).epochs == 12 * EPOCHS


def test_a_ladder_saves_what_it_stops(recorded: Path):
    problem, trained = load_problem("small_joint_macs"), {each.genome: each for each in read_training()}
    card = ladder_card(problem, {"kind": "random", "seed": 1}, [1, EPOCHS], 12, keep=0.25)
    stopped = replay(problem, trained, card)
    assert stopped.epochs == 12 + stopped.finished * (EPOCHS - 1)
    assert 3 <= stopped.finished < 12 and 0 < stopped.hypervolume < 1


# ---------------------------------------------------------------------------------------------------------------------
# the word


def test_the_word_goes_on_with_its_runs_and_has_the_fields_of_the_page(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "o"
    said = ["bench", "--problem", "small_joint_macs", "--seeds", "2", "--evaluations", "8", "--out", str(out)]
    assert main([*said, "--methods", "random"]) == 0
    first = read_runs(out / "small_joint_macs.csv")[0]["random"]
    assert "| random" in capsys.readouterr().out
    monkeypatch.setattr("hrnas.bench.methods.search_with_driver", lambda *_: pytest.fail("run again"))
    assert main([*said, "--methods", "random,random_repeating", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    runs, evaluations = read_runs(out / "small_joint_macs.csv")
    assert evaluations == 8 and [*runs] == ["random", "random_repeating"]
    assert [run.hypervolumes.tolist() for run in runs["random"]] == [run.hypervolumes.tolist() for run in first]
    assert {"small_joint_macs.svg", "curves.html"} <= {path.name for path in out.iterdir()}
    page = (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    for problem in document["problems"]:
        assert all(f"`{field}`" in page or f"`problems[].{field}`" in page for field in problem)
        assert all(f"`{f}`" in page or f"`problems[].methods[].{f}`" in page for f in problem["methods"][0])
    assert main([*said[:6], "9", *said[7:]]) == 2
    assert "its runs have 8 evaluations, not 9" in capsys.readouterr().err


def test_ladders_are_compared_with_training_to_the_end(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = ["bench", "--stopping", "--methods", "random", "--seeds", "2", "--evaluations", "20", "--out", str(tmp_path)]
    assert main(said) == 0
    lines = capsys.readouterr().out.splitlines()
    found = read_replays(tmp_path / "small_joint_macs.stopping.csv")
    assert [*found] == [*LADDERS] and all(len(some) == 2 for some in found.values())
    assert lines[-len(LADDERS) :] == as_ladders(found).splitlines()[2:]
    assert [each.epochs for each in found["to the end"]] == [180, 180]
    assert [each.epochs for each in found["fewer trials, to the end"]] == [63, 63]
    assert all(each.epochs <= 0.35 * 180 for some in [*found.values()][1:] for each in some if each.finished <= 4)
    assert main([*said[:3], "optuna_alone"]) == 2
    assert "'optuna_alone' is no driver of a study; there are: random" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# what came out


def test_the_page_says_what_the_files_say():
    """`make bench` writes both."""
    page = search_page.PAGE.read_text(encoding="utf-8")
    assert search_page.TABLE.search(page) and search_page.filled(page) == page
    for path in [search_page.RUNS / f"{name}.csv" for name in problems.PROBLEMS]:
        if path.exists():
            assert path.with_suffix(".svg").read_text(encoding="utf-8") == draw_svg(read_runs(path)[0], path.stem)
