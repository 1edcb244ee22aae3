# SPDX-License-Identifier: Apache-2.0
"""Softmax whose division comes after the product with the values: two ops that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from simulator.graph.accumulator_bounds import of_equal_terms, sums_in
from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops.products import accumulator_text
from simulator.graph.ops.softmax_rows import WIDEST_CODES, largest_difference, softmax_spec
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import first_has_images, has_an_entry_per_code, within
from simulator.graph.ranges import Intermediate, Interval, code_range, times
from simulator.graph.shapes import Shape, product_shape
from simulator.graph.text_parts import requantization
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import Rounding, shift_right
from simulator.numerics.softmax_constants import LEVEL_BITS

WIDEST_LOGARITHMS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredSoftmax(Op):
    """Codes of a row's exponentials on a logarithmic scale; the division is left to who reads them.

    ::

        scaled[j] = -d[j] * multiplier
        c[j]      = scaled[j] >> shift, rounded half up
        y[j]      = min(c[j], highest code of y)

    multiplier / 2^shift is the scale of a times the levels per octave, divided by ln 2: a code more
    is a smaller exponential by one level. The row's largest score has code 0. The highest code
    stands for all that is further away, and is not counted as saturated. The result is unsigned
    with zero point 0 and has at most 8 bits. :class:`NormalizedMatMul` says what a code is worth.

    Source: levels of half an octave are those of RepQ-ViT's log √2 quantizer (arXiv 2212.08254),
    which has them of probabilities; the division comes last as in FlashAttention-2
    (arXiv 2307.08691).
    """

    a: TensorId
    multiplier: int
    shift: int


def _softmax_rules(graph: IntGraph, op: DeferredSoftmax) -> Iterator[str]:
    yield from within("multiplier", op.multiplier, 0, (1 << 31) - 1)
    result = graph.result(op)
    if result.code_type.signed or result.zero_point:
        yield f"result is {result.type} with zero point {result.zero_point}, wanted unsigned and 0"
    if result.code_type.bits > WIDEST_LOGARITHMS:
        yield f"result has {result.code_type.bits} bits, wanted at most {WIDEST_LOGARITHMS}"


def _softmax_intermediates(graph: IntGraph, op: DeferredSoftmax) -> Iterator[Intermediate]:
    scaled = 0, largest_difference(graph, op) * op.multiplier
    yield Intermediate("scaled", scaled, (0, scaled[1] + (1 << op.shift)))
    yield Intermediate("logarithms", (0, shift_right(scaled[1], op.shift, Rounding.HALF_UP)))


def _softmax_text(_: IntGraph, op: DeferredSoftmax) -> str:
    return f"{op.a}   logarithms ×{op.multiplier} >> {op.shift}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedMatMul(Op):
    """Product of levels with an activation, divided by the sum of each row's levels.

    The codes of a, which :class:`DeferredSoftmax` yields, are decoded by a table. One reciprocal
    per row, rounded half up, does what a softmax does for each of its elements::

        sum[m]           = max(1, sum over k of levels[a[m, k]])
        acc[m, n]        = sum over k of levels[a[m, k]] * b[k, n]   in the accumulator, ascending k
        i[m]             = floor((2^reciprocal_bits + floor(sum[m] / 2)) / sum[m])
        normalized[m, n] = acc[m, n] * i[m]
        y[m, n]          = requantize(normalized[m, n])

    No product passes ``max|b| * (2^reciprocal_bits + sum / 2)``, whatever the accumulator does:
    neither registers that saturate nor such that wrap make a sum larger than its terms' magnitudes
    together, ``max|b| * sum``. The array reads codes of a's width; a decoder of 2^bits entries, or
    a shifter where all levels are powers of two, stands in front of it.

    Attributes
    ----------
    a
        unsigned codes [..., M, K] with zero point 0, of at most 8 bits
    b
        codes [..., K, N] with zero point 0, or [..., N, K] with ``transpose_b``; an activation
    levels
        unsigned constant of at most 8 bits, one entry for each code of a, the first of them not 0
    requantize
        in fixed point, with wide left shifts and the zero point after rounding; its factors contain
        2^-reciprocal_bits
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")
    constant_fields: ClassVar[tuple[str, ...]] = ("levels",)

    a: TensorId
    b: TensorId
    levels: TensorId
    transpose_b: bool
    reciprocal_bits: int
    accumulator: Accumulator
    requantize: Requantization


def _matmul_shape(op: NormalizedMatMul, shapes: Sequence[Shape], _: Shape) -> Shape:
    a, b = shapes
    return product_shape(a, b, op.transpose_b)


def _matmul_batch(graph: IntGraph, op: NormalizedMatMul) -> Iterator[str]:
    yield from first_has_images(graph, op)
    a, b = (graph.tensors[name].shape for name in (op.a, op.b))
    if graph.is_constant(op.b) or len(a) != len(b):
        yield f"cannot multiply {a} by {b}: wanted two activations of equal ranks"


