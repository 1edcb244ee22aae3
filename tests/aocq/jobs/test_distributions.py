# SPDX-License-Identifier: Apache-2.0
"""Distributions of the float network's values, beside the ranges of their codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from aocq.jobs.distributions import Distribution, representable
from aocq.records.run import QUANTILES
from simulator.graph import Role, Tensor
from simulator.numerics.float_type import FloatType
from simulator.numerics.integer_type import IntType


def tensor(**fields: Any) -> Tensor:
    kind: dict[str, Any] = {"type": IntType(bits=8), "scale": (0.5,), "zero_point": 3}
    return Tensor(name="x", shape=(4,), role=Role.ACTIVATION, **{**kind, **fields})


def test_ends_are_those_of_all_values_and_quantiles_of_a_small_tensor_exact() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(2, 50)), rng.normal(size=(2, 50)) * 3]
    gathered = Distribution(tensor())
    for batch in batches:
        gathered.add(batch)
    found = gathered.record()
    assert found is not None
    whole = np.concatenate(batches)
    assert (found.least, found.most) == (float(f"{whole.min():.6g}"), float(f"{whole.max():.6g}"))
    exact = np.quantile(whole.astype(np.float32).astype(np.float64), QUANTILES)
    assert found.quantiles == [float(f"{value:.6g}") for value in exact]
    assert (found.low, found.high) == ((-128 - 3) * 0.5, (127 - 3) * 0.5)


def test_of_a_large_tensor_an_even_sample_is_taken_and_no_end_is_missed() -> None:
    values = np.linspace(-1, 1, 100_000)
    values[777] = 50.0
    gathered = Distribution(tensor())
    gathered.add(values)
    found = gathered.record()
    assert found is not None
    assert found.most == 50.0
    expected = [2 * part - 1 for part in QUANTILES]
    assert np.allclose(found.quantiles, expected, atol=1e-3)


def test_values_that_are_no_codes_have_no_range() -> None:
    assert representable(tensor(type=FloatType(bits=32), scale=(), zero_point=0)) == (None, None)
    wide = tensor(type=IntType(bits=8, signed=False), scale=(0.5, 2.0), zero_point=0)
    assert representable(wide) == (0.0, 510.0)


def test_nothing_finite_gives_no_record() -> None:
    assert Distribution(tensor()).record() is None
    gathered = Distribution(tensor())
    gathered.add(np.array([1.0, np.inf]))
    assert gathered.record() is None
