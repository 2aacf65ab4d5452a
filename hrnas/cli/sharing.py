"""The word on weights that all networks of a space share: supernet train."""

from __future__ import annotations

import sys
from argparse import Namespace

from hrnas.cli.arguments import DATA, JSON, QUIET, RUNS, Argument, word
from hrnas.cli.learning import noting_sigterm
from hrnas.cli.printing import brief, table, to_json


@word(
    Argument("STUDY", "", "a study card, or a study that was begun: a name under --runs, or a run folder"),
    DATA,
    RUNS,
    QUIET,
    JSON,
)
def supernet_train(said: Namespace) -> int:
    """Train the weights that all networks of a study's space share.

    The card's section supernet says by which trainer, and whose turn it is at each step. The weights lie in the study's
    run folder; its rungs of fidelity inherited, hrnas rankcheck and proxies with init: supernet read them there.
    Training that was stopped goes on when the same command is given again; several GPUs train when torchrun starts one
    process for each.
    """
    from hrnas.progress import TrainingProgress
    from hrnas.search.supernet_launch import launch_supernet
    from hrnas.training.loop import Diverged, Stopped
    from hrnas.training.ranks import join_ranks

    with noting_sigterm() as told_to_stop, join_ranks() as ranks:
        quiet = said.quiet or not ranks.leads
        with TrainingProgress(sys.stderr, quiet=quiet) as progress:
            try:
                folder, about = launch_supernet(said.study, said.runs, said.data, ranks, progress, told_to_stop)
            except Diverged as error:
                print(f"training cannot go on: {error}; a lower rate may help", file=sys.stderr)
                return 1
            except Stopped as stopped:
                print(f"{stopped}: saved, and ready to resume; say the same again", file=sys.stderr)
                return 0
        if not ranks.leads:
            return 0
    skipped = dict(about["skipped"])
    if said.json:
        print(to_json(about))
    else:
        shown = {**about, "skipped": sum(skipped.values())}
        print(table((name, brief(value)) for name, value in shown.items() if name != "rule"))
        print(f"\nall of it lies in {folder}")
    if skipped:
        worst = ", ".join(f"{key} ({count} times)" for key, count in sorted(skipped.items(), key=lambda it: -it[1])[:5])
        print(f"no finite gradients, left out of their steps: {worst}", file=sys.stderr)
    return 0
