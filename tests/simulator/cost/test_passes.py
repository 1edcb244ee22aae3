# SPDX-License-Identifier: Apache-2.0
"""Passes of a profile: their blocks, runs and temporaries; ops that take none of their own."""

from __future__ import annotations

import numpy as np
import pytest
from cost_graphs import S8, Sketch, profile_with
from pydantic import ValidationError
from small_graphs import COMMON_SCALE, Draft

from simulator.cost import estimate, plan_memory
from simulator.cost.counts import in_blocks
from simulator.cost.ports import port_cycles
from simulator.cost.steps import program_of
from simulator.graph.ops import SquaredDifference
from simulator.profile.cost import PortSection
from simulator.profile.passes import PassSection

COLUMNS = {
    "temporaries": {"products": {"bits": 32, "per": "operand", "traffic_bits": 8, "cached": False}},
    "passes": [
        {"over": "mac", "writes": "products", "cycles_per_element": 2, "read_run": 4},
        {"unit": "mac", "over": "mac", "reads": ["products"], "cycles_per_element": 0.5},
    ],
}
EXCHANGE = {"cycles_per_element": 2, "block": [1, 2, 16]}
SQUARES = {
    "temporaries": {"difference": {"bits": 16}},
    "passes": [
        {"writes": "difference", "cycles_per_element": 3},
        {"reads": ["difference"], "cycles_per_element": 1},
    ],
}


def with_passes(**changes):
    return profile_with(compute__vector__lanes=1, **changes)


def moved(transfers):
    return [(each.tensor, each.bytes, each.run_bytes, each.written) for each in transfers]


def product():
    s = Sketch()
    return s.graph(s.matmul("y", s.input("a", 2, 6, 8), s.input("b", 2, 8, 5)))


