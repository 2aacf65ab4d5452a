"""Say what to do: one word, one function.

What a word needs is imported when it is said, so that `hrnas --help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import os
import shlex
import shutil
import signal
import statistics
import sys
import textwrap
import threading
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hrnas import __version__
from hrnas.reading import UserError, format_size, read_count, read_size

LARGEST_SEED = 2**32 - 1  # as on the cards
MOST_KEYPOINTS = 1000
INTERRUPTED = 130  # what a shell says of a program stopped with Ctrl-C; SIGTERM is the same to us
BEGINNING = """\
hrnas searches for pose networks: a study card goes in, a Pareto front comes out.

A study card names a search space and a trainer. `hrnas search quickstart` runs the smallest one on people that
hrnas draws itself, in about five minutes and with nothing to download; it ends by saying where the report lies."""
END = """\
CARD is a name on a shelf (`hrnas cards` lists them) or a YAML file. STUDY is a name under runs/, or a folder.
ARCHITECTURE is a name such as published/lite_hrnet_18, a YAML file, or STUDY#KEY with the key of a trial, or its
beginning.

`hrnas WORD --help` tells what a word takes."""


@dataclass(frozen=True)
class Argument:
    """One argument of a word, as argparse and docs/cli.md have it."""

    name: str  # "CARD" or "--trials"
    value: str  # what stands for the value of an option: "N"; "" for a switch
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    required: bool | None = None  # by default what stands without dashes is
    many: bool = False  # one or more, without dashes

    @property
    def is_option(self) -> bool:
        """Whether it begins with dashes."""
        return self.name.startswith("--")

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Tell argparse."""
        if self.is_option and not self.value:
            parser.add_argument(self.name, action="store_true", help=self.help)
        elif self.is_option:
            parser.add_argument(
                self.name,
                metavar=self.value,
                help=self.help,
                type=self.read,
                default=self.default,
                required=bool(self.required),
            )
        else:
            count = "+" if self.many else "?" if self.required is False else None
            parser.add_argument(self.name.lower(), metavar=self.name, help=self.help, type=self.read, nargs=count)


class Word:
    """One word of the command line, or two, as `data check`, which is the function `data_check`.

    The function's docstring is its help: a line, then a paragraph.
    """

    def __init__(self, run: Callable[[Namespace], int], *arguments: Argument) -> None:
        first, _, story = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
        self.name = run.__name__.replace("_", " ").strip()
        self.about = first[0].lower() + first[1:].rstrip(".")
        self.story = " ".join([first, *story.split()])
        self.arguments = arguments
        self.run = run


# ---------------------------------------------------------------------------------------------------------------------
# the words


def search(said: Namespace) -> int:
    """Run a study, or go on with it.

    Proposes architectures, counts them, trains those within the card's limits, and remembers everything in
    runs/STUDY/. A study that was stopped, in whatever way, goes on when the same command is given again. At the end
    the front is printed, and where the report page lies.
    """
    from hrnas.cards.study import load_study
    from hrnas.names import runs_folder
    from hrnas.progress import SearchProgress
    from hrnas.report.page import write_report
    from hrnas.search.launch import launch

    card = load_study(said.card)
    driver = None if said.seed is None else {**card.driver.model_dump(mode="json"), "seed": said.seed}
    card = card.with_changes(name=said.name, trials=said.trials, driver=driver)
    runs = runs_folder(said.runs)
    with SearchProgress(card, runs / card.name, sys.stderr, quiet=said.quiet) as progress:
        folder, result = launch(card, runs, said.data, progress)
    print(_front_of(folder)[0])
    print(f"\nreport: {write_report(folder)}")
    if not result.complete:
        print(f"{card.name}: {result.done} of {result.total} trials finished: {result.reason}", file=sys.stderr)
    return 0 if result.complete else 1


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
        print(_json(document))
    else:
        print("\n".join(f"seed {row['seed']}: score {row['score']:.4f}, AP {row['ap']:.4f}" for row in rows))
        print(f"mean {document['mean']:.4f}, standard deviation {spread:.4f}")
    for seed, reason in again.missing.items():
        print(f"seed {seed} has no score: {reason}", file=sys.stderr)
    return 1 if again.missing else 0


