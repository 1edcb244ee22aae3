# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that only the cost model reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.profile.section import Section


class SystolicEngine(Section):
    """A systolic array of ``rows`` x ``columns`` multipliers."""

    kind: Literal["systolic"]
    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    dataflow: Literal["output_stationary", "weight_stationary", "input_stationary"]
    overlap: Literal["none", "fold"]


class DotEngine(Section):
    """A dot-product engine: per step, ``m`` x ``n`` outputs of ``k`` products each."""

    kind: Literal["dot"]
    m: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)]
    cycles_per_step: Annotated[int, Field(ge=1)]
    pipeline_depth: Annotated[int, Field(ge=0)]


_Rate = Annotated[float, Field(gt=0)]  # a field below bears the name of the builtin
_RateOrZero = Annotated[float, Field(ge=0)]


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


class VectorSection(Section):
    """The vector unit that computes everything but matrix products."""

    lanes: Annotated[int, Field(ge=1)]
    cycles_per_element: CyclesPerElement


class ComputeSection(Section):
    """What computes, and how fast it ticks."""

    clock_mhz: Annotated[float, Field(gt=0)]
    engine: Annotated[SystolicEngine | DotEngine, Field(discriminator="kind")]
    vector: VectorSection


class MemorySection(Section):
    """Memory sizes in bytes, bandwidths in bytes per cycle of the compute clock."""

    sram_bytes: Annotated[int, Field(ge=1)]
    dram_bytes_per_cycle: Annotated[float, Field(gt=0)]
