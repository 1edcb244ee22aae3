# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that change no integers: for the cost model, and the layout of vectors.

Keys that came later than the first profiles are optional. Absent, they leave the estimate as it was
(no port limits, no issue cycles, one pass for each op) and the profile's hash as it was.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from simulator.profile.passes import Passes, Placement
from simulator.profile.rates import CyclesPerElement, Extent, Rate, RateOrZero
from simulator.profile.section import Section

# Far beyond any chip, and small enough for cycles and milliseconds to be numbers.
LARGEST_MEMORY = 1 << 40
LARGEST_WORD = 1 << 16  # bits
LARGEST_WAIT = 1 << 30  # cycles
Cycles = Annotated[int, Field(ge=0, le=LARGEST_WAIT)]
Width = Annotated[int, Field(ge=1, le=64)]


class WidthSpeed(Section):
    """How many times as many multiply-accumulates a cycle an array does at two widths of operands.

    ``a_bits`` and ``b_bits`` are the widths of the left and the right operand (activations and
    weights of a layer); the speed holds for operands at most as wide.
    """

    a_bits: Width
    b_bits: Width
    speed: Rate


class SystolicEngine(Section):
    """A systolic array of ``rows`` x ``columns`` multipliers.

    ``heads_parallel`` is how many products of a batch it computes at once; ``widths`` what narrower
    operands gain: nothing, where it is absent.
    """

    kind: Literal["systolic"]
    rows: Extent
    columns: Extent
    dataflow: Literal["output_stationary", "weight_stationary", "input_stationary"]
    overlap: Literal["none", "fold"]
    heads_parallel: Extent | None = None
    widths: tuple[WidthSpeed, ...] | None = Field(default=None, strict=False)


class DotEngine(Section):
    """A dot-product engine: per step, ``m`` x ``n`` outputs of ``k`` products each.

    ``rectangle`` is how the ``m`` rows lie where the array takes them as height x width of a
    picture: a product of 197 rows is a picture of 1 x 197, which leaves half of 2 x 2 idle.
    ``accumulators`` is how many sums it holds while all of K passes: the more, the less often it
    reads its operands; as many as a step makes, where it is absent.
    """

    kind: Literal["dot"]
    m: Extent
    n: Extent
    k: Extent
    cycles_per_step: Extent
    pipeline_depth: Annotated[int, Field(ge=0, le=LARGEST_WAIT)]
    rectangle: Annotated[tuple[Extent, Extent], Field(strict=False)] | None = None
    accumulators: Extent | None = None
    heads_parallel: Extent | None = None
    widths: tuple[WidthSpeed, ...] | None = Field(default=None, strict=False)

    @model_validator(mode="after")
    def _rectangle_has_m_places(self) -> Self:
        if self.rectangle and self.rectangle[0] * self.rectangle[1] != self.m:
            raise ValueError(f"rectangle: height times width must be m = {self.m}")
        return self

    @model_validator(mode="after")
    def _sums_of_a_step_have_places(self) -> Self:
        if self.accumulators is not None and self.accumulators < self.m * self.n:
            raise ValueError(
                f"accumulators = {self.accumulators}: a step makes m * n = {self.m * self.n} sums"
            )
        return self


class VectorSection(Section):
    """The vector unit that computes everything but matrix products."""

    lanes: Extent
    cycles_per_element: CyclesPerElement


class HostSection(Section):
    """The processor beside the chip, for ops that are placed there.

    Rates are cycles of the chip's compute clock for one element. What such an op reads and writes
    is copied at ``copy_bytes_per_cycle``, absent where chip and host share a memory;
    ``handover_cycles`` pass at every border between chip and host, for the interrupt and the
    conversion of layouts.
    """

    cycles_per_element: CyclesPerElement
    cycles_per_mac: Rate
    copy_bytes_per_cycle: Rate | None = None
    handover_cycles: Cycles


class Float16Section(Section):
    """What the same chip does in float16: rates relative to 8-bit integers, 1 for the same."""

    mac_speed: Rate
    vector_speed: Rate


