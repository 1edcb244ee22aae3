# SPDX-License-Identifier: Apache-2.0
"""Ops that a team could have built by mistake instead of the op as it is.

A variant has a name, a sentence, and yields codes from the same operands. Vectors tell a variant
apart from the truth if one code differs; a dump that equals a variant's codes was made by that
mistake. Names are unique within an op, and equal from op to op for the same mistake.

>>> trial = Trial.of(unit_of(graph, op), {"x": codes})            # doctest: +SKIP
>>> [v.name for v in variants(trial.unit) if not np.array_equal(v.codes(trial), trial.truth)]
... # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.golden.variants import (
    constants,
    groups,
    last_step,
    operands,
    rows,
    sums,
)
from simulator.golden.variants.trial import Trial, unit_of
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.graph import IntGraph

__all__ = ["Family", "Trial", "Variant", "unit_of", "variants"]


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants of a one-op graph; none of ops that only move codes."""
    for source in (
        last_step.variants,
        operands.variants,
        sums.variants,
        constants.variants,
        rows.variants,
        groups.variants,
    ):
        yield from source(unit)
