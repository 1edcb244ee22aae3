# SPDX-License-Identifier: Apache-2.0
"""What the lowering computes in numpy is what methods and the interpreter compute in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aocq.capture.interpreter import UNARY_FUNCTIONS
from aocq.lowering.factors import fixed_point
from aocq.methods.masks import lowest_code_wanted, lowest_wanted
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Quantizer
from simulator.numerics.integer_type import IntType
from simulator.numerics.real_functions import REAL_FUNCTIONS
from simulator.profile import RescaleSection

# Multiples of half a scale: ties among them.
HALVES = np.arange(-800, 801) / 2
UNIFORM = ActivationQuantizer(type=IntType(bits=8), scale=0.25, zero_point=-7)
QUANTIZERS: dict[str, Quantizer] = {
    "uniform": UNIFORM,
    "by channel": ActivationQuantizer(
        type=IntType(bits=8), scale=0.3, zero_point=3, alpha=(1.0, 2.0, 0.5)
    ),
    "through a table": ActivationQuantizer(
        type=IntType(bits=4), scale=0.3, zero_point=0, alpha=(1.0, 3.0, 0.7), table_scale=0.01
    ),
    "levels": LevelQuantizer(
        levels=(-4, -1, 0, 2), thresholds=(-2.5, -0.5, 1.0), scale=0.25, bits=2
    ),
}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_codes_are_the_same(name: str) -> None:
    quantizer = QUANTIZERS[name]
    values = np.concatenate([HALVES * 0.25, HALVES * 0.3, np.linspace(-9, 9, 1001)])
    x = np.repeat(values[:, None], 3, axis=1)
    codes = quantizer.integer_codes(x)
    assert codes.dtype == np.int64
    assert np.array_equal(codes, quantizer.codes(torch.from_numpy(x)).numpy())
    assert len(np.unique(codes)) > 3
    if isinstance(quantizer, ActivationQuantizer):
        assert np.array_equal(quantizer.scale_array(), quantizer.scales().numpy())


def test_scales_by_head_have_as_many_dimensions() -> None:
    heads = ActivationQuantizer(
        type=IntType(bits=8), scale=0.3, zero_point=0, alpha=(1.0, 2.0), axis=-3
    )
    assert heads.scale_array().shape == (2, 1, 1)
    assert np.array_equal(heads.scale_array(), heads.scales().numpy())


def test_functions_of_tables_are_those_of_the_interpreter() -> None:
    assert REAL_FUNCTIONS.keys() == UNARY_FUNCTIONS.keys()
    x = np.concatenate([np.linspace(-30, 30, 4001), HALVES / 16, [-800.0, 800.0]])
    for name, function in REAL_FUNCTIONS.items():
        found: NDArray[np.float64] = np.array([function(value) for value in x.tolist()])
        expected = UNARY_FUNCTIONS[name](torch.from_numpy(x)).numpy()
        assert np.allclose(found, expected, rtol=1e-14, atol=1e-15), name
        if name in {"relu", "hardswish"}:  # where ties come about
            assert np.array_equal(found, expected)


@given(st.lists(st.integers(-4000, 4000), min_size=4, max_size=4), st.integers(3, 16))
def test_how_far_down_masked_scores_reach(values: list[int], bits: int) -> None:
    masked = torch.tensor(values, dtype=torch.float64).reshape(2, 2) / 64
    rows = lowest_code_wanted(masked, 0.5, bits)
    for row, found in zip(masked, rows, strict=True):
        assert lowest_wanted(float(row.max()), 2, 0.5, bits) == float(found)


def test_a_factor_that_comes_again_has_the_same_multiplier() -> None:
    plain = {"multiplier_bits": 31, "rounding": "half_up", "overflow": "saturate"}
    section = RescaleSection.model_validate(plain)
    factors = [0.75, 0.5, 0.75, 0.3, 0.5]
    found = fixed_point(factors, section)
    for place, factor in enumerate(factors):
        alone = fixed_point([factor], section)
        assert found.multipliers[place] == alone.multipliers[0]
        assert found.shifts[place] == alone.shifts[0]
