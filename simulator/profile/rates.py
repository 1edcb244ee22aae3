# SPDX-License-Identifier: Apache-2.0
"""Extents and rates of compute units, by kind of op."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from simulator.profile.section import Section

LARGEST_EXTENT = 1 << 20
LARGEST_RATE = 1e6
Extent = Annotated[int, Field(ge=1, le=LARGEST_EXTENT)]
Rate = Annotated[float, Field(ge=1 / LARGEST_RATE, le=LARGEST_RATE)]
RateOrZero = Annotated[float, Field(ge=0, le=LARGEST_RATE)]

# What ops cost the same, as their specifications name it.
VectorKind = Literal[
    "softmax",
    "layernorm",
    "lookup",
    "add",
    "rescale",
    "mean",
    "layout",
    "float",
    "hadamard",
    "group",
]
# Kinds that came later than the first profiles: where a profile does not speak of them, they have
# the rate and the place of these.
NEAREST_KIND: Mapping[str, str] = MappingProxyType({"hadamard": "add", "group": "rescale"})


# A field below bears the name of the builtin.
_Rate = Rate
_RateOrZero = RateOrZero


class CyclesPerElement(Section):
    """Cycles that one lane of the vector unit takes for one element of each op.

    ``float`` is the rate of every op that is not integer arithmetic, ``hadamard`` that of one
    addition of a rotation (absent: ``add``), ``group`` that of an element whose group is scaled by
    its largest magnitude (absent: ``rescale``).
    """

    softmax: _Rate
    layernorm: _Rate
    lookup: _Rate
    add: _Rate
    rescale: _Rate
    mean: _Rate
    layout: _RateOrZero
    float: _Rate
    hadamard: _Rate | None = None
    group: _Rate | None = None

    def of(self, kind: str) -> _Rate:
        """Return the rate of a kind of op, that of the nearest kind where it is not stated."""
        stated: _Rate | None = getattr(self, kind)
        return self.of(NEAREST_KIND[kind]) if stated is None else stated
