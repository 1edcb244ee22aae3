# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest
from cost_graphs import S4, S8, U8, Sketch, profile_with, transformer
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cost import UncostedOpError, estimate, gemm_cycles
from simulator.cost.engine import gemm_extents
from simulator.errors import InputError
from simulator.graph import verify
from simulator.graph.builder import GraphBuilder
from simulator.graph.macs import total_macs
from simulator.graph.ops import SPECS, MatMul, NormalizedMatMul, Op, Rescale, ScaledMatMul
from simulator.numerics.integer_type import IntType
from simulator.profile import CyclesPerElement, NpuProfile

STRICT = {
    "kind": "systolic",
    "rows": 4,
    "columns": 4,
    "dataflow": "output_stationary",
    "overlap": "none",
}
TOTALS = ("compute", "vector", "dma", "stall", "total")


def extents(graph, op):
    found = gemm_extents(graph, op)
    return found.heads, found.m, found.k, found.n


def of_op(graph, name, profile):
    return next(op for op in estimate(graph, profile).ops if op.name == name)


def linear_graph():
    s = Sketch()
    s.lookup("y", s.linear("product", s.input("x", 8, 10), 6, S4))
    return s.graph("y")


def test_every_number_of_a_small_graph():
    graph = linear_graph()
    assert verify(graph) == []
    cost = estimate(graph, profile_with(compute__engine=STRICT, memory__dram_bytes_per_cycle=2.5))
    product, lookup = cost.ops
    # 8 x 10 x 6 on 4 x 4: 2 * 2 folds of 10 + 6 cycles
    assert (product.kind, product.macs, product.compute, product.vector) == ("matmul", 480, 64, 0)
    # 60 codes of 4 bits, bias 24, multiplier 4, shift 1; and the input's 80 bytes
    assert product.weight_bytes == 30 + 24 + 4 + 1
    assert product.dma == 56  # ceil(139 / 2.5)
    assert (product.total, product.stall, product.bound_by) == (64, 0, "compute")
    # 48 codes on 16 lanes; a table of 256 bytes and the output's 48
    assert (lookup.macs, lookup.compute, lookup.vector) == (0, 0, 3)
    assert (lookup.weight_bytes, lookup.dma) == (256, 122)
    assert (lookup.total, lookup.stall, lookup.bound_by) == (122, 119, "dma")

    assert (cost.total_cycles, cost.stall_cycles) == (186, 119)
    assert (cost.compute_cycles, cost.vector_cycles, cost.dma_cycles) == (64, 3, 178)
    assert cost.by_kind == {"matmul": 64, "lookup": 122}
    assert cost.bound_by == {"compute": 64, "vector": 0, "host": 0, "sram": 0, "dma": 122}
    assert cost.weight_bytes == 59 + 256
    assert cost.dram_bytes == 59 + 256 + 80 + 48
    assert cost.peak_lower_bound_bytes == 80 + 48  # the product's operand and result
    assert cost.peak_sram_bytes == 80 + 48
    assert cost.latency_ms == pytest.approx(186 / 500e3)  # 500 MHz
    assert cost.fps == pytest.approx(500e6 / 186)
    assert cost.fits_sram


def test_a_graph_larger_than_the_sram_is_still_estimated():
    graph = linear_graph()
    exact = estimate(graph, profile_with(memory__sram_bytes=128))
    small = estimate(graph, profile_with(memory__sram_bytes=127))
    assert exact.fits_sram
    assert not small.fits_sram
    assert small.ops == exact.ops


def test_heads_are_multiplied_one_after_the_other():
    s = Sketch()
    a = s.input("a", 3, 8, 10)
    s.matmul("y", a, s.transpose("b", s.slice("part", a, 0, 6, axis=1), 0, 2, 1))
    graph = s.graph("y")
    profile = profile_with(compute__engine=STRICT)
    assert verify(graph) == []
    assert extents(graph, graph.ops[-1]) == (3, 8, 10, 6)
    assert of_op(graph, "y", profile).compute == 3 * 64
    assert of_op(graph, "y", profile).macs == 3 * 480


def test_rows_that_share_a_matrix_are_one_product():
    s = Sketch()
    s.linear("y", s.input("a", 3, 8, 10), 6)
    graph = s.graph("y")
    assert verify(graph) == []
    assert extents(graph, graph.ops[0]) == (1, 24, 10, 6)
    assert of_op(graph, "y", profile_with(compute__engine=STRICT)).compute == 6 * 2 * 16


