# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from cost_graphs import S4, S8, Sketch, profile_with, transformer
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import S16, Draft

from simulator.cost import Buffer, MemoryPlan, plan_memory, weight_bytes
from simulator.cost.memory import ALIGNMENT, activation_buffers, allocate, peak_live_bytes
from simulator.cost.steps import program_of
from simulator.graph import verify
from simulator.graph.ops import LayerNorm, MatMul, Rescale
from simulator.numerics.integer_type import IntType


def lifetimes(graph, **changes):
    """Bytes of every buffer, first and last step, on a profile with ``changes``."""
    found = activation_buffers(graph, program_of(graph, profile_with(**changes)))
    return {b.name: (b.bytes, b.first, b.last) for b in found}


def planned(graph, **changes) -> MemoryPlan:
    return plan_memory(graph, program_of(graph, profile_with(**changes)))


def test_liveness_of_a_residual_block():
    s = Sketch()
    x = s.input("x", 4, 8)  # 32 bytes, read by ops 0 and 3
    normal = s.layer_norm("normal", x)  # 32
    hidden = s.linear("hidden", normal, 32)  # 128
    narrow = s.linear("narrow", hidden, 8)  # 32
    result = s.add("result", x, narrow)  # 32
    graph = s.graph(result)
    assert verify(graph) == []
    assert lifetimes(graph) == {
        "x": (32, 0, 3),
        "normal": (32, 0, 1),
        "hidden": (128, 1, 2),
        "narrow": (32, 2, 3),
        "result": (32, 3, 3),
    }
    # alive: 64 | x + normal + hidden = 192 | x + hidden + narrow = 192 | 96
    assert planned(graph).peak_lower_bound_bytes == 192
    assert planned(graph).peak_sram_bytes == 192


def _fused(draft: Draft, kind: IntType = S8) -> None:
    draft.operand("stream", (4, 8), S8)
    weights = draft.constant("weights", np.ones((8, 8), int), S8)
    draft.op(LayerNorm, "normal", "stream", gamma=[1] * 8, beta=[0] * 8)
    draft.op(
        MatMul, "sum", "normal", weights, residual="stream", residual_multiplier=(1,), type=kind
    )


def test_a_layer_overwrites_the_stream_that_it_ends_on():
    draft = Draft()
    draft.input("x", (1, 1))
    _fused(draft)
    draft.op(Rescale, "end", "sum")
    graph = draft.graph("end")
    found = lifetimes(graph)
    assert "sum" not in found
    steps = program_of(graph, profile_with()).steps
    first = [step.op for step in steps].index("stream")
    assert [step.op for step in steps][first:] == ["stream", "normal", "sum", "end"]
    assert found["stream"] == (32, first, first + 3)
    assert found["normal"] == (32, first + 1, first + 2)


@pytest.mark.parametrize(
    "reader", ["later op", "view", "output", "wider", "input", "itself", "right operand"]
)
def test_it_does_not_where_something_else_needs_the_stream(reader):
    draft = Draft()
    if reader == "input":
        draft.input("stream", (4, 8))
        draft.op(LayerNorm, "normal", "stream", gamma=[1] * 8, beta=[0] * 8)
        weights = draft.constant("weights", np.ones((8, 8), int), S8)
        draft.op(MatMul, "sum", "normal", weights, residual="stream", residual_multiplier=(1,))
    elif reader == "itself":
        draft.input("x", (1, 1))
        draft.operand("stream", (4, 8), S8)
        weights = draft.constant("weights", np.ones((8, 8), int), S8)
        draft.op(MatMul, "sum", "stream", weights, residual="stream", residual_multiplier=(1,))
    elif reader == "right operand":
        draft.input("x", (1, 1))
        draft.operand("stream", (4, 4), S8)
        draft.op(LayerNorm, "normal", "stream", gamma=[1] * 4, beta=[0] * 4)
        draft.op(MatMul, "sum", "normal", "stream", residual="stream", residual_multiplier=(1,))
    else:
        draft.input("x", (1, 1))
        if reader == "view":
            draft.operand("whole", (8, 4), S8)
            draft.reshape("stream", "whole", 4, 8)
            draft.op(LayerNorm, "normal", "stream", gamma=[1] * 8, beta=[0] * 8)
            weights = draft.constant("weights", np.ones((8, 8), int), S8)
            draft.op(MatMul, "sum", "normal", weights, residual="stream", residual_multiplier=(1,))
            draft.op(Rescale, "later", "whole")
        else:
            _fused(draft, S16 if reader == "wider" else S8)
        if reader == "later op":
            draft.op(Rescale, "later", "stream")
    graph = draft.graph("stream" if reader == "output" else "sum")
    assert "sum" in lifetimes(graph)


