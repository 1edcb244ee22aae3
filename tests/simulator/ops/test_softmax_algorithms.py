# SPDX-License-Identifier: Apache-2.0
"""The softmax algorithms: kernels on every sort of row, and formulas written a second time.

Those that cannot be compared with an implementation of someone else are compared here, for all rows
of few bits, with exact fractions.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import exp, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_op_graphs import assert_kernel_equals_reference
from small_graphs import S4, S8, U8, Draft

from simulator.graph import verify
from simulator.graph.ops import (
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_constants import float_table, lut513_multiplier, lut513_tables
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops.softmax_lut513 import interpolate, interpolate_kernel

SCALE = 0.05
LUT513 = {
    **lut513_tables()._asdict(),
    **dict(zip(("input_multiplier", "input_left_shift"), lut513_multiplier(SCALE), strict=True)),
}
TABLE = [floor(exp(-SCALE * code) * 1000 + 0.5) for code in range(256)]
# At a scale of 0.05, but for ITA's, which is fixed: ln 2 / 32.
ALGORITHMS = {
    Softmax: {"table": TABLE, "normalisation": Normalisation.DIVISION},
    SoftmaxGemmlowp: {},
    SoftmaxLut513: LUT513,
    SoftmaxFloatTable: {"table": float_table(SCALE)},
    SoftmaxIBert: {},
    Shiftmax: {},
    SoftmaxIta: {},
    SoftmaxLog2: {},
}


def outcome(op_type, rows, source=S8, rounding=Rounding.HALF_UP, **fields):
    """Run an algorithm on rows by kernel and by reference; return codes and how many saturated."""
    d = Draft(rounding, Overflow.SATURATE)
    d.input("a", np.shape(rows), source)
    d.op(op_type, "y", "a", **fields)
    graph = d.graph()
    assert verify(graph) == []
    codes = {"a": np.array([rows]).astype(source.dtype)}
    result = assert_kernel_equals_reference(graph, codes)
    return result.codes[0].tolist(), result.saturated


def codes_of(op_type, rows, source=S8, **fields):
    return outcome(op_type, rows, source, **fields)[0]


@st.composite
def rows_of_codes(draw):
    """One sort of row after another, between the ends of s8."""
    width = draw(st.integers(1, 300) | st.sampled_from([1, 2, 15, 16, 17, 300]))
    random = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    rows = random.integers(-128, 128, (8, width))
    rows[1] = draw(st.sampled_from([-128, 0, 127]))
    rows[2] = -128
    rows[2, random.integers(width)] = 127
    rows[3] = 127
    rows[3, random.integers(width)] = -128
    rows[4] = random.choice([-128, 127], width)
    rows[5] = np.sort(rows[5])
    rows[6] = np.sort(rows[6])[::-1]
    rows[7] = random.normal(0, 10, width).round().clip(-128, 127)
    return rows


@pytest.mark.parametrize("op_type", ALGORITHMS)
@given(rows=rows_of_codes())
def test_every_sort_of_row(op_type, rows):
    codes = np.array(codes_of(op_type, rows, **ALGORITHMS[op_type]))
    sign = -1 if op_type == SoftmaxLog2 else 1
    order = np.argsort(rows, axis=-1)
    # More score, no less probability.
    assert (np.diff(np.take_along_axis(sign * codes, order, -1), axis=-1) >= 0).all()
    # Equal scores, equal codes.
    for row, found in zip(rows.tolist(), codes.tolist(), strict=True):
        assert len(set(zip(row, found, strict=True))) == len(set(row))


@pytest.mark.parametrize("op_type", [Softmax, SoftmaxGemmlowp, SoftmaxFloatTable, SoftmaxIBert])
def test_what_saturates_is_counted(op_type):
    fields = ALGORITHMS[op_type] | {"zero_point": 100, "type": S8}
    rows = [[100, -100, 0], [7, 7, 7], [-128, 127, 127]]
    codes, saturated = outcome(op_type, rows, **fields)
    assert saturated == sum(code == 127 for row in codes for code in row) > 0


UNITS = {  # what a probability of 1 is worth, the result's zero point, and how far it may be off
    Softmax: (256, 0, 0.6),
    SoftmaxGemmlowp: (256, 0, 0.6),
    SoftmaxLut513: (32768, 0, 2),
    SoftmaxFloatTable: (256, 0, 0.6),
    SoftmaxIBert: (255, -128, 15),
    Shiftmax: (32768, 0, 600),
}


@pytest.mark.parametrize("op_type", UNITS)
def test_probabilities_are_nearly_those_of_real_numbers(op_type):
    random = np.random.default_rng(8)
    rows = random.normal(0, 25, (20, 30)).round().clip(-128, 127).astype(int)
    unit, zero_point, tolerance = UNITS[op_type]
    codes = np.array(codes_of(op_type, rows, **ALGORITHMS[op_type])) - zero_point
    real = np.exp(SCALE * (rows - rows.max(-1, keepdims=True)))
    real *= unit / real.sum(-1, keepdims=True)
    assert abs(codes - real).max() < tolerance
    assert abs(codes - real).max() > tolerance / 4  # the tolerance is not far above what is needed


# --- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        # 8, 5 and 3 of 16, in eighths: 4, 2.5, 1.5. 8, 8 and 5 of 21: 3.05, 3.05, 1.90.
        (Rounding.FLOOR, [[4, 2, 1], [3, 3, 1]]),
        (Rounding.HALF_UP, [[4, 3, 2], [3, 3, 2]]),
        (Rounding.HALF_DOWN, [[4, 2, 1], [3, 3, 2]]),
        (Rounding.HALF_EVEN, [[4, 2, 2], [3, 3, 2]]),
    ],
)
def test_a_division_rounds_once(rounding, expected):
    fields = {"table": [8, 5, 3] + [0] * 253, "reciprocal_bits": 5, "shift": 2}
    rows = [[0, -1, -2], [0, 0, -1]]
    division = {"normalisation": Normalisation.DIVISION, "rounding": rounding}
    assert codes_of(Softmax, rows, **fields, **division) == expected


def test_fixed_point_of_equal_scores():
    for equal, code in ((2, 128), (4, 64), (256, 1), (300, 1)):
        assert codes_of(SoftmaxGemmlowp, [[5] * equal]) == [[code] * equal]
    assert outcome(SoftmaxGemmlowp, [[5], [-128]]) == ([[255], [255]], 2)
    row = [127, -100, -128]
    assert outcome(SoftmaxGemmlowp, [row]) == ([[255, 0, 0]], 1)
    signed = {"type": S8, "zero_point": -128}
    assert outcome(SoftmaxGemmlowp, [row], **signed) == ([[127, -128, -128]], 1)
    assert codes_of(SoftmaxGemmlowp, [row], smallest_difference=0)[0][1:] == [0, 0]


@pytest.mark.parametrize(("equal", "code"), [(511, 1), (512, 0), (1000, 0), (4095, 0)])
def test_more_equal_scores_than_a_last_shift_of_31_allows(equal, code):
    assert codes_of(SoftmaxGemmlowp, [[0] * equal]) == [[code] * equal]


def test_interpolated_tables_of_equal_scores():
    assert outcome(SoftmaxLut513, [[9]], **LUT513) == ([[32767]], 1)
    for equal in (2, 3, 4, 7, 100):
        (row,) = codes_of(SoftmaxLut513, [[9] * equal], **LUT513)
        assert all(abs(code - 32768 / equal) <= 3 for code in row)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.FLOOR, [128, 126, 1]),
        (Rounding.TOWARD_ZERO, [128, 126, 1]),
        (Rounding.HALF_UP, [128, 127, 2]),
        (Rounding.HALF_AWAY, [128, 127, 2]),
        (Rounding.HALF_DOWN, [128, 126, 1]),
        (Rounding.HALF_EVEN, [128, 126, 2]),
    ],
)
def test_float_exponentials_at_ties(rounding, expected):
    # The sum is 2: 128, 126.5, 1.5.
    table = [1, 253 / 256, 3 / 256] + [0] * 253
    assert codes_of(SoftmaxFloatTable, [[0, -1, -2]], table=table, rounding=rounding) == [expected]


def test_float_sums_are_of_single_precision_and_in_order():
    # 1 + 2^-24 is a tie, and goes to 1; two small ones that come first are not lost: 1 + 2^-23.
    fields = {"table": [1.0, 2.0**-24] + [0.0] * 254, "rounding": Rounding.FLOOR}
    assert outcome(SoftmaxFloatTable, [[0, -1, -1]], **fields) == ([[255, 0, 0]], 1)  # 256
    assert outcome(SoftmaxFloatTable, [[-1, -1, 0]], **fields) == ([[0, 0, 255]], 0)  # 255.99


def test_ita_halves_at_every_octave():
    # 256 + 128 + 64 + 32 = 480: 65280 / 480 = 136
    assert codes_of(SoftmaxIta, [[64, 32, 0, -32]]) == [[136, 68, 34, 17]]
    # 15 codes are nearer to no octave, 16 are rounded up: 256 + 256 + 128 + 128; 85
    assert codes_of(SoftmaxIta, [[64, 49, 48, 47]]) == [[85, 85, 42, 42]]
    assert codes_of(SoftmaxIta, [[64, 49, 48, 47]], largest=127) == [[42, 42, 21, 21]]


def test_ita_depends_on_the_order():
    octaves = {"octave_bits": 0}
    # Three times 256, shifted by 9 together: 1 is left, one by one nothing would be.
    assert codes_of(SoftmaxIta, [[-9, -9, -9, 0]], group=1, **octaves) == [[0, 0, 0, 254]]
    assert codes_of(SoftmaxIta, [[-9, -9, -9, 0]], group=4, **octaves) == [[0, 0, 0, 255]]
    assert codes_of(SoftmaxIta, [[0, -9, -9, -9]], group=1, **octaves) == [[255, 0, 0, 0]]


def test_ibert():
    # p = 0, -12, 0 after one octave; 27² + 383 = 1112, 15² + 383 = 608, 1112 >> 1 = 556: 2276
    found = codes_of(SoftmaxIBert, [[0, -12, -13]])
    assert found == [[1112 * 255 // 2276 - 128, 608 * 255 // 2276 - 128, 556 * 255 // 2276 - 128]]


def test_shiftmax():
    # -20 + -10 - -2 = -28: one octave of 20, u = -8; (-8 + 40) << 14 >> 1; 20 << 15 of the largest
    total = (20 << 15) + (32 << 13)
    factor = ((1 << 31) - 1) // total
    expected = [(20 << 15) * factor >> 16, (32 << 13) * factor >> 16]
    assert codes_of(Shiftmax, [[100, 80]]) == [expected]


def test_log2():
    # At a distance of 14 an octave is gone: 2/3 and 1/3 make 1.5 and 3, which are 2 and 3: 1, 2.
    assert codes_of(SoftmaxLog2, [[0, -14]]) == [[1, 2]]
    # 5/2, a tie to even: 2
    assert codes_of(SoftmaxLog2, [[0, 0, -14]])[0][:2] == [1, 1]
    for equal, code in ((1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (300, 8)):
        assert codes_of(SoftmaxLog2, [[7] * equal]) == [[code] * equal]
    assert outcome(SoftmaxLog2, [[127, -128]]) == ([[0, 15]], 1)
    assert outcome(SoftmaxLog2, [[127, -128]], type=U8) == ([[0, 18]], 0)


# --- the formulas of the sources, in exact fractions ----------------------------------------------

S3 = IntType(bits=3)
PAIRS = [list(row) for row in product(range(-8, 8), repeat=2)]  # of s4
TRIPLES = [list(row) for row in product(range(-4, 4), repeat=3)]  # of s3


IBERT = ("coefficient_a", "coefficient_b", "coefficient_c", "log2")


def ibert(row, a, b, c, log2, bits):
    """I-BERT's algorithms 1 and 2."""
    powers = []
    for code in row:
        below = Fraction(max(row) - code)
        octaves = min(floor(below / log2), 31)
        p = octaves * log2 - below
        powers.append(floor((a * (p + b) ** 2 + c) / 2**octaves))
    return [floor(Fraction(power * (2**bits - 1), sum(powers))) for power in powers]


