# SPDX-License-Identifier: Apache-2.0
"""Proofs that a variant of an op yields the same codes whatever its operands are.

Each proof is a short reason that a reader can check by hand, or an enumeration of all that can
occur; where none is found, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.golden.coverage.equal import enumeration, last_step, logarithms, rounding, sums
from simulator.golden.variants.trial import Trial
from simulator.golden.variants.variant import Variant

__all__ = ["proven_equal"]

Proof = Callable[[Trial, Variant], str | None]
PROOFS: tuple[Proof, ...] = (
    *last_step.PROOFS,
    *rounding.PROOFS,
    *sums.PROOFS,
    *logarithms.PROOFS,
    *enumeration.PROOFS,
)


def proven_equal(trial: Trial, variant: Variant) -> str | None:
    """Return why a variant's codes are the op's for all operands, or None."""
    for proof in PROOFS:
        reason = proof(trial, variant)
        if reason is not None:
            return reason
    return None
