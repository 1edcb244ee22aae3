# SPDX-License-Identifier: Apache-2.0
"""The memory plan of an estimate as records: every buffer, and what fills the SRAM at its peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aocq.methods.quantizers import QuantizedWeight
from aocq.records.costs import BufferRecord, MemoryRecord, PeakRecord
from simulator.cost import Buffer, CostEstimate
from simulator.graph import IntGraph
from simulator.graph.graph import Tensor


def parameter_bits(parameters: int, bits: int, weights: Mapping[str, QuantizedWeight]) -> int:
    """Return the bits of a network's parameters.

    Parameters
    ----------
    parameters
        how many there are
    bits
        of the recipe's weights, which parameters that are no weights of layers count with too
    weights
        by parameter name, each of its own width
    """
    others = sum(weight.codes.size * (weight.bits - bits) for weight in weights.values())
    return parameters * bits + others


def memory_record(costs: CostEstimate, parameters_bits: int) -> MemoryRecord:
    """Return bytes on the chip and beside it, and of all parameters, whose bits are given."""
    plan = costs.plan
    return MemoryRecord(
        weight_bytes=costs.weight_bytes,
        model_size_bytes=(parameters_bits + 7) // 8,
        peak_sram_bytes=plan.peak_sram_bytes,
        greedy_peak_sram_bytes=plan.greedy_peak_sram_bytes,
        peak_lower_bound_bytes=plan.peak_lower_bound_bytes,
        sram_bytes=costs.sram_bytes,
        dram_bytes=costs.dram_bytes,
    )


def peak_record(costs: CostEstimate) -> PeakRecord | None:
    """Return the first moment with the most bytes alive; None of a graph without steps."""
    plan = costs.plan
    if not costs.steps:
        return None
    return PeakRecord(
        op=costs.steps[plan.peak_step].step.op,
        bytes=plan.peak_lower_bound_bytes,
        buffers=[buffer.name for buffer in plan.peak_buffers],
    )


def buffer_records(graph: IntGraph, costs: CostEstimate) -> list[BufferRecord]:
    """Return all buffers, in order of first need, where they lie on this chip."""
    moments = _moments(graph, costs)
    return [_buffer_record(graph, costs, buffer, moments) for buffer in costs.plan.buffers]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A step by the index of its op and its number among the op's passes."""

    op: int
    number: int


def _moments(graph: IntGraph, costs: CostEstimate) -> list[_Moment]:
    places = {op.name: place for place, op in enumerate(graph.ops)}
    begun: dict[str, int] = {}
    found = []
    for number, cost in enumerate(costs.steps):
        name = cost.step.op
        found.append(_Moment(places[name], number - begun.setdefault(name, number)))
    return found or [_Moment(0, 0)]


def _buffer_record(
    graph: IntGraph, costs: CostEstimate, buffer: Buffer, moments: Sequence[_Moment]
) -> BufferRecord:
    first, last = moments[buffer.first], moments[buffer.last]
    temporary = buffer.temporary_bits is not None
    return BufferRecord(
        name=buffer.name,
        op=_writer(graph, costs, buffer),
        type=f"{buffer.temporary_bits} bits" if temporary else str(_tensor(graph, buffer).type),
        bytes=buffer.bytes,
        offset=costs.traffic.residency.offsets.get(buffer.name),
        first=first.op,
        last=last.op,
        first_pass=first.number,
        last_pass=last.number,
        storage="temporary" if temporary else "activation",
    )


def _tensor(graph: IntGraph, buffer: Buffer) -> Tensor:
    """Return the tensor that a buffer holds; of a part without a name, what it is a part of."""
    return graph.tensors[buffer.name.partition("[")[0]]


def _writer(graph: IntGraph, costs: CostEstimate, buffer: Buffer) -> str:
    """Return the op whose step writes a buffer first, or the tensor's own name if none does.

    Network inputs are written by nobody, and views of constants are read before anything else.
    """
    if buffer.name in graph.inputs or not costs.steps:
        return buffer.name
    step = costs.steps[buffer.first].step
    return buffer.name if buffer.name in {each.tensor for each in step.reads} else step.op
