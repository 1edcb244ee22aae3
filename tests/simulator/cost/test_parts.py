# SPDX-License-Identifier: Apache-2.0
"""Results of which only parts are read."""

from __future__ import annotations

import pytest
from cost_graphs import S4, Sketch, profile_with
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost import estimate
from simulator.cost.memory import activation_buffers
from simulator.cost.parts import _pieces
from simulator.cost.steps import program_of
from simulator.graph import verify
from simulator.graph.builder import GraphBuilder

PLAIN = profile_with()


def buffers(graph):
    """Bytes of every buffer, its first and last step."""
    assert verify(graph) == []
    found = activation_buffers(graph, program_of(graph, PLAIN))
    return {each.name: (each.bytes, each.first, each.last) for each in found}


def transposed(s):
    return s.transpose("whole", s.input("x", 5, 3, 8), 1, 0, 2)  # 3 x 5 x 8


def used(s, name, whole, start, stop):
    """Read rows ``start`` up to ``stop`` of a tensor, flattened."""
    rows = s.slice(f"{name}.rows", whole, start, stop)
    return s.rescale(f"{name}.used", s.reshape(f"{name}.flat", rows, (stop - start) * 40))


def test_each_part_of_a_result_lives_as_long_as_it_is_read():
    s = Sketch()
    whole = transposed(s)
    outputs = [used(s, name, whole, place, place + 1) for place, name in enumerate("qkv")]
    assert buffers(s.graph(*outputs)) == {
        "x": (120, 0, 0),
        "q.flat": (40, 0, 1),
        "k.flat": (40, 0, 2),
        "v.flat": (40, 0, 3),
        "q.used": (40, 1, 3),
        "k.used": (40, 2, 3),
        "v.used": (40, 3, 3),
    }


def test_what_is_not_read_belongs_to_the_part_before_it():
    s = Sketch()
    whole = transposed(s)
    graph = s.graph(used(s, "first", whole, 0, 1), used(s, "last", whole, 2, 3))
    found = buffers(graph)
    assert found["whole[0:80]"] == (80, 0, 1)
    assert found["last.flat"] == (40, 0, 2)


@pytest.mark.parametrize("kind", ["an output", "overlapping", "whole too", "one part", "a product"])
def test_other_results_are_stored_whole(kind):
    s = Sketch()
    if kind == "a product":
        whole = s.linear("whole", s.input("x", 6, 8), 4)
        outputs = [
            s.rescale("top", s.slice("top.rows", whole, 0, 3)),
            s.rescale("rest", s.slice("rest.rows", whole, 3, 6)),
        ]
    else:
        whole = transposed(s)
        outputs = [used(s, "top", whole, 0, 2)]
        if kind == "overlapping":
            outputs.append(used(s, "rest", whole, 1, 3))
        elif kind == "whole too":
            outputs += [used(s, "rest", whole, 2, 3), s.rescale("all", whole)]
        elif kind == "an output":
            outputs += [used(s, "rest", whole, 2, 3), whole]
    found = buffers(s.graph(*outputs))
    assert found["whole"][0] == (24 if kind == "a product" else 120)
    assert not any(name.endswith((".rows", ".flat")) for name in found)


@pytest.mark.parametrize(("width", "whole"), [(7, True), (8, False)])
def test_a_part_begins_at_a_byte(width, whole):
    s = Sketch()
    x = GraphBuilder.input(s, "x", (1, 3, width), S4)
    moved = s.transpose("whole", x, 1, 0, 2)
    rows = [s.slice(f"row{place}", moved, place, place + 1) for place in range(3)]
    found = buffers(s.graph(*[s.rescale(f"used{place}", row) for place, row in enumerate(rows)]))
    if whole:
        assert found["whole"][0] == 11  # 21 codes of 4 bits
    else:
        assert [found[f"row{place}"][0] for place in range(3)] == [4, 4, 4]


def test_traffic_is_divided_among_parts():
    s = Sketch()
    whole = transposed(s)
    outputs = [used(s, name, whole, place, place + 1) for place, name in enumerate("qkv")]
    graph = s.graph(*outputs)
    everything = estimate(graph, PLAIN)
    # 64 bytes hold one part beside a result that goes to DRAM, and no two of them.
    small = estimate(graph, profile_with(memory__sram_bytes=64))
    assert everything.spilled == ()
    assert len(small.spilled) == 2
    assert set(small.spilled) < {"q.flat", "k.flat", "v.flat"}
    assert small.dram_bytes == everything.dram_bytes + 2 * 2 * 40
    first = small.steps[0]
    assert "whole" in first.in_dram
    # x, and two of three parts
    assert first.dram_bytes == 120 + 80


stretches = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], 24))
)


@given(st.sets(stretches, min_size=1, max_size=6))
def test_pieces_cover_a_tensor_and_share_nothing_that_is_read(read):
    pieces = _pieces(read, 24)
    assert [first for first, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
    assert pieces[-1][1] == 24
    for first, end in read:
        assert sum(start < end and first < stop for start, stop in pieces) == 1
    # No finer cut would do: each piece but the first begins where something is read.
    assert {first for first, _ in pieces[1:]} <= {first for first, _ in read}
