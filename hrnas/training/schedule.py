"""The learning rate over time."""

from __future__ import annotations

import math

from hrnas.cards.trainer import Schedule


def rate_factor(schedule: Schedule, step: int, steps_per_epoch: int, first_epoch: int, last_epoch: int) -> float:
    """What the peak rate is multiplied by at a step.

    Args:
        step: steps taken so far, from the very beginning of training.
        first_epoch, last_epoch: the part of training that shares one warm-up and one cosine: the whole of it, or what a
            rung of a ladder adds. Milestones of `step` always count from the beginning, and so does the one warm-up of
            a `constant` rate, so that a training that paused is the same as one that never did.
    """
    done = step if schedule.kind == "constant" else step - first_epoch * steps_per_epoch
    total = (last_epoch - first_epoch) * steps_per_epoch
    warm = min(1.0, (done + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    if schedule.kind == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in schedule.milestones)
        return warm * schedule.gamma**passed
    if schedule.kind == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / max(1, total))))
    return warm
