# SPDX-License-Identifier: Apache-2.0
"""The memory plan in a record: every buffer by the ops that need it, and the peak's buffers."""

from __future__ import annotations

import pytest
from cost_graphs import S8, Sketch, profile_with, transformer

from aocq.jobs.memory_record import buffer_records, memory_record, peak_record
from simulator.cost import estimate
from simulator.graph import IntGraph


def residual_block() -> IntGraph:
    s = Sketch()
    x = s.reshape("x", s.input("image", 32), 4, 8)
    normal = s.layer_norm("normal", x)
    hidden = s.lookup("hidden", s.linear("wide", normal, 32))
    return s.graph(s.add("result", x, s.linear("narrow", hidden, 8)))


def test_the_peak_names_the_op_and_what_is_alive():
    graph = residual_block()
    costs = estimate(graph, profile_with(memory__sram_bytes=256))
    peak = peak_record(costs)
    assert peak is not None
    # image 32, and the two operands of the lookup, 128 each
    assert (peak.op, peak.bytes, peak.buffers) == ("hidden", 288, ["wide", "hidden", "image"])
    memory = memory_record(costs, 400)
    assert memory.peak_sram_bytes == memory.peak_lower_bound_bytes == 288 > memory.sram_bytes
    assert memory.model_size_bytes == 50


def test_buffers_are_told_by_indexes_of_ops_views_among_them():
    graph = residual_block()
    assert [op.name for op in graph.ops] == ["x", "normal", "wide", "hidden", "narrow", "result"]
    found = {b.name: b for b in buffer_records(graph, estimate(graph, profile_with()))}
    assert "x" not in found  # a view of the image
    lives = {name: (b.op, b.first, b.last) for name, b in found.items()}
    assert lives == {
        "image": ("image", 1, 5),
        "normal": ("normal", 1, 2),
        "wide": ("wide", 2, 3),
        "hidden": ("hidden", 3, 4),
        "narrow": ("narrow", 4, 5),
        "result": ("result", 5, 5),
    }
    assert all((b.type, b.storage) == ("s8", "activation") for b in found.values())
    assert all(b.first_pass == b.last_pass == 0 for b in found.values())


def test_temporaries_are_told_with_the_passes_that_need_them():
    s = Sketch()
    graph = s.graph(s.lookup("y", s.softmax("p", s.input("x", 4, 16))))
    costs = estimate(graph, profile_with(compute__streaming_softmax=False))
    assert [op.passes for op in costs.ops] == [3, 1]
    found = {b.name: b for b in buffer_records(graph, costs)}
    lives = {n: (b.bytes, b.first, b.first_pass, b.last, b.last_pass) for n, b in found.items()}
    assert lives["x"] == (64, 0, 0, 0, 1)
    assert lives["p/maximum"] == (4 * 4, 0, 0, 0, 1)
    assert lives["p"] == (64, 0, 2, 1, 0)
    assert found["p/maximum"].storage == found["p/exponentials"].storage == "temporary"
    assert found["p/maximum"].op == "p"


def test_parts_of_a_result_and_views_of_constants_have_their_writers():
    graph = transformer(tokens=9, heads=2, width=8)
    found = {b.name: b for b in buffer_records(graph, estimate(graph, profile_with()))}
    assert found["block0.q"].op == found["block0.v"].op == "block0.parts"
    s = Sketch()
    row = s.reshape("row", s.ones("codes", S8, 2, 3), 1, 6)
    graph = s.graph(s.concat("both", row, s.input("x", 4, 6)))
    assert [b.op for b in buffer_records(graph, estimate(graph, profile_with()))] == [
        *("x", "row", "both")
    ]


@pytest.mark.parametrize("streaming", [True, False])
def test_the_records_give_the_peak_again(streaming):
    """Bytes alive during each pass, from the records alone, are at most those of the peak."""
    graph = transformer(tokens=9, heads=2, width=8, blocks=2)
    costs = estimate(graph, profile_with(compute__streaming_softmax=streaming))
    buffers, peak = buffer_records(graph, costs), peak_record(costs)
    passes = [op.passes for op in costs.ops]
    live = {
        (op, number): [
            b.name
            for b in buffers
            if (b.first, b.first_pass) <= (op, number) <= (b.last, b.last_pass)
        ]
        for op, many in enumerate(passes)
        for number in range(many)
    }
    sizes = {b.name: b.bytes for b in buffers}
    totals = {moment: sum(sizes[name] for name in names) for moment, names in live.items()}
    assert peak is not None
    fullest = max(totals, key=lambda moment: totals[moment])
    assert totals[fullest] == peak.bytes == costs.peak_lower_bound_bytes
    assert graph.ops[fullest[0]].name == peak.op
    assert set(live[fullest]) == set(peak.buffers)
    assert [sizes[name] for name in peak.buffers] == sorted(
        (sizes[name] for name in peak.buffers), reverse=True
    )


@pytest.mark.parametrize("sram_bytes", [200, 300, 1 << 20])
def test_buffers_lie_in_sram_or_in_dram(sram_bytes):
    graph = transformer(tokens=9, heads=2, width=8, blocks=2)
    costs = estimate(graph, profile_with(memory__sram_bytes=sram_bytes))
    buffers = buffer_records(graph, costs)
    held = [b for b in buffers if b.offset is not None]
    fits = memory_record(costs, 0).peak_sram_bytes <= sram_bytes
    assert (len(held) == len(buffers)) == fits
    assert held
    assert all(b.offset + b.bytes <= sram_bytes for b in held)
    for number, one in enumerate(held):
        for other in held[:number]:
            together = one.first <= other.last and other.first <= one.last
            apart = (
                one.offset + one.bytes <= other.offset or other.offset + other.bytes <= one.offset
            )
            assert apart or not together


def test_a_graph_without_steps_has_no_peak():
    s = Sketch()
    s.input("x", 10)
    graph = s.graph("x")
    costs = estimate(graph, profile_with())
    assert peak_record(costs) is None
    (only,) = buffer_records(graph, costs)
    assert (only.name, only.op, only.bytes, only.first, only.last) == ("x", "x", 10, 0, 0)