@pytest.mark.parametrize(
    "parameters", [(1, 5, 11, 3), (1, 2, 1, 1), (3, 7, 0, 4), (2, 0, 5, 2), (1, -1, 3, 20)]
)
def test_ibert_of_all_short_rows(parameters):
    fields = dict(zip(IBERT, parameters, strict=True))
    for kind, rows in ((S4, PAIRS), (S3, TRIPLES)):
        found = codes_of(SoftmaxIBert, rows, kind, **fields)
        assert found == [[code - 128 for code in ibert(row, *parameters, 8)] for row in rows]


def test_ibert_halves_31_times_at_most():
    parameters = (1 << 34, 0, 1, 1)  # the polynomial grows with what is not halved
    fields = dict(zip(IBERT, parameters, strict=True))
    rows = [[127, 127 - below] for below in range(256)]
    found = codes_of(SoftmaxIBert, rows, S8, **fields)
    assert found == [[code - 128 for code in ibert(row, *parameters, 8)] for row in rows]


def shiftmax(row, x0, n, bits):
    """I-ViT's released IntSoftmax, with real divisions where it has them."""
    powers = []
    for code in row:
        d = Fraction(code - max(row))
        v = max(d + floor(d / 2) - floor(d / 16), n * x0)
        q = floor(v / x0)
        r = v - x0 * q
        powers.append(max(floor((r / 2 - x0) * Fraction(2) ** (n - q)), 0))
    total = min(sum(powers), 2**31 - 1)
    factor = floor(Fraction(2**31 - 1, total))
    return [floor(Fraction(power * factor, 2 ** (31 - bits + 1))) for power in powers]


