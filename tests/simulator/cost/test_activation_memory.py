# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from cost_graphs import S4, S8, Sketch, profile_with, transformer
from small_graphs import S16, Draft

from simulator.cost import MemoryPlan, plan_memory, weight_bytes
from simulator.cost.memory import activation_buffers
from simulator.cost.steps import program_of
from simulator.graph import verify
from simulator.graph.ops import LayerNorm, Lookup, MatMul, Rescale, Shiftmax
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


def test_stored_exponentials_are_as_wide_as_the_table_says():
    s = Sketch()
    s.softmax("p", s.input("x", 4, 16))  # its table has 16-bit entries
    graph = s.graph("p")
    assert lifetimes(graph) == {"x": (64, 0, 0), "p": (64, 0, 0)}  # streaming, without the key
    assert lifetimes(graph, compute__streaming_softmax=False) == {
        "x": (64, 0, 1),
        "p/maximum": (4 * 4, 0, 1),
        "p/exponentials": (2 * 64, 1, 2),
        "p": (64, 2, 2),
    }
    # alive: 80 | 64 + 16 + 128 | 192
    plan = planned(graph, compute__streaming_softmax=False)
    assert (plan.peak_lower_bound_bytes, plan.peak_step) == (208, 1)
    assert [b.name for b in plan.peak_buffers] == ["p/exponentials", "x", "p/maximum"]


def test_other_exponentials_take_32_bits():
    draft = Draft()
    draft.input("x", (4, 16))
    draft.op(Shiftmax, "p", "x")
    found = lifetimes(draft.graph("p"), compute__streaming_softmax=False)
    assert found["p/exponentials"] == (4 * 64, 1, 2)


def test_sums_are_stored_where_another_unit_requantizes_them():
    s = Sketch()
    graph = s.graph(s.lookup("y", s.linear("wide", s.input("x", 4, 8), 16)))
    assert lifetimes(graph, compute__requantize="vector") == {
        "x": (32, 0, 0),
        "wide/sums": (4 * 64, 0, 1),
        "wide": (64, 1, 2),
        "y": (64, 2, 2),
    }


def test_what_a_product_is_added_to_is_needed_until_its_sums_are_codes():
    draft = Draft()
    draft.input("x", (1, 1))
    _fused(draft, S16)  # a wider result: it cannot overwrite the stream
    graph = draft.graph("sum")
    profile = profile_with(compute__requantize="vector")
    steps = [step.name for step in program_of(graph, profile).steps]
    _, _, last = lifetimes(graph, compute__requantize="vector")["stream"]
    assert steps[last] == "sum/1"


def test_a_fused_table_and_rescaling_store_the_last_result_only():
    draft = Draft()
    draft.input("x", (4, 8))
    draft.op(Lookup, "wide", "x", table=np.arange(256), type=S16)
    draft.op(Rescale, "y", "wide")
    graph = draft.graph("y")
    assert verify(graph) == []
    assert lifetimes(graph) == {"x": (32, 0, 0), "wide": (64, 0, 1), "y": (32, 1, 1)}
    fused = {"compute__fused_lookup_rescale": True}
    assert lifetimes(graph, **fused) == {"x": (32, 0, 0), "y": (32, 0, 0)}
    read_twice = draft.graph("y", "wide")
    assert lifetimes(read_twice, **fused)["wide"] == (64, 0, 1)


def test_plan_of_a_transformer():
    graph = transformer(blocks=2)
    assert verify(graph) == []
    plan = planned(graph)
    assert plan.peak_sram_bytes >= plan.peak_lower_bound_bytes
    assert {b.name for b in plan.buffers} == plan.offsets.keys()
    assert "block0.split" not in plan.offsets
    # The parts that are read of one Transpose; K is transposed once more.
    assert "block0.parts" not in plan.offsets
    assert {"block0.q", "block0.k", "block0.v", "block0.k_columns"} <= plan.offsets.keys()


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
