# SPDX-License-Identifier: Apache-2.0
"""The steps of a graph on a chip: each op as the passes that the chip's units make of it.

A step is one run of one unit. Cycles, traffic, memory plan and energy are all functions of this
list; nothing else says what an op costs. An op that is a view has no step, and neither has a
Rescale that the table before it does in the same pass (``compute.fused_lookup_rescale``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from simulator.cost.constants import constants_of
from simulator.cost.engine import GemmExtents, gemm_extents, heads_cycles
from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.cost.forms import fused_rescales, passes_of
from simulator.cost.placement import kind_of, place_of
from simulator.cost.runs import run_elements
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Op, TensorId
from simulator.profile import NpuProfile
from simulator.profile.cost import HostSection
from simulator.profile.passes import OPERANDS, RESULT, PassesOfKind, PassSection, PlacedKind, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes of one activation or temporary that a step reads or writes.

    Attributes
    ----------
    tensor
        name of the activation as an op reads it (a view has its own), or of a temporary
    bytes
        in all, a tensor that is read several times counted as often
    run_bytes
        of one contiguous run
    """

    tensor: TensorId
    bytes: int
    run_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of one unit.

    Attributes
    ----------
    op, kind, name
        the op it belongs to, its kind in the profile's tables, and ``op`` or ``op/number``
    unit
        what runs it
    cycles
        of that unit, all operands at hand
    issue_cycles
        before it starts
    elements
        that a vector unit, DMA or host works on; 0 of a product on the MAC array
    macs
        multiply-accumulate operations of a product, in its first step
    reads, writes
        activations and temporaries
    constants
        names of the constants it reads
    product
        extents of a matrix product on the array, whose operands pass it tile by tile; else None
    """

    op: TensorId
    kind: PlacedKind
    name: str
    unit: Unit
    cycles: int
    issue_cycles: int
    elements: int
    macs: int
    reads: tuple[Transfer, ...]
    writes: tuple[Transfer, ...]
    constants: frozenset[TensorId]
    product: GemmExtents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The steps of a graph on a chip, in order.

    Attributes
    ----------
    temporaries
        bytes of each tensor that lives between the steps of one op
    fused
        Rescales without a step of their own, and the op whose last step does them
    unplaced
        ops that the chip has no place for, in order; they have no steps
    """

    steps: tuple[Step, ...]
    temporaries: Mapping[TensorId, int]
    fused: Mapping[TensorId, TensorId]
    unplaced: tuple[TensorId, ...]


def program_of(graph: IntGraph, profile: NpuProfile) -> Program:
    """Return the steps of a verified graph on a chip."""
    fused = fused_rescales(graph, profile.compute)
    results = {lookup: rescale for rescale, lookup in fused.items()}
    steps: list[Step] = []
    temporaries: dict[TensorId, int] = {}
    unplaced: list[TensorId] = []
    for op in graph.ops:
        if op.name in fused or SPECS[type(op)].is_view(graph, op):
            continue
        kind = kind_of(graph, op)
        if place_of(kind, profile.compute) == "none":
            unplaced.append(op.name)
            continue
        passes = passes_of(kind, profile.compute)
        counts = _counts(graph, op)
        temporaries |= {
            f"{op.name}/{name}": ceil_div(counts[each.per] * each.bits, 8)
            for name, each in passes.temporaries.items()
        }
        result = results.get(op.name, op.name)
        steps += _steps(graph, op, passes, _Context(profile, kind, counts, result, temporaries))
    return Program(
        steps=_with_handovers(steps, profile.compute.host),
        temporaries=temporaries,
        fused=fused,
        unplaced=tuple(unplaced),
    )


def _with_handovers(steps: Sequence[Step], host: HostSection | None) -> tuple[Step, ...]:
    """Return the steps with the cycles that pass at every border between chip and host.

    The network begins and ends on the chip.
    """
    if host is None:
        return tuple(steps)
    found = []
    on_host = False
    for number, step in enumerate(steps):
        borders = (step.unit == "host") != on_host
        on_host = step.unit == "host"
        leaves = on_host and number == len(steps) - 1
        waits = step.issue_cycles + (borders + leaves) * host.handover_cycles
        found.append(replace(step, issue_cycles=waits))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Context:
    """What the steps of one op share."""

    profile: NpuProfile
    kind: PlacedKind
    counts: Mapping[str, int]
    result: TensorId
    temporaries: Mapping[TensorId, int]


