# SPDX-License-Identifier: Apache-2.0
"""The passes of an op on a chip: those that its profile states, or the common form of its kind."""

from __future__ import annotations

from typing import cast

from simulator.cost.placement import place_of
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    NormalizedMatMul,
    Op,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxLut513,
    SquaredDifference,
)
from simulator.profile.cost import ComputeSection, HostSection
from simulator.profile.passes import (
    OPERANDS,
    PassesOfKind,
    PassSection,
    PlacedKind,
    TemporarySection,
    Unit,
)

_STORED_BITS = 32  # sums, and exponentials that a chip stores


def passes_of(graph: IntGraph, op: Op, kind: PlacedKind, compute: ComputeSection) -> PassesOfKind:
    """Return the passes of an op of ``kind``, which the chip has a place for."""
    unit = place_of(kind, compute)
    stated = getattr(compute.passes, kind, None) if compute.passes else None
    if isinstance(op, SquaredDifference) and compute.passes:
        stated = compute.passes.squared_difference or stated
    normalized = isinstance(op, NormalizedMatMul)
    if stated is not None and unit != "host" and not normalized:
        return cast("PassesOfKind", stated)
    if unit == "mac":
        return _normalized(compute) if normalized else _on_the_array(compute)
    if unit == "dma":
        return _one_pass("dma", 0.0)  # the port's time is all there is
    if unit == "host" and compute.host is not None:
        return _one_pass("host", _host_rate(kind, compute.host))
    rate = compute.vector.cycles_per_element.of(kind)
    if kind == "softmax" and compute.streaming_softmax is False:
        return _stored_softmax(rate, exponential_bits(graph, op))
    return _one_pass("vector", rate)


def _one_pass(unit: Unit, rate: float) -> PassesOfKind:
    return PassesOfKind(temporaries={}, passes=(PassSection(unit=unit, cycles_per_element=rate),))


def _host_rate(kind: PlacedKind, host: HostSection) -> float:
    if kind in {"linear", "matmul"}:
        return host.cycles_per_mac
    return host.cycles_per_element.of(kind)


def _on_the_array(compute: ComputeSection) -> PassesOfKind:
    """Return one pass of the MAC array, or the sums stored and requantized by the vector unit."""
    if compute.requantize != "vector":
        return _one_pass("mac", 0.0)
    rate = compute.vector.cycles_per_element.rescale
    return PassesOfKind(
        temporaries={"sums": TemporarySection(bits=_STORED_BITS)},
        passes=(
            PassSection(unit="mac", writes="sums", cycles_per_element=0.0),
            PassSection(over="result", reads=("sums",), cycles_per_element=rate),
        ),
    )


def _normalized(compute: ComputeSection) -> PassesOfKind:
    """Return a product whose sums the vector unit multiplies by one reciprocal for each row.

    The sums of levels are made where the codes are, at the rate of a softmax's elements; what is
    left of it is a division for each row, and a multiplication for each result.
    """
    rates = compute.vector.cycles_per_element
    return PassesOfKind(
        temporaries={
            "sums": TemporarySection(bits=_STORED_BITS),
            "reciprocals": TemporarySection(bits=_STORED_BITS, per="row"),
        },
        passes=(
            PassSection(unit="mac", writes="sums", cycles_per_element=0.0),
            PassSection(
                over="row", reads=(), writes="reciprocals", cycles_per_element=rates.softmax
            ),
            PassSection(
                over="result", reads=("sums", "reciprocals"), cycles_per_element=rates.rescale
            ),
        ),
    )


def exponential_bits(graph: IntGraph, op: Op) -> int:
    """Return the width of a softmax's exponentials: of its table's entries, else 32 bits."""
    tables = {Softmax: "table", SoftmaxFloatTable: "table", SoftmaxLut513: "exp_table"}
    field = tables.get(type(op))
    return graph.tensors[getattr(op, field)].type.bits if field else _STORED_BITS


def _stored_softmax(rate: float, bits: int) -> PassesOfKind:
    """Return softmax with stored exponentials: a maximum, exponentials and their sum, a division.

    Each of the three sweeps takes a third of the rate.
    """
    return PassesOfKind(
        temporaries={
            "maximum": TemporarySection(bits=_STORED_BITS, per="row"),
            "exponentials": TemporarySection(bits=bits),
        },
        passes=(
            PassSection(over="operand", writes="maximum", cycles_per_element=rate / 3),
            PassSection(
                reads=(OPERANDS, "maximum"), writes="exponentials", cycles_per_element=rate / 3
            ),
            PassSection(reads=("exponentials",), cycles_per_element=rate / 3),
        ),
    )
