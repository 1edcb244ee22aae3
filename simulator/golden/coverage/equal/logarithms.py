# SPDX-License-Identifier: Apache-2.0
"""Proofs about the logarithms of a softmax that is divided later."""

from __future__ import annotations

from simulator.golden.variants.trial import Trial
from simulator.golden.variants.variant import Variant
from simulator.graph.bounds import intermediates
from simulator.graph.ops import DeferredSoftmax


def _no_logarithm_is_cut(trial: Trial, variant: Variant) -> str | None:
    """What codes beyond the highest one become matters only where there are any."""
    if variant.name != "logarithm=wrap" or not isinstance(trial.op, DeferredSoftmax):
        return None
    highest = trial.result.code_type.high
    found = {value.name: value for value in intermediates(trial.unit, trial.op)}
    if found["logarithms"].interval[1] > highest:
        return None
    return f"no logarithm is above {highest}, the highest code"


PROOFS = (_no_logarithm_is_cut,)
