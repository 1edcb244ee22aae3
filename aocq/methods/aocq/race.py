# SPDX-License-Identifier: Apache-2.0
"""Candidates of one tensor's quantizer, judged on a few images first, the best of them on all.

The losses of two candidates on the same images differ by far less than the losses of one candidate
on different images, so that a few images tell which candidates are worth the rest (successive
halving, Jamieson and Talwalkar, arXiv 1502.07943, in one step).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aocq.capture.parts import in_threads
from aocq.methods.aocq.block_state import BlockState, Candidate, Part
from aocq.methods.aocq.token_norm import BlockLoss

# How many images all candidates are judged on, and how many candidates on the other images, too.
FIRST_IMAGES = 4
KEPT = 2
# With fewer images all candidates are judged on all of them.
FEWEST_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Best:
    """The candidate of least loss: its place in the sequence, and its loss by part."""

    index: int
    errors: list[float]


def race(
    state: BlockState,
    name: str,
    candidates: Sequence[Candidate],
    loss: BlockLoss,
    limit: Sequence[float] | None = None,
) -> Best | None:
    """Return the best of ``candidates`` for the quantizer of ``name``, of equal ones the first.

    Parameters
    ----------
    limit
        the loss by part that a candidate must be below, on the first images and on all; None where
        one of them is to be returned in any case
    """
    state.prepare(name)
    first = _first(state.parts)

    def judged(indices: Iterable[int], parts: Sequence[Part]) -> dict[int, list[float]]:
        pairs = [(index, part) for index in indices for part in parts]
        errors = in_threads(
            lambda pair: state.error_with(name, candidates[pair[0]], loss, pair[1]),
            pairs,
            state.device,
        )
        found: dict[int, list[float]] = {}
        for (index, _), error in zip(pairs, errors, strict=True):
            found.setdefault(index, []).append(error)
        return found

    def below(errors: Sequence[float]) -> bool:
        return limit is None or sum(errors) < sum(limit[: len(errors)])

    early = judged(range(len(candidates)), state.parts[:first])
    leading = sorted(early, key=lambda index: sum(early[index]))
    if first < len(state.parts):
        leading = [index for index in leading if below(early[index])][:KEPT]
        late = judged(leading, state.parts[first:])
        early = {index: early[index] + late[index] for index in leading}
    best = min(sorted(early), key=lambda index: sum(early[index]), default=None)
    if best is None or not below(early[best]):
        return None
    return Best(best, early[best])


def _first(parts: Sequence[Part]) -> int:
    """Return how many parts all candidates are judged on."""
    if parts[-1].images.stop < FEWEST_IMAGES:
        return len(parts)
    return next(n for n, part in enumerate(parts, start=1) if part.images.stop >= FIRST_IMAGES)


def spread(count: int) -> list[int]:
    """Return 0 to ``count`` - 1 in an order whose first :data:`FIRST_IMAGES` are evenly spread.

    Images come sorted by class: the first of them in a row would be of a few classes only.
    """
    step = max(count // FIRST_IMAGES, 1)
    return sorted(range(count), key=lambda index: (index % step, index))
