# SPDX-License-Identifier: Apache-2.0
"""Fully connected layers, matrix products and QUANTIZE against LiteRT and TensorFlow Lite Micro.

There is no single rounding of TFLite: LiteRT's reference layer rounds in float64, the other kernels
in fixed point, and TensorFlow Lite Micro is another again.
"""

from __future__ import annotations

import numpy as np
import pytest
from lite_oracle import Engine
from rules import by_rules
from single_operators import (
    BatchMatMul,
    FullyConnected,
    batch_matmul,
    fully_connected,
    power_of_two,
    quantize,
    scales,
)
from tally import Tally

ORACLES = {
    Engine.TFLM: "tflite-micro",
    Engine.LITERT_REF: "LiteRT reference",
}


def int8_scales(random, columns):
    """Eight sets, the last three per channel."""
    some = random.uniform(0.5, 2.0, columns)
    powers = 2.0 ** random.integers(-4, 3, columns)
    return [
        power_of_two(7),
        power_of_two(5, (3, -5)),
        power_of_two(9, (-128, 127)),
        power_of_two(2, (1, 0)),
        scales(0.0173, 0.0041, 0.0612, x_zero=-7, y_zero=4),
        scales(0.25, 0.125 * powers, 4.0, x_zero=5, y_zero=-3),
        scales(0.0173, 0.0041 * some, 0.0512, x_zero=-7, y_zero=11),
        scales(0.25, 0.125 * powers, 6.0, y_zero=1),
    ]


# A factor so little below a power of two that its 15-bit multiplier would round up to 2^15.
FULL_MULTIPLIER = scales(0.25, 0.125, 2.0 + 2.0**-17)


def compare(tally, lite, engine, operator, rule, wrong, bits=8):
    theirs = operator.run(lite, engine)
    sums, factors = operator.sums, operator.scales.factors
    results = by_rules((rule, *wrong), sums, factors, operator.scales.y_zero, bits)
    tally.add(theirs, results.pop(rule), results)


@pytest.mark.parametrize(
    ("engine", "rule", "wrong"),
    [
        (
            Engine.TFLM,
            "Q31 double symmetric",
            ("Q31 half up", "Q31 double asymmetric", "float64 half away", "Q15 half up"),
        ),
        (
            Engine.LITERT_REF,
            "float64 half away",
            ("float64 half even", "float64 half up", "Q31 double symmetric", "float32 half even"),
        ),
    ],
)
def test_fully_connected_int8(lite_of_engine, record_count, engine, rule, wrong):
    random = np.random.default_rng(11)
    tally = Tally(ORACLES[engine], f"FULLY_CONNECTED int8, {rule}", record_count)
    for by in int8_scales(random, 256):
        compare(tally, lite_of_engine, engine, fully_connected(random, by), rule, wrong)
    tally.check(at_least=1_000_000)


def test_a_factor_above_one_shifts_sums_left_in_32_bits(tflm, record_count):
    random = np.random.default_rng(12)
    tally = Tally("tflite-micro", "FULLY_CONNECTED int8, left shift that wraps", record_count)
    rule, wrong = "Q31 double symmetric", ("Q31 double symmetric, wide left shift",)
    for factor, left in [(1.5, 1), (2.0, 2), (3.7, 2), (16.0, 5)]:
        blocks = random.integers(-(1 << left - 1), 1 << left - 1, 128)
        operator = FullyConnected(
            x=random.integers(-20, 21, (256, 2)).astype(np.int8),
            weights=random.integers(-2, 3, (128, 2)).astype(np.int8),
            # Sums beside the multiples of what is lost: they come out as small numbers.
            bias=(blocks << 32 - left) + random.integers(100, 141, 128),
            scales=scales(0.5, 0.5, 0.25 / factor),
        )
        assert np.abs(operator.sums).max() < 1 << 31
        compare(tally, tflm, Engine.TFLM, operator, rule, wrong)
    tally.check(at_least=100_000)


@pytest.mark.parametrize(
    ("engine", "bias_type", "rule", "wrong"),
    [
        (Engine.TFLM, "int64", "Q15 half up", ("Q15 half away", "Q31 half up")),
        (Engine.TFLM, "int32", "Q31 double symmetric", ("Q31 half up", "Q15 half up")),
        (Engine.LITERT_REF, "int64", "float64 half away", ("float64 half even", "Q15 half up")),
        (Engine.LITERT_REF, "int32", "float64 half away", ("float64 half even", "Q15 half up")),
    ],
)
def test_fully_connected_int16_by_int8(
    lite_of_engine, record_count, engine, bias_type, rule, wrong
):
    random = np.random.default_rng(13)
    row = f"FULLY_CONNECTED int16 x int8, {bias_type} bias, {rule}"
    tally = Tally(ORACLES[engine], row, record_count)
    some = random.uniform(0.5, 2.0, 256)
    powers = 2.0 ** random.integers(-4, 3, 256)
    for by in [
        power_of_two(6),
        power_of_two(9),
        power_of_two(4),
        power_of_two(7),
        FULL_MULTIPLIER,
        scales(0.0173, 0.0041, 0.0112),
        scales(0.25, 0.125 * powers, 4.0),
        scales(0.0173, 0.0041 * some, 0.0512),
        scales(0.25, 0.125 * powers, 6.0),
    ]:
        operator = fully_connected(random, by, bits=16, bias_type=bias_type)
        compare(tally, lite_of_engine, engine, operator, rule, wrong, bits=16)
    tally.check(at_least=1_000_000)


