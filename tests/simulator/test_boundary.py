# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from small_graphs import S8, S16, U8

from simulator.boundary import dequantize, quantize
from simulator.errors import InputError
from simulator.graph.graph import Role, Tensor
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType


def tensor(kind=S8, zero_point=0, scale=(0.5,)):
    return Tensor(
        name="image", shape=(3,), type=kind, role=Role.INPUT, zero_point=zero_point, scale=scale
    )


@pytest.mark.parametrize(
    ("kind", "zero_point", "expected"),
    [
        (S8, 0, [0, 0, 2, 2, -2, 0, -128, 127, 20]),
        (S8, 100, [100, 100, 102, 102, 98, 100, -128, 127, 120]),
        (U8, 3, [3, 3, 5, 5, 1, 3, 0, 255, 23]),
        (S16, -7, [-7, -7, -5, -5, -9, -7, -2007, 1993, 13]),
    ],
)
def test_ties_go_to_even_and_ends_are_clamped(kind, zero_point, expected):
    # In steps of 0.5: 0, 0.5, 1.5, 2.5, -1.5, -0.5, -2000, 2000, 20.4
    values = np.array([0, 0.25, 0.75, 1.25, -0.75, -0.25, -1000, 1000, 10.2])
    codes = quantize(values, tensor(kind, zero_point))
    assert codes.dtype == kind.dtype
    assert codes.tolist() == expected


@pytest.mark.parametrize(("kind", "zero_point"), [(S8, -5), (U8, 200), (S8, 0)])
def test_every_code_comes_back(kind, zero_point):
    for scale in (0.5, 1 / 3, 0.0078431, 1e-5):
        codes = np.arange(kind.low, kind.high + 1).astype(kind.dtype)
        one = tensor(kind, zero_point, (scale,))
        real = dequantize(codes, one)
        assert real.dtype == np.float64
        assert quantize(real, one).tolist() == codes.tolist()
        assert real[zero_point - kind.low] == 0


def test_division_is_in_float32():
    # 0.7 / 0.2 is 3.4999999999999996 in float64, and 3.5 in float32, which goes to the even 4.
    assert quantize(np.array([0.7]), tensor(scale=(0.2,))).tolist() == [4]


def test_a_scale_per_channel():
    wide = tensor(scale=(1.0, 0.5, 0.25))
    assert quantize(np.ones((2, 3)), wide).tolist() == [[1, 2, 4]] * 2
    assert dequantize(np.ones((2, 3), np.int8), wide).tolist() == [[1.0, 0.5, 0.25]] * 2


def test_known_real_values():
    assert dequantize(np.array([-128, 0, 127], np.int8), tensor(zero_point=-28)).tolist() == [
        -50.0,
        14.0,
        77.5,
    ]


def test_real_tensors_are_neither_scaled_nor_rounded():
    real = Tensor(name="x", shape=(2,), type=FLOAT32, role=Role.INPUT)
    given_values = np.array([[0.3, -1e9]])
    found = quantize(given_values, real)
    assert found.dtype == np.float32
    assert found.tolist() == given_values.astype(np.float32).tolist()
    back = dequantize(found, real)
    assert back.dtype == np.float64
    assert back.tolist() == found.tolist()


@pytest.mark.parametrize("bits", [24, 25, 31, 32, 48, 53, 54, 63, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_the_ends_of_wide_types_are_clamped_to(bits, signed):
    """No float32 is 2^31 - 1: clipped there, values would come out at the other end of the type."""
    kind = IntType(bits=min(bits, 63), signed=False) if not signed else IntType(bits=bits)
    codes = quantize(np.array([-1e30, 0.0, 1e30]), tensor(kind, 0, (1.0,))).tolist()
    assert codes[:2] == [kind.low, 0]
    assert kind.high - (1 << max(kind.bits - 53, 0)) < codes[2] <= kind.high


def test_what_is_not_a_number_has_no_code():
    with pytest.raises(InputError, match="input image: has values that are not numbers"):
        quantize(np.array([0, np.nan, 1]), tensor())
    assert quantize(np.array([-np.inf, np.inf, 1]), tensor()).tolist() == [-128, 127, 2]


def test_codes_without_a_scale_stand_for_nothing():
    unscaled = tensor(scale=())
    uses = (lambda: quantize(np.ones(3), unscaled), lambda: dequantize(np.ones(3), unscaled))
    for use in uses:
        with pytest.raises(InputError, match="tensor image: has no scale"):
            use()
