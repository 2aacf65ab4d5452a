"""The word on search itself: bench."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from hrnas.cli.arguments import JSON, QUIET, Argument, as_count, word
from hrnas.cli.printing import to_json
from hrnas.reading import UserError


@word(
    Argument("--problem", "NAME", "which problem, or all (default: small_joint_macs, which needs no data)"),
    Argument("--methods", "A,B,...", "which methods (default: all but optuna_gp and the drivers with a predictor)"),
    Argument("--seeds", "N", "runs of each method (default: 10)", as_count, 10),
    Argument("--evaluations", "N", "of each run (default: 200; 20 on our own table, 40 with --stopping)", as_count),
    Argument("--data", "DIR", "the folder that holds nas_bench_mr/ (default: HRNAS_DATA)", Path),
    Argument("--out", "DIR", "keep the runs here, go on with those that are there, and draw the curves", Path),
    Argument("--stopping", "", "ladders instead of methods: what early stopping saves, on our own table"),
    QUIET,
    JSON,
)
def bench(said: Namespace) -> int:
    """Compare search methods on networks that were trained before.

    Each method searches with each seed; the table says how much of the best known front's hypervolume it has after so
    many evaluations, and after how many it has what random search and Optuna by itself have at the end. docs/search.md
    tells what the problems and the methods are, and what came out.
    """
    from hrnas.bench.comparison import compare
    from hrnas.bench.drawing import draw_svg, write_page
    from hrnas.bench.methods import find_methods, usual_methods
    from hrnas.bench.problems import PROBLEMS, load_problem
    from hrnas.bench.records import read_runs, write_runs
    from hrnas.bench.summary import as_table, summarise
    from hrnas.progress import CountProgress

    if said.stopping:
        return _stopping(said)
    chosen = [*PROBLEMS] if said.problem == "all" else [said.problem or "small_joint_macs"]
    methods = find_methods(said.methods.split(",") if said.methods else usual_methods())
    documents, everything = [], {}
    for name in chosen:
        problem = load_problem(name, said.data)
        evaluations = said.evaluations or problem.evaluations
        path = said.out / f"{name}.csv" if said.out else None
        runs, before = read_runs(path) if path else ({}, 0)
        if runs and before != evaluations:
            raise UserError(f"{path}: its runs have {before} evaluations, not {evaluations}: say another folder")
        there = {(run.method, run.seed) for some in runs.values() for run in some}
        left = [(method, seed) for seed in range(said.seeds) for method in methods if (method, seed) not in there]
        with CountProgress(f"runs on {name}", len(left), sys.stderr, said.quiet) as progress:
            for run in compare(problem, methods, left, evaluations):
                runs.setdefault(run.method, []).append(run)
                if path:
                    write_runs(path, runs, evaluations)
                progress()
        everything[name] = runs
        lines = summarise(runs)
        documents.append(
            {
                "problem": name,
                "about": problem.about,
                "notes": [*problem.notes],
                "reference": dict(problem.reference),
                "evaluations": evaluations,
                "methods": lines,
            }
        )
        if path:
            path.with_suffix(".svg").write_text(draw_svg(runs, name), encoding="utf-8")
        if not said.json:
            print("\n".join([f"{name}: {problem.about}", *problem.notes, "", as_table(lines), ""]))
    if said.out:
        write_page(said.out / "curves.html", everything)
    if said.json:
        print(to_json({"problems": documents}))
    elif said.out:
        print(f"curves: {said.out / 'curves.html'}")
    return 0


def _stopping(said: Namespace) -> int:
    from hrnas.bench.methods import default_method, driver_options
    from hrnas.bench.problems import load_problem, read_training
    from hrnas.bench.stopping import LADDERS, TRIALS, as_table, compare_ladders, write_replays
    from hrnas.progress import CountProgress

    options = driver_options()
    method = said.methods or default_method()
    if method not in options:
        raise UserError(f"--stopping: '{method}' is no driver of a study; there are: {', '.join(options)}")
    trained = {training.genome: training for training in read_training() if training.seed == 0}
    problem = load_problem(said.problem or "small_joint_macs")
    if not problem.name.startswith("small_joint"):
        raise UserError(f"--stopping: {problem.name} has no scores of every epoch; say small_joint_macs or _params")
    trials = min(said.evaluations or TRIALS, len(trained))
    with CountProgress("replays", said.seeds * len(LADDERS), sys.stderr, said.quiet) as progress:
        replays = compare_ladders(problem, trained, options[method], range(said.seeds), trials, progress)
    if said.out:
        write_replays(said.out / f"{problem.name}.stopping.csv", replays)
    if said.json:
        print(to_json({"ladders": {name: [vars(each) for each in some] for name, some in replays.items()}}))
    else:
        print(f"{problem.name}, {method}, {trials} trials, {said.seeds} seeds\n\n{as_table(replays)}")
    return 0
