# SPDX-License-Identifier: Apache-2.0
"""A mistake that a team could have made, and the codes that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from simulator.golden.variants.trial import Trial
from simulator.graph.graph import IntGraph
from simulator.numerics.float_type import Array


class Family(StrEnum):
    """What a variant changes."""

    ROUNDING = "rounding mode"
    DOUBLE_ROUNDING = "rounded twice"
    OVERFLOW = "overflow rule"
    ZERO_POINT_STAGE = "zero-point stage"
    LEFT_SHIFT = "left shift"
    ARITHMETIC = "arithmetic of the factor"
    MULTIPLIER = "multiplier"
    SHIFT = "shift"
    ZERO_POINT = "zero point"
    BIAS = "bias"
    RESIDUAL = "residual"
    SCALING = "factor of a row, column or block"
    ACCUMULATOR_WIDTH = "accumulator width"
    ACCUMULATOR_OVERFLOW = "accumulator overflow rule"
    ACCUMULATOR_ORDER = "accumulation order"
    SIGN = "sign extension"
    REGISTER = "register width"
    TABLE = "table entry"
    CONSTANT = "constant"
    FIELD = "parameter"
    ROOT = "root"
    RECIPROCAL = "reciprocal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One mistake.

    Attributes
    ----------
    name
        ``rounding=half_away``, ``shift+1``
    sentence
        what was built instead
    codes
        the codes that it makes of a trial's operands
    unit
        the changed op, where the mistake is another field, constant or tensor
    """

    name: str
    family: Family
    sentence: str
    codes: Callable[[Trial], Array]
    unit: IntGraph | None = None


def unit_variant(name: str, family: Family, sentence: str, changed: IntGraph) -> Variant:
    """Return a variant that is the same op with other fields, constants or tensors."""
    return Variant(
        name=name,
        family=family,
        sentence=sentence,
        codes=lambda trial: trial.codes_of(changed),
        unit=changed,
    )