def front(said: Namespace) -> int:
    """Print the front of a study.

    The front is the networks that no other beats in every goal, best score first. It can be asked for while the study
    runs.
    """
    from hrnas.names import find_study

    text, document = _front_of(find_study(said.study, said.runs))
    print(_json(document) if said.json else text)
    return 0


def report(said: Namespace) -> int:
    """Write the report page of a study again.

    Writes runs/STUDY/report.html, also while the study runs, and prints where it lies. The page is one file that asks
    nothing of the network.
    """
    from hrnas.names import find_study
    from hrnas.report.page import write_report

    page = Path(write_report(find_study(said.study, said.runs)))
    print(page)
    if said.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def train(said: Namespace) -> int:
    """Train one architecture by a trainer card.

    It is trained from scratch and measured on the validation set. Training that was stopped goes on when the same
    command is given again; SIGTERM stops it at the next step. Several GPUs train it together when torchrun starts one
    process for each: torchrun --nproc-per-node 8 -m hrnas train ...
    """
    from hrnas.cards.trainer import load_recipe
    from hrnas.names import find_architecture, runs_folder
    from hrnas.progress import TrainingProgress
    from hrnas.training.full import train_architecture
    from hrnas.training.loop import Diverged, Stopped
    from hrnas.training.ranks import join_ranks

    card = load_recipe(said.trainer)
    recipe = card.with_batch_size(said.batch_size).with_changes(input=said.input, epochs=said.epochs).at(said.data)
    architecture = find_architecture(said.architecture, said.runs)
    out = said.out or runs_folder(said.runs) / "trained" / f"{architecture.key}-{recipe.name}-seed{said.seed}"
    with _noting_sigterm() as told_to_stop, join_ranks() as ranks:

        def say(text: str) -> None:
            if ranks.leads:
                print(text, file=sys.stderr)

        if recipe.batch_size != card.batch_size:
            rates = f"{recipe.optimiser.rate:g} instead of {card.optimiser.rate:g}"
            say(f"batch size {recipe.batch_size} instead of {card.batch_size}: the rate goes with it, {rates}")
        if recipe.data.kind != "drawn" and not said.quiet:
            say("every picture is opened once, to leave out those that are broken")
        with TrainingProgress(sys.stderr, quiet=said.quiet or not ranks.leads) as progress:
            try:
                result = train_architecture(
                    architecture, recipe, out, said.seed, progress, ranks, told_to_stop, said.strict
                )
            except Diverged as error:
                say(f"training cannot go on: {error}; a lower rate may help; {out} holds its last state")
                return 1
            except Stopped as stopped:
                say(f"{stopped}: saved, and ready to resume; say the same again")
                return 0
    if result is None:  # another process speaks
        return 0
    if said.json:
        print(_json(result))
    else:
        shown = {**result, "left_out": len(result["left_out"])}
        print(_table((name, _brief(value)) for name, value in shown.items()))
        print(f"\nall of it lies in {out}")
    if result["left_out"]:
        say(f"left out, because broken:\n{_first(result['left_out'])}")
    return 0


