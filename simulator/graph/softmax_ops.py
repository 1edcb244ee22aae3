# SPDX-License-Identifier: Apache-2.0
"""Softmax as implementations compute it: one operation per algorithm, each a specification.

All work on rows of the last dimension. ``d[j] = a[j] - max(a)`` is the distance from the row's
largest code, so the zero point of ``a`` cancels out. ``sat(v)`` clips to the result's type, which
is all that these algorithms do with a result that does not fit; other values between are integers
that need no more than 64 bits, which ``verify`` sees to.
The algorithm with a table of integers is :class:`simulator.graph.ops.Softmax`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from simulator.graph.float_ops import FLOAT_ARITHMETIC
from simulator.graph.op import Op, TensorId
from simulator.numerics.rounding import Rounding


class Normalisation(StrEnum):
    """How a Softmax with a table of exponentials divides by their sum."""

    RECIPROCAL = "reciprocal"  # one division per row, one product and shift per element
    DIVISION = "division"  # one division per element


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxGemmlowp(Op):
    """The fixed-point softmax of TensorFlow Lite's reference, TFLite Micro and CMSIS-NN.

    Qm.n is a 32-bit number with n fraction bits. ``mul(x, y) = x * y + 2^30 >> 31``, and
    ``div(x, n)`` is ``x / 2^n`` rounded to nearest, ties away from zero::

        x[j] = mul(d[j] << input_left_shift, input_multiplier)                       Q5.26
        e[j] = exp(x[j]), and 0 where d[j] < smallest_difference                     Q0.31
        S    = sum of div(e[j], 12)                                                  Q12.19
        z    = leading zeros of S in 32 bits
        r    = 1 / (1 + t),  t = (S << z) - 2^31                                     Q0.31
        y[j] = sat(div(mul(r, e[j]), 12 - z + 31 - bits) + z_y)    bits of the result's type

    exp, of 0: 2^31 - 1. Otherwise p = x mod 2^24 - 2^24 is x's part in [-1/4, 0), and with
    u = (p << 5) + 2^28, which is p + 1/8 in Q0.31, u2 = mul(u, u), u3 = mul(u2, u) and
    u4 = mul(u2, u2), the Taylor series around -1/8 is

        e = k + mul(k, u + div(mul(div(u4, 2) + u3, 715827883) + u2, 1))     k = 1895147668

    For each bit i = 0..6 that is set in (p - x) >> 24, ascending, then e = mul(e, f[i]), where f[i]
    is exp(-2^(i-2)) in Q0.31: 1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242.

    1 / (1 + t): h = (t + 2^31) >> 1 is half the denominator. Of Newton's iteration in Q2.29,
    v = 1515870810 + mul(h, -1010580540), then three times v = v + (w << 2) with
    w = mul(v, 2^29 - mul(h, v)); r = min(v << 1, 2^31 - 1). Both left shifts clip to 32 bits.

    a : codes; TFLite's have 8 bits
    input_multiplier, input_left_shift : the scale of a times beta in Q5.26,
        ``input_multiplier * 2^(input_left_shift - 31)``
    smallest_difference : the d that still reaches at least -31 in Q5.26 (``diff_min``), at most 0
    An unsigned result with zero point 0 holds what TFLite writes with zero point -128 (8 bits) or
    -32768 (16 bits). More than 511 scores of nearly the same size need a last shift above 31, at
    which TFLite's 8-bit kernels abort; here it is a shift like any other.
    Source: TensorFlow Lite ``reference/softmax.h``; gemmlowp ``fixedpoint.h``.
    """

    a: TensorId
    input_multiplier: int
    input_left_shift: int
    smallest_difference: int

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_gemmlowp"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxLut513(Op):
    """The softmax of 16-bit codes of TensorFlow Lite and CMSIS-NN, by two interpolated tables.

    ``mul`` and ``div`` are those of :class:`SoftmaxGemmlowp`; l is input_left_shift. A table T of
    513 entries is read at x in -32768..32767, with i = (x >> 7) + 256 and f = x & 127::

        T(x) = T[i] + ((T[i + 1] - T[i]) * f + 64 >> 7)

        x[j] = clip(div(mul(d[j] << max(l, 0), input_multiplier), max(-l, 0)) + 32767)
        e[j] = exp_table(x[j])                                     exp of -10..0, 15 fraction bits
        S    = sum(e)
        z    = leading zeros of S in 32 bits
        t    = clip(((S << z - 1) + 2^13 >> 14) - 3 * 2^15)
        r    = reciprocal_table(t)                                 1 / (1 + x) of 0..1
        y[j] = min((e[j] * r + H >> 31 - z), 32767) + z_y          H = 2^(30 - z), or 0 for z = 31

    clip is to -32768..32767.

    a : codes; TFLite's have 16 bits
    input_multiplier, input_left_shift : the scale of a times beta, over 10/65535; to the right
        where negative
    exp_table, reciprocal_table : constants [513] of 0..32767
    Source: TensorFlow Lite ``reference/softmax.h`` (``SoftmaxInt16``) and ``common.h``.
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("exp_table", "reciprocal_table")

    a: TensorId
    input_multiplier: int
    input_left_shift: int
    exp_table: TensorId
    reciprocal_table: TensorId

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_lut513"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxFloatTable(Op):
    """The softmax of LiteRT's optimized kernels: a table of float32 exponentials.

    Everything is a float32 operation, rounded to nearest even one by one, sums in ascending index::

        S    = sum of table[-d[j]]
        r    = 1 / (S / 2^bits)                   bits of the result's type
        y[j] = sat(round(table[-d[j]] * r) + z_y)

    a : codes
    table : float constant [2^bits of a], what exp yields at every distance: 1 first, all in 0..1
    rounding : of the products to integers; half_away in LiteRT
    It is an operation in float, yet its bits are defined: implementations must agree in them.
    Source: TensorFlow Lite ``optimized/optimized_ops.h`` (``Softmax`` of 8-bit codes).
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    rounding: Rounding

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_float_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxIBert(Op):
    """I-BERT's softmax, in the form of Deeploy's integer kernels.

    exp(x) = 2^-q * exp(p) with p in (-ln 2, 0], and exp(p) is a polynomial of degree two::

        q[j] = min(floor(-d[j] / log2), 31)
        p[j] = d[j] + q[j] * log2
        e[j] = coefficient_a * (p[j] + coefficient_b)^2 + coefficient_c >> q[j]
        y[j] = sat(floor(e[j] * (2^bits - 1) / sum(e)) + z_y)        bits of the result's type

    a : codes of scale s
    log2 : floor(ln 2 / s), at least 1
    coefficient_a, coefficient_b, coefficient_c : 0.3585 (p + 1.353)^2 + 0.344 in codes, the
        worth of a unit being that of coefficient_a: 1, floor(1.353 / s), floor(0.344 / (0.3585 s²))
    Deeploy's C code keeps e, its sum and the products in 32 bits and would wrap beyond; its 8-bit
    results have zero point -128.
    Source: I-BERT (arXiv 2101.01321), algorithms 1 and 2; Deeploy ``Softmax_s8.c``.
    """

    a: TensorId
    coefficient_a: int
    coefficient_b: int
    coefficient_c: int
    log2: int

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_ibert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shiftmax(Op):
    """I-ViT's Shiftmax: exponentials by shifts, a straight line between powers of two.

    ::

        v[j] = max(d[j] + (d[j] >> 1) - (d[j] >> 4), n * x0)        d log2(e), nearly
        q[j] = floor(v[j] / x0)
        u[j] = v[j] - q[j] * x0                                      in (x0, 0]
        e[j] = (u[j] - 2 * x0) << n - q[j] >> 1                      2^(n-q) (u/2 - x0)
        F    = floor((2^31 - 1) / min(sum(e), 2^31 - 1))
        y[j] = (e[j] * F >> 32 - output_bits) + z_y

    a : codes of scale s
    x0 : floor(-1 / s), negative: one octave in codes
    n  : largest exponent of two; 15 in I-ViT's training
    output_bits : k, the result being in 0..2^(k-1) - 1 at scale 2^-(k-1); 16 for vision
        transformers, 8 leaves most probabilities at 0
    I-ViT trains with these formulas on float32 numbers, which round e and F above 2^24; here they
    are exact.
    Source: I-ViT (arXiv 2207.01405), section 3.4, and its released ``IntSoftmax``.
    """

    a: TensorId
    x0: int
    n: int
    output_bits: int

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "shiftmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxIta(Op):
    """The streaming softmax of the accelerator ITA: powers of two, a running maximum.

    ``octaves(g) = g + H >> octave_bits`` with H half a unit, 2^(octave_bits - 1), or 0 where
    octave_bits is 0. Elements arrive in groups of ``group``, the last one may be shorter. M starts
    at the lowest code of a and S at 0; for each group::

        M' = max(M, the group)
        S  = (S >> octaves(M' - M)) + sum over the group of (256 >> octaves(M' - a[j]))
        M  = M'

    and when the row is complete::

        y[j] = (floor(256 * largest / S) >> octaves(M - a[j])) + z_y

    Bits of S that a growing maximum shifts out are lost for good, so the result depends on the
    order of the elements and on the group. S has 19 bits.

    a : codes of scale ln 2 / 2^octave_bits: there is no other parameter
    octave_bits : K, one octave is 2^K codes; 0 in ITA's published RTL, 5 in Deeploy's kernels
    group : 16 in ITA; the whole row for a softmax that looks for the maximum first
    largest : the code of 1: 255 in ITA, 127 in the signed streaming kernel of Deeploy
    Source: ITA (arXiv 2307.03493), ``ita_softmax.sv``; Deeploy ``ITAMax_s8``,
    ``ITAPartialMax_s8``.
    """

    a: TensorId
    octave_bits: int
    group: int
    largest: int

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_ita"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxLog2(Op):
    """FQ-ViT's log-int-softmax: the result is the negated binary logarithm of the probability.

    I-BERT's exponentials, the inverse probability r rounded to an integer, its logarithm to the
    nearer power of two::

        v[j] = max(d[j], n * x0)
        q[j] = floor(v[j] / x0)
        u[j] = v[j] - q[j] * x0                              in (x0, 0]
        e[j] = max(u[j] * (u[j] + b) + c, 0) << n - q[j]
        r[j] = sum(e) / e[j], rounded to nearest even
        Q[j] = floor(log2(r[j])), plus 1 where r[j] - 2^Q >= 2^(Q-1)
        y[j] = min(Q[j], highest code of the result), which is also that of e[j] = 0

    a : codes of scale s
    x0, b, c : floor(-ln 2 / s), floor(2.70732 / s), floor(2.79211 / s²)
    n : largest exponent of two; 30 in FQ-ViT, where e needs up to 43 bits
    The result is unsigned with zero point 0; a code Q stands for 2^-Q, and the Lookup behind it
    says what the highest code stands for. FQ-ViT with k bits takes Q >= 2^k for probability 0:
    that is a result one bit wider whose levels from 2^k on are 0, or one of k bits whose last
    level is.
    Source: FQ-ViT (arXiv 2111.13824), equations 15 to 18, and its released ``QIntSoftmax``.
    """

    a: TensorId
    x0: int
    b: int
    c: int
    n: int

    @property
    def kind(self) -> str:
        """The operation's name in text and tables."""
        return "softmax_log2"
