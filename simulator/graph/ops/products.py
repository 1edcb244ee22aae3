# SPDX-License-Identifier: Apache-2.0
"""Ops that sum products or codes in an accumulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.accumulator_bounds import leaving, of_equal_terms, of_weights, sums_in
from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId, added
from simulator.graph.ops.onto_residual import (
    OntoResidual,
    residual_bounds,
    residual_joins,
)
from simulator.graph.ops.row_sums import largest_row_sum
from simulator.graph.ops.spec import OpSpec, operand_size
from simulator.graph.parameters import first_has_images
from simulator.graph.ranges import (
    Intermediate,
    Interval,
    centred_range,
    code_range,
    signed_bits,
    times,
)
from simulator.graph.shapes import Shape, product_shape
from simulator.graph.text_parts import factor, requantization, type_and_shape
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.float_type import FloatType


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul(Op):
    """Matrix product of an activation with weights or with another activation.

    A matrix b serves all leading dimensions of a; otherwise the leading dimensions are equal::

        acc[m, n] = bias[n] + sum over k of a[m, k] * b[k, n]     in the accumulator, ascending k
        y[m, n]   = requantize(acc[m, n])

    Plain codes are multiplied. Where b is constant, the lowering has put ``-z_a * sum_k b[k, n]``
    into the bias. Where both are activations, both zero points are 0 and there is no bias.

    With constant b, a layer may end on the residual stream: its sums go straight onto a residual r,
    with one rounding, where a MatMul and an Add have two::

        f[n]    = residual_multiplier[n] << (shift[n] - residual_fraction_bits)
        y[m, n] = fit(round(acc[m, n] * multiplier[n] + (r[m, n] - z_r) * f[n] >> shift[n]) + z_y)

    Source of the residual: AOCQ (doi 10.1631/FITEE.2400994), Add_α fused into the layer.

    Attributes
    ----------
    a
        codes [..., M, K]
    b
        codes [..., K, N], or [..., N, K] with ``transpose_b``; weights are [K, N] or [N, K]
    bias
        signed constant [N] at the scale of the accumulator, or none
    residual
        activation of the result's shape, beside weights only, or none
    residual_multiplier
        constant [1] or [N], with ``residual_fraction_bits`` the fixed-point form of s_r / s_y (a
        vector where Add_α balances channels); none without a residual
    residual_fraction_bits
        at most the smallest shift; 0 without a residual
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b", "residual")
    constant_fields: ClassVar[tuple[str, ...]] = ("bias", "residual_multiplier")

    a: TensorId
    b: TensorId
    transpose_b: bool
    bias: TensorId | None
    accumulator: Accumulator
    requantize: Requantization
    residual: TensorId | None = None
    residual_multiplier: TensorId | None = None
    residual_fraction_bits: int = 0


def _matmul_shape(op: MatMul, shapes: Sequence[Shape], _: Shape) -> Shape:
    a, b, *residual = shapes
    product = product_shape(a, b, op.transpose_b)
    if residual and residual[0] != product:
        raise ValueError(f"cannot add a product {product} to a residual {residual[0]}")
    return product


def weights_or_equal_ranks(graph: IntGraph, op: Op) -> Iterator[str]:
    """Yield where the operands of a product do not have the dimensions that its kernel takes."""
    yield from first_has_images(graph, op)
    a, b = (graph.tensors[name].shape for name in op.operands[:2])
    if len(b) != (2 if graph.is_constant(op.operands[1]) else len(a)):
        yield f"cannot multiply {a} by {b}: weights are matrices, activations have equal ranks"


def _matmul_rules(graph: IntGraph, op: MatMul) -> Iterator[str]:
    yield from bias_is_narrow(graph, op.bias)
    if not graph.is_constant(op.b):
        if any(graph.tensors[name].zero_point for name in op.operands):
            yield "a product of two activations needs zero points 0"
        if op.bias is not None:
            yield "a product of two activations has no bias"
    yield from residual_joins(graph, op)


def bias_is_narrow(graph: IntGraph, bias: TensorId | None) -> Iterator[str]:
    """Yield where a bias could pass 64 bits before any register sees it."""
    if bias is not None:
        kind = graph.tensors[bias].type
        if isinstance(kind, FloatType) or kind.bits > 48:
            yield f"bias {bias} is {kind}, wanted codes of at most 48 bits"


def _matmul_macs(graph: IntGraph, op: MatMul) -> int:
    return graph.result(op).size * graph.tensors[op.a].shape[-1]


def _matmul_intermediates(graph: IntGraph, op: MatMul) -> Iterator[Intermediate]:
    sums, completed = _matmul_sums(graph, op)
    yield sums
    left = leaving(sums, completed, op.accumulator)
    yield from requantized(graph, op, left, residual_bounds(graph, op))


