"""The words on studies: search, repeat, front, report."""

from __future__ import annotations

import statistics
import sys
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnas.cli.arguments import DATA, JSON, QUIET, RUNS, STUDY, TRAINER, Argument, as_count, as_seed, word
from hrnas.cli.printing import to_json
from hrnas.reading import UserError

if TYPE_CHECKING:
    from hrnas.report.facts import StudyFacts
    from hrnas.report.picks import Budgets, Pick


@word(
    Argument("CARD", "", "a study card: a name on the shelf studies/, or a YAML file"),
    DATA,
    RUNS,
    Argument("--name", "NAME", "call the study so, instead of the card's name"),
    Argument("--trials", "N", "so many distinct architectures, instead of the card's number", as_count),
    Argument("--seed", "N", "the driver's seed, instead of the card's", as_seed),
    Argument("--engine", "NAME", "what runs trials: own, or nni (default: own)", str, "own", choices=("own", "nni")),
    QUIET,
)
def search(said: Namespace) -> int:
    """Run a study, or go on with it.

    Proposes architectures, counts them, trains those within the card's limits, and remembers everything in
    runs/STUDY/. A study that was stopped, in whatever way, goes on when the same command is given again. At the end
    the front is printed, and where the report page lies.
    """
    from hrnas.cards.study import load_study
    from hrnas.names import runs_folder
    from hrnas.progress import SearchProgress
    from hrnas.report.facts import format_front
    from hrnas.report.page import write_report
    from hrnas.search.launch import launch

    card = load_study(said.card)
    driver = None if said.seed is None else {**card.driver.model_dump(mode="json"), "seed": said.seed}
    card = card.with_changes(name=said.name, trials=said.trials, driver=driver)
    runs = runs_folder(said.runs)
    with SearchProgress(card, runs / card.name, sys.stderr, quiet=said.quiet) as progress:
        folder, result = launch(card, runs, said.data, progress, said.engine, progress.note)
    print(format_front(_facts_of(folder)[0]))
    print(f"\nreport: {write_report(folder)}")
    if not result.complete:
        print(f"{card.name}: {result.done} of {result.total} trials finished: {result.reason}", file=sys.stderr)
    return 0 if result.complete else 1


@word(
    Argument("TRIAL", "", "STUDY#KEY, with the key of a trial or its beginning"),
    Argument("--seeds", "N", "seeds in all, the study's own among them (default: 3)", as_count, 3),
    RUNS,
    QUIET,
    JSON,
)
def repeat(said: Namespace) -> int:
    """Measure a trial of a study again with other seeds.

    Trains the trial as its study did, once more with each seed, and prints how far its scores lie apart: two networks
    whose scores differ by less than that are not known to differ. The new scores stand in the study's ledger.
    """
    from hrnas.names import find_study, find_trial
    from hrnas.progress import TrainingProgress
    from hrnas.report.page import write_report
    from hrnas.search.launch import repeat as measure_again
    from hrnas.training.loop import Progress

    study, _, key = said.trial.rpartition("#")
    folder, trial = find_study(study, said.runs), find_trial(study, key, said.runs)
    own = trial.final
    first = own.identity.seed if own else 0
    with TrainingProgress(sys.stderr, quiet=said.quiet) as progress:
        seeds = range(first + 1, first + said.seeds)
        again = measure_again(folder, trial.key, seeds, lambda at: progress(Progress(**at)))
    write_report(folder)
    rows = [{"seed": e.identity.seed, "score": e.scores["score"], "ap": e.scores["ap"]} for e in again.done]
    scores = [row["score"] for row in rows]
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    document = {"study": study, "key": trial.key, "seeds": rows, "mean": statistics.fmean(scores), "deviation": spread}
    if said.json:
        print(to_json(document))
    else:
        print("\n".join(f"seed {row['seed']}: score {row['score']:.4f}, AP {row['ap']:.4f}" for row in rows))
        print(f"mean {document['mean']:.4f}, standard deviation {spread:.4f}")
    for seed, reason in again.missing.items():
        print(f"seed {seed} has no score: {reason}", file=sys.stderr)
    return 1 if again.missing else 0


def as_budgets(text: str) -> Budgets:
    """Upper limits of one cost: `macs=200M`, or several as `macs=100M,200M`."""
    from hrnas.cards.study import read_limit
    from hrnas.report.picks import Budgets

    cost, _, amounts = text.partition("=")
    try:
        return Budgets(cost, tuple(read_limit(cost, f"<= {amount}") for amount in amounts.split(",")))
    except ValueError as error:
        raise ArgumentTypeError(f"{error}; such as macs=200M or macs=100M,200M (got {text})") from None


PICK = Argument("--pick", "HOW", "only some of them: knee, spread or budget", choices=("knee", "spread", "budget"))
COUNT = Argument("--count", "N", "pick so many (default: 3)", as_count)
BUDGET = Argument(
    "--budget",
    "COST=N[,N]",
    "with --pick budget: the best score within each, instead of even steps along the front",
    as_budgets,
)