def _matmul_rules(graph: IntGraph, op: NormalizedMatMul) -> Iterator[str]:
    a = graph.tensors[op.a]
    if a.code_type.signed or a.code_type.bits > WIDEST_LOGARITHMS:
        yield f"{a.name} is {a.type}, wanted unsigned codes of at most {WIDEST_LOGARITHMS} bits"
        return
    if any(graph.tensors[name].zero_point for name in op.operands):
        yield "a product of two activations needs zero points 0"
    yield from has_an_entry_per_code(graph, op.levels, op.a)
    table, kind = graph.constants[op.levels], graph.tensors[op.levels].code_type
    if kind.signed or kind.bits > LEVEL_BITS:
        yield f"levels are {kind}, wanted unsigned ones of at most {LEVEL_BITS} bits"
    elif int(table.reshape(-1)[0]) < 1:
        yield "the first level must be above 0"
    yield from within("reciprocal_bits", op.reciprocal_bits, 0, LARGEST_SHIFT)
    if op.requantize != replace(
        op.requantize,
        arithmetic=Arithmetic.FIXED_POINT,
        left_shift=LeftShift.WIDEN,
        zero_point_stage=ZeroPointStage.AFTER_ROUND,
    ):
        yield (
            "a normalized product is rescaled in fixed point, with wide left shifts and the zero "
            "point after rounding"
        )


def _matmul_macs(graph: IntGraph, op: NormalizedMatMul) -> int:
    return graph.result(op).size * graph.tensors[op.a].shape[-1]


def sum_of_levels(graph: IntGraph, op: NormalizedMatMul) -> Interval:
    """Return the smallest and the largest sum of a row's levels; 1 stands for 0."""
    low, high = code_range(graph, op.levels)
    terms = graph.tensors[op.a].shape[-1]
    return max(1, terms * low), max(1, terms * high)


def normalized_range(graph: IntGraph, op: NormalizedMatMul, *, exact: bool) -> Interval:
    """Return the bounds of sums times reciprocals.

    ``exact``: sums are, so that their sign is that of some code of b.
    """
    low, high = code_range(graph, op.b)
    largest = (1 << op.reciprocal_bits) + sum_of_levels(graph, op)[1] // 2
    if not exact:
        high = max(-low, high)
        low = -high
    return min(low, 0) * largest, max(high, 0) * largest


def _matmul_sums(graph: IntGraph, op: NormalizedMatMul) -> Intermediate:
    """Return the bounds of partial sums."""
    terms = graph.tensors[op.a].shape[-1]
    term = times((0, code_range(graph, op.levels)[1]), code_range(graph, op.b))
    return sums_in(
        of_equal_terms(term, terms),
        lambda group: of_equal_terms(term, min(group, terms)),
        op.accumulator,
    )


def _matmul_intermediates(graph: IntGraph, op: NormalizedMatMul) -> Iterator[Intermediate]:
    sums = _matmul_sums(graph, op)
    smallest, largest = sum_of_levels(graph, op)
    one = 1 << op.reciprocal_bits
    yield Intermediate("sum", (smallest, largest), (0, one + largest // 2))
    yield sums
    inverses = [(one + each // 2) // each for each in (largest, smallest)]
    yield Intermediate("reciprocal", (inverses[0], inverses[1]))
    exact = all(level.proven for level in sums.levels)
    exact = exact or op.accumulator.policy is OverflowPolicy.REPORT
    normalized = normalized_range(graph, op, exact=exact)
    yield Intermediate("normalized", normalized)
    yield from requantized(graph, op, Channels.all_alike(normalized))


def _matmul_text(graph: IntGraph, op: NormalizedMatMul) -> str:
    levels = graph.tensors[op.levels]
    other = f"{op.b}ᵀ" if op.transpose_b else op.b
    accumulator = accumulator_text(op.accumulator, _matmul_sums(graph, op))
    return (
        f"levels[{levels.size}] {levels.type} of {op.a} × {other}   {accumulator}   "
        f"× 2^{op.reciprocal_bits} / sum   {requantization(graph, op.requantize)}"
    )


SPECS = (
    replace(
        softmax_spec(
            DeferredSoftmax,
            "deferred_softmax",
            rules=_softmax_rules,
            intermediates=_softmax_intermediates,
            text=_softmax_text,
        ),
        shifts=("shift",),
    ),
    OpSpec(
        op=NormalizedMatMul,
        name="normalized_matmul",
        shape=_matmul_shape,
        intermediates=_matmul_intermediates,
        text=_matmul_text,
        rate=None,
        rules=_matmul_rules,
        batch=_matmul_batch,
        own_shapes=("levels",),
        widest_operand=WIDEST_CODES,
        macs=_matmul_macs,
    ),
)
