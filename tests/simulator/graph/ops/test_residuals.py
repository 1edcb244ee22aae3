# SPDX-License-Identifier: Apache-2.0
"""A MatMul that ends on the residual stream: what is refused, bounds, text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_graphs import S8, S16, S32, Draft, with_op

from simulator.graph import IntGraph, text, verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import MatMul
from simulator.graph.ops.onto_residual import residual_factors
from simulator.numerics.integer_type import IntType


def fused(kind: IntType = S8, **changes: Any) -> IntGraph:
    d = Draft()
    d.input("a", (3, 7))
    d.constant("weights", np.ones((7, 4), int), S8)
    d.constant("bias", [1, 2, 3, 4], S32)
    d.operand("r", (3, 4), kind, 5)
    fields: dict[str, Any] = {"residual_multiplier": (3,), "residual_fraction_bits": 2}
    d.op(
        MatMul, "y", "a", "weights", bias="bias", residual="r", **fields | {"shift": (6,)} | changes
    )
    return d.graph()


def matmul(graph: IntGraph) -> MatMul:
    op = graph.ops[-1]
    assert isinstance(op, MatMul)
    return op


def test_it_is_valid_and_says_so_in_words() -> None:
    graph = fused()
    assert verify(graph) == []
    assert text(graph).rstrip().endswith("half_up saturate onto r × 3 >> 2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"residual": None}, "residual and residual_multiplier go together"),
        ({"residual_multiplier": None}, "residual and residual_multiplier go together"),
        (
            {"residual": None, "residual_multiplier": None},
            "residual_fraction_bits without a residual",
        ),
        ({"residual_fraction_bits": 7}, "residual_fraction_bits 7: must be 0..6"),
        ({"residual_fraction_bits": -1}, "residual_fraction_bits -1: must be 0..6"),
        ({"residual": "weights"}, "cannot add a product (3, 4) to a residual (7, 4)"),
        ({"residual": "a"}, "cannot add a product (3, 4) to a residual (3, 7)"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    assert any(message in problem for problem in verify(with_op(fused(), "y", **changes)))


def test_a_constant_is_no_residual() -> None:
    d = Draft()
    d.input("a", (3, 7))
    d.constant("weights", np.ones((7, 4), int), S8)
    d.constant("r", np.ones((3, 4), int), S8)
    d.op(MatMul, "y", "a", "weights", residual="r", residual_multiplier=(3,))
    assert any("residual r is a constant" in problem for problem in verify(d.graph()))


def test_a_product_of_two_activations_takes_none() -> None:
    d = Draft()
    d.input("a", (4, 4))
    d.operand("b", (4, 4))
    d.op(MatMul, "y", "a", "b", residual="a", residual_multiplier=(3,))
    assert any("two activations takes no residual" in problem for problem in verify(d.graph()))


def test_a_negative_multiplier_is_refused() -> None:
    graph = fused()
    name = matmul(graph).residual_multiplier
    assert name is not None
    tensors = {**graph.tensors, name: replace(graph.tensors[name], type=S8)}
    constants = {**graph.constants, name: np.array([-3], np.int8)}
    changed = replace(graph, tensors=tensors, constants=constants)
    assert any("a multiplier is negative" in problem for problem in verify(changed))


def test_bounds_hold_the_stream_too() -> None:
    """Codes of -133..122 about the zero point, times 3 << 4; sums of 7 * -128..127 + 1..4."""
    graph = fused()
    known = bounds(graph, matmul(graph))
    lowest = -7 * 128 - 133 * (3 << 4) - (1 << 6)
    assert known.widest_bits == (-lowest - 1).bit_length() + 1
    np.testing.assert_array_equal(residual_factors(graph, matmul(graph)), [3 << 4] * 4)
    varied = fused(shift=(6, 2, 3, 4), residual_multiplier=(3, 1, 0, 5))
    np.testing.assert_array_equal(residual_factors(varied, matmul(varied)), [3 << 4, 1, 0, 5 << 2])


@pytest.mark.parametrize(("kind", "largest"), [(S8, 26), (S16, 18)])
def test_a_stream_that_could_pass_64_bits_is_refused(kind: IntType, largest: int) -> None:
    """133 * 2^31 << 24 stays below 2^63, one place further it does not; so with 32773 and 16."""
    multiplier = ((1 << 31) - 1,)
    assert verify(fused(kind, shift=(largest,), residual_multiplier=multiplier)) == []
    (problem,) = verify(fused(kind, shift=(largest + 1,), residual_multiplier=multiplier))
    assert "an intermediate may need 65 bits" in problem
