# SPDX-License-Identifier: Apache-2.0
"""The steps of a graph on a chip: each op as the passes that the chip's units make of it.

A step is one run of one unit. Cycles, traffic, memory plan and energy are all functions of this
list; nothing else says what an op costs. An op that is a view has no step, and neither has one that
the pass before it does as well (:mod:`simulator.cost.fusion`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from simulator.cost.constants import constants_of
from simulator.cost.counts import counts_of, in_blocks, worked_elements
from simulator.cost.engine import GemmExtents, gemm_extents, heads_cycles
from simulator.cost.exact import as_written, ceil_times
from simulator.cost.exchanges import exchanges
from simulator.cost.forms import passes_of
from simulator.cost.fusion import arranged_inputs, fused_ops
from simulator.cost.placement import kind_of, place_of
from simulator.cost.traffic import Temporary, TrafficOfOp, Transfer
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Lookup, Op, TensorId, Transpose
from simulator.profile import NpuProfile
from simulator.profile.cost import ComputeSection, HostSection
from simulator.profile.passes import PassSection, PlacedKind, Unit


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
    constant_bytes
        of constants that its program reads besides, see ``constant_bits`` of a pass
    scalings
        multiplications of sums by factors of their row or column, by the vector unit
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
    constant_bytes: int = 0
    scalings: int = 0
    product: GemmExtents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The steps of a graph on a chip, in order.

    Attributes
    ----------
    temporaries
        tensors that live between the steps of one op
    fused
        ops without a step of their own, and the op whose last step does them
    in_dram
        temporaries and results that lie in DRAM whatever room the SRAM has
    arranged
        ops of inputs alone that whoever writes the inputs does
    unplaced
        ops that the chip has no place for, in order; they have no steps
    """

    steps: tuple[Step, ...]
    temporaries: Mapping[TensorId, Temporary]
    in_dram: frozenset[TensorId]
    fused: Mapping[TensorId, TensorId]
    arranged: frozenset[TensorId]
    unplaced: tuple[TensorId, ...]


def program_of(graph: IntGraph, profile: NpuProfile) -> Program:
    """Return the steps of a verified graph on a chip."""
    compute = profile.compute
    fused, arranged = fused_ops(graph, compute), arranged_inputs(graph, compute)
    results = _results(fused)
    steps: list[Step] = []
    last: dict[TensorId, int] = {}  # the number of each op's last step
    temporaries: dict[TensorId, Temporary] = {}
    in_dram: set[TensorId] = set()
    unplaced: list[TensorId] = []
    for op in graph.ops:
        if op.name in fused:
            last[op.name] = last[fused[op.name]]
            steps[last[op.name]] = _with_fused(graph, op, steps[last[op.name]], compute)
            continue
        if op.name in arranged or SPECS[type(op)].is_view(graph, op):
            continue
        kind = kind_of(graph, op)
        if place_of(kind, compute) == "none":
            unplaced.append(op.name)
            continue
        passes = passes_of(graph, op, kind, compute)
        traffic = TrafficOfOp(
            graph=graph,
            op=op,
            passes=passes,
            counts=counts_of(graph, op),
            rereads=bool(compute.broadcast_rereads),
            result=results.get(op.name, op.name),
        )
        exchanged = _exchanged(traffic, compute)
        temporaries |= traffic.temporaries()
        if profile.memory.arena == "dram":
            in_dram |= traffic.outside(profile.memory.sram_bytes)
        between = Temporary(elements=traffic.counts["result"], bits=graph.result(op).type.bits)
        temporaries |= {each.tensor: between for step in exchanged[:-1] for each in step.writes}
        steps += exchanged or _steps(traffic, kind, compute)
        if SPECS[type(op)].scalings(graph, op):
            steps[-1] = _with_scalings(graph, op, steps[-1], compute)
        last[op.name] = len(steps) - 1
    return Program(
        steps=_with_handovers(steps, compute.host),
        temporaries=temporaries,
        in_dram=frozenset(in_dram),
        fused=fused,
        arranged=arranged,
        unplaced=tuple(unplaced),
    )


def _results(fused: Mapping[TensorId, TensorId]) -> dict[TensorId, TensorId]:
    """Return, for an op that others are fused to, the last of these: what its last step stores."""
    results: dict[TensorId, TensorId] = {}
    for name, before in fused.items():  # in order of the graph: the last one stays
        source = before
        while source in fused:
            source = fused[source]
        results[source] = name
    return results