class ComputeSection(Section):
    """Compute units and clock rate.

    Attributes
    ----------
    issue_cycles
        of every pass, before its unit starts
    requantize
        ``fused`` into the drain of the array, or a pass of the ``vector`` unit that reads the sums
    fused_lookup_rescale
        True if a table of wide entries and the Rescale behind it are one pass that stores the
        result only
    fused_lookup
        True if a table is looked up on the way out of the unit that computes its operand
    inputs_arranged
        True if whoever writes an image's codes writes them in the order of the first product:
        Transposes of inputs take no time of the chip
    broadcast_rereads
        True where an operand with fewer elements than the result is read again for each that it
        meets, constants too
    streaming_softmax
        False where exponentials are stored, at the width of the op's table of them or in 32 bits;
        True, as where it is absent, where they never leave the unit
    passes
        ops that take more than one pass, or other ones than the common form
    """

    clock_mhz: Rate
    engine: Annotated[SystolicEngine | DotEngine, Field(discriminator="kind")]
    vector: VectorSection
    issue_cycles: Cycles | None = None
    requantize: Literal["fused", "vector"] | None = None
    fused_lookup_rescale: bool | None = None
    fused_lookup: bool | None = None
    inputs_arranged: bool | None = None
    broadcast_rereads: bool | None = None
    streaming_softmax: bool | None = None
    placement: Placement | None = None
    host: HostSection | None = None
    passes: Passes | None = None
    float16: Float16Section | None = None

    @model_validator(mode="after")
    def _places_are_described(self) -> Self:
        """Check that every unit that has an op is described well enough to cost it."""
        if self.placement is None:
            return self
        if "host" in self.placement.units() and self.host is None:
            raise ValueError("placement: names the host, and there is no [compute.host]")
        for kind, unit in self.placement:
            passes = getattr(self.passes, kind, None) if self.passes else None
            common = {"mac" if kind in {"linear", "matmul"} else "vector", "host", "none", None}
            if kind == "layout":
                common.add("dma")
            if passes is None and unit not in common:
                raise ValueError(
                    f"placement.{kind} = {unit!r}: that unit has no common form for it; "
                    f"describe it in [compute.passes.{kind}]"
                )
        return self


class PortSection(Section):
    """A memory's port: bandwidth in bytes per cycle of the compute clock.

    A transfer takes ``latency_cycles``, then whole bursts: a contiguous run that is no multiple of
    ``burst_bytes`` takes as long as the next multiple. What is read comes no faster than
    ``read_bytes_per_cycle``, where the requests that may be under way at once allow no more: their
    bytes over the latency.
    """

    bytes_per_cycle: Rate
    read_bytes_per_cycle: Rate | None = None
    burst_bytes: Extent = 1
    latency_cycles: Cycles = 0


class MemorySection(Section):
    """Memory sizes in bytes, bandwidths in bytes per cycle of the compute clock.

    Attributes
    ----------
    word_bits
        width of a memory word: how golden vectors are packed
    sram_port
        absent where the SRAM always keeps up
    dram_read_bytes_per_cycle, dram_burst_bytes, dram_latency_cycles
        of the DRAM port, as in :class:`PortSection`
    double_buffer
        False where a tile is loaded, computed and stored in turn; else transfers run beside
    arena
        ``sram``, as where it is absent: activations lie there, and in DRAM what does not fit;
        ``dram``: they belong to DRAM, and the SRAM is a cache of those that fit. Passes of an op
        whose tensors do not fit together work in stripes then, and store their result in DRAM
    constants
        where weights, biases and tables are kept; ``dram``, where it is absent
    tiles_of
        what the DMA copies into SRAM tile by tile for a product: ``all``, as where it is absent, or
        ``constants`` alone; the array reads an activation that lies in DRAM there then
    prefetch
        True where weights of an op may be fetched during earlier ops into SRAM that is free
    """

    sram_bytes: Annotated[int, Field(ge=1, le=LARGEST_MEMORY)]
    dram_bytes_per_cycle: Rate
    word_bits: Annotated[int, Field(ge=1, le=LARGEST_WORD)] | None = None
    sram_port: PortSection | None = None
    dram_read_bytes_per_cycle: Rate | None = None
    dram_burst_bytes: Extent | None = None
    dram_latency_cycles: Cycles | None = None
    double_buffer: bool | None = None
    arena: Literal["dram", "sram"] | None = None
    constants: Literal["dram", "sram"] | None = None
    tiles_of: Literal["all", "constants"] | None = None
    prefetch: bool | None = None

    @model_serializer(mode="wrap")
    def _stated(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not stated: the table reads as before there was such a key."""
        values: dict[str, Any] = serialized(self)
        return {key: value for key, value in values.items() if value is not None}


__all__ = [
    "ComputeSection",
    "CyclesPerElement",
    "DotEngine",
    "Float16Section",
    "HostSection",
    "MemorySection",
    "PortSection",
    "RateOrZero",
    "SystolicEngine",
    "VectorSection",
    "WidthSpeed",
]
