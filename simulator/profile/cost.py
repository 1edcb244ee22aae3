# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that change no integers: for the cost model, and the layout of vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from simulator.profile.section import Section

# Far beyond any chip, and small enough for cycles and milliseconds to be numbers.
LARGEST_EXTENT = 1 << 20
LARGEST_MEMORY = 1 << 40
LARGEST_WORD = 1 << 16  # bits
LARGEST_RATE = 1e6
Extent = Annotated[int, Field(ge=1, le=LARGEST_EXTENT)]


class SystolicEngine(Section):
    """A systolic array of ``rows`` x ``columns`` multipliers."""

    kind: Literal["systolic"]
    rows: Extent
    columns: Extent
    dataflow: Literal["output_stationary", "weight_stationary", "input_stationary"]
    overlap: Literal["none", "fold"]


class DotEngine(Section):
    """A dot-product engine: per step, ``m`` x ``n`` outputs of ``k`` products each."""

    kind: Literal["dot"]
    m: Extent
    n: Extent
    k: Extent
    cycles_per_step: Extent
    pipeline_depth: Annotated[int, Field(ge=0, le=LARGEST_EXTENT)]


# A field below bears the name of the builtin.
_Rate = Annotated[float, Field(ge=1 / LARGEST_RATE, le=LARGEST_RATE)]
_RateOrZero = Annotated[float, Field(ge=0, le=LARGEST_RATE)]


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

    lanes: Extent
    cycles_per_element: CyclesPerElement


class ComputeSection(Section):
    """Compute units and clock rate."""

    clock_mhz: _Rate
    engine: Annotated[SystolicEngine | DotEngine, Field(discriminator="kind")]
    vector: VectorSection


class MemorySection(Section):
    """Memory sizes in bytes, bandwidths in bytes per cycle of the compute clock.

    ``word_bits`` is the width of a memory word: how golden vectors are packed. Where it is not
    stated, the table reads as if there were no such key, so that profiles from before keep their
    hashes.
    """

    sram_bytes: Annotated[int, Field(ge=1, le=LARGEST_MEMORY)]
    dram_bytes_per_cycle: _Rate
    word_bits: Annotated[int, Field(ge=1, le=LARGEST_WORD)] | None = None

    @model_serializer(mode="wrap")
    def _stated(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialized(self)
        if self.word_bits is None:
            values.pop("word_bits", None)
        return values