def test_extents_of_a_transposed_operand_and_of_a_vector():
    s = Sketch()
    weight, a = s.ones("w", S8, 6, 10), s.input("a", 10)
    s.op(MatMul, "y", a, weight, transpose_b=True, multiplier=1, shift=1)
    graph = s.graph("y")
    assert verify(graph) == []
    assert extents(graph, graph.ops[0]) == (1, 1, 10, 6)


def test_an_input_is_fetched_once_and_every_output_stored():
    s = Sketch()
    s.rescale("first", s.input("x", 100))
    s.rescale("second", "x")
    s.rescale("third", "second")
    cost = estimate(s.graph("first", "third"), profile_with(memory__dram_bytes_per_cycle=1))
    assert [op.dma for op in cost.ops] == [5 + 100 + 100, 5, 5 + 100]
    assert cost.dram_bytes == 15 + 300


def test_a_shared_table_is_stored_once_and_streamed_per_op():
    s = Sketch()
    s.softmax("second", s.softmax("first", s.input("x", 1, 2)))
    cost = estimate(s.graph("second"), profile_with())
    assert cost.weight_bytes == 512
    assert [op.weight_bytes for op in cost.ops] == [512, 512]
    assert cost.dram_bytes == 1024 + 2 + 2


def test_a_view_costs_nothing():
    s = Sketch()
    s.lookup("z", s.reshape("y", s.lookup("w", s.input("x", 4, 6)), 24))
    view = of_op(s.graph("z"), "y", profile_with())
    assert (view.total, view.dma, view.bound_by) == (0, 0, "vector")


def test_a_graph_without_ops_takes_no_time():
    s = Sketch()
    s.input("x", 4)
    cost = estimate(s.graph("x"), profile_with())
    assert (cost.total_cycles, cost.latency_ms, cost.fps) == (0, 0.0, inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sine(Op):
    a: str


def test_there_is_no_total_while_any_op_is_uncosted():
    s = Sketch()
    s.input("x", 4)
    s.declare("wave", (4,), S8)
    s.append(Sine(name="wave", a="x"))
    s.lookup("known", "wave")
    s.declare("ripple", (4,), S8)
    s.append(Sine(name="ripple", a="known"))
    with pytest.raises(UncostedOpError, match=r"wave \(Sine\), ripple \(Sine\)") as caught:
        estimate(s.graph("ripple"), profile_with())
    assert caught.value.ops == ("wave", "ripple")
    assert isinstance(caught.value, InputError)
    assert "known" not in str(caught.value)


def test_every_op_of_the_format_has_a_rate_but_products_of_the_engine():
    rates = {spec.op: spec.rate for spec in SPECS.values()}
    assert {rates.pop(op) for op in (MatMul, NormalizedMatMul, ScaledMatMul)} == {None}
    assert set(rates.values()) == CyclesPerElement.model_fields.keys()


profiles = st.builds(
    lambda engine, lanes, bandwidth: profile_with(
        compute__engine=engine, compute__vector__lanes=lanes, memory__dram_bytes_per_cycle=bandwidth
    ),
    st.one_of(
        st.builds(
            lambda rows, columns, dataflow, overlap: {
                "kind": "systolic",
                "rows": rows,
                "columns": columns,
                "dataflow": f"{dataflow}_stationary",
                "overlap": overlap,
            },
            st.integers(1, 20),
            st.integers(1, 20),
            st.sampled_from(["output", "weight", "input"]),
            st.sampled_from(["none", "fold"]),
        ),
        st.just({"kind": "dot", "m": 2, "n": 4, "k": 8, "cycles_per_step": 1, "pipeline_depth": 5}),
    ),
    st.integers(1, 32),
    st.floats(0.25, 64),
)
graphs = st.builds(
    transformer, st.integers(2, 9), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2)
)


def changed(profile: NpuProfile, **changes) -> NpuProfile:
    engine = profile.compute.engine.model_dump()
    return profile_with(
        **{
            "compute__engine": engine,
            "compute__vector__lanes": profile.compute.vector.lanes,
            "memory__dram_bytes_per_cycle": profile.memory.dram_bytes_per_cycle,
        }
        | changes
    )


