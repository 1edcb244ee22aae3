# SPDX-License-Identifier: Apache-2.0
"""Sums of rows of probabilities: every row of small types is tried."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from small_graphs import S8, U8, U16, Draft, accumulator

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    Concat,
    MatMul,
    Shiftmax,
    Softmax,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    row_sums,
)
from simulator.graph.ops.row_sums import largest_row_sum, softmax_behind
from simulator.graph.ranges import code_range
from simulator.graph.verify import verify
from simulator.numerics.integer_type import IntArray, IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.traces import trace

S3 = IntType(bits=3)
TABLE = [97, 61, 37, 20, 11, 7, 3, 1]
TEN_ROUNDS = {"table": TABLE, "reciprocal_bits": 20, "shift": 12}


def rows_of(kind: IntType, length: int) -> IntArray:
    return np.array([*product(range(kind.low, kind.high + 1), repeat=length)], np.int64)


def largest_found(graph: IntGraph, length: int) -> int:
    op = graph.ops[0]
    codes = rows_of(graph.tensors["a"].code_type, length)
    result = trace(op, graph, [codes[:, None]])["result"]
    return int(result.astype(np.int64).sum(axis=-1).max())


def softmax(op: type, length: int, *mode: object, kind: IntType = S3, **given: object) -> IntGraph:
    d = Draft(*mode)
    d.input("a", (1, length), kind)
    d.op(op, "y", "a", **given)
    return d.graph()


@pytest.mark.parametrize("normalisation", Normalisation)
@pytest.mark.parametrize("rounding", Rounding)
def test_no_row_of_an_exp_table_softmax_sums_up_to_more(rounding, normalisation):
    least_slack = 1 << 10
    for length in (1, 2, 3, 4, 5):
        for overflow in (Overflow.SATURATE, Overflow.WRAP):
            changes = {**TEN_ROUNDS, "normalisation": normalisation, "type": U16}
            graph = softmax(Softmax, length, rounding, overflow, **changes)
            bound, found = largest_row_sum(graph, "y"), largest_found(graph, length)
            assert found <= bound
            least_slack = min(least_slack, bound - found)
    assert least_slack <= 1  # of half a code for every element, few rows have all


def test_a_row_sums_up_to_no_more_than_its_codes_can():
    graph = softmax(Softmax, 1, **TEN_ROUNDS, type=U8)
    assert largest_row_sum(graph, "y") == 255 == largest_found(graph, 1)


@pytest.mark.parametrize(
    ("op", "given"),
    [
        (SoftmaxIBert, {"type": U8, "zero_point": 0, "log2": 2, "coefficient_b": 3}),
        (Shiftmax, {"x0": -2, "n": 5, "output_bits": 8, "type": U8}),
        (Shiftmax, {"x0": -1, "n": 30, "output_bits": 16, "type": U16}),  # sums are cut
        (SoftmaxIta, {"octave_bits": 1, "group": 4, "largest": 255, "type": U8}),
        (SoftmaxIta, {"octave_bits": 0, "group": 9, "largest": 127, "type": S8}),
    ],
)
def test_no_row_of_another_softmax_sums_up_to_more(op, given):
    least_slack = 1 << 10
    for length in (1, 2, 3, 4):
        graph = softmax(op, length, **given)
        bound, found = largest_row_sum(graph, "y"), largest_found(graph, length)
        assert found <= bound
        least_slack = min(least_slack, bound - found)
    assert least_slack <= 1


@pytest.mark.parametrize(
    ("op", "given"),
    [
        (SoftmaxIta, {"octave_bits": 1, "group": 2, "largest": 255, "type": U8}),  # bits shift out
        (SoftmaxGemmlowp, {}),  # nothing is proven of Newton's reciprocal
        (Softmax, {"table": TABLE, "type": U8, "zero_point": 3}),
        (SoftmaxIBert, {}),  # with zero point -128
    ],
)
def test_of_others_nothing_is_known(op, given):
    assert largest_row_sum(softmax(op, 4, **given), "y") is None


def test_what_wraps_below_zero_has_no_bound():
    wrapping = softmax(Softmax, 3, Rounding.HALF_UP, Overflow.WRAP, **TEN_ROUNDS, type=S8)
    assert largest_row_sum(wrapping, "y") is None
    assert largest_row_sum(softmax(Softmax, 3, **TEN_ROUNDS, type=S8), "y") is not None


def attention(**given: object) -> Draft:
    d = Draft()
    d.input("a", (2, 6, 7), S8)
    d.op(Softmax, "p", "a", table=[1000 - 3 * i for i in range(256)], **given)
    return d


def test_moved_rows_keep_their_bound_and_broken_ones_have_none():
    d = attention()
    d.transpose("swapped", "p", 1, 0, 2)
    d.reshape("joined", "swapped", 12, 7)
    d.slice("part", "joined", 0, 5, axis=1)
    d.op(Concat, "twice", "joined", "joined", axis=1)
    d.transpose("turned", "joined", 1, 0)
    d.reshape("broken", "joined", 7, 12)
    graph = d.graph()
    known = largest_row_sum(graph, "p")
    assert known == 256 + 3  # half a code for each of 7
    assert [largest_row_sum(graph, name) for name in ("swapped", "joined", "part")] == [known] * 3
    assert largest_row_sum(graph, "twice") == 2 * known
    assert [largest_row_sum(graph, name) for name in ("turned", "broken", "a")] == [None] * 3
    assert softmax_behind(graph, "twice") is graph.ops[0]
    assert softmax_behind(graph, "a") is None


def test_rows_may_be_moved_thousands_of_times():
    d = attention()
    d.operand("v", (2, 7, 4), S8)
    rows = "p"
    for step in range(1500):  # more than Python calls within each other
        rows = d.reshape(f"moved{step}", rows, 2, 6, 7)
    d.op(MatMul, "y", rows, "v")
    graph = d.graph()
    assert verify(graph) == []
    assert bounds(graph, graph.ops[-1]).accumulator == (-128 * 259, 127 * 259)


def test_rows_joined_with_themselves_are_not_looked_at_by_every_path(monkeypatch):
    d = attention()
    rows = "p"
    for step in range(20):  # 2^20 paths lead back to the softmax
        twice = d.op(Concat, f"twice{step}", rows, rows, axis=0)
        rows = d.slice(f"half{step}", twice, 0, 2)
    looked_at: list[str] = []

    def counted(graph: IntGraph, name: str) -> tuple[int, int]:
        looked_at.append(name)
        return code_range(graph, name)

    monkeypatch.setattr(row_sums, "code_range", counted)
    assert largest_row_sum(d.graph(), rows) == 259
    assert len(looked_at) <= 100


def test_a_product_with_probabilities_needs_fewer_bits():
    d = attention()
    d.operand("v", (2, 7, 4), S8)
    levels = accumulator((2, 17, Overflow.WRAP), (0, 17, Overflow.WRAP))
    d.op(MatMul, "y", "p", "v", accumulator=levels)
    graph = d.graph()
    known = bounds(graph, graph.ops[-1])
    assert known.accumulator == (-128 * 259, 127 * 259)
    assert known.proven_free  # 7 times 255 times 128 would need 19 bits
    plain = Draft()
    plain.input("p", (2, 6, 7), U8)
    plain.operand("v", (2, 7, 4), S8)
    plain.op(MatMul, "y", "p", "v", accumulator=levels)
    assert not bounds(plain.graph(), plain.graph().ops[-1]).proven_free
