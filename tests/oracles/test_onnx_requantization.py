# SPDX-License-Identifier: Apache-2.0
"""QLinearMatMul and QuantizeLinear against onnxruntime and the reference evaluator of ONNX.

Both round ties to even. The runtime computes in float32 and adds the zero point to the rounded
code; the reference evaluator adds it before it rounds, so that with an odd zero point they differ
at every tie. The latter's product of an int32 array and a float32 scale is a float64 one, by
numpy's rules of promotion.
"""

from __future__ import annotations

import numpy as np
import pytest
from rules import by_rules
from tally import Tally
from vectors import codes

from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import build_requantizer
from simulator.numerics.rescaling import Arithmetic, RescaleRule
from simulator.numerics.rounding import Rounding

AFTER = "float32 half even"
BEFORE = "float32 half even, zero point first"
BEFORE_64 = "float64 half even, zero point first"

# (scales of a, b and y), (their zero points), depth, largest code of b. That is so small that two
# products fit 16 bits: x86 processors without VNNI add pairs in a saturating 16-bit register.
EXACT_CASES = [  # powers of two and sums below 2^24: float32 and float64 agree
    ((0.25, 0.125, 2.0), (0, 0, 1), 16, 60),
    ((0.25, 0.125, 1.0), (3, 0, -5), 16, 40),
    ((0.25, 0.125, 0.125), (1, 0, 127), 16, 4),
    ((0.5, 0.5, 16.0), (-128, 0, 3), 16, 60),
]
OTHER_CASES = [
    ((0.0173, 0.0041, 0.0612), (-7, 0, 5), 16, 60),
    ((0.0173, 0.0041, 0.0112), (2, 0, -1), 16, 60),
    ((0.1, 0.3, 0.7), (1, 0, 1), 16, 3),
    # Sums that float32 does not hold, at ties and beside them.
    ((0.25, 0.125, 2.0**13), (-128, 0, 7), 2048, 60),
]


def float32_factors(scale_a, scale_b, scale_y):
    """Multiply in float32, then divide in float32: the order changes the last bit."""
    return np.float32(scale_a) * np.float32(scale_b) / np.float32(scale_y)


@pytest.mark.parametrize(
    ("reference", "rule", "wrong", "cases", "columns"),
    [
        (False, AFTER, (BEFORE, "float32 half away", "float64 half even"), "all", 288),
        (True, BEFORE_64, (AFTER, BEFORE, "float64 half even", "Q31 half up"), "all", 288),
        (True, BEFORE, (AFTER, "float32 half away", "Q31 half up"), "exact", 520),
    ],
)
def test_matmul_of_int8(onnx, record_count, reference, rule, wrong, cases, columns):
    random = np.random.default_rng(21)
    oracle = "onnx.reference" if reference else "onnxruntime"
    tally = Tally(oracle, f"QLinearMatMul int8, {rule}", record_count)
    for scales, zero_points, depth, largest in EXACT_CASES + OTHER_CASES * (cases == "all"):
        rows = 512 if depth == 16 else 64
        a = codes(random, (rows, depth))
        b = codes(random, (depth, columns), low=-largest, high=largest)
        if depth > 16:
            a, b = np.where(a > 0, a, 127 - (a & 1)), np.abs(b)
        theirs = onnx.onnx_matmul(a, b, scales=scales, zero_points=zero_points, reference=reference)
        sums = (a.astype(np.int64) - zero_points[0]) @ b.astype(np.int64)
        factors = np.atleast_1d(float32_factors(*scales)).astype(np.float64)
        results = by_rules((rule, *wrong), sums, factors, zero_points[2])
        tally.add(theirs, results.pop(rule), results)
    tally.check(at_least=1_000_000)


def test_matmul_with_a_scale_per_column(onnx, record_count):
    random = np.random.default_rng(22)
    tally = Tally("onnxruntime", f"QLinearMatMul int8 per column, {AFTER}", record_count)
    for y_scale, zero_point in [(4.0, 1), (0.0612, -3)]:
        b_scale = 2.0 ** random.integers(-5, 1, 288) * random.choice([1.0, 0.9], 288)
        a, b = codes(random, (512, 16)), codes(random, (16, 288), low=-60, high=60)
        theirs = onnx.onnx_matmul(
            a, b, scales=(0.25, b_scale, y_scale), zero_points=(2, 0, zero_point), reference=False
        )
        sums = (a.astype(np.int64) - 2) @ b.astype(np.int64)
        factors = float32_factors(0.25, b_scale, y_scale).astype(np.float64)
        results = by_rules((AFTER, BEFORE, "float32 half away"), sums, factors, zero_point)
        tally.add(theirs, results.pop(AFTER), results)
    tally.check(at_least=200_000)


@pytest.mark.parametrize("reference", [False, True])
def test_quantize_linear(onnx, record_count, reference):
    # Whole numbers by a power of two: the division is exact, and so is our product.
    random = np.random.default_rng(23)
    oracle = "onnx.reference" if reference else "onnxruntime"
    tally = Tally(oracle, "QuantizeLinear to int8, half even, zero point after", record_count)
    for scale, zero_point in [(2.0, 1), (8.0, -3), (64.0, 127)]:
        values = random.integers(-int(300 * scale), int(300 * scale), (100_000, 1))
        theirs = onnx.onnx_quantize(
            values.astype(np.float32), scale, zero_point, "int8", reference=reference
        )
        factors = np.array([1 / scale])
        results = by_rules((AFTER, "float32 half away"), values, factors, zero_point)
        tally.add(theirs, results.pop(AFTER), results)
    tally.check(at_least=300_000)


def test_float32_has_fewer_bits_than_a_sum():
    # 2^24 + 1 becomes 2^24 and then, by 2^-24, 1 and not a little more.
    kernel = build_requantizer(
        RescaleRule(
            rounding=Rounding.HALF_EVEN,
            overflow=Overflow.SATURATE,
            arithmetic=Arithmetic.FLOAT32,
        ),
        multiplier=np.array([2.0**-25]),
        shift=None,
        channels=1,
        zero_point=0,
        kind=IntType(bits=8),
    )
    assert kernel(np.array([[(1 << 24) + 1], [3 << 24]]))[0].tolist() == [[0], [2]]