def test_a_product_column_by_column():
    first, second = program_of(product(), with_passes(compute__passes={"matmul": COLUMNS})).steps
    macs = 2 * 6 * 8 * 5
    assert (first.cycles, second.cycles) == (2 * macs, macs // 2)
    # The first operand once for each of 5 columns, all in runs of 4 codes; a byte for each product.
    assert moved(first.reads) == [("a", 96 * 5, 4, False), ("b", 80, 4, False)]
    assert moved(first.writes) == [("y/products", 96 * 5, 96, True)]
    assert moved(second.reads) == [("y/products", 96 * 5, 96, False)]
    assert moved(second.writes) == [("y", 60, 60, True)]


def test_an_uncached_temporary_lies_where_activations_belong():
    graph = product()
    for arena, where in ((None, 1), ("sram", 1), ("dram", 0)):
        profile = with_passes(compute__passes={"matmul": COLUMNS}, memory__arena=arena)
        program = program_of(graph, profile)
        buffers = {buffer.name: buffer.bytes for buffer in plan_memory(graph, program).buffers}
        assert ("y/products" in buffers) == bool(where)
        assert (program.in_dram == {"y/products"}) == (not where)
        if where:
            assert buffers["y/products"] == 4 * 96  # memory for whole products
        first = estimate(graph, profile).steps[0]
        others = 96 + 80 + 5  # both operands are inputs; a multiplier and a shift
        assert first.dram_bytes == others + (0 if where else 96 * 5)


def test_squared_differences_have_passes_of_their_own_or_those_of_sums():

    draft = Draft()
    draft.operand("a", (4, 6), S8)
    draft.operand("b", (4, 6), S8)
    draft.op(SquaredDifference, "y", "a", "b", **COMMON_SCALE)
    graph = draft.graph("y")
    own = with_passes(compute__passes={"squared_difference": SQUARES})
    sums = with_passes(compute__passes={"add": {"passes": [{"cycles_per_element": 7}]}})
    assert [step.cycles for step in program_of(graph, own).steps if step.op == "y"] == [24 * 3, 24]
    assert [step.cycles for step in program_of(graph, sums).steps if step.op == "y"] == [24 * 7]


@pytest.mark.parametrize(
    ("shape", "block", "elements"),
    [
        ((3, 197, 64), (2, 2, 8), 4 * 198 * 64),
        ((9, 3, 5, 17), (1, 2, 16), 9 * 3 * 6 * 32),
        ((10,), (2, 2, 8), 2 * 2 * 16),
        ((7, 10), (4,), 7 * 12),
    ],
)
def test_elements_in_whole_blocks(shape, block, elements):
    assert in_blocks(shape, block) == elements


def test_a_pass_in_blocks_counts_those_of_its_operand_or_result():
    s = Sketch()
    graph = s.graph(s.concat("y", s.input("x", 3, 5), s.input("z", 3, 5)))
    layout = {"passes": [{"cycles_per_element": 1, "block": [1, 2, 16], "write_run": 4}]}
    step = program_of(graph, with_passes(compute__passes={"layout": layout})).steps[0]
    assert step.cycles == 6 * 16  # 6 x 5 codes
    assert step.writes[0].run_bytes == 4
    with pytest.raises(ValidationError, match="counts elements of no picture"):
        PassSection(cycles_per_element=1, over="row", block=(1, 1, 1))


def test_exchanges_of_axes_are_steps_with_temporaries_between():
    s = Sketch()
    graph = s.graph(s.transpose("y", s.input("x", 5, 3, 7, 2), 1, 2, 0, 3))
    profile = with_passes(compute__passes={"transpose": EXCHANGE})
    program = program_of(graph, profile)
    assert [step.name for step in program.steps] == [f"y/{number}" for number in range(6)]
    assert [step.reads[0].tensor for step in program.steps[:2]] == ["x", "y/0"]
    assert program.steps[-1].writes[0].tensor == "y"
    sizes = {name: each.bytes for name, each in program.temporaries.items()}
    assert sizes == {f"y/{number}": 210 for number in range(5)}
    # The first one makes 3 x 5 x 14 of 5 x 3 x 14.
    assert program.steps[0].cycles == 2 * (3 * 6 * 16)


def test_an_exchange_may_fetch_the_whole_depth_for_every_place():
    s = Sketch()
    graph = s.graph(s.transpose("y", s.input("x", 2, 3, 64), 0, 2, 1))
    deep = with_passes(compute__passes={"transpose": {**EXCHANGE, "whole_depth": True}})
    (step,) = program_of(graph, deep).steps
    assert step.reads[0].bytes == 2 * 64 * 64
    assert step.writes[0].bytes == 2 * 3 * 64
    (shallow,) = program_of(graph, with_passes(compute__passes={"transpose": EXCHANGE})).steps
    assert shallow.reads[0].bytes == 2 * 3 * 64


def looked_up(readers=1):
    s = Sketch()
    wide = s.linear("wide", s.input("x", 4, 8), 32)
    result = s.lookup("table", wide)
    for number in range(readers - 1):
        result = s.add(f"sum{number}", result, wide)
    return s.graph(result)


@pytest.mark.parametrize("rate", [1, 1000])
def test_a_table_is_looked_up_on_the_way_out(rate):
    rates = {f"compute__vector__cycles_per_element__{kind}": 1 for kind in ("add", "rescale")}
    profile = with_passes(
        compute__fused_lookup=True, compute__vector__cycles_per_element__lookup=rate, **rates
    )
    plain = with_passes(compute__vector__cycles_per_element__lookup=rate, **rates)
    (step,) = program_of(looked_up(), profile).steps
    alone = program_of(looked_up(), plain).steps
    assert step.cycles == max(alone[0].cycles, rate * 128)
    assert moved(step.writes) == [("table", 128, 128, True)]
    assert step.constants == alone[0].constants | alone[1].constants
    assert estimate(looked_up(), profile).ops[-1].total == 0


def test_a_table_whose_operand_others_read_has_a_pass_of_its_own():
    profile = with_passes(compute__fused_lookup=True)
    assert [step.op for step in program_of(looked_up(2), profile).steps] == [
        *("wide", "table", "sum0"),
    ]


def test_who_writes_the_inputs_arranges_them():
    s = Sketch()
    rows = s.reshape("rows", s.input("image", 2, 4, 6), 2, 2, 2, 6)
    patches = s.reshape("patches", s.transpose("moved", rows, 1, 0, 2, 3), 2, 24)
    embedded = s.linear("embedded", patches, 6)
    graph = s.graph(s.transpose("turned", embedded, 1, 0))
    arranged, plain = with_passes(compute__inputs_arranged=True), with_passes()
    assert [step.op for step in program_of(graph, arranged).steps] == ["embedded", "turned"]
    assert program_of(graph, plain).steps[0].op == "moved"
    of_arranged, of_plain = estimate(graph, arranged), estimate(graph, plain)
    assert of_arranged.dram_bytes == of_plain.dram_bytes  # the image is fetched once in both
    assert of_arranged.peak_sram_bytes <= of_plain.peak_sram_bytes


def test_operands_that_are_broadcast_may_be_read_again():
    s = Sketch()
    x = s.input("x", 4, 6)
    graph = s.graph(s.add("y", s.add("shifted", x, s.ones("beta", S8, 6)), s.rescale("z", x)))
    for rereads, extra in ((None, 0), (True, 3 * 6)):
        program = program_of(graph, with_passes(compute__broadcast_rereads=rereads))
        assert program.steps[0].constant_bytes == extra
        assert program.steps[-1].constant_bytes == 0


def test_a_pass_may_read_constants_that_its_program_adds():
    s = Sketch()
    graph = s.graph(s.softmax("y", s.input("x", 4, 6)))
    softmax = {"passes": [{"cycles_per_element": 1, "constant_bits": 32}]}
    profile = with_passes(compute__passes={"softmax": softmax})
    plain = with_passes()
    added = [estimate(graph, each).steps[0] for each in (profile, plain)]
    assert added[0].dram_bytes - added[1].dram_bytes == 24 * 4


def test_constants_in_sram_take_its_port():
    s = Sketch()
    graph = s.graph(s.linear("y", s.input("x", 4, 8), 32))
    inside, outside = (
        estimate(graph, each).steps[0]
        for each in (with_passes(memory__constants="sram"), with_passes())
    )
    constants = outside.dram_bytes - inside.dram_bytes
    assert constants >= 8 * 32
    assert inside.sram_bytes - outside.sram_bytes == constants


@pytest.mark.parametrize(("read", "written", "cycles"), [(80, 0, 20), (0, 80, 10), (40, 80, 15)])
def test_reads_come_no_faster_than_their_requests(read, written, cycles):
    port = PortSection(bytes_per_cycle=8, read_bytes_per_cycle=4, latency_cycles=3)
    found = port_cycles(np.array([0, read]), np.array([0, written]), port)
    assert found.tolist() == [0, 3 + cycles]
