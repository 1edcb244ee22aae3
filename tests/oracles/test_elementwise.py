# SPDX-License-Identifier: Apache-2.0
"""Element-wise operators, means and tables against LiteRT, TensorFlow Lite Micro and TOSA."""

from __future__ import annotations

import numpy as np
import pytest
from elementwise_operators import (
    Quantized,
    add,
    interpolated,
    lite_result,
    lookup,
    mean,
    mul,
    squared_difference,
)
from lite_oracle import Engine
from tally import Tally
from vectors import codes

from simulator.numerics.function_tables import (
    exponential,
    function_table,
    gelu,
    gelu_tanh,
    interpolation_table,
    logistic,
    rsqrt_table,
)
from simulator.numerics.rounding import DoubleRounding

ORACLES = {Engine.TFLM: "tflite-micro", Engine.LITERT_REF: "LiteRT reference"}
BOTH = pytest.mark.parametrize("engine", list(ORACLES))
ONE_ROUNDING = {"double_rounding": DoubleRounding.NONE}
UPWARD = {"double_rounding": DoubleRounding.ASYMMETRIC}

# (shape of a, shape of b, b is a constant)
SHAPES = [
    ((64, 16, 32), (64, 16, 32), False),
    ((64, 16, 32), (64, 16, 1), False),
    ((64, 16, 1), (64, 16, 32), False),
    ((64, 16, 32), (32,), True),
    ((64, 16, 32), (16, 32), True),
    ((64, 16, 1), (32,), True),
    ((64, 16, 32), (1,), True),
]


def joined_shape(a, b):
    return (*a[:-1], max(a[-1], b[-1]))


