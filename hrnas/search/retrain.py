"""Train a study's networks in full, and remember their scores in the study's ledger beside those of the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrnas.cards.trainer import Recipe
from hrnas.ledger import Evaluation, Identity
from hrnas.names import find_trial, open_study
from hrnas.reading import format_size
from hrnas.search.worker import Beat, carry_out, is_alive, this_owner
from hrnas.space.architecture import Architecture
from hrnas.training.full import train_architecture
from hrnas.training.loop import Diverged, OnProgress, Progress


def full_identity(key: str, recipe: Recipe, seed: int) -> Identity:
    """The identity of a network's full training."""
    how = f"{recipe.name} {recipe.fingerprint}, {recipe.epochs} epochs"
    return Identity(key, "full", 0, format_size(recipe.input), recipe.data.label, how, seed)


def retrain(study: Path, key: str, recipe: Recipe, seed: int, out: Path, on_progress: OnProgress) -> Evaluation:
    """Train one of a study's networks by a whole recipe, as `hrnas train` does, unless that was done or is being done.

    Only a training that diverges has failed. Whatever else ends it (a full disk, too little memory) gives the claim
    back, and the same call goes on from the last checkpoint.

    Args:
        study: the run folder.
        key: of one of its trials.
        out: the training's folder; one that a training of the same network, recipe and seed left is gone on with.

    Returns:
        The last attempt at this evaluation: done, failed, or somebody else's and running.

    Raises:
        UserError: there is no such trial, or what `train_architecture` says of data, device and folder.
    """
    trial = find_trial(str(study), key)
    identity = full_identity(trial.key, recipe, seed)
    ledger = open_study(str(study))
    try:
        ledger.recover(is_alive)
        claim = ledger.claim(identity, this_owner())
        if claim is not None:
            architecture = Architecture.from_tree(trial.architecture, source=f"{study}#{trial.key}")

            def work(beat: Beat) -> Mapping[str, Any]:
                def tell(at: Progress) -> None:
                    beat(asdict(at))

                result = train_architecture(architecture, recipe, out, seed, tell)
                assert result is not None  # of one process
                return {name: value for name, value in result.items() if name != "left_out"}

            carry_out(ledger, claim, work, out, lambda at: on_progress(Progress(**at)), failure=Diverged)
        return [one for one in ledger.evaluations() if one.identity == identity][-1]
    finally:
        ledger.close()