@pytest.mark.parametrize("engine", [Engine.TFLM, Engine.LITERT_REF])
def test_batch_matmul_int8(lite_of_engine, record_count, engine):
    random = np.random.default_rng(14)
    rule, wrong = "Q31 double symmetric", ("Q31 half up", "Q31 half away", "float64 half away")
    tally = Tally(ORACLES[engine], f"BATCH_MATMUL int8, {rule}", record_count)
    for by in int8_scales(random, 1)[:5] + [power_of_two(8), scales(0.25, 0.125, 6.0)]:
        compare(tally, lite_of_engine, engine, batch_matmul(random, by), rule, wrong)
    tally.check(at_least=1_000_000)


@pytest.mark.parametrize("engine", [Engine.TFLM, Engine.LITERT_REF])
def test_batch_matmul_int16(lite_of_engine, record_count, engine):
    random = np.random.default_rng(15)
    rule, wrong = "Q15 half up", ("Q15 half away", "float64 half away", "Q31 half up")
    tally = Tally(ORACLES[engine], f"BATCH_MATMUL int16, {rule}", record_count)
    for by in [
        power_of_two(6),
        power_of_two(9),
        power_of_two(14),
        FULL_MULTIPLIER,
        scales(0.0173, 0.0041, 0.0112),
        scales(0.0173, 0.0041, 3.3),
        scales(0.25, 0.125, 4.0),
        scales(0.25, 0.125, 6.0),
    ]:
        operator = batch_matmul(random, by, bits=16)
        compare(tally, lite_of_engine, engine, operator, rule, wrong, bits=16)
    tally.check(at_least=1_000_000)


@pytest.mark.parametrize("engine", [Engine.TFLM, Engine.LITERT_REF])
def test_quantize_int8_to_int8(lite_of_engine, record_count, engine):
    # An int8 tensor has 256 codes: all of them, at very many scales, are what there is to compare.
    random = np.random.default_rng(16)
    rule, wrong = "Q31 double symmetric", ("Q31 double asymmetric", "float64 half even")
    tally = Tally(ORACLES[engine], f"QUANTIZE int8 to int8, {rule}", record_count)
    x = np.arange(-128, 128).astype(np.int8)
    drawn = [(2.0 ** random.integers(-6, 3), 1.0) for _ in range(60)]
    drawn += [(2.0 ** random.integers(-6, 1) * 3, 4.0) for _ in range(40)]
    drawn += [(random.uniform(0.01, 3.0), 1.0) for _ in range(100)]
    for source, result in drawn:
        by = scales(
            source,
            1.0,
            result,
            x_zero=random.integers(-128, 128),
            y_zero=random.integers(-128, 128),
        )
        theirs = quantize(lite_of_engine, engine, x, by)
        sums = (x.astype(np.int64) - by.x_zero)[:, None]
        results = by_rules((rule, *wrong), sums, by.factors, by.y_zero)
        results = {name: codes[:, 0] for name, codes in results.items()}
        tally.add(theirs, results.pop(rule), results)
    tally.check(at_least=200 * 256)


@pytest.mark.parametrize("engine", [Engine.TFLM, Engine.LITERT_REF])
def test_sums_wider_than_float32_and_at_the_ends_of_the_register(
    lite_of_engine, record_count, engine
):
    random = np.random.default_rng(17)
    rule = "Q31 double symmetric" if engine is Engine.TFLM else "float64 half away"
    wrong = ("float32 half even", "float64 half up")
    tally = Tally(ORACLES[engine], f"FULLY_CONNECTED int8, extreme sums, {rule}", record_count)
    ends = np.array([-(1 << 31) + 300, (1 << 31) - 300, (1 << 31) - 1000, 0, 1 << 24, -(1 << 24)])
    for places in (17, 20, 24, 25):
        bias = np.where(
            random.integers(0, 4, 256) == 0,
            ends[random.integers(0, len(ends), 256)],
            (random.integers(-300, 300, 256) << places - 1) + random.integers(-2, 3, 256),
        )
        operator = FullyConnected(
            x=random.integers(-2, 3, (512, 2)).astype(np.int8),
            weights=random.integers(-1, 2, (256, 2)).astype(np.int8),
            bias=np.clip(bias, ends[0], ends[1]),
            scales=power_of_two(places),
        )
        compare(tally, lite_of_engine, engine, operator, rule, wrong)
    tally.check(at_least=500_000)


def test_batch_matmul_has_the_model_of_its_own_sums(lite):
    # One product that can be followed by hand: (3 - 1) * 5 + (0 - 1) * -4 = 14; 14 / 4 = 3.5.
    operator = BatchMatMul(
        x=np.array([[[3, 0]]], np.int8),
        b=np.array([[[5], [-4]]], np.int8),
        scales=scales(0.5, 0.5, 1.0, x_zero=1, y_zero=-2),
    )
    assert operator.sums.tolist() == [[[14]]]
    assert operator.run(lite, Engine.LITERT_REF).tolist() == [[[2]]]
