# SPDX-License-Identifier: Apache-2.0
"""Softmaxes whose exponentials are shifted lines and parabolas: I-BERT, I-ViT, FQ-ViT.

d, sat and bits: see :class:`Softmax`. Codes of ``a`` and of the result have at most 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.ops.softmax_rows import (
    above_zero_point,
    columns,
    largest_difference,
    result_holds,
    softmax_spec,
    sum_of_row,
)
from simulator.graph.parameters import within
from simulator.graph.ranges import Intermediate, squared
from simulator.numerics.fixed_point import LARGEST_SHIFT

_LARGEST = (1 << 31) - 1  # what Shiftmax divides by a sum, and cuts sums at


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxIBert(Op):
    """I-BERT's softmax, in the form of Deeploy's integer kernels.

    exp(x) = 2^-q * exp(p) with p in (-ln 2, 0], and exp(p) is a polynomial of degree two::

        q[j] = min(floor(-d[j] / log2), 31)
        p[j] = d[j] + q[j] * log2
        e[j] = coefficient_a * (p[j] + coefficient_b)^2 + coefficient_c >> q[j]
        y[j] = sat(floor(e[j] * (2^bits - 1) / sum(e)) + z_y)

    Deeploy's C code keeps e, its sum and the products in 32 bits and would wrap beyond; its 8-bit
    results have zero point -128.

    Source: I-BERT (arXiv 2101.01321), algorithms 1 and 2; Deeploy ``Softmax_s8.c``.

    Attributes
    ----------
    log2
        floor(ln 2 / s), at least 1
    coefficient_a, coefficient_b, coefficient_c
        0.3585 (p + 1.353)^2 + 0.344 in codes, the worth of a unit being that of coefficient_a: 1,
        floor(1.353 / s), floor(0.344 / (0.3585 s^2))
    """

    a: TensorId
    coefficient_a: int
    coefficient_b: int
    coefficient_c: int
    log2: int


def _ibert_rules(_: IntGraph, op: SoftmaxIBert) -> Iterator[str]:
    if op.log2 < 1:
        yield f"log2 {op.log2}: must be at least 1"
    if op.coefficient_a < 0 or op.coefficient_c < 0:
        yield "coefficient_a and coefficient_c must not be negative"
    elif op.coefficient_a * op.coefficient_b**2 + op.coefficient_c < 1:
        yield "the exponential of the largest score must be above 0"


def _ibert_intermediates(graph: IntGraph, op: SoftmaxIBert) -> Iterator[Intermediate]:
    farthest = largest_difference(graph, op)
    # From 32 octaves on, all the rest of a difference stays in p.
    lowest = min(1 - op.log2, 31 * op.log2 - farthest)
    base = squared((lowest + op.coefficient_b, op.coefficient_b))
    low, high = (op.coefficient_a * end + op.coefficient_c for end in base)
    passed = max(31 * op.log2 + farthest, base[1], op.coefficient_a)
    yield Intermediate("polynomial", (low, high), (-passed, passed))
    exponentials = low >> 31, high
    yield Intermediate("exponentials", exponentials)
    # That of the largest score has p = 0 and is not shifted.
    first = op.coefficient_a * op.coefficient_b**2 + op.coefficient_c
    total = sum_of_row(graph, op, first, exponentials)
    yield Intermediate("sum", total, (0, high * columns(graph, op)))
    levels = (1 << graph.result(op).code_type.bits) - 1
    # The emulator's 64 bits are held against 2^bits, and the zero point, as well.
    passed = high * (levels + 1) + abs(graph.result(op).zero_point)
    yield Intermediate("scaled", (exponentials[0] * levels, high * levels), (0, passed))
    yield Intermediate("rounded", above_zero_point(graph, op, 0, levels))


def _ibert_text(_: IntGraph, op: SoftmaxIBert) -> str:
    return (
        f"{op.a}   {op.coefficient_a}(p + {op.coefficient_b})² + {op.coefficient_c}, "
        f"ln 2 = {op.log2}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shiftmax(Op):
    """I-ViT's Shiftmax: exponentials by shifts, a straight line between powers of two.

    ::

        v[j] = max(d[j] + (d[j] >> 1) - (d[j] >> 4), n * x0)      d log2(e), nearly
        q[j] = floor(v[j] / x0)
        u[j] = v[j] - q[j] * x0                                   in (x0, 0]
        e[j] = (u[j] - 2 * x0) << n - q[j] >> 1                   2^(n - q) (u/2 - x0)
        F    = floor((2^31 - 1) / min(sum(e), 2^31 - 1))
        y[j] = (e[j] * F >> 32 - output_bits) + z_y

    The result less z_y is in 0..2^(output_bits - 1) - 1. I-ViT trains with these formulas on
    float32 numbers, which round e and F above 2^24; here they are exact.

    Source: I-ViT (arXiv 2207.01405), section 3.4, and its released ``IntSoftmax``.

    Attributes
    ----------
    x0
        floor(-1 / s), negative: one octave in codes
    n
        largest exponent of two; 15 in I-ViT's training
    output_bits
        k, the result's scale being 2^-(k - 1); 16 for vision transformers, 8 leaves most
        probabilities at 0
    """

    a: TensorId
    x0: int
    n: int
    output_bits: int


def _shiftmax_rules(graph: IntGraph, op: Shiftmax) -> Iterator[str]:
    yield from within("n", op.n, 0, 30)
    yield from within("output_bits", op.output_bits, 2, 32)
    if 0 <= op.n <= 30:
        # The exponential of the largest score, -x0 * 2^n, has 31 bits: so has no product more.
        yield from within("x0", op.x0, -((1 << 31) - 1 >> op.n), -1)
    if 2 <= op.output_bits <= 32:
        yield from result_holds(graph, op, (1 << op.output_bits - 1) - 1)


def _shiftmax_intermediates(graph: IntGraph, op: Shiftmax) -> Iterator[Intermediate]:
    first = -op.x0 << op.n  # the exponential of the largest score
    yield Intermediate("exponentials", (0, first), (0, 2 * first))
    total = sum_of_row(graph, op, first, (0, first))
    yield Intermediate("sum", total, (0, total[1] + (1 << 31)))
    inverse = _LARGEST // min(total[1], _LARGEST), _LARGEST // first
    yield Intermediate("reciprocal", inverse)
    # Neither an exponential nor its factor passes (2^31 - 1) / sum.
    yield Intermediate("scaled", (0, _LARGEST))
    largest = _LARGEST >> 32 - op.output_bits
    yield Intermediate("rounded", above_zero_point(graph, op, 0, largest))


def _shiftmax_text(_: IntGraph, op: Shiftmax) -> str:
    return f"{op.a}   x0 {op.x0} n {op.n}, {op.output_bits} bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxLog2(Op):
    """FQ-ViT's log-int-softmax: the negated binary logarithms of probabilities.

    I-BERT's exponentials, the inverse probability r rounded to an integer, its logarithm to the
    nearer power of two::

        v[j] = max(d[j], n * x0)
        q[j] = floor(v[j] / x0)
        u[j] = v[j] - q[j] * x0                                   in (x0, 0]
        e[j] = max(u[j] * (u[j] + b) + c, 0) << n - q[j]
        r[j] = sum(e) / e[j], rounded half to even
        Q[j] = floor(log2(r[j])), plus 1 where 2 * r[j] >= 3 * 2^floor(log2(r[j]))
        y[j] = min(Q[j], highest code of y), which is also that of e[j] = 0

    The result is unsigned with zero point 0; a code Q stands for 2^-Q, and the Lookup behind it
    says what the highest code stands for. FQ-ViT with k bits takes Q >= 2^k for probability 0: that
    is a result one bit wider whose levels from 2^k on are 0, or one of k bits whose last level is.

    Source: FQ-ViT (arXiv 2111.13824), equations 15 to 18, and its released ``QIntSoftmax``.

    Attributes
    ----------
    x0, b, c
        floor(-ln 2 / s), floor(2.70732 / s), floor(2.79211 / s^2)
    n
        largest exponent of two; 30 in FQ-ViT, where e needs up to 43 bits
    """

    a: TensorId
    x0: int
    b: int
    c: int
    n: int


def _log2_rules(graph: IntGraph, op: SoftmaxLog2) -> Iterator[str]:
    yield from within("n", op.n, 0, LARGEST_SHIFT)
    if op.x0 >= 0:
        yield f"x0 {op.x0}: must be negative"
    if op.c < 1:
        yield f"c {op.c}: must be at least 1, the exponential of the largest score"
    result = graph.result(op)
    if result.code_type.signed or result.zero_point:
        yield f"result is {result.type} with zero point {result.zero_point}, wanted unsigned and 0"


def _log2_intermediates(graph: IntGraph, op: SoftmaxLog2) -> Iterator[Intermediate]:
    rest = min(largest_difference(graph, op), -op.x0 - 1)
    # A parabola over -rest..0 is largest at one of the ends.
    largest = max(op.c, rest * (rest - op.b) + op.c) << op.n
    passed = max((rest + 1) * (rest + abs(op.b)) + op.c, op.n * -op.x0, 2 * largest)
    yield Intermediate("exponentials", (0, largest), (-passed, passed))
    total = sum_of_row(graph, op, op.c << op.n, (0, largest))
    yield Intermediate("sum", total, (0, columns(graph, op) * largest))
    # Where an exponential is 0, there is no ratio: 0 stands for it.
    yield Intermediate("ratios", (0, total[1]))


def _log2_text(_: IntGraph, op: SoftmaxLog2) -> str:
    return f"{op.a}   p(p + {op.b}) + {op.c}, x0 {op.x0} n {op.n}"


SPECS = (
    softmax_spec(
        SoftmaxIBert,
        "softmax_ibert",
        rules=_ibert_rules,
        intermediates=_ibert_intermediates,
        text=_ibert_text,
    ),
    softmax_spec(
        Shiftmax,
        "shiftmax",
        rules=_shiftmax_rules,
        intermediates=_shiftmax_intermediates,
        text=_shiftmax_text,
    ),
    softmax_spec(
        SoftmaxLog2,
        "softmax_log2",
        rules=_log2_rules,
        intermediates=_log2_intermediates,
        text=_log2_text,
    ),
)
