# SPDX-License-Identifier: Apache-2.0
"""Real factors in the forms that chips apply them in."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aocq.lowering.factors import at_common_shift, fixed_point, ratio
from simulator.numerics.fixed_point import multiplier_and_shift
from simulator.profile import RescaleSection


def section(**values: Any) -> RescaleSection:
    plain = {"multiplier_bits": 31, "rounding": "half_up", "overflow": "saturate"}
    return RescaleSection.model_validate({**plain, **values})


@pytest.mark.parametrize(
    ("values", "factor", "expected"),
    [
        ({}, 0.75, (3 << 29, 31)),
        ({"multiplier_bits": 8}, 0.75, (192, 8)),
        ({"derivation": "q31"}, 3.0, (3 << 29, 29)),
        ({"derivation": "q15", "multiplier_bits": 15}, 0.75, (3 << 13, 15)),
        ({"derivation": "fraction_8"}, 0.75, (192, 8)),
        ({"kind": "power_of_two"}, 0.125, (1, 3)),
        ({"kind": "power_of_two"}, 8.0, (8, 0)),
    ],
)
def test_known_factors(values: dict[str, Any], factor: float, expected: tuple[int, int]) -> None:
    found = fixed_point([factor], section(**values))
    assert (found.multipliers.tolist(), found.shifts.tolist()) == ([expected[0]], [expected[1]])


@pytest.mark.parametrize(
    ("values", "factor", "message"),
    [
        ({"kind": "power_of_two"}, 0.75, "is no power of two"),
        ({"derivation": "fraction_8"}, 0.0015, "not between 2\\^-8 and 2\\^7"),
        ({"derivation": "fraction_8"}, 129.0, "not between 2\\^-8 and 2\\^7"),
        ({"shift": [0, 20], "derivation": "q31"}, 0.75, r"needs the shift 31, .* has 0..20"),
        ({"shift": [2, 62]}, float(1 << 30), r"needs the shift 0, .* has 2..62"),
        ({"multiplier_bits": 8}, 300.0, "rescale.multiplier_bits may help"),
    ],
)
def test_factors_that_a_chip_does_not_have(
    values: dict[str, Any], factor: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fixed_point([factor], section(**values))


def test_a_shift_range_makes_small_factors_coarse() -> None:
    found = fixed_point([2.0**-30], section(shift=[0, 31]))
    assert (found.multipliers.tolist(), found.shifts.tolist()) == ([2], [31])


@pytest.mark.parametrize("sum_bits", [31, 32, 40, 64])
def test_a_shift_that_a_chip_lacks_does_nothing_only_where_its_largest_leaves_nothing(
    sum_bits: int,
) -> None:
    chip = section(kind="power_of_two", shift=[0, 31])
    for factor in (2.0**-32, 0.0):
        with pytest.raises(ValueError, match=r"no power of two|rescale.shift ends at 31"):
            fixed_point([factor], chip, sum_bits=sum_bits)
    for factor in (2.0**-32, 2.0**-40 / 3, 0.0):
        found = fixed_point([factor], chip, sum_bits=30)
        assert (found.multipliers.tolist(), found.shifts.tolist()) == ([1], [31])


def test_ratios_are_rounded_where_the_tools_of_a_chip_round_them() -> None:
    sums, steps = np.array([0.1 * 0.3]), np.array([0.7])
    exact = ratio(sums, steps, section())
    assert exact.tolist() == [0.1 * 0.3 / 0.7]
    in_float32 = ratio(sums, steps, section(kind="float32", scale_type="float32_ratio"))
    assert in_float32.tolist() == [float(np.float32(0.1 * 0.3) / np.float32(0.7))]
    assert in_float32 != exact


def test_known_factors_at_a_common_shift() -> None:
    chip = section(multiplier_bits=8)
    multipliers, shift = at_common_shift([1.5, 0.25, 0.0, 2.0**-7, 0.0117], chip)
    assert multipliers.dtype == np.int64
    assert (multipliers.tolist(), shift) == ([192, 32, 0, 1, 1], 7)  # the last: 1.4976


@given(
    st.integers(8, 31).flatmap(
        lambda bits: st.tuples(
            st.lists(st.floats(0, 2.0**bits - 1), min_size=1, max_size=20), st.just(bits)
        )
    )
)
def test_the_largest_factor_decides_the_common_shift(drawn: tuple[list[float], int]) -> None:
    factors, bits = drawn
    multipliers, shift = at_common_shift(factors, section(multiplier_bits=bits))
    assert (int(multipliers.max()), shift) == multiplier_and_shift(max(factors), bits)
    for factor, multiplier in zip(factors, multipliers.tolist(), strict=True):
        assert 0 <= multiplier < 1 << bits
        distance = abs(Fraction(factor) - Fraction(multiplier, 1 << shift))
        assert distance <= Fraction(1, 2 << shift)
