# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cost_graphs import Sketch, profile_with, transformer
from pydantic import ValidationError

from simulator.cost import UnplacedOpError, estimate
from simulator.cost.float16 import float16_estimate
from simulator.errors import InputError
from simulator.graph.ops import Hadamard

RATES = {
    "softmax": 30,
    "layernorm": 30,
    "lookup": 2,
    "add": 3,
    "rescale": 10,
    "mean": 10,
    "layout": 5,
    "float": 20,
}
HOST = {
    "cycles_per_element": RATES,
    "cycles_per_mac": 4,
    "copy_bytes_per_cycle": 2,
    "handover_cycles": 1000,
}
DOT = {"kind": "dot", "m": 4, "n": 4, "k": 4, "cycles_per_step": 1, "pipeline_depth": 0}


def of_op(graph, name, profile):
    return next(op for op in estimate(graph, profile).ops if op.name == name)


def three_ops():
    s = Sketch()
    first = s.rescale("first", s.input("x", 10, 16))
    s.rescale("last", s.add("middle", first, first))
    return s.graph("last")


def test_an_op_on_the_host_is_copied_and_handed_over_at_both_borders():
    profile = profile_with(compute__placement={"add": "host"}, compute__host=HOST)
    graph = three_ops()
    middle, last = of_op(graph, "middle", profile), of_op(graph, "last", profile)
    copies = (160 + 160 + 160) // 2
    assert (middle.host, middle.vector, middle.issue) == (160 * 3 + copies, 0, 1000)
    assert (last.host, last.issue) == (0, 1000)
    assert middle.total == 1000 + 160 * 3 + copies
    assert middle.bound_by == "host"


def rotated():
    s = Sketch()
    s.op(Hadamard, "y", s.input("x", 10, 16), order=16, multiplier=1, shift=1)
    return s.graph("y")


def test_a_rotation_is_placed_as_sums_are_or_by_itself():
    shared = {key: value for key, value in HOST.items() if key != "copy_bytes_per_cycle"}
    on_host = profile_with(compute__placement={"add": "host"}, compute__host=shared)
    assert of_op(rotated(), "y", on_host).host == 160 * (4 + 1) * 3
    rates = {**shared, "cycles_per_element": {**RATES, "hadamard": 0.5}}
    stated = profile_with(compute__placement={"add": "host"}, compute__host=rates)
    assert of_op(rotated(), "y", stated).host == 160 * (4 + 1) / 2
    apart = {"add": "host", "hadamard": "vector"}
    back = profile_with(compute__placement=apart, compute__host=shared)
    assert (of_op(rotated(), "y", back).host, of_op(rotated(), "y", back).vector) == (0, 50)
    with pytest.raises(UnplacedOpError, match="hadamard"):
        estimate(rotated(), profile_with(compute__placement={"add": "none"}))


def test_nothing_is_copied_where_chip_and_host_share_a_memory():
    shared = {key: value for key, value in HOST.items() if key != "copy_bytes_per_cycle"}
    profile = profile_with(compute__placement={"add": "host"}, compute__host=shared)
    assert of_op(three_ops(), "middle", profile).host == 160 * 3


def test_neighbours_on_the_host_have_one_border_each_way():
    both = {"add": "host", "rescale": "host"}
    profile = profile_with(compute__placement=both, compute__host=HOST)
    costs = estimate(three_ops(), profile)
    # To the host before the first op, back to the chip after the last.
    assert [op.issue for op in costs.ops] == [1000, 0, 1000]
    assert costs.host_cycles > 0
    assert costs.vector_cycles == 0


def test_a_product_of_activations_on_the_host():
    profile = profile_with(compute__placement={"matmul": "host"}, compute__host=HOST)
    graph = transformer()
    scores = of_op(graph, "block0.scores", profile)
    assert scores.host >= 4 * scores.macs
    assert scores.compute == 0
    assert of_op(graph, "block0.qkv", profile).compute > 0


def test_no_place_is_an_error_that_names_the_ops():
    profile = profile_with(compute__placement={"softmax": "none"})
    with pytest.raises(UnplacedOpError, match=r"no place for ops of kind softmax.*block0.softmax"):
        estimate(transformer(), profile)


def test_where_it_is_allowed_the_ops_are_named_and_cost_nothing():
    graph, profile = transformer(), profile_with(compute__placement={"softmax": "none"})
    costs = estimate(graph, profile, allow_unplaced=True)
    assert costs.unplaced == ("block0.softmax",)
    assert next(op for op in costs.ops if op.kind == "softmax").total == 0
    assert costs.energy is None  # a sum without them would be too small
    assert float16_estimate(graph, profile, allow_unplaced=True).energy is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compute__placement": {"float": "host"}, "compute__host": None},
            r"there is no \[compute.host\]",
        ),
        ({"compute__placement": {"matmul": "vector"}}, r"\[compute.passes.matmul\]"),
        ({"compute__placement": {"softmax": "mac"}}, r"\[compute.passes.softmax\]"),
        ({"compute__placement": {"softmax": "gpu"}}, "'mac', 'vector', 'dma', 'host' or 'none'"),
        ({"compute__placement": {"linear": "dma"}}, "linear = 'dma': that unit has no common form"),
        ({"compute__placement": {"softmax": "dma"}}, r"\[compute.passes.softmax\]"),
        ({"compute__placement": {"layout": "dma"}}, "state memory.sram_port"),
    ],
)
def test_places_that_cannot_be_costed_are_refused(changes, message):
    with pytest.raises((ValidationError, InputError), match=message):
        profile_with(**changes)


