# SPDX-License-Identifier: Apache-2.0
"""Scales that a chip can hold: powers of two, float32, and how quantizers choose among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aocq.methods.aocq.closed_form import row_scales
from aocq.methods.fq_vit import asymmetric_quantizer
from aocq.methods.fq_vit import quantize_weight as fq_vit_weight
from aocq.methods.ranges import (
    ObservedRange,
    activation_quantizer,
    least_squares_quantizer,
    quantize_weight,
)
from aocq.methods.scale_form import ANY_SCALE, HALVINGS, ScaleForm

POWERS = ScaleForm(power_of_two=True)
FLOAT32 = ScaleForm(float32=True)
scales = st.floats(1e-12, 1e12)


def is_power(scale: float) -> bool:
    return math.frexp(scale)[0] == 0.5


@given(scales)
def test_a_power_of_two_is_the_smallest_that_is_not_below(wanted: float) -> None:
    held = POWERS.nearest(wanted)
    assert is_power(held)
    assert held / 2 < wanted <= held
    below = POWERS.below(wanted)
    assert is_power(below)
    assert below <= wanted < below * 2
    assert POWERS.nearest(held) == POWERS.below(held) == held


@given(scales)
def test_a_float32_scale_is_the_nearest_one(wanted: float) -> None:
    held = FLOAT32.nearest(wanted)
    assert held == float(np.float32(held))
    around = (np.nextafter(np.float32(held), np.float32(side)) for side in (0, np.inf))
    assert all(abs(held - wanted) <= abs(float(other) - wanted) for other in around)
    assert FLOAT32.below(wanted) == held
    assert ScaleForm(power_of_two=True, float32=True).nearest(wanted) == POWERS.nearest(wanted)


@pytest.mark.parametrize("form", [ANY_SCALE, POWERS, FLOAT32], ids=["any", "powers", "float32"])
def test_arrays_and_tensors_are_held_element_by_element(form: ScaleForm) -> None:
    wanted = np.geomspace(1e-3, 7.3, 12).reshape(3, 4)
    one_by_one = [[form.nearest(float(x)) for x in row] for row in wanted]
    assert form.nearest(wanted).tolist() == one_by_one
    assert form.nearest(torch.from_numpy(wanted)).tolist() == one_by_one
    assert (form is ANY_SCALE) == (one_by_one == wanted.tolist())


def test_candidates_are_shares_or_halvings() -> None:
    full = np.array([1.0, 1.5])
    shares = [1.0, 0.7]
    assert [c.tolist() for c in ANY_SCALE.candidates(full, shares)] == [
        [1.0, 1.5],
        [0.7, 0.7 * 1.5],
    ]
    found = FLOAT32.candidates(full, shares)
    assert [c.tolist() for c in found] == [[1.0, 1.5], FLOAT32.nearest(full * 0.7).tolist()]
    powers = POWERS.candidates(torch.from_numpy(full), shares)
    assert [c.tolist() for c in powers] == [[2.0**-k, 2.0 ** (1 - k)] for k in range(HALVINGS + 1)]


# --- observed ranges ------------------------------------------------------------------------------


@given(st.floats(-50, 50), st.floats(-50, 50), st.integers(3, 16), st.booleans())
def test_the_power_of_two_of_a_range_is_the_smallest_that_does_not_clip(
    one: float, other: float, bits: int, symmetric: bool
) -> None:
    low, high = min(one, other), max(one, other)
    zero_point = "symmetric" if symmetric else "asymmetric"
    found = activation_quantizer(low, high, bits, zero_point, POWERS)
    plain = activation_quantizer(low, high, bits, zero_point)
    assert found.scale == POWERS.nearest(plain.scale)
    for end in (min(low, 0.0), 0.0, max(high, 0.0)):
        # Nowhere further from its code than half a step: nothing but rounding.
        value = float(found(torch.tensor([end], dtype=torch.float64)))
        assert abs(value - end) <= found.scale * (0.5 + 1e-9)


@given(st.floats(-50, 0), st.floats(0.001, 50), st.integers(3, 8))
def test_the_ranges_of_fq_vit_do_not_clip_either(low: float, high: float, bits: int) -> None:
    plain, found = (asymmetric_quantizer(low, high, bits, form) for form in (ANY_SCALE, POWERS))
    assert found.scale == POWERS.nearest(plain.scale)
    for end in (low, high):
        value = float(found(torch.tensor([end], dtype=torch.float64)))
        assert abs(value - end) <= found.scale * (0.5 + 1e-9)


@pytest.mark.parametrize("zero_point", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("tail", [1.0, 40.0])
def test_least_error_chooses_among_all_powers_of_two(zero_point: str, tail: float) -> None:
    """As brute force over every exponent; a clipped range is clipped alike at both ends."""
    x = torch.randn(5000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.3
    x[0] *= tail
    seen = ObservedRange()
    seen.see(x)
    seen.count(x)
    found = least_squares_quantizer(seen, 4, zero_point, POWERS)
    errors, kind = {}, found.type
    plain = activation_quantizer(seen.low, seen.high, 4, zero_point)
    for exponent in range(-8, 8):
        step = 2.0**exponent
        offset = plain.zero_point
        if zero_point == "asymmetric" and step > plain.scale:
            offset = round(kind.low - seen.low / step)
        codes = torch.clamp(torch.round(x / step) + offset, kind.low, kind.high)
        errors[step] = float((((codes - offset) * step - x) ** 2).sum())
    assert found.scale == min(errors, key=errors.__getitem__)
    error = float(((found(x) - x) ** 2).sum())
    assert error == errors[found.scale]
    clipped = found.scale < POWERS.nearest(
        activation_quantizer(seen.low, seen.high, 4, zero_point).scale
    )
    assert clipped or tail == 1.0


def test_a_zero_point_belongs_to_the_scale_that_was_held() -> None:
    found = activation_quantizer(-1.0, 2.0, 8, "asymmetric", POWERS)
    assert (found.scale, found.zero_point) == (2.0**-6, -64)
    assert asymmetric_quantizer(-1.0, 2.0, 8, POWERS).zero_point == -64


# --- weights --------------------------------------------------------------------------------------


def rows(seed: int = 0) -> torch.Tensor:
    x = torch.randn(7, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[2, 0] = 9.0  # a row that is better clipped
    x[3] = 0.0
    return x


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("search", ["minmax", "mse"])
@pytest.mark.parametrize("form", [POWERS, FLOAT32], ids=["powers", "float32"])
def test_weights_are_rounded_after_their_scale_is_held(
    form: ScaleForm, search: str, granularity: str
) -> None:
    weight = rows()
    found = quantize_weight(weight, 4, granularity, search, form)
    assert form.nearest(found.scale).tolist() == found.scale.tolist()
    codes = np.clip(np.rint(weight.numpy() / found.scale[:, None]), -8, 7)
    assert np.array_equal(found.codes, codes)
    if search == "minmax":
        plain = quantize_weight(weight, 4, granularity, search)
        assert found.scale.tolist() == form.nearest(plain.scale).tolist()


def test_the_power_of_two_of_a_row_has_the_least_error_of_all() -> None:
    weight = rows()
    found = quantize_weight(weight, 4, "per_channel", "mse", POWERS)
    again = row_scales(weight, torch.ones(40).double(), 4, POWERS)
    for row in (0, 1, 2, 4, 5, 6):
        errors = {}
        for exponent in range(-10, 8):
            step = 2.0**exponent
            codes = torch.clamp(torch.round(weight[row] / step), -8, 7)
            errors[step] = float(((codes * step - weight[row]) ** 2).sum())
        assert found.scale[row] == float(again[row])
        assert errors[found.scale[row]] == min(errors.values())
    assert found.scale[2] < quantize_weight(weight, 4, "per_channel", "minmax", POWERS).scale[2]


def test_row_scales_of_float32_are_float32() -> None:
    found = row_scales(rows(), torch.ones(40).double(), 4, FLOAT32)
    assert torch.equal(found, found.float().double())
    assert not torch.equal(found, row_scales(rows(), torch.ones(40).double(), 4))


@pytest.mark.parametrize("form", [POWERS, FLOAT32], ids=["powers", "float32"])
def test_weights_of_fq_vit_too(form: ScaleForm) -> None:
    weight = rows()
    plain, found = (fq_vit_weight(weight, 8, "per_channel", f) for f in (ANY_SCALE, form))
    assert found.scale.tolist() == form.nearest(plain.scale).tolist()
    codes = np.clip(np.rint(weight.numpy() / found.scale[:, None]), -128, 127)
    assert np.array_equal(found.codes, codes)
