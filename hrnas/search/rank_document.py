"""Say what a rank check measured: every measure held against the reference, with intervals, as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hrnas.cards.study import ZERO_COST
from hrnas.rank_statistics import Estimate, difference, draw_counts, estimate, kendall, ratio, spearman, top_regret
from hrnas.reading import UserError
from hrnas.search.rank_rows import TRAINED, Row

__all__ = ["COSTS", "FEWEST", "describe"]

COSTS = ("params", "macs")
FEWEST = 4  # architectures to compute a tau of
TOPS = (1, 3)  # regret of the proxy's best, and of its three best

Values = Mapping[str, float]  # by key
BySeed = Mapping[int, Values]


def describe(rows: Sequence[Row], longest: int, titles: Mapping[str, str]) -> dict[str, Any]:
    """Every measure held against the reference, as a JSON document.

    Args:
        longest: the reference's epochs.
        titles: the names of published points by key.

    Raises:
        UserError: fewer than four architectures have a reference.
    """
    values: dict[tuple[str, int], dict[int, dict[str, float]]] = {}  # measure and budget -> seed -> key -> value
    seconds: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        values.setdefault((row.measure, row.budget), {}).setdefault(row.seed, {})[row.key] = row.value
        seconds.setdefault((row.measure, row.budget), []).append(row.seconds)
    references = values.pop((TRAINED, longest), {})
    first = min(references, default=0)
    reference = references.get(first, {})
    if len(reference) < FEWEST:
        raise UserError(
            f"only {len(reference)} architectures are trained for {longest} epochs; a rank check needs {FEWEST}"
        )
    again = [references[seed] for seed in sorted(references) if seed != first]
    lines: list[dict[str, Any]] = []
    for (name, budget), by_seed in values.items():
        for label, seeds, is_same in _seedings(name, budget, by_seed, first):
            line = {"measure": name, "budget": budget, "label": label, "same_seed": is_same}
            line["seconds"] = round(float(np.mean(seconds[name, budget])), 1)
            lines.append(line | _against([by_seed[seed] for seed in seeds], reference, again, values))
    lines.sort(key=lambda line: (_place(line["measure"]), line["budget"], line["same_seed"]))
    return {
        "architectures": len(reference),
        "reference": {"measure": TRAINED, "budget": longest, "seeds": sorted(references)},
        "ceiling": _ceiling(reference, again),
        "rows": [line for line in lines if line["n"] >= FEWEST],
        "points": [
            {
                "key": key,
                "title": titles.get(key, ""),
                "reference": [reference[key], *(one[key] for one in again if key in one)],
                "values": {
                    label: float(np.mean([by_seed[seed][key] for seed in seeds]))
                    for (name, budget), by_seed in values.items()
                    for label, seeds, _ in _seedings(name, budget, by_seed, first)
                    if all(key in by_seed[seed] for seed in seeds)
                },
            }
            for key in reference
        ],
    }


def _seedings(name: str, budget: int, by_seed: BySeed, first: int) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """How to hold a measure against the reference: (label, the measure's seeds, whether it shares the training's luck).

    A short training with the reference's own seed has part of the reference's luck in it, and so looks better than it
    is: what a search sees of a network that it never trains on is what another seed shows.
    """
    if name != TRAINED:
        yield name, (min(by_seed),), False
        return
    label = f"proxy, {budget} epoch{'' if budget == 1 else 's'}"
    others = tuple(sorted(seed for seed in by_seed if seed != first))
    if first in by_seed:
        yield f"{label}, same seed", (first,), True
    if others:
        yield f"{label}, other seed", others, False


def _against(
    proxies: Sequence[Values],
    reference: Values,
    again: Sequence[Values],
    values: Mapping[tuple[str, int], BySeed],
) -> dict[str, Any]:
    keys = [key for key in reference if all(key in proxy for proxy in proxies)]
    if len(keys) < FEWEST:
        return {"n": len(keys)}
    truth, ours = _take(reference, keys), [_take(proxy, keys) for proxy in proxies]
    counts = draw_counts(len(keys))
    found: dict[str, Any] = {
        "n": len(keys),
        "tau": _plain(estimate(kendall, ours, truth, counts)),
        "spearman": _plain(estimate(spearman, ours, truth, counts)),
        **{f"regret_{k}": _plain(estimate(top_regret(k), ours, truth, counts)) for k in TOPS},
        "of_ceiling": None,
    }
    for name in COSTS:
        cost = next(iter(values.get((name, 0), {}).values()), {})
        known = all(key in cost for key in keys)
        gap = difference(kendall, ours, _take(cost, keys), truth, counts) if known else None
        found[f"above_{name}"] = _plain(gap) if gap and gap != (0, 0, 0) else None
    both = [key for key in keys if again and all(key in one for one in again)]
    if len(both) >= FEWEST:
        ours, ceiling = ([_take(one, both) for one in many] for many in (proxies, again))
        found["of_ceiling"] = _plain(ratio(kendall, ours, ceiling, _take(reference, both)))
        found["of_ceiling_n"] = len(both)
    return found


def _ceiling(reference: Values, again: Sequence[Values]) -> dict[str, Any] | None:
    """How well the same training with other seeds agrees with the reference; `None` if no other seed was trained."""
    keys = [key for key in reference if again and all(key in one for one in again)]
    if len(keys) < FEWEST:
        return None
    truth, ours = _take(reference, keys), [_take(one, keys) for one in again]
    return {
        "n": len(keys),
        "tau": _plain(estimate(kendall, ours, truth)),
        "spearman": _plain(estimate(spearman, ours, truth)),
        **{f"regret_{k}": _plain(estimate(top_regret(k), ours, truth)) for k in TOPS},
    }


def _take(values: Values, keys: Sequence[str]) -> list[float]:
    return [values[key] for key in keys]


def _plain(found: Estimate) -> list[float] | None:
    """As JSON has it: three numbers, or null where one is not defined."""
    return [round(part, 6) for part in found] if all(map(math.isfinite, found)) else None


def _place(measure: str) -> int:
    """Costs first, then from cheap to dear."""
    order = (*COSTS, *ZERO_COST, "inherited", TRAINED)
    return order.index(measure) if measure in order else len(order)