def test_layout_on_the_dma_takes_the_time_of_the_port():
    s = Sketch()
    s.transpose("y", s.rescale("x", s.input("a", 8, 10)), 1, 0)
    profile = profile_with(
        compute__placement={"layout": "dma"}, memory__sram_port={"bytes_per_cycle": 4}
    )
    op = of_op(s.graph("y"), "y", profile)
    assert (op.total, op.vector) == (80 // 4, 0)  # read in SRAM, written to DRAM beside that


def test_a_transpose_that_is_placed_on_the_host_runs_there():
    s = Sketch()
    s.transpose("y", s.input("a", 8, 10), 1, 0)
    profile = profile_with(
        compute__placement={"layout": "host"},
        compute__host=HOST,
        compute__passes={"transpose": {"unit": "dma", "cycles_per_element": 0}},
    )
    assert of_op(s.graph("y"), "y", profile).host == 80 * 5 + (80 + 80) // 2


def test_a_pass_of_the_dma_that_takes_the_longest_is_what_limits_its_op():
    s = Sketch()
    s.rescale("z", s.transpose("y", s.rescale("x", s.input("a", 8, 10)), 1, 0))
    slow = {"transpose": {"unit": "dma", "cycles_per_element": 2}}
    op = of_op(s.graph("z"), "y", profile_with(compute__passes=slow))
    assert (op.total, op.dma, op.bound_by) == (160, 0, "dma")


def test_nothing_is_fused_to_an_op_without_a_place():
    s = Sketch()
    s.rescale("y", s.lookup("table", s.input("x", 4, 8)))
    profile = profile_with(
        compute__placement={"lookup": "none"}, compute__fused_lookup_rescale=True
    )
    costs = estimate(s.graph("y"), profile, allow_unplaced=True)
    assert costs.unplaced == ("table",)
    assert [op.vector for op in costs.ops] == [0, 2]


def test_nothing_is_fused_to_what_whoever_writes_the_inputs_does():
    s = Sketch()
    s.lookup("y", s.transpose("arranged", s.input("x", 4, 8), 1, 0))
    profile = profile_with(compute__inputs_arranged=True, compute__fused_lookup=True)
    assert [op.vector for op in estimate(s.graph("y"), profile).ops] == [0, 2]


def test_requantization_that_is_not_fused_is_a_pass_of_the_vector_unit():
    s = Sketch()
    s.linear("y", s.input("a", 8, 10), 6)
    graph = s.graph("y")
    fused = of_op(graph, "y", profile_with())
    profile = profile_with(compute__requantize="vector", compute__issue_cycles=7)
    apart = of_op(graph, "y", profile)
    assert (fused.vector, apart.vector) == (0, 3)  # 48 results on 16 lanes
    assert (fused.issue, apart.issue) == (0, 14)
    # The sums are stored: 4 bytes for each result.
    costs = estimate(graph, profile)
    assert costs.peak_sram_bytes == 80 + 4 * 48


def test_a_product_by_rows_is_passes_over_its_multiplications():
    passes = {
        "temporaries": {"products": {"bits": 32, "per": "operand"}},
        "passes": [
            {"over": "mac", "writes": "products", "cycles_per_element": 8},
            {"unit": "mac", "over": "mac", "reads": ["products"], "cycles_per_element": 0.25},
        ],
    }
    profile = profile_with(
        compute__passes={"matmul": passes},
        memory__sram_port={"bytes_per_cycle": 8},
        memory__dram_bytes_per_cycle=1,
    )
    s = Sketch()
    a = s.input("a", 4, 10)
    s.matmul("y", a, s.transpose("b", s.slice("part", a, 0, 3, axis=0), 1, 0))
    op = of_op(s.graph("y"), "y", profile)
    assert (op.macs, op.vector, op.compute) == (120, 120 * 8 // 16, 30)
    # Per column of the result: the 40 codes of a, 4 bytes written and read for each; b once. The
    # network's output is read again on its way out.
    assert op.sram == -(-(3 * 40 + 30 + 3 * 160) // 8) + -(-(3 * 160 + 12 + 12) // 8)


@pytest.mark.parametrize(("heads", "cycles"), [(1, 6), (2, 4), (3, 2), (8, 2)])
def test_heads_that_the_array_computes_at_once(heads, cycles):
    s = Sketch()
    a = s.input("a", 3, 8, 4)
    s.matmul("y", a, s.transpose("b", s.slice("part", a, 0, 4, axis=1), 0, 2, 1))
    profile = profile_with(compute__engine=DOT | {"heads_parallel": heads})
    assert of_op(s.graph("y"), "y", profile).compute == cycles


@pytest.mark.parametrize(("rows", "steps"), [(196, 49), (197, 99), (198, 50), (7, 4), (8, 2)])
def test_rows_that_lie_in_a_rectangle(rows, steps):
    s = Sketch()
    s.linear("y", s.input("a", rows, 4), 4)
    flat = profile_with(compute__engine=DOT)
    square = profile_with(compute__engine=DOT | {"rectangle": (2, 2)})
    assert of_op(s.graph("y"), "y", flat).compute == -(-rows // 4)
    assert of_op(s.graph("y"), "y", square).compute == steps


def test_a_rectangle_has_as_many_places_as_the_step_has_rows():
    with pytest.raises(ValidationError, match="height times width must be m = 4"):
        profile_with(compute__engine=DOT | {"rectangle": (2, 3)})


def test_narrow_weights_are_faster_only_where_the_profile_says_so():
    from cost_graphs import S4, S8

    def compute(weights, **engine):
        s = Sketch()
        s.linear("y", s.input("a", 8, 8), 8, weights)
        return of_op(s.graph("y"), "y", profile_with(compute__engine=DOT | engine)).compute

    faster = {"widths": [{"a_bits": 8, "b_bits": 4, "speed": 2}]}
    assert (compute(S8), compute(S4)) == (8, 8)
    assert (compute(S8, **faster), compute(S4, **faster)) == (8, 4)
