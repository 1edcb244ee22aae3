# SPDX-License-Identifier: Apache-2.0
"""Classes: what decides how fast a product is, and sizes that stand for others."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import S4, S8, SATURATE, Draft, accumulator

from simulator.graph.ops import MatMul
from simulator.product_choice import Kind, class_of
from simulator.product_choice.classes import operations_of_a_task, usual_classes


def layer(rows, terms, columns, kind=S8, **changes):
    d = Draft()
    d.input("a", (*rows, terms))
    d.constant("b", np.zeros((terms, columns), np.int64), kind)
    d.op(MatMul, "y", "a", "b", bias=None, **changes)
    return d.graph()


def attention(a, b, **changes):
    d = Draft()
    d.input("a", a)
    d.operand("b", b)
    d.op(MatMul, "y", "a", "b", **changes)
    return d.graph()


def named(graph, *, one_pass=True):
    return str(class_of(graph.ops[-1], graph, one_pass=one_pass))


def test_rows_of_a_layer_are_those_of_all_images_of_a_task():
    assert named(layer((197,), 192, 576)) == "layer, 8-bit weights, 1576 x 192 x 768"
    assert named(layer((), 192, 1000)) == "layer, 8-bit weights, 8 x 192 x 768"
    assert named(layer((7, 7), 96, 96)) == "layer, 8-bit weights, 256 x 64 x 64"


def test_attention_has_the_rows_of_one_matrix():
    graph = attention((3, 197, 64), (3, 64, 197))
    assert named(graph) == "attention, 197 x 64 x 197"
    swapped = attention((64, 4, 49, 49), (64, 4, 49, 32))
    assert named(swapped) == "attention, 49 x 49 x 32"


@pytest.mark.parametrize(("bits", "wanted"), [(4, 4), (8, 8)])
def test_narrow_weights_are_a_class_of_their_own(bits, wanted):
    kind = S4 if bits == 4 else S8
    assert f" {wanted}-bit weights" in named(layer((4,), 64, 64, kind))


def test_sums_that_may_overflow_are_of_a_narrow_kind():
    narrow = accumulator((0, 16, SATURATE))
    made = attention((2, 49, 64), (2, 64, 49), accumulator=narrow)
    assert class_of(made.ops[-1], made, one_pass=True).kind is Kind.NARROW_ATTENTION
    # Weights of zero overflow nothing: proven free, whatever the register.
    free = layer((49,), 64, 64, accumulator=narrow)
    assert class_of(free.ops[0], free, one_pass=True).kind is Kind.LAYER


def test_an_op_without_one_pass_is_compared_by_its_sums():
    graph = layer((49,), 64, 64)
    assert class_of(graph.ops[0], graph, one_pass=False).kind is Kind.LAYER_SUMS


def test_operations_are_those_of_eight_images():
    graph = layer((2,), 3, 5)
    assert operations_of_a_task(graph.ops[0], graph) == 8 * 2 * (2 * 3 * 5)
    graph = attention((6, 2, 3), (6, 3, 5))
    assert operations_of_a_task(graph.ops[-1], graph) == 8 * 6 * 2 * (2 * 3 * 5)


def test_every_kind_that_a_usual_class_has_is_there_once():
    usual = usual_classes()
    assert len({*usual}) == len(usual)
    assert {which.kind for which in usual} >= set(Kind) - {Kind.ATTENTION_SUMS}
