# SPDX-License-Identifier: Apache-2.0
"""The noise that a design has by the scores of its places, corrected by what designs were measured.

The share of noise in the logits' power is taken to be a sum,

    noise = rest + Σ factor(place) score(place, bits),

where the scores are those of :mod:`aocq.search.layer_scores` and the rest is what does not depend
on the places. Scores are of first order, and of networks with one width everywhere; factors are 1
until measured designs say otherwise, and the rest what the first one has beside its scores. Then
both are the most probable ones (ridge regression): with normal priors about these, and errors of
measurement in proportion to the noise. So one measured design moves the factors of what it has most
noise from, and a design that differs from it at one place tells that place's factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aocq.search.places import Place, Widths

FACTOR_SPREAD = 0.7  # standard deviation of a place's factor about 1, before anything is measured
REST_SPREAD = 0.2  # of the rest, as a share of the noise of the first design
MEASUREMENT_SPREAD = 0.02  # of a measured noise, as a share of it
LEAST_FACTOR = 0.05  # no rounding makes a network better

Scores = Mapping[tuple[Place, int], float]  # share of the logits' power


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A design and the share of noise that its integers were measured to have."""

    widths: Widths
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """Scores with the factors that fit what was measured."""

    scores: Scores
    factors: Mapping[Place, float]
    rest: float

    def at(self, place: Place, bits: int) -> float:
        """Return the noise of a place at a width, as a share of the logits' power."""
        return self.factors[place] * self.scores[place, bits]

    def noise(self, widths: Widths) -> float:
        """Return the noise of a design, as a share of the logits' power."""
        return self.rest + sum(self.at(place, bits) for place, bits in widths.items())


def fitted(scores: Scores, measured: Sequence[Measured]) -> NoiseModel:
    """Return the most probable model of noise for what was measured so far, be it nothing."""
    places = list(dict.fromkeys(place for place, _ in scores))
    factors, rest = np.ones(len(places)), 0.0
    if measured:
        first = measured[0]
        scored = sum(scores[place, first.widths[place]] for place in places)
        usual, spread = max(first.noise - scored, 0.0), REST_SPREAD * first.noise
        rows = [[1 / spread, *[0.0] * len(places)]]
        rows += [[0.0, *row] for row in np.eye(len(places)) / FACTOR_SPREAD]
        wanted = [usual / spread, *[1 / FACTOR_SPREAD] * len(places)]
        for each in measured:
            spread = MEASUREMENT_SPREAD * each.noise
            of_places = [scores[place, each.widths[place]] for place in places]
            rows.append([1 / spread, *(score / spread for score in of_places)])
            wanted.append(each.noise / spread)
        found: NDArray[np.float64] = np.linalg.lstsq(np.array(rows), np.array(wanted))[0]
        rest, factors = max(float(found[0]), 0.0), np.maximum(found[1:], LEAST_FACTOR)
    return NoiseModel(
        scores=scores,
        factors=dict(zip(places, map(float, factors), strict=True)),
        rest=rest,
    )


def decibel_of(noise: float) -> float:
    """Return a share of noise as a ratio of signal to noise, dB."""
    return math.inf if noise <= 0 else -10 * math.log10(noise)


def share_of(decibel: float | None) -> float:
    """Return the share of noise of an SQNR in dB; None is no noise, as in ``run.json``."""
    return 0.0 if decibel is None else 10 ** (-decibel / 10)