def test_views_share_the_memory_they_look_into():
    s = Sketch()
    wide = s.lookup("wide", s.input("x", 6, 4))  # 24 bytes each
    pairs = s.reshape("pairs", wide, 3, 2, 4)
    top = s.slice("top", pairs, 0, 1)  # still in "wide"
    moved = s.transpose("moved", top, 0, 2, 1)  # 8 bytes of its own
    last = s.lookup("last", s.reshape("flat", moved, 8))
    graph = s.graph(last)
    assert verify(graph) == []
    assert lifetimes(graph) == {
        "x": (24, 0, 0),
        "wide": (24, 0, 1),  # its last view is read by the second step
        "moved": (8, 1, 2),
        "last": (8, 2, 2),
    }
    assert planned(graph).peak_lower_bound_bytes == 48


def test_a_slice_that_gathers_has_memory_of_its_own():
    s = Sketch()
    s.slice("y", s.input("x", 6, 4), 0, 1, axis=1)
    assert lifetimes(s.graph("y")) == {"x": (24, 0, 0), "y": (6, 0, 0)}


def test_a_view_that_is_an_output_keeps_its_source_to_the_end():
    s = Sketch()
    s.reshape("flat", s.input("x", 2, 3), 6)
    s.lookup("other", "x")
    s.lookup("later", "other")
    assert lifetimes(s.graph("flat", "later"))["x"] == (6, 0, 1)


def test_an_output_that_is_read_early_lives_to_the_end():
    s = Sketch()
    first = s.lookup("first", s.input("x", 10))
    second = s.lookup("second", first)
    assert lifetimes(s.graph("first", s.lookup("third", second)))["first"] == (10, 0, 2)


def test_a_view_of_a_constant_is_stored_on_the_chip():
    s = Sketch()
    s.reshape("row", s.ones("codes", S8, 2, 3), 1, 6)
    s.concat("both", "row", s.input("x", 4, 6))
    assert lifetimes(s.graph("both")) == {
        "x": (24, 0, 0),
        "row": (6, 0, 0),
        "both": (30, 0, 0),
    }


def test_a_result_that_nobody_reads_lives_during_its_op():
    s = Sketch()
    s.lookup("unread", s.input("x", 10))
    s.lookup("y", "x")
    assert lifetimes(s.graph("y"))["unread"] == (10, 0, 0)


def test_a_graph_without_ops():
    s = Sketch()
    s.input("x", 10)
    plan = planned(s.graph("x"))
    assert (plan.peak_sram_bytes, plan.peak_lower_bound_bytes) == (10, 10)


@st.composite
def buffers(draw):
    found = []
    for index in range(draw(st.integers(0, 12))):
        first = draw(st.integers(0, 8))
        last = first + draw(st.integers(0, 5))
        found.append(
            Buffer(name=f"b{index}", bytes=draw(st.integers(0, 100)), first=first, last=last)
        )
    return tuple(found)


@given(buffers())
def test_allocation_never_shares_bytes_that_live_together(found):
    offsets = allocate(found)
    assert all(offset % ALIGNMENT == 0 for offset in offsets.values())
    for step in range(15):
        taken = [
            byte
            for b in found
            if b.first <= step <= b.last
            for byte in range(offsets[b.name], offsets[b.name] + b.bytes)
        ]
        assert len(taken) == len(set(taken))
        assert len(taken) <= peak_live_bytes(found)
    end = max((offsets[b.name] + b.bytes for b in found), default=0)
    assert end >= peak_live_bytes(found)


@given(buffers())
def test_lower_bound_is_the_busiest_step(found):
    live = [sum(b.bytes for b in found if b.first <= step <= b.last) for step in range(15)]
    assert peak_live_bytes(found) == max(live)


def test_allocation_fills_the_lowest_gap_and_aligns():
    found = (
        Buffer(name="large", bytes=40, first=0, last=0),
        Buffer(name="medium", bytes=30, first=0, last=2),
        Buffer(name="small", bytes=20, first=1, last=2),
    )
    # medium lies behind large at the next multiple of 16; small fits into what large has left.
    assert allocate(found) == {"large": 0, "medium": 48, "small": 0}


def test_plan_of_a_transformer():
    graph = transformer(blocks=2)
    assert verify(graph) == []
    plan = planned(graph)
    assert plan.peak_sram_bytes >= plan.peak_lower_bound_bytes
    assert {b.name for b in plan.buffers} == plan.offsets.keys()
    assert "block0.split" not in plan.offsets
    assert "block0.q" not in plan.offsets


def test_weight_bytes_are_packed_and_counted_once():
    s = Sketch()
    s.linear("y", s.input("x", 2, 5), 3, S4)
    s.softmax("p", "y")
    s.softmax("q", "p")
    graph = s.graph("q")
    # 15 codes of 4 bits in 8 bytes, bias 3 x 4, multiplier 4, shift of 6 bits in 1
    linear = 8 + 12 + 4 + 1
    table = 256 * 2
    assert [weight_bytes(graph, op) for op in graph.ops] == [linear, table, table]
    assert weight_bytes(graph, *graph.ops) == linear + table
    assert weight_bytes(graph) == 0
