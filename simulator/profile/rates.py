# SPDX-License-Identifier: Apache-2.0
"""Extents and rates of compute units, by kind of op."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.profile.section import Section

LARGEST_EXTENT = 1 << 20
LARGEST_RATE = 1e6
Extent = Annotated[int, Field(ge=1, le=LARGEST_EXTENT)]
Rate = Annotated[float, Field(ge=1 / LARGEST_RATE, le=LARGEST_RATE)]
RateOrZero = Annotated[float, Field(ge=0, le=LARGEST_RATE)]

# What ops cost the same, as their specifications name it.
VectorKind = Literal["softmax", "layernorm", "lookup", "add", "rescale", "mean", "layout", "float"]


# A field below bears the name of the builtin.
_Rate = Rate
_RateOrZero = RateOrZero


class CyclesPerElement(Section):
    """Cycles that one lane of the vector unit takes for one element of each op.

    ``float`` is the rate of every op that is not integer arithmetic.
    """

    softmax: _Rate
    layernorm: _Rate
    lookup: _Rate
    add: _Rate
    rescale: _Rate
    mean: _Rate
    layout: _RateOrZero
    float: _Rate
