# SPDX-License-Identifier: Apache-2.0
"""How many candidates few images rule out, and how many good ones among them, by simulation.

The table of ``docs/front.md`` is what ``python tests/aocq/records/simulated_pruning.py`` prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from aocq.records.dominance import dominance
from aocq.records.pruning import Candidate, promising

FLOAT = 0.72  # share of images that the float network is right on
# Shares of these that a quantized network loses: by widths, times a factor of the method, times one
# of the chip, which is drawn anew. Widths and chips have costs, methods have none.
LOST_BY_WIDTHS = (0.01, 0.03, 0.10)
METHODS = (1.0, 1.7, 3.0)
CHIPS = 6
CANDIDATES = len(LOST_BY_WIDTHS) * len(METHODS) * CHIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Sums over all repetitions.

    candidates, on_front : how many there were, and how many of them truly on the front
    pruned, lost : how many were pruned, and how many of those are truly on the front
    """

    candidates: int
    on_front: int
    pruned: int
    lost: int


def simulate(images: int, repetitions: int, seed: int) -> Simulated:
    """Prune candidates on images drawn anew each time: widths x methods x chips.

    A candidate wins a tenth as many of the images that the float network is wrong on.
    """
    rng = np.random.default_rng(seed)
    on_front = pruned = lost = 0
    for _ in range(repetitions):
        speed, factor = rng.random(CHIPS), rng.uniform(0.5, 2.0, CHIPS)
        grid = [*product(range(len(LOST_BY_WIDTHS)), range(len(METHODS)), range(CHIPS))]
        costs = np.array([(-widths, speed[chip]) for widths, _, chip in grid])
        losing = np.array([LOST_BY_WIDTHS[w] * METHODS[m] * factor[chip] for w, m, chip in grid])
        true_share = FLOAT * (1 - losing) + (1 - FLOAT) * losing / 10
        front = set(dominance(np.column_stack([costs, -true_share])).front)
        right = rng.random(images) < FLOAT
        flips = rng.random((CANDIDATES, images))
        outcomes = np.where(right, flips >= losing[:, None], flips < losing[:, None] / 10)
        candidates = [
            Candidate(
                name=str(place),
                compared_with="",
                costs=tuple(map(float, costs[place])),
                outcomes=outcomes[place],
            )
            for place in range(CANDIDATES)
        ]
        gone = {d.name for d in promising(candidates) if not d.kept}
        on_front += len(front)
        pruned += len(gone)
        lost += len(gone & {str(place) for place in front})
    return Simulated(
        candidates=CANDIDATES * repetitions, on_front=on_front, pruned=pruned, lost=lost
    )


if __name__ == "__main__":
    for number in (64, 128, 256):
        found = simulate(number, 200, 0)
        print(
            f"| {number} | {100 * found.pruned / found.candidates:.1f} % | "
            f"{found.lost} of {found.on_front} |"
        )
