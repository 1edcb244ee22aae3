# SPDX-License-Identifier: Apache-2.0
"""Ops in float: on the vector unit, four bytes an element, their constants streamed."""

from __future__ import annotations

import numpy as np
import pytest
from cost_graphs import profile_with
from small_graphs import S32, Draft

from simulator.cost import estimate, plan_memory
from simulator.cost.steps import program_of
from simulator.graph import verify
from simulator.graph.ops import Dequantize, FloatFunction, Function, Quantize
from simulator.numerics.float_type import FLOAT32


def floats(d: Draft) -> None:
    d.input("a", (2, 4, 6), FLOAT32)


@pytest.mark.parametrize(
    ("build", "elements"),
    [
        (lambda d: d.op(Quantize, "y", "a", step=[1]), 48),
        (lambda d: d.op(FloatFunction, "y", "a", function=Function.SOFTMAX), 48),
        (lambda d: d.op(FloatFunction, "y", "a", "a", function=Function.ADD), 48),
        (
            lambda d: d.op(FloatFunction, "y", "a", function=Function.MEAN, axis=1),
            48,
        ),  # it reads all
        (
            lambda d: d.op(
                FloatFunction, "y", "a", function=Function.LINEAR, weight=np.ones((5, 6))
            ),
            240,
        ),
        (
            lambda d: d.op(
                FloatFunction, "y", "a", "a", function=Function.MATMUL, transpose_b=True
            ),
            192,
        ),
    ],
)
def test_every_element_or_product_takes_the_rate_of_float(build, elements):
    d = Draft()
    floats(d)
    build(d)
    graph = d.graph()
    assert verify(graph) == []
    (cost,) = estimate(graph, profile_with()).ops
    assert (cost.vector, cost.compute) == (elements * 8 // 16, 0)  # 8 cycles, 16 lanes
    assert cost.macs == (elements if elements > 48 else 0)


def test_dequantize_takes_it_too_and_bytes_are_counted():
    d = Draft()
    d.input("a", (4, 6), S32)
    d.op(Dequantize, "y", "a", step=np.ones(6), bias=[0.5] * 6)
    graph = d.graph()
    cost = estimate(graph, profile_with(memory__dram_bytes_per_cycle=1))
    assert cost.vector_cycles == 24 * 8 // 16
    assert cost.weight_bytes == 12 * 4
    assert cost.dram_bytes == 48 + 2 * 24 * 4
    assert plan_memory(graph, program_of(graph, profile_with())).peak_sram_bytes == 2 * 24 * 4
