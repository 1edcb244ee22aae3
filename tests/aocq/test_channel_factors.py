# SPDX-License-Identifier: Apache-2.0
"""Quantizers with channel factors and with levels: what a code means."""

from __future__ import annotations

import numpy as np
import torch

from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, QuantizedWeight
from simulator.numerics.integer_type import IntType


def test_channel_factors_make_one_scale_per_channel() -> None:
    balanced = ActivationQuantizer(
        type=IntType(bits=8), scale=0.1, zero_point=3, alpha=(1.0, 4.0, 0.5)
    )
    x = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)).double() * 20
    for channel, factor in enumerate(balanced.alpha):
        plain = ActivationQuantizer(type=balanced.type, scale=0.1 * factor, zero_point=3)
        assert torch.equal(balanced.codes(x)[..., channel], plain.codes(x[..., channel]))
        assert torch.equal(balanced(x)[..., channel], plain(x[..., channel]))


def test_factors_may_run_along_the_heads() -> None:
    per_head = ActivationQuantizer(
        type=IntType(bits=8), scale=0.5, zero_point=0, alpha=(1.0, 2.0), axis=-3
    )
    x = torch.full((4, 2, 3, 3), 3.0, dtype=torch.float64)
    assert set(per_head.codes(x)[:, 0].unique().tolist()) == {6}
    assert set(per_head.codes(x)[:, 1].unique().tolist()) == {3}
    assert torch.equal(per_head(x), x)


def test_levels_are_chosen_by_thresholds() -> None:
    powers = LevelQuantizer(levels=(0, 1, 2, 4), thresholds=(0.5, 1.5, 3.0), scale=0.25, bits=2)
    assert powers.type == IntType(bits=3, signed=False)
    x = torch.tensor([-1.0, 0.124, 0.125, 0.374, 0.375, 0.75, 9.0], dtype=torch.float64)
    assert powers.codes(x).tolist() == [0, 0, 1, 1, 2, 4, 4]
    assert powers(x).tolist() == [0, 0, 0.25, 0.25, 0.5, 1.0, 1.0]
    twin = LevelQuantizer(levels=(-3, -1, 0, 300), thresholds=(-2, -0.5, 150), scale=1.0, bits=2)
    assert twin.type == IntType(bits=10)


def test_weights_of_a_balanced_input_carry_its_factors() -> None:
    real = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).double() / 8 + 0.01
    alpha = (1.0, 8.0, 0.25)
    scale = np.full(4, 1 / 64)
    codes = torch.round(real * torch.tensor(alpha) * 64)
    weight = QuantizedWeight(bits=8, codes=codes.numpy().astype(np.int8), scale=scale, alpha=alpha)
    error = (weight.dequantized() - real).abs().amax(dim=0)
    assert torch.all(error <= 1 / 128 / torch.tensor(alpha) + 1e-12)
    assert torch.any(error > 0)
