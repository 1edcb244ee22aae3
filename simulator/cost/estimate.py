# SPDX-License-Identifier: Apache-2.0
"""ESTIMATED cycles, bytes and latency of a graph on a profile, op by op.

The first form, stated in full in ``docs/cost.md``: ops run one after the other; constants stream
from DRAM once per op that reads them, double-buffered against that op's own work; activations stay
on the chip. Nothing spills: where the peak exceeds the SRAM, the estimate is still given and
``fits_sram`` is False (a later form will add the traffic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simulator.cost.dma import dma_cycles, network_bytes
from simulator.cost.engine import gemm_cycles
from simulator.cost.memory import plan_memory, weight_bytes
from simulator.cost.vector import vector_cycles
from simulator.errors import InputError
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Op, TensorId, op_name
from simulator.profile import ComputeSection, NpuProfile

Resource = Literal["compute", "vector", "dma"]
RESOURCES: tuple[Resource, ...] = ("compute", "vector", "dma")


class UncostedOpError(InputError):
    """The graph has ops that the format does not know: a total without them would be wrong.

    Attributes
    ----------
    ops
        names of all of them, in order
    """

    def __init__(self, ops: tuple[Op, ...]) -> None:
        self.ops: tuple[TensorId, ...] = tuple(op.name for op in ops)
        shown = ", ".join(f"{op.name} ({type(op).__name__})" for op in ops)
        super().__init__(
            f"no cost rule, so no total: {shown}; add their specifications to SPECS in "
            "simulator/graph/ops"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """ESTIMATED cost of one op for one image; cycles of the compute clock.

    Attributes
    ----------
    macs
        multiply-accumulate operations
    weight_bytes
        constants that the op streams from DRAM
    compute, vector
        cycles of the MAC engine and of the vector unit
    dma
        cycles of the DRAM port: constants, and network inputs and outputs
    stall
        cycles in which only the DRAM port works: ``total - compute - vector``
    total
        ``max(compute + vector, dma)``
    bound_by
        which of compute, vector and dma is the largest
    """

    name: TensorId
    kind: str
    macs: int
    weight_bytes: int
    compute: int
    vector: int
    dma: int
    stall: int
    total: int
    bound_by: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """ESTIMATED cost of a graph for one image.

    Attributes
    ----------
    ops
        in order of execution
    peak_sram_bytes, peak_lower_bound_bytes
        see :class:`simulator.cost.memory.MemoryPlan`
    weight_bytes
        all constants that ops read, each once: what has to be stored
    dram_bytes
        traffic of one image: a constant that several ops read is counted for each of them
    clock_mhz, sram_bytes
        of the profile
    """

    ops: tuple[OpCost, ...]
    peak_sram_bytes: int
    peak_lower_bound_bytes: int
    weight_bytes: int
    dram_bytes: int
    clock_mhz: float
    sram_bytes: int

    @property
    def total_cycles(self) -> int:
        """Cycles of the whole graph."""
        return sum(op.total for op in self.ops)

    @property
    def compute_cycles(self) -> int:
        """Cycles in which the MAC engine works."""
        return sum(op.compute for op in self.ops)

    @property
    def vector_cycles(self) -> int:
        """Cycles in which the vector unit works."""
        return sum(op.vector for op in self.ops)

    @property
    def dma_cycles(self) -> int:
        """Cycles in which the DRAM port works, hidden or not."""
        return sum(op.dma for op in self.ops)

    @property
    def stall_cycles(self) -> int:
        """Cycles in which only the DRAM port works."""
        return sum(op.stall for op in self.ops)

    @property
    def by_kind(self) -> dict[str, int]:
        """Total cycles of each kind of op, in order of first appearance."""
        cycles = {op.kind: 0 for op in self.ops}
        for op in self.ops:
            cycles[op.kind] += op.total
        return cycles

    @property
    def bound_by(self) -> dict[Resource, int]:
        """Total cycles of the ops that each resource limits."""
        cycles = dict.fromkeys(RESOURCES, 0)
        for op in self.ops:
            cycles[op.bound_by] += op.total
        return cycles

    @property
    def latency_ms(self) -> float:
        """Milliseconds for one image."""
        return self.total_cycles / (self.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        """Images per second, one after the other."""
        return 1e3 / self.latency_ms if self.total_cycles else math.inf

    @property
    def fits_sram(self) -> bool:
        """True if all live activations fit on the chip."""
        return self.peak_sram_bytes <= self.sram_bytes


def engine_cycles(graph: IntGraph, op: Op, compute: ComputeSection) -> int:
    """Return the cycles of the MAC engine: 0 but for products.

    The products of all heads are computed one after the other, each with its own fill and drain.
    Requantization is fused: codes leave the array at the rate of its drain and cost nothing more.
    The width of the operands changes nothing: 4-bit weights are not assumed to run faster.
    """
    if SPECS[type(op)].rate is not None:
        return 0
    heads, m, k, n = gemm_extents(graph, op)
    return heads * gemm_cycles(m, k, n, compute.engine)


def gemm_extents(graph: IntGraph, op: Op) -> tuple[int, int, int, int]:
    """Return (heads, M, K, N): products to compute and the extents of each.

    Operands with leading dimensions are one product per index of these. A matrix ``b`` that all
    rows of ``a`` share makes one product, with all leading dimensions of ``a`` in M.
    """
    a, b = (graph.tensors[name].shape for name in op.operands[:2])
    heads = math.prod(a[:-2]) if len(b) > 2 else 1
    return heads, math.prod(a[:-1]) // heads, a[-1], graph.result(op).shape[-1]


def estimate(graph: IntGraph, profile: NpuProfile) -> CostEstimate:
    """Return the ESTIMATED cost of a verified graph on ``profile``, for one image.

    Raises
    ------
    UncostedOpError
        If any op has no specification; all of them are named. There is never a partial total.
    """
    uncosted = tuple(op for op in graph.ops if type(op) not in SPECS)
    if uncosted:
        raise UncostedOpError(uncosted)
    moved = network_bytes(graph)
    ops = tuple(_op_cost(graph, op, profile, moved[op.name]) for op in graph.ops)
    plan = plan_memory(graph)
    return CostEstimate(
        ops=ops,
        peak_sram_bytes=plan.peak_sram_bytes,
        peak_lower_bound_bytes=plan.peak_lower_bound_bytes,
        weight_bytes=weight_bytes(graph, *graph.ops),
        dram_bytes=sum(moved.values()) + sum(op.weight_bytes for op in ops),
        clock_mhz=profile.compute.clock_mhz,
        sram_bytes=profile.memory.sram_bytes,
    )


def _op_cost(graph: IntGraph, op: Op, profile: NpuProfile, moved_bytes: int) -> OpCost:
    """Cost one op; ``moved_bytes`` are network inputs and outputs that it moves."""
    compute = engine_cycles(graph, op, profile.compute)
    vector = vector_cycles(graph, op, profile.compute.vector)
    constants = weight_bytes(graph, op)
    dma = dma_cycles(constants + moved_bytes, profile.memory.dram_bytes_per_cycle)
    cycles: dict[Resource, int] = {"compute": compute, "vector": vector, "dma": dma}
    total = max(compute + vector, dma)
    return OpCost(
        name=op.name,
        kind=op_name(op),
        macs=product_macs(graph, op),
        weight_bytes=constants,
        compute=compute,
        vector=vector,
        dma=dma,
        stall=total - compute - vector,
        total=total,
        # Where nothing takes any time (a view), the vector unit would be the one to do it.
        bound_by=max(("vector", "compute", "dma"), key=cycles.__getitem__),
    )
