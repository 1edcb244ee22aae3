# SPDX-License-Identifier: Apache-2.0
"""GELU in integer arithmetic, without a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import within
from simulator.graph.ranges import (
    Intermediate,
    centred_range,
    largest_magnitude,
    squared,
    times,
    widened,
)
from simulator.graph.shapes import same_shape
from simulator.graph.text_parts import requantization
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import IntType

_LARGEST_SUM = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GeluPolynomial(Op):
    """GELU by a second-order polynomial for erf (algorithm ``ibert_poly``).

    ``wrap`` keeps the low ``intermediate_bits`` bits; sgn(0) is 0; shifts are floors::

        q = max(a - z_a, clip_low)                                or a - z_a, without clip_low
        d = min(|q|, clip) - clip
        L = wrap(sgn(q) * (d^2 + constant))                       constant - d^2 with negated
        E = wrap((L >> erf_shift) + one >> sum_shift)
        y = requantize(wrap(q * E))

    The leading coefficient of erf is negative: without ``negated``, constant and one are negative,
    too, and so is what 1 in q E is worth. ITA and Gemmini pass codes on whose scale is negative.

    Sources: I-BERT (arXiv 2101.01321), 64 bits, erf_shift 14; ITA, 26 bits, its Python model with
    clip_low -127; Gemmini, 32 bits; Deeploy, 32 bits, negated, sum_shift 1. Shifts are 0 where not
    named. Constants: :func:`simulator.numerics.polynomial_gelu.polynomial_gelu_constants`.

    Attributes
    ----------
    clip
        from this magnitude of q on erf is 1: -b of the source, whose a, b, c are real coefficients
    constant
        c of the source, the polynomial's value at the clip
    one
        what 1.0 is worth in ``L >> erf_shift``
    negated
        turns the sign of the polynomial, so that products with positive constants are positive
    clip_low
        lower end of q, or none
    """

    a: TensorId
    clip: int
    constant: int
    one: int
    negated: bool
    erf_shift: int
    sum_shift: int
    clip_low: int | None
    intermediate_bits: int
    requantize: Requantization


def _polynomial_rules(_: IntGraph, op: GeluPolynomial) -> Iterator[str]:
    yield from within("erf_shift", op.erf_shift, 0, LARGEST_SHIFT)
    yield from within("sum_shift", op.sum_shift, 0, LARGEST_SHIFT)
    yield from within("intermediate_bits", op.intermediate_bits, 2, 64)
    yield from within("clip", op.clip, 0, (1 << 31) - 1)


def _polynomial_intermediates(graph: IntGraph, op: GeluPolynomial) -> Iterator[Intermediate]:
    low, high = centred_range(graph, op.a)
    if op.clip_low is not None:
        low, high = max(low, op.clip_low), max(high, op.clip_low)
    yield Intermediate("clipped", (low, high))
    ends = abs(low), abs(high)
    nearest = 0 if low <= 0 <= high else min(ends)
    distance = min(nearest, op.clip) - op.clip, min(max(ends), op.clip) - op.clip
    yield Intermediate("distance", distance)
    square = squared(distance)
    yield Intermediate("square", square)
    curve = op.constant + square[0], op.constant + square[1]
    if op.negated:
        curve = op.constant - square[1], op.constant - square[0]
    signs = -int(low < 0), int(high > 0)
    register = IntType(bits=op.intermediate_bits)
    polynomial = Intermediate("polynomial", times(signs, curve), curve, register)
    yield polynomial
    first, last = ((end >> op.erf_shift) + op.one for end in polynomial.held)
    total = Intermediate(
        "sum", (first >> op.sum_shift, last >> op.sum_shift), (first, last), register
    )
    yield total
    product = Intermediate("product", times((low, high), total.held), register=register)
    yield product
    yield from requantized(graph, op, Channels.all_alike(product.held))


def _polynomial_text(graph: IntGraph, op: GeluPolynomial) -> str:
    sign = "-" if op.negated else "+"
    low = "" if op.clip_low is None else f", codes from {op.clip_low}"
    return (
        f"{op.a}   clip {op.clip}{low}; {op.constant} {sign} d² >> "
        f"{op.erf_shift}, + {op.one} >> {op.sum_shift} in s{op.intermediate_bits}   "
        f"{requantization(graph, op.requantize)}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftGelu(Op):
    """GELU as x σ(1.702 x) with exponentials by shifts, over rows of the last dimension.

    With x[j] = a[j] - z_a, m = max(x) and fb = ``fraction_bits``::

        exp(v): w = max(v + floor(v / 2) - floor(v / 16), -fb * octave)
                h = floor(-w / octave);   r = w + h * octave
                floor((r / 2 + octave) * 2^(fb - h))
        t[j]  = min(exp(x[j] - m) + exp(-m), 2^31 - 1)
        g[j]  = exp(x[j] - m) * floor((2^31 - 1) / t[j]) >> (32 - output_bits)        floor
        y[j]  = requantize(x[j] * g[j])

    v + v/2 - v/16 is v log2(e), nearly. x g is worth s_a / 2^(output_bits - 1). Where all of a row
    is negative, exp(-m) may be large: unbounded, until t is cut.

    Source: I-ViT (arXiv 2207.01405): fraction_bits 23, output_bits 8. Its x0 is -octave.

    Attributes
    ----------
    octave
        the number of codes that halve the exponential: 1 / (1.702 s_a), rounded up
    """

    a: TensorId
    octave: int
    fraction_bits: int
    output_bits: int
    requantize: Requantization


def _shift_rules(_: IntGraph, op: ShiftGelu) -> Iterator[str]:
    yield from within("octave", op.octave, 1, (1 << 31) - 1)
    yield from within("fraction_bits", op.fraction_bits, 0, LARGEST_SHIFT)
    yield from within("output_bits", op.output_bits, 1, 32)


def _shift_intermediates(graph: IntGraph, op: ShiftGelu) -> Iterator[Intermediate]:
    centred = centred_range(graph, op.a)
    one = op.octave << op.fraction_bits  # exp(0), the largest power
    yield Intermediate("maximum", centred, widened(centred, 3 * largest_magnitude(graph, op.a)))
    # Twice a power, before it is halved, where the powers of a sum are cut at 32 bits.
    yield Intermediate("exponentials", (1, one), (0, 2 * op.octave << max(op.fraction_bits, 32)))
    yield Intermediate("sum", (2, _LARGEST_SUM), (0, 2 * max(one, _LARGEST_SUM)))
    yield Intermediate("factor", (1, _LARGEST_SUM // 2))
    # A power times its reciprocal stays below 2^31; where the sum is cut, that is 1.
    quotient = max(_LARGEST_SUM, one)
    sigmoid = 0, quotient >> 32 - op.output_bits
    yield Intermediate("sigmoid", sigmoid, (0, quotient))
    product = times(centred, sigmoid)
    yield Intermediate("product", product)
    yield from requantized(graph, op, Channels.all_alike(product))


def _shift_text(graph: IntGraph, op: ShiftGelu) -> str:
    return (
        f"{op.a}   octave {op.octave}, 2^-{op.fraction_bits}, σ {op.output_bits} "
        f"bits   {requantization(graph, op.requantize)}"
    )


SPECS = (
    OpSpec(
        op=GeluPolynomial,
        name="gelu_polynomial",
        shape=same_shape,
        intermediates=_polynomial_intermediates,
        text=_polynomial_text,
        rate="lookup",
        rules=_polynomial_rules,
    ),
    OpSpec(
        op=ShiftGelu,
        name="shift_gelu",
        shape=same_shape,
        intermediates=_shift_intermediates,
        text=_shift_text,
        rate="softmax",  # a maximum, exponentials, a division per element
        rules=_shift_rules,
    ),
)
