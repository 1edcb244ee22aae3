# SPDX-License-Identifier: Apache-2.0
"""Condition numbers of the stream: against numpy, on cases whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import SMALL, images, input_size

from aocq.capture import FloatOp, run
from aocq.methods import METHODS
from aocq.methods.aocq.conditioning import block_conditions, condition_numbers
from aocq.recipes.recipe import Recipe


def samples(tokens: int = 400, channels: int = 6) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    x = torch.randn(tokens, channels, generator=random, dtype=torch.float64)
    return x @ torch.randn(channels, channels, generator=random, dtype=torch.float64)


def numpys(x: torch.Tensor) -> float:
    moment = x.numpy().T @ x.numpy() / len(x)
    return float(np.linalg.cond(moment))


def test_condition_numbers_are_numpys() -> None:
    x, alpha = samples(), torch.tensor([1.0, 2.0, 4.0, 0.5, 8.0, 3.0])
    plain, balanced = condition_numbers(x, alpha)
    assert plain == pytest.approx(numpys(x), rel=1e-9)
    assert balanced == pytest.approx(numpys(x / alpha), rel=1e-9)
    assert plain != pytest.approx(balanced, rel=0.01)


def test_the_right_factors_undo_a_spread_of_channels() -> None:
    """Orthogonal channels of scales s: the condition is the largest s² over the smallest."""
    scales = torch.tensor([1.0, 10.0, 100.0, 7.0])
    hadamard = torch.tensor(
        [[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64
    )
    plain, balanced = condition_numbers(hadamard * scales, scales)
    assert plain == pytest.approx(1e4)
    assert balanced == pytest.approx(1.0)


def test_what_rounding_hides_is_infinite() -> None:
    assert condition_numbers(samples(5, 6), torch.ones(6)) == (float("inf"), float("inf"))
    x = samples().float()
    x[:, 5] = x[:, 4] * 3  # dependent to the last digit of float32
    assert condition_numbers(x, torch.ones(6))[0] == float("inf")


def test_shapes_and_signs_are_checked() -> None:
    for alpha in (torch.ones(5), torch.ones(6, 1), torch.tensor([1.0, 1, 1, 1, 1, 0])):
        with pytest.raises(ValueError, match="alpha"):
            condition_numbers(samples(), alpha)


def test_every_block_is_judged_by_its_own_stream_and_factors(small: Callable[[str], Any]) -> None:
    _, graph = small("class_token")
    pixels = images(24, input_size(SMALL))
    model = METHODS["fq_vit"](graph, pixels, Recipe())
    first = next(n for n in graph.nodes if n.name == "blocks.0.norm1").inputs[0]
    alpha = tuple(1.0 + 0.1 * channel for channel in range(48))
    quantizer = replace(model.activations[first], alpha=alpha)  # type: ignore[arg-type]
    found = block_conditions(graph, {first: quantizer}, pixels)
    assert [block for block, _, _ in found] == ["blocks.0", "blocks.1"]
    x = run(graph, {graph.input.name: pixels}, [first])[first].reshape(-1, 48)
    expected = condition_numbers(x, torch.tensor(alpha, dtype=torch.float64))
    assert found[0][1:] == pytest.approx(expected, rel=1e-3)
    assert found[0][1] != found[0][2]
    assert found[1][1] == found[1][2], "no factors there"
    assert sum(node.op is FloatOp.LAYERNORM for node in graph.nodes) == 5