def pairs(random, bits, scales):
    """Operands of every shape, at all (scale, zero point) of a, b and the result in turn."""
    for number, (a, b, constant) in enumerate(SHAPES):
        (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = scales[number % len(scales)]
        yield (
            [
                Quantized(codes=codes(random, a, bits), scale=scale_a, zero_point=zero_a),
                Quantized(
                    codes=codes(random, b, bits),
                    scale=scale_b,
                    zero_point=zero_b,
                    constant=constant,
                ),
            ],
            Quantized(
                codes=np.zeros(joined_shape(a, b), f"int{bits}"), scale=scale_y, zero_point=zero_y
            ),
        )


ADD_SCALES = {
    8: [
        # Powers of two: sums end on ties.
        ((0.25, 0), (0.25, 0), (0.5, 0)),
        ((0.25, 3), (0.125, -7), (1.0, 5)),
        ((0.031, -128), (0.0077, 127), (0.029, -3)),
        ((0.0041, 17), (0.31, -20), (0.33, 9)),
        ((0.5, 1), (0.0625, 1), (4.0, -1)),
    ],
    16: [
        ((0.25, 0), (0.25, 0), (0.5, 0)),
        ((0.25, 0), (0.125, 0), (1.0, 0)),
        ((0.00031, 0), (0.0077, 0), (0.0078, 0)),
    ],
}


@BOTH
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_sums(lite_of_engine, record_count, engine, kind, bits):
    random = np.random.default_rng(21)
    tally = Tally(ORACLES[engine], f"{kind} int{bits}, three roundings", record_count)
    subtract = kind == "SUB"
    for operands, result in pairs(random, bits, ADD_SCALES[bits]):
        theirs = lite_result(lite_of_engine, engine, kind, operands, result, potScaleInt16=False)
        ours = add(operands, result, subtract=subtract)
        wrong = {
            "single rounding": add(operands, result, subtract=subtract, **ONE_ROUNDING),
            "second rounding": add(operands, result, subtract=subtract, **UPWARD),
        }
        tally.add(theirs, ours, wrong)
    tally.check(at_least=200_000)


MUL_SCALES = {
    8: [
        ((0.25, 0), (0.125, 0), (4.0, 0)),
        ((0.25, 5), (0.125, -9), (1.0, 3)),
        ((0.0173, -128), (0.0041, 127), (0.013, -7)),
        ((0.031, 12), (0.027, 0), (0.11, 100)),
    ],
    16: [((0.25, 0), (0.125, 0), (1024.0, 0)), ((0.00031, 0), (0.0077, 0), (0.0813, 0))],
}


@BOTH
@pytest.mark.parametrize("bits", [8, 16])
def test_products(lite_of_engine, record_count, engine, bits):
    random = np.random.default_rng(22)
    tally = Tally(ORACLES[engine], f"MUL int{bits}", record_count)
    # LiteRT multiplies and divides the scales in float32, TensorFlow Lite Micro in double.
    factor_type = {Engine.LITERT_REF: np.float32, Engine.TFLM: np.float64}[engine]
    for operands, result in pairs(random, bits, MUL_SCALES[bits]):
        theirs = lite_result(lite_of_engine, engine, "MUL", operands, result)
        wrong = {
            "single rounding": mul(operands, result, factor_type=factor_type, **ONE_ROUNDING),
            "second rounding": mul(operands, result, factor_type=factor_type, **UPWARD),
        }
        tally.add(theirs, mul(operands, result, factor_type=factor_type), wrong)
    tally.check(at_least=200_000)


SQUARE_SCALES = {
    8: [
        ((0.25, 0), (0.25, 0), (32.0, -128)),
        ((0.25, 3), (0.125, -7), (16.0, -128)),
        ((0.031, -128), (0.0077, 127), (0.29, -100)),
        ((0.0041, 17), (0.31, -20), (6.3, -128)),
    ],
    # Its factors are at most 1: LiteRT has no 16-bit form, TensorFlow Lite Micro has.
    16: [((0.25, 0), (0.25, 0), (8192.0, 0)), ((0.00031, 0), (0.0077, 0), (3.1, 0))],
}


@pytest.mark.parametrize(
    ("engine", "bits"), [(Engine.LITERT_REF, 8), (Engine.TFLM, 8), (Engine.TFLM, 16)]
)
def test_squared_differences(lite_of_engine, record_count, engine, bits):
    random = np.random.default_rng(23)
    tally = Tally(ORACLES[engine], f"SQUARED_DIFFERENCE int{bits}", record_count)
    for operands, result in pairs(random, bits, SQUARE_SCALES[bits]):
        theirs = lite_result(lite_of_engine, engine, "SQUARED_DIFFERENCE", operands, result)
        a, b = operands
        wrong = {
            "single rounding": squared_difference(operands, result, **ONE_ROUNDING),
            "common scale": squared_difference(
                [a, Quantized(**vars(b) | {"scale": b.scale * 1.01})], result
            ),
        }
        tally.add(theirs, squared_difference(operands, result), wrong)
    tally.check(at_least=200_000)


MEAN_SHAPES = [
    ((16, 197, 96), 0),
    ((16, 64, 192), 1),
    ((8, 5, 33, 100), 2),
    ((8, 49, 32), 0),
    ((32, 40, 7), 1),
    ((4, 6, 128, 20), 1),
]


@BOTH
@pytest.mark.parametrize("bits", [8, 16])
def test_means(lite_of_engine, record_count, engine, bits):
    random = np.random.default_rng(24)
    tally = Tally(ORACLES[engine], f"MEAN int{bits}, divisor in the multiplier", record_count)
    scales = [
        ((0.25, 7), (0.125, -3)),
        ((0.031, -128), (0.0029, 4)),
        ((0.5, 5), (0.5, 5)),
        ((0.0131, 100), (0.0021, -100)),
        ((0.125, 0), (1 / 64, 0)),
    ]
    for shape, axis in MEAN_SHAPES:
        for (scale_x, zero_x), (scale_y, zero_y) in scales:
            zeros = (0, 0) if bits == 16 else (zero_x, zero_y)
            x = Quantized(codes=codes(random, shape, bits), scale=scale_x, zero_point=zeros[0])
            kept = tuple(1 if i == axis + 1 else extent for i, extent in enumerate(shape))
            y = Quantized(codes=np.zeros(kept, x.codes.dtype), scale=scale_y, zero_point=zeros[1])
            theirs = lite_result(
                lite_of_engine, engine, "MEAN", [x], y, axes=[axis + 1], keepDims=True
            )
            wrong = {
                "single rounding": mean(x, y, axis, **ONE_ROUNDING),
                "divisor in the factor": mean(x, y, axis, folded=False),
            }
            tally.add(theirs, mean(x, y, axis), wrong)
    tally.check(at_least=29_000)


# --- tables ---------------------------------------------------------------------------------------

CODES_8 = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
CODES_16 = np.arange(-(1 << 15), 1 << 15).astype(np.int16).reshape(1, 1 << 16)


def random_scales(random, count):
    """(scale, zero point) of operand and result."""
    for _ in range(count):
        yield (
            (float(2.0 ** random.uniform(-8, -1)), int(random.integers(-128, 128))),
            (float(2.0 ** random.uniform(-9, -2)), int(random.integers(-128, 128))),
        )


@pytest.mark.parametrize(
    ("approximate", "function", "other"),
    [(False, gelu, gelu_tanh), (True, gelu_tanh, gelu)],
)
def test_gelu_tables(lite, record_count, approximate, function, other):
    random = np.random.default_rng(25)
    form = "tanh" if approximate else "erf"
    tally = Tally("LiteRT reference", f"GELU int8 by {form}, all codes", record_count)
    for (scale_x, zero_x), (scale_y, zero_y) in random_scales(random, 400):
        x = Quantized(codes=CODES_8, scale=scale_x, zero_point=zero_x)
        y = Quantized(codes=np.zeros_like(CODES_8), scale=scale_y, zero_point=zero_y)
        theirs = lite_result(lite, Engine.LITERT_REF, "GELU", [x], y, approximate=approximate)
        scales = (scale_x, zero_x, scale_y, zero_y)
        entries = function_table(function, *scales)
        wrong = {"form of GELU": function_table(other, *scales)[None]}
        tally.add(theirs, lookup(x, y, entries), wrong)
    tally.check(at_least=100_000)


@BOTH
def test_logistic_tables(lite_of_engine, record_count, engine):
    """TensorFlow Lite Micro computes in fixed point what LiteRT looks up: the same codes."""
    random = np.random.default_rng(26)
    tally = Tally(ORACLES[engine], "LOGISTIC int8, all codes", record_count)
    for (scale_x, zero_x), _ in random_scales(random, 60):
        x = Quantized(codes=CODES_8, scale=scale_x, zero_point=zero_x)
        y = Quantized(codes=np.zeros_like(CODES_8), scale=1 / 256, zero_point=-128)
        theirs = lite_result(lite_of_engine, engine, "LOGISTIC", [x], y)
        entries = function_table(logistic, scale_x, zero_x, 1 / 256, -128)
        truncated = np.trunc(
            256 / (1 + np.exp(-scale_x * (CODES_8[0].astype(np.float64) - zero_x)))
        )
        tally.add(theirs, lookup(x, y, entries), {"rounding": truncated[None] - 128})
    tally.check(at_least=15_000)


@BOTH
def test_rsqrt_tables(lite_of_engine, record_count, engine):
    random = np.random.default_rng(27)
    tally = Tally(ORACLES[engine], "RSQRT int8, all codes from the zero point on", record_count)
    for (scale_x, zero_x), (scale_y, zero_y) in random_scales(random, 500):
        x = Quantized(codes=CODES_8[:, zero_x + 128 :], scale=scale_x, zero_point=zero_x)
        y = Quantized(codes=np.zeros_like(x.codes), scale=scale_y * 4, zero_point=zero_y)
        theirs = lite_result(lite_of_engine, engine, "RSQRT", [x], y)
        entries = rsqrt_table(scale_x, zero_x, scale_y * 4, zero_y)
        real = np.float64(x.real_scale) * np.maximum(x.codes.astype(np.float64) - zero_x, 1e-9)
        cut = np.trunc(1 / np.sqrt(real) / y.real_scale).clip(0, 1000) + zero_y
        tally.add(theirs, lookup(x, y, entries), {"rounding": cut.clip(-128, 127)})
    tally.check(at_least=50_000)


def test_rsqrt_tables_of_16_bits(tflm, record_count):
    """Only TensorFlow Lite Micro computes these in integers; LiteRT interpolates a table."""
    random = np.random.default_rng(29)
    tally = Tally("tflite-micro", "RSQRT int16, all codes from 0 on", record_count)
    x = CODES_16[:, 1 << 15 :]
    for _ in range(8):
        scale_x, scale_y = 2.0 ** random.uniform(-16, -6), 2.0 ** random.uniform(-14, -6)
        operand = Quantized(codes=x, scale=scale_x)
        y = Quantized(codes=np.zeros_like(x), scale=scale_y)
        theirs = lite_result(tflm, Engine.TFLM, "RSQRT", [operand], y)
        entries = rsqrt_table(scale_x, 0, scale_y, 0, bits=16)
        real = 1 / np.sqrt(operand.real_scale * np.maximum(x.astype(np.float64), 1e-9))
        exact = np.rint(real / y.real_scale).clip(-(1 << 15), (1 << 15) - 1)
        tally.add(theirs, lookup(operand, y, entries), {"exact root": exact})
    tally.check(at_least=250_000)


def _rsqrt_16(scale_y):
    largest = np.float32(32767) * np.float32(scale_y)
    return lambda value: np.float32(1) / np.sqrt(value) if value > 0 else largest


@pytest.mark.parametrize(
    ("kind", "scale_x", "scale_y"),
    [
        ("EXP", 1 / 8192, 60 / 32768),
        ("EXP", 0.0003, 0.0007),
        ("EXP", 0.00011, 0.0012),
        ("RSQRT", 0.002, 0.0005),
        ("RSQRT", 0.0131, 0.00011),
    ],
)
def test_interpolated_tables(lite, record_count, kind, scale_x, scale_y):
    tally = Tally("LiteRT reference", f"{kind} int16, 513 entries, all codes", record_count)
    used = CODES_16[:, 1 << 15 :] if kind == "RSQRT" else CODES_16
    x = Quantized(codes=used, scale=scale_x)
    y = Quantized(codes=np.zeros_like(used), scale=scale_y)
    theirs = lite_result(lite, Engine.LITERT_REF, kind, [x], y)
    function = exponential if kind == "EXP" else _rsqrt_16(scale_y)
    entries = interpolation_table(function, scale_x, scale_y)
    plain = np.array(
        [
            function(np.float32(scale_x) * np.float32(code)) / np.float32(scale_y)
            for code in range(-(1 << 15), (1 << 15) + 1, 128)
        ]
    )
    wrong = {
        "rounding": interpolated(x, y, entries, rounding="floor"),
        "samples": interpolated(x, y, np.rint(plain).clip(-(1 << 15), (1 << 15) - 1).astype(int)),
    }
    tally.add(theirs, interpolated(x, y, entries), wrong)
    tally.check(at_least=used.size)


def test_tosa_tables(tosa, record_count):
    random = np.random.default_rng(28)
    tally = Tally("TOSA reference model", "TABLE int16, fraction kept", record_count)
    for table in (
        interpolation_table(gelu, 8 / 32768, 8 / 32768),
        random.integers(-(1 << 14), 1 << 14, 513),  # rises must fit 16 bits
        np.sort(random.integers(-(1 << 15), 1 << 15, 513)),
    ):
        x = Quantized(codes=CODES_16, scale=1.0)
        y = Quantized(codes=np.zeros(CODES_16.shape, np.int32), scale=1.0)
        theirs = tosa.table(CODES_16, table)
        wrong = {"sample": interpolated(x, y, np.roll(table, 1), shift=0)}
        tally.add(theirs, interpolated(x, y, table, shift=0), wrong)
    tally.check(at_least=190_000)
    tally = Tally("TOSA reference model", "TABLE int8", record_count)
    for _ in range(4):
        table = random.integers(-128, 128, 256)
        x = Quantized(codes=CODES_8, scale=1.0)
        y = Quantized(codes=np.zeros_like(CODES_8), scale=1.0)
        tally.add(
            tosa.table(CODES_8, table), lookup(x, y, table), {"entry": np.roll(table, 1)[None]}
        )
    tally.check(at_least=1024)