def _steps(graph: IntGraph, op: Op, passes: PassesOfKind, context: _Context) -> Iterator[Step]:
    """Yield one step for each pass; the first one reads the op's constants and has its MACs."""
    compute = context.profile.compute
    for number, each in enumerate(passes.passes):
        product = None
        if each.unit == "mac" and context.kind in {"linear", "matmul"} and each.over == "work":
            product = gemm_extents(graph, op)
        reads = tuple(_reads(graph, op, each, context))
        writes = (_written(graph, op, each, context),)
        yield Step(
            op=op.name,
            kind=context.kind,
            name=op.name if len(passes.passes) == 1 else f"{op.name}/{number}",
            unit=each.unit,
            cycles=_cycles(each, product, context) + _copied(each, (*reads, *writes), compute.host),
            issue_cycles=compute.issue_cycles or 0,
            elements=0 if product else context.counts[each.over],
            macs=product_macs(graph, op) if number == 0 else 0,
            reads=reads,
            writes=writes,
            constants=constants_of(graph, op) if number == 0 else frozenset(),
            product=product,
        )


def _counts(graph: IntGraph, op: Op) -> dict[str, int]:
    """Return the elements of each kind that passes and temporaries count."""
    result = graph.result(op)
    columns = result.shape[-1] if result.shape else 1
    return {
        "result": result.size,
        "operand": graph.tensors[op.operands[0]].size,
        "row": result.size // columns,
        "mac": product_macs(graph, op),
        "work": product_macs(graph, op) or SPECS[type(op)].elements(graph, op),
    }


def _cycles(each: PassSection, product: GemmExtents | None, context: _Context) -> int:
    """Return the cycles of a pass on its unit, all operands at hand."""
    compute = context.profile.compute
    if product is not None:
        return heads_cycles(product, compute.engine)
    rate = as_written(each.cycles_per_element)
    lanes = compute.vector.lanes if each.unit == "vector" else 1
    return ceil_times(context.counts[each.over], rate / lanes)


def _copied(each: PassSection, moved: Sequence[Transfer], host: HostSection | None) -> int:
    """Return the cycles in which a pass of the host copies what it reads and writes."""
    if each.unit != "host" or host is None:
        return 0
    copied = sum(transfer.bytes for transfer in moved)
    return ceil_times(copied, 1 / as_written(host.copy_bytes_per_cycle))


def _reads(graph: IntGraph, op: Op, each: PassSection, context: _Context) -> Iterator[Transfer]:
    """Yield what a pass reads; over macs, all but a second operand once for each column."""
    columns = graph.result(op).shape[-1] if each.over == "mac" else 1
    for name in each.reads:
        if name != OPERANDS:
            size = context.temporaries[f"{op.name}/{name}"]
            yield Transfer(tensor=f"{op.name}/{name}", bytes=size * columns, run_bytes=size)
            continue
        for place, operand in enumerate(op.operands):
            tensor = graph.tensors[operand]
            if graph.is_constant(operand):
                continue
            again = columns if place == 0 else 1
            run = ceil_div(run_elements(graph, op, operand) * tensor.type.bits, 8)
            yield Transfer(tensor=operand, bytes=tensor.bytes * again, run_bytes=run)


def _written(graph: IntGraph, op: Op, each: PassSection, context: _Context) -> Transfer:
    """Return what a pass writes; over macs, a temporary once for each column."""
    if each.writes == RESULT:
        tensor = graph.tensors[context.result]
        run = ceil_div(run_elements(graph, op, None) * tensor.type.bits, 8)
        return Transfer(tensor=context.result, bytes=tensor.bytes, run_bytes=run)
    size = context.temporaries[f"{op.name}/{each.writes}"]
    columns = graph.result(op).shape[-1] if each.over == "mac" else 1
    return Transfer(tensor=f"{op.name}/{each.writes}", bytes=size * columns, run_bytes=size)
