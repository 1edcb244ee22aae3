# SPDX-License-Identifier: Apache-2.0
"""Rules and bounds of a softmax whose division comes after the product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import LEVELS, S8, S16, U4, U8, U16, WRAP, Draft, accumulator

from simulator.gemm import backend
from simulator.graph import IntGraph, text, verify
from simulator.graph.bounds import bounds, intermediates
from simulator.graph.ops import DeferredSoftmax, NormalizedMatMul
from simulator.kernel_choice import kernel_of
from simulator.numerics.integer_type import IntType
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage


def softmax(source: Any = S8, **fields: Any) -> IntGraph:
    d = Draft()
    d.input("a", (2, 5), source, 3)
    d.op(DeferredSoftmax, "y", "a", **fields)
    return d.graph()


def product(a: Any = U4, b: Any = S8, terms: int = 5, zero_points: Any = (0, 0), **fields: Any):
    d = Draft()
    d.input("a", (2, terms), a, zero_points[0])
    d.operand("b", (terms, 3), b, zero_points[1])
    d.op(NormalizedMatMul, "y", "a", "b", **fields)
    return d.graph()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"multiplier": -1}, "multiplier -1: must be 0..2147483647"),
        ({"multiplier": 1 << 31}, "multiplier 2147483648: must be 0..2147483647"),
        ({"shift": 63}, "shift 63: must be 0..62"),
        ({"source": IntType(bits=17)}, "a has 17 bits, wanted at most 16"),
        ({"type": IntType(bits=4)}, "result is s4 with zero point 0, wanted unsigned and 0"),
        ({"zero_point": 2}, "result is u4 with zero point 2, wanted unsigned and 0"),
        ({"type": U16}, "result has 16 bits, wanted at most 8"),
    ],
)
def test_a_softmax_that_is_refused(fields: dict[str, Any], problem: str) -> None:
    (found,) = verify(softmax(**fields))
    assert problem in found
    assert "op y (deferred_softmax)" in found


def test_the_ends_of_what_a_softmax_can_be() -> None:
    for fields in (
        {"source": S16, "multiplier": (1 << 31) - 1, "shift": 62, "type": U8},
        {"multiplier": 0, "shift": 0},
    ):
        graph = softmax(**fields)
        assert verify(graph) == []
        assert bounds(graph, graph.ops[0]).widest_bits <= 64
        assert "deferred_softmax" in text(graph)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"a": S8}, "a is s8, wanted unsigned codes of at most 8 bits"),
        ({"a": U16}, "a is u16, wanted unsigned codes of at most 8 bits"),
        ({"zero_points": (1, 0)}, "a product of two activations needs zero points 0"),
        ({"zero_points": (0, 1)}, "a product of two activations needs zero points 0"),
        ({"levels": LEVELS[:8]}, "table has shape (8,), wanted (16,) for 4-bit codes"),
        ({"levels": [0, *LEVELS[1:]]}, "the first level must be above 0"),
        ({"levels": [256, *LEVELS[1:]]}, "levels are u9, wanted unsigned ones of at most 8 bits"),
        ({"levels": [1, *[-1] * 15]}, "levels are s2, wanted unsigned ones of at most 8 bits"),
        ({"reciprocal_bits": 63}, "reciprocal_bits 63: must be 0..62"),
        ({"left_shift": LeftShift.WRAP}, "is rescaled in fixed point, with wide left shifts"),
        ({"zero_point_stage": ZeroPointStage.BEFORE_ROUND}, "is rescaled in fixed point"),
        ({"reciprocal_bits": 56}, "an intermediate may need"),
    ],
)
def test_a_product_that_is_refused(fields: dict[str, Any], problem: str) -> None:
    found = verify(product(**fields))
    assert any(problem in one and "op y (normalized_matmul)" in one for one in found), found


def test_a_product_in_float_is_refused() -> None:
    graph = product(arithmetic=Arithmetic.FLOAT32, multiplier=np.array([0.5]), shift=None)
    assert any("is rescaled in fixed point" in one for one in verify(graph))


def test_a_product_with_constants_is_refused() -> None:
    d = Draft()
    d.input("a", (2, 5), U4)
    d.constant("b", np.ones((5, 3)), S8)
    d.op(NormalizedMatMul, "y", "a", "b")
    assert any("wanted two activations of equal ranks" in one for one in verify(d.graph()))


ACCUMULATORS = [accumulator((0, 32, WRAP)), accumulator((0, 12, WRAP))]


@pytest.mark.parametrize("sums", ACCUMULATORS, ids=str)
def test_no_product_passes_its_bound_and_one_comes_next_to_it(sums: Any) -> None:
    """Rows of one level, of two, and at random; the lowest and the highest value."""
    terms = 40
    levels = [200, *LEVELS[1:]]
    graph = product(
        terms=terms, levels=levels, accumulator=sums, multiplier=(1,), shift=(0,),
        type=IntType(bits=40), reciprocal_bits=24,
    )  # fmt: skip
    assert verify(graph) == []
    low, high = next(
        one.interval for one in intermediates(graph, graph.ops[-1]) if one.name == "normalized"
    )
    random = np.random.default_rng(0)
    rows = [np.full(terms, code) for code in range(16)]
    rows += [random.integers(0, 16, terms) for _ in range(200)]
    left = np.array(rows, np.uint8)
    d = Draft()
    d.input("a", left.shape, U4)
    d.operand("b", (terms, 3), S8)
    fields = {"levels": levels, "accumulator": sums, "multiplier": (1,), "shift": (0,)}
    d.op(NormalizedMatMul, "y", "a", "b", type=IntType(bits=40), reciprocal_bits=24, **fields)
    whole = d.graph()
    kernel = kernel_of(whole.ops[-1], whole, backend("numba"))
    values = np.stack(
        [np.full(terms, -128), np.full(terms, 127), random.integers(-128, 128, terms)], axis=-1
    ).astype(np.int8)
    codes = kernel([left[None], values[None]]).codes
    assert low <= codes.min()
    assert codes.max() <= high
    if sums is ACCUMULATORS[0]:
        assert codes.min() < 0.999 * low
        assert codes.max() > 0.999 * high