def _with_fused(graph: IntGraph, op: Op, step: Step, compute: ComputeSection) -> Step:
    """Return the last step of the op before ``op`` with ``op`` on its way out.

    A table's constants are read too, and codes leave no faster than it takes them.
    """
    if not isinstance(op, Lookup):
        return step
    rate = as_written(compute.vector.cycles_per_element.lookup) / compute.vector.lanes
    return replace(
        step,
        cycles=max(step.cycles, ceil_times(graph.result(op).size, rate)),
        constants=step.constants | constants_of(graph, op),
    )


def _with_scalings(graph: IntGraph, op: Op, step: Step, compute: ComputeSection) -> Step:
    """Return the last step of a product with the multiplications by factors that inputs decide.

    The array's sums pass the vector unit on their way out, which multiplies while the array goes
    on; a step of the vector unit, or of the host, does that besides what it does anyway.
    """
    count = SPECS[type(op)].scalings(graph, op)
    if step.unit == "host" and compute.host is not None:
        cycles = ceil_times(count, as_written(compute.host.cycles_per_element.rescale))
    else:
        rate = as_written(compute.vector.cycles_per_element.rescale)
        cycles = ceil_times(count, rate / compute.vector.lanes)
    together = max(step.cycles, cycles) if step.unit == "mac" else step.cycles + cycles
    return replace(step, cycles=together, scalings=count)


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


def _steps(traffic: TrafficOfOp, kind: PlacedKind, compute: ComputeSection) -> Iterator[Step]:
    """Yield one step for each pass; the first one reads the op's constants and has its MACs."""
    graph, op, passes = traffic.graph, traffic.op, traffic.passes.passes
    for number, each in enumerate(passes):
        product = None
        if each.unit == "mac" and kind in {"linear", "matmul"} and each.over == "work":
            product = gemm_extents(graph, op)
        reads, writes = tuple(traffic.reads(each)), (traffic.written(each),)
        elements = worked_elements(graph, op, each)
        yield Step(
            op=op.name,
            kind=kind,
            name=op.name if len(passes) == 1 else f"{op.name}/{number}",
            unit=each.unit,
            cycles=_cycles(each, elements, product, compute)
            + _copied(each, (*reads, *writes), compute.host),
            issue_cycles=compute.issue_cycles or 0,
            elements=0 if product else traffic.counts[each.over],
            macs=product_macs(graph, op) if number == 0 else 0,
            reads=reads,
            writes=writes,
            constants=constants_of(graph, op) if number == 0 else frozenset(),
            constant_bytes=traffic.constant_bytes(each),
            product=product,
        )


def _exchanged(traffic: TrafficOfOp, compute: ComputeSection) -> list[Step]:
    """Return the steps of a Transpose on a chip that exchanges two axes at once; none of others.

    Results in between are temporaries of the result's size.
    """
    op, each = traffic.op, compute.passes.transpose if compute.passes else None
    if not isinstance(op, Transpose) or each is None or place_of("layout", compute) == "host":
        return []
    found = exchanges(traffic.graph.tensors[op.a].shape, op.permutation)
    between = [f"{op.name}/{number}" for number in range(len(found) - 1)]
    steps = zip(found, [op.a, *between], [*between, traffic.result], strict=False)
    return [
        Step(
            op=op.name,
            kind="layout",
            name=op.name if len(found) == 1 else f"{op.name}/{number}",
            unit=each.unit,
            cycles=_cycles(each, in_blocks(exchange.after, each.block or (1,)), None, compute),
            issue_cycles=compute.issue_cycles or 0,
            elements=traffic.counts["result"],
            macs=0,
            reads=(traffic.exchanged(source, each, exchange, written=False),),
            writes=(traffic.exchanged(target, each, exchange, written=True),),
            constants=frozenset(),
        )
        for number, (exchange, source, target) in enumerate(steps)
    ]


def _cycles(
    each: PassSection, elements: int, product: GemmExtents | None, compute: ComputeSection
) -> int:
    """Return the cycles of a pass on its unit, all operands at hand."""
    if product is not None:
        return heads_cycles(product, compute.engine)
    rate = as_written(each.cycles_per_element)
    lanes = compute.vector.lanes if each.unit == "vector" else 1
    return ceil_times(elements, rate / lanes)


def _copied(each: PassSection, moved: Sequence[Transfer], host: HostSection | None) -> int:
    """Return the cycles in which a pass of the host copies what it reads and writes."""
    if each.unit != "host" or host is None or host.copy_bytes_per_cycle is None:
        return 0
    copied = sum(transfer.bytes for transfer in moved)
    return ceil_times(copied, 1 / as_written(host.copy_bytes_per_cycle))
