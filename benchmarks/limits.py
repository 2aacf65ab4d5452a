"""How fast a study's limits let proposals through: with nothing remembered, and from the remembered costs of pieces.

    python benchmarks/limits.py [--space joint] [--accept 0.01]

The limit is put where that share of drawn networks is inside. Then networks are drawn and brought inside, as a study
with a random driver does it, for so many CPU seconds of one core; a screened network is one whose cost was counted.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from hrnas.nets import cost
from hrnas.search.limits import Limits
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space

INPUT = (256, 192)
DRAWN = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="joint")
    parser.add_argument("--accept", type=float, default=0.01, help="share of drawn networks that is inside")
    parser.add_argument("--seconds", type=float, default=30.0)
    said = parser.parse_args()
    torch.set_num_threads(1)
    space, rng = load_space(said.space), np.random.default_rng(0)
    counted = 0

    def count(architecture: Architecture) -> dict[str, float]:
        nonlocal counted
        counted += 1
        return {"macs": cost.measure_cost(architecture, 17, INPUT).macs}

    drawn = [space.decode(space.sample(rng)) for _ in range(DRAWN)]
    limit = float(np.quantile([count(each)["macs"] for each in drawn], said.accept))
    began = time.process_time()
    for each in drawn:
        count(each)
    rate = DRAWN / (time.process_time() - began)
    print(f"{said.space}: {limit:.4g} MACs; remembered: {rate:.0f} screened per second")
    cost._count.cache_clear()
    limits = Limits(space, {"macs": limit}, count)
    found, counted, began = 0, 0, time.process_time()
    smallest, _ = limits.first_inside(rng)
    while (spent := time.process_time() - began) < said.seconds:
        proposal = limits.count(space.sample(rng))
        if proposal.broken:
            proposal = limits.repaired(proposal, lambda: smallest.genome, rng)
        assert not proposal.broken
        found += 1
    print(f"from nothing: {found / spent:.1f} inside per second ({counted / found:.1f} counts each), {spent:.0f} s")


if __name__ == "__main__":
    main()
