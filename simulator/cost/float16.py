# SPDX-License-Identifier: Apache-2.0
"""The same network in float16 on the same chip: what quantization gains, as a figure.

Weights, biases, gammas, betas and activations take two bytes. What only integers need is gone:
multipliers, shifts and tables of codes, every Rescale and every rotation, codes at a scale of their
group, and these scales: products have no factors of rows and columns. A softmax whose division is
left to the product divides itself. The other ops are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.cost.energy import EnergyEstimate
from simulator.cost.engine import width_speed
from simulator.cost.estimate import estimate
from simulator.cost.host_work import HostWork
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    MatMul,
    NormalizedMatMul,
    Op,
    Rescale,
    Reshape,
    ScaledMatMul,
    Slice,
    TensorId,
)
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile
from simulator.profile.cost import Float16Section, WidthSpeed

HALF = IntType(bits=16)  # two bytes; no value of it is ever read
BYTE_BITS = 8  # the integers that a profile's speeds in float16 are relative to
_KEPT_FIELDS = ("bias", "gamma", "beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Float16Estimate:
    """ESTIMATED cost in float16.

    Attributes
    ----------
    cycles, latency_ms
        None where the profile does not say how fast the chip is in float16
    energy
        None where it has no energies, or none of a multiply-accumulate in float16
    """

    weight_bytes: int
    peak_sram_bytes: int
    dram_bytes: int
    cycles: int | None
    latency_ms: float | None
    energy: EnergyEstimate | None


def float16_estimate(
    graph: IntGraph,
    profile: NpuProfile,
    host_work: Sequence[HostWork] = (),
    *,
    allow_unplaced: bool = False,
) -> Float16Estimate:
    """Return the cost of a graph's network in float16 on the same profile and its host."""
    speeds = profile.compute.float16
    chip = profile if speeds is None else float16_profile(profile, speeds)
    halves = float16_graph(graph)
    found = estimate(halves, chip, host_work, float16=True, allow_unplaced=allow_unplaced)
    return Float16Estimate(
        weight_bytes=found.weight_bytes,
        peak_sram_bytes=found.peak_sram_bytes,
        dram_bytes=found.dram_bytes,
        cycles=None if speeds is None else found.total_cycles,
        latency_ms=None if speeds is None else found.latency_ms,
        energy=None if speeds is None else found.energy,
    )


def float16_graph(graph: IntGraph) -> IntGraph:
    """Return the graph with tensors of two bytes an element; it serves costs alone."""
    kept = set(graph.inputs) | {op.name for op in graph.ops}
    for op in graph.ops:
        kept |= {*op.operands, *_kept_constants(op)}
    tensors = {
        name: replace(tensor, type=HALF, shape=tensor.shape if name in kept else (0,))
        for name, tensor in graph.tensors.items()
    }
    ops = _read([_in_float16(op, graph) for op in graph.ops], graph.outputs)
    return replace(graph, tensors=tensors, ops=ops)


def _in_float16(op: Op, graph: IntGraph) -> Op:
    """Return an op, or what stands for it where only integers need it."""
    if isinstance(op, Rescale | Hadamard | GroupQuantize | GroupShift):
        return Reshape(name=op.name, a=op.a)
    if isinstance(op, GroupMaximum | GroupExponent):
        shape = graph.result(op).shape
        return Slice(name=op.name, a=op.a, axis=len(shape) - 1, start=0, stop=shape[-1])
    if isinstance(op, ScaledMatMul | NormalizedMatMul):
        return _plain_product(op)
    return op


def _plain_product(op: ScaledMatMul | NormalizedMatMul) -> MatMul:
    """Return the product alone, onto its residual where it has one."""
    fields = ("residual", "residual_multiplier", "residual_fraction_bits")
    return MatMul(
        name=op.name,
        a=op.a,
        b=op.b,
        transpose_b=op.transpose_b,
        bias=getattr(op, "bias", None),
        accumulator=op.accumulator,
        requantize=op.requantize,
        **{field: getattr(op, field) for field in fields if hasattr(op, field)},
    )


def _read(ops: Sequence[Op], outputs: Sequence[TensorId]) -> tuple[Op, ...]:
    """Return the ops that outputs are made of, in order."""
    wanted, found = set(outputs), []
    for op in reversed(ops):
        if op.name in wanted:
            wanted |= {*op.operands}
            found.append(op)
    return tuple(reversed(found))


def _kept_constants(op: Op) -> set[TensorId]:
    found = {getattr(op, field, None) for field in _KEPT_FIELDS}
    return {name for name in found if isinstance(name, str)}


def float16_profile(profile: NpuProfile, speeds: Float16Section) -> NpuProfile:
    """Return the profile with the array's and the vector unit's rates in float16."""
    rates = profile.compute.vector.cycles_per_element
    stated = {kind: rate / speeds.vector_speed for kind, rate in rates if rate is not None}
    slower = rates.model_copy(update=stated)
    engine = profile.compute.engine
    speed = speeds.mac_speed * width_speed(engine, BYTE_BITS, BYTE_BITS)
    widths = (WidthSpeed(a_bits=HALF.bits, b_bits=HALF.bits, speed=speed),)
    compute = profile.compute.model_copy(
        update={
            "engine": engine.model_copy(update={"widths": widths}),
            "vector": profile.compute.vector.model_copy(update={"cycles_per_element": slower}),
        }
    )
    return profile.model_copy(update={"compute": compute})
