# SPDX-License-Identifier: Apache-2.0
"""Ops that sum products or codes in an accumulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.graph.accumulator_bounds import leaving, of_equal_terms, of_weights, sums_in
from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId, added
from simulator.graph.ops.row_sums import largest_row_sum
from simulator.graph.ops.spec import OpSpec, operand_size
from simulator.graph.parameters import ends, first_has_images
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
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage


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


def _matmul_batch(graph: IntGraph, op: MatMul) -> Iterator[str]:
    yield from first_has_images(graph, op)
    a, b = (graph.tensors[name].shape for name in (op.a, op.b))
    if len(b) != (2 if graph.is_constant(op.b) else len(a)):
        yield f"cannot multiply {a} by {b}: weights are matrices, activations have equal ranks"


def _matmul_rules(graph: IntGraph, op: MatMul) -> Iterator[str]:
    if op.bias is not None:
        kind = graph.tensors[op.bias].type
        if isinstance(kind, FloatType) or kind.bits > 48:
            yield f"bias {op.bias} is {kind}, wanted codes of at most 48 bits"
    if not graph.is_constant(op.b):
        if any(graph.tensors[name].zero_point for name in op.operands):
            yield "a product of two activations needs zero points 0"
        if op.bias is not None:
            yield "a product of two activations has no bias"
    yield from _residual_joins(graph, op)


def _residual_joins(graph: IntGraph, op: MatMul) -> Iterator[str]:
    if (op.residual is None) != (op.residual_multiplier is None):
        yield "residual and residual_multiplier go together"
    if op.residual is None:
        if op.residual_fraction_bits:
            yield "residual_fraction_bits without a residual"
        return
    if not graph.is_constant(op.b):
        yield "a product of two activations takes no residual"
    if graph.is_constant(op.residual):
        yield f"residual {op.residual} is a constant"
    if op.requantize != replace(
        op.requantize,
        arithmetic=Arithmetic.FIXED_POINT,
        left_shift=LeftShift.WIDEN,
        zero_point_stage=ZeroPointStage.AFTER_ROUND,
    ):
        yield (
            "a sum onto a residual is rescaled in fixed point, with wide left shifts and the zero "
            "point after rounding"
        )
        return
    assert op.requantize.shift is not None
    smallest = min(ends(graph, op.requantize.shift))
    if not 0 <= op.residual_fraction_bits <= smallest:
        yield (
            f"residual_fraction_bits {op.residual_fraction_bits}: must be 0..{smallest}, the "
            "smallest shift"
        )


def _matmul_macs(graph: IntGraph, op: MatMul) -> int:
    return graph.result(op).size * graph.tensors[op.a].shape[-1]


def _matmul_intermediates(graph: IntGraph, op: MatMul) -> Iterator[Intermediate]:
    sums, completed = _matmul_sums(graph, op)
    yield sums
    left = leaving(sums, completed, op.accumulator)
    yield from requantized(graph, op, left, _residual_bounds(graph, op))


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
    sums_of = _sums_of_activations(graph, op)
    sums = sums_of(graph.tensors[op.a].shape[-1])
    return sums_in(sums, sums_of, op.accumulator), Channels.all_alike(sums)


def _sums_of_activations(graph: IntGraph, op: MatMul) -> Callable[[int], Interval]:
    """Return the bounds of sums of so many terms, at most all, of a product of two activations."""
    terms = graph.tensors[op.a].shape[-1]
    a, b = code_range(graph, op.a), code_range(graph, op.b)
    row_sum = largest_row_sum(graph, op.a)
    if row_sum is None:
        return lambda count: of_equal_terms(times(a, b), min(count, terms))
    return lambda count: of_equal_terms(b, min(row_sum, min(count, terms) * a[1]))


def residual_factors(graph: IntGraph, op: MatMul) -> NDArray[np.int64]:
    """Return what each code of a MatMul's residual is multiplied with before the shift, int64 [N].

    Zeros without a residual. Wider than 62 bits they would be wrong, which :func:`bounds` tells.
    """
    channels = graph.result(op).shape[-1]
    if op.residual_multiplier is None:
        return np.zeros(channels, np.int64)
    assert op.requantize.shift is not None
    multiplier = graph.constants[op.residual_multiplier].astype(np.int64)
    left = graph.constants[op.requantize.shift].astype(np.int64) - op.residual_fraction_bits
    return np.array(np.broadcast_to(multiplier << left, (channels,)))


def _residual_bounds(graph: IntGraph, op: MatMul) -> Channels | None:
    """Bounds of the residual's term in a MatMul, in unbounded integers; None without one."""
    if op.residual is None or op.residual_multiplier is None:
        return None
    assert op.requantize.shift is not None
    left = graph.constants[op.requantize.shift].astype(np.int64) - op.residual_fraction_bits
    codes = Channels.all_alike(centred_range(graph, op.residual))
    return codes.times(graph.constants[op.residual_multiplier]).shifted_left(left)


def _matmul_text(graph: IntGraph, op: MatMul) -> str:
    b = graph.tensors[op.b]
    other = f"{b.name}ᵀ" if op.transpose_b else b.name
    if graph.is_constant(op.b):
        other = type_and_shape(b) + (f" + {graph.tensors[op.bias].type} bias" if op.bias else "")
    requantized = requantization(graph, op.requantize)
    if op.residual_multiplier is not None:
        shown = factor(graph, op.residual_multiplier)
        requantized += f" onto {op.residual} × {shown} >> {op.residual_fraction_bits}"
    accumulator = accumulator_text(op.accumulator, _matmul_sums(graph, op)[0])
    return f"{op.a} × {other}   {accumulator}   {requantized}"


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
        batch=_matmul_batch,
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