@word(STUDY, PICK, COUNT, BUDGET, RUNS, JSON)
def front(said: Namespace) -> int:
    """Print the front of a study, or picks from it.

    The front is the networks that no other beats in every goal, best score first. It can be asked for while the study
    runs. Picks are its knees, an even spread, or the best score within each of some budgets.
    """
    from hrnas.names import find_study
    from hrnas.report.facts import format_front, front_document
    from hrnas.report.picks import format_picks, picks_document

    facts, study = _facts_of(find_study(said.study, said.runs))
    if said.pick is None:
        if said.count or said.budget:
            raise UserError("hrnas front: --count and --budget say what to pick; add --pick knee, spread or budget")
        print(to_json(front_document(facts, study)) if said.json else format_front(facts))
        return 0
    picks = _picks(facts, said)
    print(to_json(picks_document(facts, picks, study)) if said.json else format_picks(facts, picks))
    return 0


def _picks(facts: StudyFacts, said: Namespace) -> tuple[Pick, ...]:
    """The picks that were asked for; says where they are fewer."""
    from hrnas.report.picks import pick_points

    if said.budget and (said.pick != "budget" or said.count):
        too_much = "--count" if said.pick == "budget" else f"--pick {said.pick}"
        raise UserError(f"--budget names the budgets of --pick budget; it does not go with {too_much}")
    asked = len(said.budget.amounts) if said.budget else said.count or 3
    picks = pick_points(facts, said.pick, asked, said.budget)
    if len(picks) < asked:
        why = "budgets share their best" if said.pick == "budget" else "the front has no more"
        print(f"{len(picks)} picked instead of {asked}: {why}", file=sys.stderr)
    return picks


def _facts_of(folder: Path) -> tuple[StudyFacts, str]:
    """What a study's ledger says, and what finds the study again on the command line."""
    from hrnas.names import open_study, study_as_typed
    from hrnas.report.facts import read_facts

    ledger = open_study(str(folder))
    try:
        facts = read_facts(ledger)
    finally:
        ledger.close()
    return facts, study_as_typed(folder, facts.name)


@word(
    STUDY,
    replace(PICK, help="whom: knee, spread or budget, as hrnas front picks them", required=True),
    COUNT,
    BUDGET,
    TRAINER,
    Argument("--seeds", "N", "train each with the seeds 0 to N-1 (default: 1)", as_count, 1),
    DATA,
    Argument("--out", "DIR", "where the trainings' folders go (default: runs/trained)", Path),
    RUNS,
    QUIET,
    JSON,
)
def retrain(said: Namespace) -> int:
    """Train picks of a study in full.

    Trains each pick from scratch by a trainer card, as hrnas train does, one after another; the scores stand in the
    study's ledger and its report. Trainings that were stopped go on when the same command is given again, and those
    that are done are not done again.
    """
    from hrnas.cards.trainer import load_recipe
    from hrnas.names import find_study, runs_folder, training_folder
    from hrnas.progress import TrainingProgress
    from hrnas.report.page import write_report
    from hrnas.search.retrain import retrain as train_in_full

    recipe = load_recipe(said.trainer).at(said.data)
    folder = find_study(said.study, said.runs)
    facts, study = _facts_of(folder)
    picks = _picks(facts, said)
    trained = said.out or runs_folder(said.runs) / "trained"
    scores: dict[str, list[dict[str, Any]]] = {pick.point.key: [] for pick in picks}
    missing = []
    for seed in range(said.seeds):  # outside, so that early on there is something to compare
        for key in scores:
            out = training_folder(trained, key, recipe.name, seed)
            if not said.quiet:
                print(f"{study}#{key}, seed {seed}: {out}", file=sys.stderr)
            with TrainingProgress(sys.stderr, quiet=said.quiet) as progress:
                end = train_in_full(folder, key, recipe, seed, out, progress)
            if end.state == "done":
                scores[key].append({"seed": seed, "score": end.scores["score"], "folder": str(out)})
                write_report(folder)
            else:
                why = f"{end.owner.rsplit(':', 1)[0]} (machine:process) is training it"
                missing.append(f"{study}#{key}, seed {seed} has no score: {end.reason or why}")
    document = {
        "study": study,
        "recipe": f"{recipe.name} {recipe.fingerprint}",
        "picks": [{"key": p.key, "title": p.title, "why": why, "seeds": scores[p.key]} for p, why in picks],
    }
    if said.json:
        print(to_json(document))
    else:
        for (point, why), rows in zip(picks, scores.values(), strict=True):
            shown = ", ".join(f"{row['score']:.4f}" for row in rows) or "no score"
            print(f"{point.key}  {shown}  ({point.name}: {why})")
    print("\n".join(missing), file=sys.stderr, end="\n" if missing else "")
    return 1 if missing else 0


@word(
    STUDY,
    Argument("--against", "STUDY", "hold the winner against this study's, a random search for instance"),
    RUNS,
    Argument("--open", "", "open the page in the browser"),
)
def report(said: Namespace) -> int:
    """Write the report page of a study again.

    Writes runs/STUDY/report.html, also while the study runs, and prints where it lies. The page is one file that asks
    nothing of the network. With --against it says whether the winner, retrained with other seeds, beats the other
    study's winner at equal cost.
    """
    from hrnas.names import find_study
    from hrnas.report.page import write_report

    folder, rival = find_study(said.study, said.runs), None
    if said.against is not None:
        other = find_study(said.against, said.runs)
        if other.resolve() == folder.resolve():
            raise UserError(f"--against {said.against}: this is the study itself; name another one")
        rival = _facts_of(other)[0]
    page = Path(write_report(folder, rival=rival))
    print(page)
    if said.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0