@pytest.mark.parametrize(
    "parameters", [(-3, 15, 16), (-1, 5, 8), (-5, 2, 4), (-1, 0, 16), (-60000, 15, 16)]
)
def test_shiftmax_of_all_short_rows(parameters):
    fields = dict(zip(("x0", "n", "output_bits"), parameters, strict=True))
    for kind, rows in ((S4, PAIRS), (S3, TRIPLES)):
        found = codes_of(Shiftmax, rows, kind, **fields)
        assert found == [shiftmax(row, *parameters) for row in rows]


def ita(row, octave_bits, group, largest, lowest):
    """The sum by what each group leaves of the one before, from the last group backwards."""

    def octaves(distance):
        return (
            floor(Fraction(distance, 2**octave_bits) + Fraction(1, 2)) if octave_bits else distance
        )

    def total(stop):
        if stop <= 0:
            return 0
        start = (stop - 1) // group * group
        largest_yet, before = max(row[:stop]), max([lowest, *row[:start]])
        new = sum(
            floor(Fraction(256, 2 ** octaves(largest_yet - code))) for code in row[start:stop]
        )
        return floor(Fraction(total(start), 2 ** octaves(largest_yet - before))) + new

    inverse = floor(Fraction(256 * largest, total(len(row))))
    return [floor(Fraction(inverse, 2 ** octaves(max(row) - code))) for code in row]