def _matmul_sums(graph: IntGraph, op: MatMul) -> tuple[Intermediate, Channels]:
    """Return the bounds of a product's partial sums, and those of its completed ones."""
    a = code_range(graph, op.a)
    if graph.is_constant(op.b):
        b = graph.constants[op.b]
        b = b.T if op.transpose_b else b
        columns = of_weights(b, a, 0, graph.constants[op.bias] if op.bias else None)
        found = sums_in(
            columns.partial,
            lambda group: of_weights(b, a, group, None).partial,
            op.accumulator,
            columns.in_register(op.accumulator.bias),
        )
        return found, Channels.of(columns.least, columns.most)
    sums_of = sums_of_activations(graph, op.a, op.b)
    sums = sums_of(graph.tensors[op.a].shape[-1])
    return sums_in(sums, sums_of, op.accumulator), Channels.all_alike(sums)


def sums_of_activations(graph: IntGraph, a: TensorId, b: TensorId) -> Callable[[int], Interval]:
    """Return the bounds of sums of so many terms, at most all, of a product of two activations."""
    terms = graph.tensors[a].shape[-1]
    left, right = code_range(graph, a), code_range(graph, b)
    row_sum = largest_row_sum(graph, a)
    if row_sum is None:
        return lambda count: of_equal_terms(times(left, right), min(count, terms))
    return lambda count: of_equal_terms(right, min(row_sum, min(count, terms) * left[1]))


def _matmul_text(graph: IntGraph, op: MatMul) -> str:
    b = graph.tensors[op.b]
    other = f"{b.name}ᵀ" if op.transpose_b else b.name
    if graph.is_constant(op.b):
        other = type_and_shape(b) + (f" + {graph.tensors[op.bias].type} bias" if op.bias else "")
    accumulator = accumulator_text(op.accumulator, _matmul_sums(graph, op)[0])
    return f"{op.a} × {other}   {accumulator}   {requantization_onto(graph, op)}"


def requantization_onto(graph: IntGraph, op: OntoResidual) -> str:
    """Return a requantization, and the residual that it goes onto where there is one."""
    requantized = requantization(graph, op.requantize)
    if op.residual_multiplier is not None:
        shown = factor(graph, op.residual_multiplier)
        requantized += f" onto {op.residual} × {shown} >> {op.residual_fraction_bits}"
    return requantized


def accumulator_text(accumulator: Accumulator, sums: Intermediate) -> str:
    """Return an accumulator's levels, and the bits that its sums may need."""
    proof = "proven" if all(level.proven for level in sums.levels) else "may need"
    return f"acc {accumulator}, {proof} {signed_bits(*sums.interval)} bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(Op):
    """Mean over dimension ``axis``; the divisor is part of the multiplier.

    ::

        acc = sum over axis of (a - z_a)     in the accumulator, ascending index, bias 0
        y   = requantize(acc)

    TensorFlow Lite's multiplier: :func:`simulator.numerics.fixed_point.mean_multiplier_and_shift`.

    Attributes
    ----------
    keep_dimension
        the dimension stays, with one element; otherwise it goes
    """

    a: TensorId
    axis: int
    accumulator: Accumulator
    requantize: Requantization
    keep_dimension: bool = added(False)


def _mean_shape(op: Mean, shapes: Sequence[Shape], _: Shape) -> Shape:
    (a,) = shapes
    if not 0 <= op.axis < len(a):
        raise ValueError(f"axis {op.axis} of {a}")
    if len(a) == 1 and not op.keep_dimension:
        raise ValueError(f"the mean of all of {a} keeps its dimension")
    return (*a[: op.axis], *((1,) if op.keep_dimension else ()), *a[op.axis + 1 :])


def _mean_intermediates(graph: IntGraph, op: Mean) -> Iterator[Intermediate]:
    sums, completed = _mean_sums(graph, op)
    yield sums
    yield from requantized(graph, op, leaving(sums, completed, op.accumulator))


def _mean_sums(graph: IntGraph, op: Mean) -> tuple[Intermediate, Channels]:
    """Return the bounds of a mean's partial sums, and those of its completed ones."""
    term, terms = centred_range(graph, op.a), graph.tensors[op.a].shape[op.axis]
    sums = of_equal_terms(term, terms)
    found = sums_in(sums, lambda group: of_equal_terms(term, min(group, terms)), op.accumulator)
    return found, Channels.all_alike((terms * term[0], terms * term[1]))


def _mean_text(graph: IntGraph, op: Mean) -> str:
    accumulator = accumulator_text(op.accumulator, _mean_sums(graph, op)[0])
    return (
        f"{op.a} over {op.axis}{', kept' * op.keep_dimension}   {accumulator}   "
        f"{requantization(graph, op.requantize)}"
    )


# Wider operands could pass 64 bits before any register sees them.
SPECS = (
    OpSpec(
        op=MatMul,
        name="matmul",
        shape=_matmul_shape,
        intermediates=_matmul_intermediates,
        text=_matmul_text,
        rate=None,
        rules=_matmul_rules,
        batch=weights_or_equal_ranks,
        multipliers=("residual_multiplier",),
        per_channel=("bias",),
        widest_operand=16,
        macs=_matmul_macs,
    ),
    OpSpec(
        op=Mean,
        name="mean",
        shape=_mean_shape,
        intermediates=_mean_intermediates,
        text=_mean_text,
        rate="mean",
        widest_operand=32,
        elements=operand_size,
    ),
)
