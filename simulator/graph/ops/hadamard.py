# SPDX-License-Identifier: Apache-2.0
"""Rotation of channels by a Hadamard matrix: additions and one requantization."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops.spec import OpSpec, operand_size
from simulator.graph.ranges import Intermediate, centred_range
from simulator.graph.shapes import Shape
from simulator.graph.text_parts import requantization
from simulator.numerics.hadamard import additions, factors, hadamard_matrix

WIDEST_OPERAND = 16  # its sums of 8192 channels have 30 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard(Op):
    """Product of the last dimension, in blocks of ``order`` channels, with a Hadamard matrix.

    With n = ``order``, for block b::

        s[b n + i] = sum(H[i, j] * (a[b n + j] - z_a) for j)
        y          = requantize(s)

    H has entries ±1 and is symmetric, ``H H = n I``: y is the rotation ``a H / √n`` where the
    factor of the requantization is s_a / (√n s_y). Orders are 2^k, 12 · 2^k and 20 · 2^k, at most
    8192; H is defined in ``simulator/numerics/hadamard.py``. The sum is exact. It takes additions
    only: log2(n) for each element where n = 2^k, and 4.5 + k or 6.5 + k where it is 12 or 20 times
    2^k.

    Source: QuaRot (arXiv 2404.00456), where such rotations at run time make 4-bit activations.

    Attributes
    ----------
    order
        n, a divisor of the number of channels
    """

    a: TensorId
    order: int
    requantize: Requantization


def _hadamard_shape(op: Hadamard, shapes: Sequence[Shape], _: Shape) -> Shape:
    factors(op.order)
    channels = shapes[0][-1] if shapes[0] else 1
    if channels % op.order:
        raise ValueError(f"order {op.order} does not divide {channels} channels")
    return shapes[0]


def _hadamard_rules(graph: IntGraph, op: Hadamard) -> Iterator[str]:
    if graph.tensors[op.a].code_type.bits > WIDEST_OPERAND:
        yield f"operand {op.a} has more than {WIDEST_OPERAND} bits"


def _sums(graph: IntGraph, op: Hadamard) -> Channels:
    """Return the bounds of s, attained: each channel adds some operands and subtracts the rest."""
    low, high = centred_range(graph, op.a)
    plus = (hadamard_matrix(op.order) > 0).sum(axis=1).astype(object)
    minus = op.order - plus
    blocks = graph.result(op).shape[-1] // op.order
    return Channels(
        np.tile(plus * low - minus * high, blocks), np.tile(plus * high - minus * low, blocks)
    )


def _hadamard_intermediates(graph: IntGraph, op: Hadamard) -> Iterator[Intermediate]:
    yield Intermediate("centred", centred_range(graph, op.a))
    sums = _sums(graph, op)
    yield Intermediate("sum", sums.interval)
    yield from requantized(graph, op, sums)


def _hadamard_text(graph: IntGraph, op: Hadamard) -> str:
    return f"{op.a} × H{op.order}   {requantization(graph, op.requantize)}"


def _steps(graph: IntGraph, op: Hadamard) -> int:
    """Return the additions of one image, and one requantization for each element."""
    size = operand_size(graph, op)
    return size // op.order * additions(op.order) + size


SPECS = (
    OpSpec(
        op=Hadamard,
        name="hadamard",
        shape=_hadamard_shape,
        intermediates=_hadamard_intermediates,
        text=_hadamard_text,
        rate="hadamard",
        rules=_hadamard_rules,
        elements=_steps,
    ),
)