def _first(lines: list[str], most: int = 20) -> str:
    """The first lines of many, and how many more there are."""
    more = [f"and {len(lines) - most} more; result.json names all of them"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


@contextmanager
def _noting_sigterm() -> Iterator[Callable[[], bool]]:
    """Inside, SIGTERM interrupts nothing; what is given tells whether it came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def import_(said: Namespace) -> int:
    """Take over a network that others trained.

    Reads checkpoints of HRNet, Lite-HRNet and Dite-HRNet as their authors' code and mmpose write them, finds the
    published point that has their tensors, and leaves a folder as hrnas train does. Nothing in the checkpoint is run.
    """
    from hrnas.names import find_architecture, runs_folder
    from hrnas.official import import_checkpoint

    named = vars(said)["as"]
    architecture = None if named is None else find_architecture(named, said.runs)
    out = said.out or runs_folder(said.runs) / "imported" / said.checkpoint.stem
    document = import_checkpoint(said.checkpoint, out, said.input, architecture, said.keypoints)
    if said.json:
        print(_json(document))
        return 0
    point, count = document["point"] or named, f"{document['matched']:,}"
    print(f"{document['family']}: {point} ({document['key']}), {document['keypoints']} keypoints, {document['input']}")
    print(f"{count} tensors matched" + (f", {len(document['new'])} counters begin at 0" if document["new"] else ""))
    for name in document["left"]:
        print(f"left: {name}")
    print(out)
    return 0


def predict(said: Namespace) -> int:
    """Find keypoints in pictures and videos with a trained network.

    Draws the skeletons it sees, and on request its heatmaps, and writes the keypoints down in COCO's result format.
    Boxes come from a COCO JSON; without one each picture is one person's box. Files that cannot be read are left out
    and named at the end; the exit status is then 1.
    """
    from hrnas.pose.frames import count_frames, list_files
    from hrnas.predict import predict as look
    from hrnas.progress import CountProgress
    from hrnas.training.trained import load_trained

    trained, files = load_trained(said.weights), list_files(said.pictures)
    frames = sum(map(count_frames, files))
    with CountProgress("pictures and frames", frames, sys.stderr, quiet=said.quiet) as progress:
        told = look(trained, files, said.out, said.boxes, said.heatmaps, said.strict, progress)
    if said.json:
        print(_json({"out": str(said.out), **asdict(told)}))
    else:
        print(f"{told.persons:,} persons in {told.frames:,} pictures and frames: {said.out}")
        if told.without_boxes:
            print(f"{told.without_boxes:,} pictures have no box in {said.boxes} and were left out")
    for reason in told.broken:
        print(reason, file=sys.stderr)
    return 1 if told.broken else 0


def evaluate(said: Namespace) -> int:
    """Score anybody's keypoints.

    Takes a result file in COCO's format and annotations in the same, and gives COCO's ten figures, equal to
    pycocotools', and AP of each keypoint; or a .mat file of predictions and MPII's ground truth, and gives PCKh. The
    pictures are not needed.
    """
    from hrnas.pose.average_precision import ap_by_keypoint
    from hrnas.pose.metrics import evaluate_found
    from hrnas.pose.mpii import evaluate_mat
    from hrnas.pose.results import read_results

    scores: dict[str, Any]
    if said.annotations.suffix == ".mat":
        scores = evaluate_mat(said.predictions, said.annotations)
    else:
        truth, found = read_results(said.predictions, said.annotations, said.keypoints)
        scores = {**evaluate_found(truth, found), "detections": len(found.scores)}
        scores["ap_by_keypoint"] = ap_by_keypoint(truth, found)
    untold = dict.fromkeys(("split", "boxes", "input", "flip_test"))
    document = {"predictions": str(said.predictions), "data": str(said.annotations), **untold, **scores}
    if said.json:
        print(_json(document))
        return 0
    for name, value in document.items():
        if name not in untold:
            _print_tree(name, value)
    print(f"not told by such files: {', '.join(untold)}")
    return 0


def data_check(said: Namespace) -> int:
    """Look a data set over: what is in it, and what is broken.

    Opens every picture with labelled persons and counts: keypoints per person, sizes of boxes, how often each keypoint
    is labelled. Names what cannot be learnt from, what is there twice, and what lies outside its picture; the exit
    status is 1 when there is something to mend.
    """
    from hrnas.pose.check import check_data, describe_check
    from hrnas.pose.folders import open_parts
    from hrnas.progress import CountProgress

    parts = open_parts(said.data)
    pictures = sum(len(set(part.people.picture.tolist())) for part in parts.values())
    with CountProgress("pictures", pictures, sys.stderr, quiet=said.quiet) as progress:
        document = check_data(parts, progress)
    print(_json(document) if said.json else describe_check(document))
    return 1 if document["mend"] else 0


def data_subset(said: Namespace) -> int:
    """Write a small data set that is like a large one, for proxies.

    Takes whole pictures, so that the numbers of labelled keypoints and the sizes of boxes are spread as in all of
    them, the same for the same seed. The annotations are written with the names they have, and all that they say of
    these pictures; the pictures stay where they are, and a link leads to them.
    """
    from hrnas.pose.folders import find_folder
    from hrnas.pose.writing import write_subset
    from hrnas.reading import new_folder

    source = find_folder(said.data)
    with new_folder(said.out) as folder:
        written = write_subset(source, folder, said.persons, said.seed, copy=said.copy)
    return _print_parts(written, said)


def data_draw(said: Namespace) -> int:
    """Write people that hrnas draws as a data set in COCO's layout.

    They are those that a card learns from with `data: {kind: drawn}` and this seed, and a quarter as many to validate
    on. A trainer card on COCO reads them with --data DIR.
    """
    from hrnas.pose.writing import write_drawn
    from hrnas.reading import new_folder

    with new_folder(said.out) as folder:
        written = write_drawn(folder, said.persons, said.seed)
    return _print_parts(written, said)


def _print_parts(written: dict[str, dict[str, int]], said: Namespace) -> int:
    """Print how much was written of each part of a data set, and where it lies."""
    if said.json:
        print(_json({"out": str(said.out), "parts": [{"part": name, **counts} for name, counts in written.items()]}))
        return 0
    for name, counts in written.items():
        print(f"{name}: {counts['persons']} persons in {counts['pictures']} pictures")
    print(said.out)
    return 0


def profile(said: Namespace) -> int:
    """Count an architecture's parameters and operations.

    They are counted in each of the ways in which the papers count them; docs/cli.md says which is which. With
    --published, what the papers print of their networks is compared with what hrnas counts, each figure on its paper's
    own scale.
    """
    if said.published:
        return _profile_published(said)
    if said.architecture is None:
        raise UserError("hrnas profile: say which ARCHITECTURE is to be counted, or --published for all of the papers'")
    from hrnas.names import find_architecture
    from hrnas.nets.cost import cost_as_json, measure_cost

    size, keypoints = said.input or (256, 192), said.keypoints or 17
    architecture = find_architecture(said.architecture, said.runs)
    document = {
        "architecture": said.architecture,
        "key": architecture.key,
        "input": format_size(size),
        "keypoints": keypoints,
        **cost_as_json(measure_cost(architecture, keypoints, size)),
    }
    if said.json:
        print(_json(document))
        return 0
    parts = document.pop("parts", None)
    print(_table((name, _brief(value)) for name, value in document.items()))
    if parts:
        print("\n" + _parts(parts))
    return 0


def _profile_published(said: Namespace) -> int:
    from hrnas.faithfulness import as_json, format_rows, read_rows

    taken = {"ARCHITECTURE": said.architecture, "--input": said.input, "--keypoints": said.keypoints}
    if any(taken.values()):
        too_much = " and ".join(name for name, value in taken.items() if value)
        raise UserError(f"hrnas profile: --published counts all networks as their papers do; leave out {too_much}")
    rows = read_rows()
    print(_json({"published": as_json(rows)}) if said.json else format_rows(rows))
    return 0


def cards(said: Namespace) -> int:
    """List the cards on the three shelves.

    These are search spaces, trainers and studies: those in folders of the shelves' names where you are, and those that
    hrnas ships.
    """
    from hrnas.reading import read_yaml
    from hrnas.shelf import SHELVES, list_cards

    shelves = {
        shelf: {
            name: {"file": str(path), "about": str(read_yaml(path).get("about", ""))}
            for name, path in list_cards(shelf).items()
        }
        for shelf in SHELVES
    }
    if said.json:
        print(_json(shelves))
        return 0
    for shelf, listed in shelves.items():
        print(f"{shelf}/")
        width = max((len(name) for name in listed), default=0)
        for name, card in listed.items():
            print(f"  {name:<{width}}  {_fitting(card['about'], width + 4)}".rstrip())
    return 0


def show(said: Namespace) -> int:
    """Explain a card.

    Says what stands on it with everything filled in, and what follows from it: of a search space its size and its
    smallest and largest networks, of an architecture a sketch with what each part costs, of a study also how much
    will be trained.
    """
    from hrnas.showing import explain
    from hrnas.sketch import describe

    document = explain(said.card, said.runs)
    if said.json:
        print(_json(document))
    elif "architecture" in document:
        print(describe(document, _line_width()))
    else:
        for name, value in document.items():
            _print_tree(name, value)
    return 0


def copy(said: Namespace) -> int:
    """Put a card into a folder of your own, to edit it.

    By default it goes into the folder of its shelf where you are, for instance studies/quickstart.yaml; there hrnas
    finds it before the one it ships.
    """
    from hrnas.shelf import find_card
    from hrnas.showing import find_on_shelves

    shelf, name = find_on_shelves(said.card)
    source = find_card(shelf, name)
    target = said.to or Path(shelf) / f"{name}.yaml"
    if target.is_dir():
        target = target / source.name
    if target.exists():
        same = target.resolve() == source.resolve()
        hint = "this is the card itself; say where to: hrnas copy CARD TO" if same else "say another name, or remove it"
        raise UserError(f"{target}: there is a file of this name already; {hint}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    print(target)
    return 0


def doctor(said: Namespace) -> int:
    """Look at the machine and say what to do.

    It looks at versions, device, threads, disk, data folders, cards and extras. Each line is ok, a note (more is
    possible), or something to mend; the exit status is 1 when there is something to mend.
    """
    from hrnas.doctor import examine

    findings = examine(said.runs)
    if said.json:
        print(_json([finding._asdict() for finding in findings]))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            advice = f" -> {finding.advice}" if finding.advice else ""
            print(f"{finding.state:<4}  {finding.name:<{width}}  {finding.found}{advice}")
    return 1 if any(finding.state == "mend" for finding in findings) else 0


def version(said: Namespace) -> int:
    """Print the version."""
    print(__version__)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# what they take


def _count(text: str) -> int:
    try:
        value = read_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (got {text})") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more (got {text})")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {LARGEST_SEED} (got {text})")
    return int(text)


def _keypoints(text: str) -> int:
    value = _count(text)
    if value > MOST_KEYPOINTS:
        raise argparse.ArgumentTypeError(f"expected {MOST_KEYPOINTS} or less (got {text})")
    return value


def _size(text: str) -> tuple[int, int]:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (got {text})") from None


_RUNS = Argument("--runs", "DIR", "where studies lie (default: HRNAS_RUNS, or runs/)", Path)
_JSON = Argument("--json", "", "print one JSON document instead of text")
_QUIET = Argument("--quiet", "", "no progress, only the result")
_DATA = Argument("--data", "DIR", "use the pictures in this folder, in COCO's layout, instead of the card's", Path)
_STUDY = Argument("STUDY", "", "a name under --runs, or a run folder")
_CARD = Argument("CARD", "", "a name on the shelves, such as studies/quickstart or published/lite_hrnet_18, or a file")
_FOLDER = "a folder in COCO's layout, or a trainer card with data in COCO's format"
_ARCHITECTURE = Argument("ARCHITECTURE", "", "a published point's name, a YAML file, or STUDY#KEY")

WORDS = {
    word.name: word
    for word in (
        Word(
            search,
            Argument("CARD", "", "a study card: a name on the shelf studies/, or a YAML file"),
            _DATA,
            _RUNS,
            Argument("--name", "NAME", "call the study so, instead of the card's name"),
            Argument("--trials", "N", "so many distinct architectures, instead of the card's number", _count),
            Argument("--seed", "N", "the driver's seed, instead of the card's", _seed),
            _QUIET,
        ),
        Word(
            repeat,
            Argument("TRIAL", "", "STUDY#KEY, with the key of a trial or its beginning"),
            Argument("--seeds", "N", "seeds in all, the study's own among them (default: 3)", _count, 3),
            _RUNS,
            _QUIET,
            _JSON,
        ),
        Word(front, _STUDY, _RUNS, _JSON),
        Word(report, _STUDY, _RUNS, Argument("--open", "", "open the page in the browser")),
        Word(
            train,
            _ARCHITECTURE,
            Argument(
                "--trainer", "CARD", "a trainer card: a name on the shelf trainers/, or a YAML file", required=True
            ),
            _DATA,
            Argument("--input", "HxW", "the network's input in pixels, instead of the card's", _size),
            Argument("--epochs", "N", "train so long, instead of as the card says", _count),
            Argument("--batch-size", "N", "persons in a step, instead of the card's; the rate goes with it", _count),
            Argument("--strict", "", "stop where an annotation or a picture is broken, instead of leaving it out"),
            Argument("--seed", "N", "of weights, order and augmentation (default: 0)", _seed, 0),
            Argument("--out", "DIR", "where all of it goes (default: runs/trained/KEY-TRAINER-seedN)", Path),
            _RUNS,
            _QUIET,
            _JSON,
        ),
        Word(
            import_,
            Argument("CHECKPOINT", "", "the .pth file of the network's authors, or of mmpose", Path),
            Argument("--as", "ARCHITECTURE", "take it for this one, instead of finding the published point"),
            Argument("--input", "HxW", "what it was trained on (default: 256x192; MPII's 256x256)", _size),
            Argument("--keypoints", "CARD", "a YAML file on the keypoints, if neither COCO's 17 nor MPII's 16", Path),
            Argument("--out", "DIR", "where all of it goes (default: runs/imported/CHECKPOINT)", Path),
            _RUNS,
            _JSON,
        ),
        Word(
            predict,
            Argument("WEIGHTS", "", "a folder that train or import left, or one of the weights in it", Path),
            Argument("PICTURES", "", "pictures, videos, and folders of them", Path, many=True),
            Argument("--out", "DIR", "where all of it goes", Path, required=True),
            Argument("--boxes", "FILE", "where the persons are: a detector's results or annotations, COCO JSON", Path),
            Argument("--heatmaps", "", "also draw how likely each place is a keypoint's"),
            Argument("--strict", "", "stop at the first file that cannot be read"),
            _QUIET,
            _JSON,
        ),
        Word(
            evaluate,
            Argument("--predictions", "FILE", "COCO's result format, or a .mat with preds", Path, required=True),
            Argument("--annotations", "FILE", "COCO's format, or MPII's gt_valid.mat", Path, required=True),
            Argument("--keypoints", "CARD", "a YAML file that says of the keypoints what the annotations do not", Path),
            _JSON,
        ),
        Word(data_check, Argument("DATA", "", f"{_FOLDER}, or one in HRNet's layout of MPII"), _QUIET, _JSON),
        Word(
            data_subset,
            Argument("DATA", "", _FOLDER),
            Argument("--persons", "N", "at most so many of each part", _count, required=True),
            Argument("--out", "DIR", "the new folder", Path, required=True),
            Argument("--seed", "N", "of the choice (default: 0)", _seed, 0),
            Argument("--copy", "", "copy the pictures, so that the folder needs no other"),
            _JSON,
        ),
        Word(
            data_draw,
            Argument("--persons", "N", "so many to learn from", _count, required=True),
            Argument("--out", "DIR", "the new folder", Path, required=True),
            Argument("--seed", "N", "of the dice (default: 0)", _seed, 0),
            _JSON,
        ),
        Word(
            profile,
            replace(_ARCHITECTURE, required=False),
            Argument("--input", "HxW", "the network's input in pixels (default: 256x192)", _size),
            Argument("--keypoints", "N", "heatmaps that come out (default: 17)", _keypoints),
            Argument("--published", "", "instead of an ARCHITECTURE: all published networks, as their papers count"),
            _RUNS,
            _JSON,
        ),
        Word(cards, _JSON),
        Word(show, replace(_CARD, help=f"{_CARD.help}, or STUDY#KEY"), _RUNS, _JSON),
        Word(
            copy,
            _CARD,
            Argument("TO", "", "the new file, or a folder (default: SHELF/NAME.yaml)", Path, required=False),
        ),
        Word(doctor, _RUNS, _JSON),
        Word(version),
    )
}


# ---------------------------------------------------------------------------------------------------------------------
# reading the command line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `hrnas`.

    Returns:
        0: done; 1: not all is well (a search that ended early, a machine with something to mend); 2: a mistake of the
        user's; 130: stopped by Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # torch's threads spin while they wait for each other: a thousand small layers a step are three times slower when
    # another program wants the cores. Spinning this little costs nothing on a quiet machine; torch reads it on loading.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if threading.current_thread() is threading.main_thread():
        # a polite end is an interruption: claims are given back
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped; {_how_to_go_on(arguments)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `hrnas cards | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'hrnas'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(front_page())
        return 0
    if arguments[0] == "--version":
        arguments = ["version", *arguments[1:]]
    name, rest = split_word(arguments)
    if name not in WORDS:
        raise UserError(f"hrnas has no word '{name}'; {_nearest(name, WORDS)}")
    parser = word_parser(name)
    said, strange = parser.parse_known_args(rest)
    if strange:
        known = [*(argument.name for argument in WORDS[name].arguments if argument.is_option), "--help"]
        raise UserError(f"hrnas {name} does not take '{strange[0]}'; {_nearest(strange[0], known)}")
    status = WORDS[name].run(said)
    sys.stdout.flush()
    return status


def split_word(arguments: list[str]) -> tuple[str, list[str]]:
    """The word that a command begins with, which may be two (`data check`), and what follows it."""
    length = 2 if any(word.startswith(f"{arguments[0]} ") for word in WORDS) else 1
    return " ".join(arguments[:length]), arguments[length:]


def front_page() -> str:
    """What `hrnas --help` prints."""
    width = max(map(len, WORDS))
    words = "\n".join(f"  {name:<{width}}  {word.about}" for name, word in WORDS.items())
    return f"{BEGINNING}\n\n{words}\n\n{END}"


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}\n{self.format_usage().strip()}")


def word_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one word."""
    word = WORDS[name]
    parser = _Parser(prog=f"hrnas {name}", description=word.story, allow_abbrev=False)
    for argument in word.arguments:
        argument.add_to(parser)
    return parser


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"


def _how_to_go_on(arguments: list[str]) -> str:
    if arguments[0] in ("search", "train", "repeat"):
        return f"nothing is lost. To go on, say the same again: {shlex.join(['hrnas', *arguments])}"
    if arguments[0] == "predict":
        return "what was drawn so far lies in --out"
    return "nothing was changed"


# ---------------------------------------------------------------------------------------------------------------------
# writing


def _front_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """The front of a study, as text and as JSON."""
    from hrnas.names import open_study, study_as_typed
    from hrnas.report.facts import format_front, front_document, read_facts

    ledger = open_study(str(folder))
    try:
        facts = read_facts(ledger)
    finally:
        ledger.close()
    return format_front(facts), front_document(facts, study_as_typed(folder, facts.name))


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _fitting(text: str, used: int) -> str:
    """As much of a text as a terminal's line still holds; all of it anywhere else."""
    if not sys.stdout.isatty():
        return text
    return textwrap.shorten(text, max(_line_width() - used, 20), placeholder=" ...")


def _line_width() -> int:
    """Characters in a line of the terminal; 100 in a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def _brief(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"
    return json.dumps(value, default=str)


def _parts(parts: dict[str, dict[str, Any]]) -> str:
    """A table of an architecture's parts: one line each, one column for each count."""
    columns = list(dict.fromkeys(name for counts in parts.values() for name in counts))
    lines = [
        ("part", *columns),
        *((part, *(_brief(counts.get(c, "")) for c in columns)) for part, counts in parts.items()),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _print_tree(name: str, value: object, indent: str = "") -> None:
    if isinstance(value, dict) and value:
        print(f"{indent}{name}:")
        for key, inner in value.items():
            _print_tree(key, inner, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        print(f"{indent}{name}:")
        for inner in value:
            print(f"{indent}  - {', '.join(f'{key}: {_brief(v)}' for key, v in inner.items())}")
    else:
        print(f"{indent}{name}: {_brief(value)}")