@settings(max_examples=40)
@given(graphs, profiles)
def test_ops_add_up_and_keep_their_bounds(graph, profile):
    cost = estimate(graph, profile)
    for total in TOTALS:
        assert getattr(cost, f"{total}_cycles") == sum(getattr(op, total) for op in cost.ops)
    assert sum(cost.by_kind.values()) == sum(cost.bound_by.values()) == cost.total_cycles
    assert sum(op.macs for op in cost.ops) == total_macs(graph)
    assert cost.peak_sram_bytes >= cost.peak_lower_bound_bytes
    # no faster than the DRAM port alone, no slower than everything in sequence
    assert cost.total_cycles >= cost.dram_bytes / profile.memory.dram_bytes_per_cycle
    assert cost.total_cycles <= cost.compute_cycles + cost.vector_cycles + cost.dma_cycles
    for op in cost.ops:
        assert op.total == max(op.compute + op.vector, op.dma)
        assert op.stall == op.total - op.compute - op.vector >= 0
        assert getattr(op, op.bound_by) == max(op.compute, op.vector, op.dma)


@settings(max_examples=40)
@given(graphs, profiles)
def test_a_better_chip_is_never_slower(graph, profile):
    total = estimate(graph, profile).total_cycles
    lanes = profile.compute.vector.lanes
    bandwidth = profile.memory.dram_bytes_per_cycle
    for better in (
        changed(profile, compute__vector__lanes=lanes + 1),
        changed(profile, memory__dram_bytes_per_cycle=bandwidth * 1.5),
        changed(profile, memory__sram_bytes=1 << 30),
    ):
        assert estimate(graph, better).total_cycles <= total
    engine = profile.compute.engine.model_dump()
    if engine["kind"] == "systolic":
        strict = changed(profile, compute__engine=engine | {"overlap": "none"})
        assert estimate(graph, strict).total_cycles >= total


def test_a_transformer_pays_for_each_product():
    graph = transformer()
    profile = profile_with()
    expected = {
        "embed": (1, 4, 12, 8),
        "block0.qkv": (1, 5, 8, 24),
        "block0.scores": (2, 5, 4, 5),
        "block0.mix": (2, 5, 5, 4),
        "block0.project": (1, 5, 8, 8),
        "block0.fc1": (1, 5, 8, 32),
        "block0.fc2": (1, 5, 32, 8),
        "head": (1, 1, 8, 10),
    }
    found = {op.name: op.compute for op in estimate(graph, profile).ops if op.kind == "matmul"}
    assert found == {
        name: heads * gemm_cycles(m, k, n, profile.compute.engine)
        for name, (heads, m, k, n) in expected.items()
    }


def unsigned(s, name, a, columns, kind):
    """Some columns of a tensor as codes of another type."""
    part = s.slice(f"{name}.part", a, 0, columns, axis=1)
    return GraphBuilder.op(s, Rescale, name, part, multiplier=1, shift=1, type=kind)


def scaled_graph():
    """8 x 10 times 10 x 6 with factors of rows."""
    s = Sketch()
    x = s.input("x", 8, 10)
    factor = unsigned(s, "factor", x, 1, U8)
    s.op(
        ScaledMatMul, "y", x, s.ones("w", S8, 10, 6), row_factor=factor, transpose_b=False,
        bias=None, block=0, multiplier=1, shift=1,
    )  # fmt: skip
    return s.graph("y")


@pytest.mark.parametrize(("lanes", "cycles"), [(1, 96), (2, 64)])
def test_factors_of_rows_are_multiplied_as_sums_leave_the_array(lanes, cycles):
    """48 sums at a rate of 2 cycles, beside 64 cycles of the array."""
    graph = scaled_graph()
    assert verify(graph) == []
    rates = profile_with().compute.vector.cycles_per_element.model_dump() | {"rescale": 2.0}
    vector = {"lanes": lanes, "cycles_per_element": rates}
    profile = profile_with(compute__engine=STRICT, compute__vector=vector)
    found = of_op(graph, "y", profile)
    assert (found.compute, found.macs) == (cycles, 480)
    stored = profile_with(
        compute__engine=STRICT, compute__vector=vector, compute__requantize="vector"
    )
    assert of_op(graph, "y", stored).vector == 2 * 2 * 48 / lanes


def test_exponents_of_blocks_take_no_cycles():
    s = Sketch()
    x = s.input("x", 8, 10)
    exponent = unsigned(s, "exponent", x, 5, IntType(bits=2, signed=False))
    s.op(
        ScaledMatMul, "y", x, s.ones("w", S8, 10, 6), block_exponent=exponent, block=2,
        transpose_b=False, bias=None, multiplier=1, shift=1,
    )  # fmt: skip
    graph = s.graph("y")
    assert verify(graph) == []
    assert of_op(graph, "y", profile_with(compute__engine=STRICT)).compute == 64
