# SPDX-License-Identifier: Apache-2.0
"""From values to scales: nothing clipped that should not be, the least error where asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from numpy.typing import NDArray

from aocq.methods.base_ptq import probabilities_quantizer
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.ranges import (
    BINS,
    SHRINK,
    ObservedRange,
    activation_quantizer,
    least_squares_quantizer,
    quantize_weight,
)
from simulator.numerics.integer_type import IntType

BITS = st.integers(2, 8)
GRANULARITY = st.sampled_from(["per_channel", "per_tensor"])
SEARCH = st.sampled_from(["minmax", "mse"])
# Multiples of 2^-12 up to 8: sums of their squares are exact enough to compare errors.
WEIGHTS = numpy_strategies.arrays(
    np.float32,
    numpy_strategies.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(-(1 << 15), 1 << 15).map(lambda code: code / 4096),
)
LIMIT = st.floats(-1e6, 1e6, allow_subnormal=False)


def errors(weight: NDArray[np.float32], bits: int, granularity: str, search: str) -> NDArray:
    """Squared error per output channel (per_channel) or in all (per_tensor)."""
    quantized = quantize_weight(torch.from_numpy(weight), bits, granularity, search)
    real = quantized.codes * quantized.scale[:, None]
    squares = ((real - weight.astype(np.float64)) ** 2).sum(axis=1)
    return squares if granularity == "per_channel" else squares.sum(keepdims=True)


@given(WEIGHTS, BITS, GRANULARITY, SEARCH)
def test_weight_codes_fit_their_bits(
    weight: NDArray[np.float32], bits: int, granularity: str, search: str
) -> None:
    quantized = quantize_weight(torch.from_numpy(weight), bits, granularity, search)
    kind = IntType(bits=bits)
    assert quantized.bits == bits
    assert quantized.codes.dtype == np.int8
    assert quantized.codes.shape == weight.shape
    assert kind.low <= quantized.codes.min()
    assert quantized.codes.max() <= kind.high
    assert bool((quantized.scale > 0).all())
    scales = len(weight) if granularity == "per_channel" else 1
    assert quantized.scale.shape == (scales,)
    real = quantized.codes * quantized.scale[:, None]
    np.testing.assert_array_equal(quantized.dequantized().numpy(), real)


@given(WEIGHTS, BITS, GRANULARITY)
def test_minmax_clips_no_weight(weight: NDArray[np.float32], bits: int, granularity: str) -> None:
    quantized = quantize_weight(torch.from_numpy(weight), bits, granularity, "minmax")
    assert abs(quantized.codes).max() <= IntType(bits=bits).high, "the lowest code is never needed"
    error = abs(quantized.codes * quantized.scale[:, None] - weight)
    assert bool((error <= quantized.scale[:, None] * 0.5000001).all())


@given(WEIGHTS, BITS)
def test_minmax_gives_the_largest_weight_the_largest_code(
    weight: NDArray[np.float32], bits: int
) -> None:
    """In every row that is not fainter than 2^-12 of the largest."""
    quantized = quantize_weight(torch.from_numpy(weight), bits, "per_channel", "minmax")
    for row, codes in zip(weight, quantized.codes, strict=True):
        if row.any() and np.abs(row).max() >= 2.0**-12 * np.abs(weight).max():
            assert abs(codes).max() == IntType(bits=bits).high


@given(WEIGHTS, BITS, GRANULARITY)
def test_the_search_is_never_worse_than_minmax(
    weight: NDArray[np.float32], bits: int, granularity: str
) -> None:
    found = errors(weight, bits, granularity, "mse")
    assert bool((found <= errors(weight, bits, granularity, "minmax") * (1 + 1e-12)).all())


def test_the_search_clips_an_outlier_where_that_pays() -> None:
    weight = np.full((1, 1000), 0.4, np.float32)
    weight[0, 0] = 1.0
    quantized = quantize_weight(torch.from_numpy(weight), 3, "per_channel", "mse")
    assert quantized.scale[0] == pytest.approx(0.2), "0.4 is two codes, and 1.0 becomes 0.6"
    assert errors(weight, 3, "per_channel", "mse") < errors(weight, 3, "per_channel", "minmax") / 20


@given(WEIGHTS, BITS, SEARCH, st.integers(-8, 8))
def test_scaling_the_weights_scales_the_scales(
    weight: NDArray[np.float32], bits: int, search: str, power: int
) -> None:
    if not weight.any():  # the scale of nothing but zeros is 1 / largest code
        return
    one = quantize_weight(torch.from_numpy(weight), bits, "per_channel", search)
    other = quantize_weight(torch.from_numpy(weight * 2.0**power), bits, "per_channel", search)
    np.testing.assert_array_equal(one.codes, other.codes)
    np.testing.assert_array_equal(one.scale * 2.0**power, other.scale)


@given(WEIGHTS, BITS, SEARCH)
def test_a_channel_does_not_see_its_neighbours(
    weight: NDArray[np.float32], bits: int, search: str
) -> None:
    """Unless it is fainter than 2^-12 of them: then its scale is no smaller than for that."""
    together = quantize_weight(torch.from_numpy(weight), bits, "per_channel", search)
    faintest = 2.0**-12 * float(np.abs(weight).max())
    for index, row in enumerate(weight):
        if np.abs(row).max() < faintest:
            assert 0.29 * faintest <= together.scale[index] * (2 ** (bits - 1) - 1) <= faintest
            continue
        alone = quantize_weight(torch.from_numpy(row[None]), bits, "per_channel", search)
        np.testing.assert_array_equal(alone.codes[0], together.codes[index])
        assert alone.scale[0] == together.scale[index]


@pytest.mark.parametrize("search", ["minmax", "mse"])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_weights_that_are_all_zero_stay_zero(granularity: str, search: str) -> None:
    quantized = quantize_weight(torch.zeros(3, 4), 4, granularity, search)
    assert not quantized.codes.any()
    assert bool(np.isfinite(quantized.scale).all())
    assert not quantized.dequantized().any()


@given(LIMIT, LIMIT, st.integers(8, 16), st.sampled_from(["symmetric", "asymmetric"]))
def test_zero_is_a_code_and_the_range_is_covered(
    first: float, second: float, bits: int, zero_point: str
) -> None:
    low, high = sorted((first, second))
    quantizer = activation_quantizer(low, high, bits, zero_point)
    kind = quantizer.type
    assert kind == IntType(bits=bits)
    assert kind.low <= quantizer.zero_point <= kind.high
    assert float(quantizer(torch.zeros(1, dtype=torch.float64))) == 0.0
    ends = torch.tensor([low, high], dtype=torch.float64)
    assert bool((abs(quantizer(ends) - ends) <= quantizer.scale * 1.000001).all())
    if zero_point == "symmetric":
        assert quantizer.zero_point == 0
        assert bool((abs(quantizer(ends) - ends) <= quantizer.scale * 0.500001).all())


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_asymmetric_codes_are_all_used(below: float, above: float) -> None:
    quantizer = activation_quantizer(-below, above, 8, "asymmetric")
    ends = torch.tensor([-below, above], dtype=torch.float64)
    first, last = quantizer.codes(ends).tolist()
    assert first <= -127
    assert last >= 126
    assert quantizer.scale == pytest.approx((below + above) / 255)


def test_a_range_on_one_side_is_widened_to_zero() -> None:
    above = activation_quantizer(3.0, 10.0, 8, "asymmetric")
    assert (above.scale, above.zero_point) == (10 / 255, -128)
    below = activation_quantizer(-10.0, -3.0, 8, "asymmetric")
    assert (below.scale, below.zero_point) == (10 / 255, 127)
    assert activation_quantizer(3.0, 10.0, 8, "symmetric").scale == 10 / 127


def test_a_tensor_that_is_always_zero_has_a_scale() -> None:
    for zero_point in ("symmetric", "asymmetric"):
        quantizer = activation_quantizer(0.0, 0.0, 8, zero_point)
        assert quantizer.scale == 1.0
        assert float(quantizer(torch.zeros(1))) == 0.0


def test_codes_round_to_nearest_and_ties_to_even() -> None:
    quantizer = activation_quantizer(-127.0, 127.0, 8, "symmetric")
    values = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.4999, 126.6, 300.0, -300.0])
    assert quantizer.codes(values).tolist() == [0, 2, 2, 0, -2, 0, 127, 127, -128]


def test_probabilities_are_unsigned_in_steps_of_a_256th() -> None:
    quantizer = probabilities_quantizer(8)
    assert str(quantizer.type) == "u8"
    assert (quantizer.scale, quantizer.zero_point) == (1 / 256, 0)


def observed(values: NDArray[np.float32], parts: int = 3) -> ObservedRange:
    """What a range sees of values that come in several batches."""
    seen = ObservedRange()
    for note in (ObservedRange.see, ObservedRange.count):
        for batch in np.array_split(values, parts):
            note(seen, torch.from_numpy(batch))
    return seen


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-3, 3))
def test_every_value_is_seen_and_counted(seed: int, spread: float, middle: float) -> None:
    values = np.random.default_rng(seed).normal(middle, spread, 5000).astype(np.float32)
    seen = observed(values)
    assert (seen.low, seen.high) == (values.min(), values.max())
    assert seen.histogram is not None
    assert seen.histogram.shape == (BINS,)
    assert seen.histogram.sum() == 5000
    exact, _ = np.histogram(values.astype(np.float64), BINS, (seen.low, seen.high))
    # Values on the border of two bins may fall to either side.
    assert abs(np.cumsum(exact) - np.cumsum(seen.histogram)).max() <= 10


@given(st.integers(0, 1000), st.sampled_from(["symmetric", "asymmetric"]), st.integers(8, 10))
def test_least_squares_is_the_best_of_its_candidates(seed: int, zero_point: str, bits: int) -> None:
    values = np.random.default_rng(seed).standard_t(2, 4000).astype(np.float32)
    seen = observed(values)
    assert seen.histogram is not None
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    centres = torch.from_numpy((edges[:-1] + edges[1:]) / 2)

    def error(low: float, high: float) -> float:
        quantizer = activation_quantizer(low, high, bits, zero_point)
        return float((torch.from_numpy(seen.histogram) * (quantizer(centres) - centres) ** 2).sum())

    best = least_squares_quantizer(seen, bits, zero_point)
    found = float((torch.from_numpy(seen.histogram) * (best(centres) - centres) ** 2).sum())
    assert found <= error(seen.low, seen.high)
    assert found == min(error(seen.low * share, seen.high * share) for share in SHRINK)


def test_least_squares_of_a_constant_tensor_holds_the_constant() -> None:
    for value in (0.0, 5.0, -5.0):
        seen = observed(np.full(60, value, np.float32))
        for zero_point in ("symmetric", "asymmetric"):
            quantizer = least_squares_quantizer(seen, 8, zero_point)
            error = abs(float(quantizer(torch.tensor([value], dtype=torch.float64))) - value)
            assert error <= quantizer.scale / 2


# --- fake quantization ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("table_scale", [0.0, 0.001])
@pytest.mark.parametrize("alpha", [(), (1.0, 0.3, 0.01)])
@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_fake_quantization_is_codes_and_what_they_stand_for(
    zero_point: int, alpha: tuple[float, ...], table_scale: float, dtype: torch.dtype
) -> None:
    quantizer = ActivationQuantizer(
        type=IntType(bits=8),
        scale=0.02,
        zero_point=zero_point,
        alpha=alpha,
        table_scale=table_scale,
    )
    x = 3 * torch.randn(500, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    wide = torch.round(x / table_scale) * table_scale if table_scale else x
    steps = torch.tensor(alpha or (1.0,), dtype=torch.float64).mul(0.02).to(dtype)
    codes = torch.clamp(torch.round(wide / steps) + zero_point, -128, 127)
    assert torch.equal(quantizer.codes(x), codes)
    assert torch.equal(quantizer(x), (codes - zero_point) * steps)
    assert torch.equal(quantizer(x), quantizer.real(codes))
    assert torch.equal(x, before)
    assert {-128.0, 127.0} <= set(codes.flatten().tolist())


def test_scales_are_a_new_tensor_each_time() -> None:
    quantizer = ActivationQuantizer(
        type=IntType(bits=8), scale=0.5, zero_point=0, alpha=(1.0, 0.5), axis=-2
    )
    quantizer.scales().zero_()
    assert quantizer.scales().tolist() == [[0.5], [0.25]]