@pytest.mark.parametrize("octave_bits", [0, 1, 2, 3])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_ita_of_all_short_rows(octave_bits, group):
    fields = {"octave_bits": octave_bits, "group": group, "largest": 255}
    found = codes_of(SoftmaxIta, TRIPLES, S3, **fields)
    assert found == [ita(row, octave_bits, group, 255, -4) for row in TRIPLES]


@given(rows_of_codes(), st.integers(0, 7), st.integers(1, 40), st.sampled_from([127, 255]))
def test_ita_of_long_rows(rows, octave_bits, group, largest):
    fields = {"octave_bits": octave_bits, "group": group, "largest": largest}
    found = codes_of(SoftmaxIta, rows, **fields)
    assert found == [ita(row, octave_bits, group, largest, -128) for row in rows.tolist()]


@given(rows_of_codes(), st.integers(1, 300))
def test_ita_loses_nothing_where_the_largest_comes_first(rows, group):
    falling = np.sort(rows)[:, ::-1]
    at_once = codes_of(SoftmaxIta, falling, group=300)
    assert codes_of(SoftmaxIta, falling, group=group) == at_once


def log2(row, x0, b, c, n, highest):
    """FQ-ViT's released QIntSoftmax, with real divisions and exact rounding."""
    powers = []
    for code in row:
        d = max(Fraction(code - max(row)), Fraction(n * x0))
        q = floor(d / x0)
        r = d - x0 * q
        powers.append(max(floor(((r + b) * r + c) * Fraction(2) ** (n - q)), 0))
    codes = []
    for power in powers:
        if not power:
            codes.append(highest)
            continue
        ratio = round(Fraction(sum(powers), power))  # ties to even
        below = max(k for k in range(64) if 2**k <= ratio)
        up = below > 0 and ratio - 2**below >= 2 ** (below - 1)
        codes.append(min(below + up, highest))
    return codes


@pytest.mark.parametrize(
    "parameters",
    [(-3, 12, 44, 10), (-1, 1, 1, 3), (-5, 9, 3, 2), (-2, 7, 20, 0), (-100, 30, 90, 9)],
)
def test_log2_of_all_short_rows(parameters):
    fields = dict(zip(("x0", "b", "c", "n"), parameters, strict=True))
    for kind, rows in ((S4, PAIRS), (S3, TRIPLES)):
        found = codes_of(SoftmaxLog2, rows, kind, **fields)
        assert found == [log2(row, *parameters, 15) for row in rows]


def test_gemmlowp_of_a_row_that_one_more_unit_in_the_sum_changes():
    row = [45, -44, 10, 27, 42, 3, -15]
    fields = {"input_multiplier": 1 << 30, "input_left_shift": 23, "smallest_difference": -255}
    codes = codes_of(SoftmaxGemmlowp, [row], type=IntType(bits=16), zero_point=-32768, **fields)
    assert [code + 32768 for code in codes[0]] == [27703, 106, 3108, 8994, 22967, 2007, 652]


def test_interpolation_at_every_point_and_beyond():
    for sampled in lut513_tables():
        table = [int(entry) for entry in sampled]
        entries = np.array(table)
        found = [interpolate_kernel(entries, np.int64(x)) for x in range(-32768, 32768)]
        assert found == [interpolate(table, x) for x in range(-32768, 32768)]
        assert interpolate_kernel(entries, np.int64(32768)) == found[-1]
        assert interpolate_kernel(entries, np.int64(-40000)) == found[0]
