# SPDX-License-Identifier: Apache-2.0
"""Values held against registers, inputs that come closest, and certificates recomputed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scaled_product_graphs import SCALED_CASES
from small_graphs import S4, S8, S16, S32, SATURATE, U4, U8, WRAP, Draft, accumulator, encoder_block

from simulator import strict_json
from simulator.errors import InputError
from simulator.graph import save
from simulator.graph.ops import (
    Add,
    GeluPolynomial,
    LayerNorm,
    MatMul,
    Mean,
    NormalizedMatMul,
    Softmax,
)
from simulator.numerics.accumulator import Event
from simulator.numerics.integer_type import IntType
from simulator.proof import StatedBy, certificate, nearest_input, prove, unproven
from simulator.traces import trace


def linear(weights, bias, levels, *, kind=S8, **given):
    d = Draft()
    d.input("a", (2, len(weights)), kind)
    d.constant("w", weights, S8)
    if bias is not None:
        given["bias"] = d.constant("bias", bias, S32)
    d.op(MatMul, "y", "a", "w", accumulator=levels, **given)
    return d.graph()


def sums_of(graph):
    return [found for found in prove(graph) if found.value == "accumulator"]


# --- registers ------------------------------------------------------------------------------------


def test_registers_are_the_graphs_the_profiles_or_the_emulators():
    graph = encoder_block()
    widths = {"layernorm": {"sum": IntType.parse("s20")}, "softmax": {"sum": IntType.parse("u12")}}
    proofs = prove(graph, widths)
    by = {
        stated: {
            (found.kind, found.value) for found in proofs if found.register.stated_by is stated
        }
        for stated in StatedBy
    }
    assert by[StatedBy.PROFILE] == {("layernorm", "sum"), ("softmax", "sum")}
    assert {value for _, value in by[StatedBy.GRAPH]} == {"accumulator"}
    assert ("layernorm", "root") in by[StatedBy.EMULATOR]
    for found in proofs:
        if found.register.stated_by is StatedBy.EMULATOR:
            assert (str(found.register.kind), found.proven) == ("s64", True)
        assert found.slack == found.register.kind.bits - found.needed_bits
        assert found.proven == (found.slack >= 0) or not found.register.kind.signed


def test_levels_of_an_accumulator_are_proven_one_by_one():
    levels = accumulator((2, 9, SATURATE), (0, 20, WRAP))
    inner, outer = sums_of(linear([[7], [7], [7]], None, levels))
    assert (inner.level, outer.level) == (0, 1)
    assert inner.interval == (2 * 7 * -128, 2 * 7 * 127)
    assert outer.interval == (3 * 7 * -128, 3 * 7 * 127)
    assert not inner.proven
    assert outer.proven
    assert inner.place == "accumulator level 0"


@pytest.mark.parametrize("levels", [((0, 12, WRAP),), ((2, 14, SATURATE), (0, 14, WRAP))])
def test_the_furthest_sum_of_levels_is_a_row_of_the_largest(levels):
    d = Draft()
    d.input("a", (2, 5), U4)
    d.operand("b", (5, 3), S8)
    d.op(NormalizedMatMul, "y", "a", "b", accumulator=accumulator(*levels))
    graph = d.graph()
    for proof in (one for one in sums_of(graph) if one.op == "y"):
        found = nearest_input(graph, proof)
        assert found.attained in proof.interval
        assert (found.event & Event.PERSISTENT) > 0
    stated = certificate(graph, sums_of(graph))["accumulators"]
    assert all(one["levels"] == [0, 128] for one in stated)


def test_unsigned_registers_hold_nothing_below_zero():
    d = Draft()
    d.input("a", (1, 3), S8)
    d.operand("b", (1, 3), S8)
    d.op(Add, "y", "a", "b")
    (found,) = (
        each for each in prove(d.graph(), {"add": {"scaled": IntType.parse("u40")}}) if each.stated
    )
    assert not found.proven
    d = Draft()
    d.input("a", (1, 3), S8)
    d.op(Softmax, "y", "a", table=[255] * 256)
    for width, proven in (("u10", True), ("u9", False), ("s10", False), ("s11", True)):
        widths = {"softmax": {"sum": IntType.parse(width)}}
        (found,) = (each for each in prove(d.graph(), widths) if each.stated)
        assert (found.interval, found.proven) == ((765, 765), proven)
        assert found.slack == (0 if proven else -1)


@pytest.mark.parametrize(
    ("widths", "problem"),
    [
        ({"matmul": {"accumulator": S32}}, "accumulators have their widths in \\[accumulator\\]"),
        (
            {"softmax": {"total": S32}},
            "registers.softmax.total: .* they have maximum, exponentials",
        ),
        ({"concat": {"sum": S32}}, "they have none"),
    ],
)
def test_widths_of_values_that_there_are_not_are_refused(widths, problem):
    with pytest.raises(InputError, match=problem):
        prove(encoder_block(), widths)


def test_widths_of_ops_that_a_graph_has_none_of_are_passed_over():
    graph = encoder_block()
    assert prove(graph, {"softmax_ita": {"sum": S8}}) == prove(graph)


# --- inputs that come closest ---------------------------------------------------------------------


@st.composite
def layers(draw):
    terms, columns = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    number = st.integers(-8, 7)
    weights = [[draw(number) for _ in range(columns)] for _ in range(terms)]
    bias = [draw(st.integers(-300, 300)) for _ in range(columns)] if draw(st.booleans()) else None
    inner = [
        (draw(st.integers(1, 3)), draw(st.integers(8, 10)), draw(st.sampled_from([SATURATE, WRAP])))
    ]
    outer = (0, draw(st.integers(8, 11)), draw(st.sampled_from([SATURATE, WRAP])))
    levels = accumulator(*draw(st.sampled_from([[], inner])), outer, bias_last=draw(st.booleans()))
    return linear(weights, bias, levels, kind=draw(st.sampled_from([S4, S8, U8])))


@given(layers())
@settings(max_examples=200)
def test_the_bound_of_a_layer_is_attained(graph):
    """So that each of its registers is proven, or there is an input that overflows it."""
    op = graph.ops[-1]
    for found in sums_of(graph):
        nearest = nearest_input(graph, found)
        assert nearest.attained == found.interval[1 if nearest.upper else 0]
        assert nearest.overflows(found) == (not found.proven)
        if nearest.overflows(found):
            assert nearest.event & (Event.TRANSIENT | Event.PERSISTENT)
        if len(op.accumulator.levels) == 1 and nearest.event is Event.NONE:
            row, column = nearest.place
            held = trace(op, graph, [nearest.operands["a"], graph.constants["w"]])["accumulator"]
            low, high = found.interval
            assert low <= held[0, row, column] <= high
    assert unproven(sums_of(graph)) == [found for found in sums_of(graph) if not found.proven]


@pytest.mark.parametrize("bias_last", [False, True])
def test_sums_before_a_bias_that_comes_last_count_too(bias_last):
    levels = accumulator((0, 10, WRAP), bias_last=bias_last)
    (found,) = sums_of(linear([[3]], [-300], levels, kind=U8))
    assert found.interval == (-300, 765 if bias_last else 465)
    assert found.proven is not bias_last


def test_a_mean_that_overflows_does_so_on_its_input():
    d = Draft()
    d.input("a", (3, 2), S8, 100)
    d.op(Mean, "y", "a", accumulator=accumulator((0, 10, SATURATE)))
    (found,) = sums_of(d.graph())
    nearest = nearest_input(d.graph(), found)
    assert (nearest.attained, found.proven) == (-684, False)
    assert nearest.overflows(found)
    assert np.array_equal(nearest.operands["a"], np.full((1, 3, 2), -128))


def attention(bits):
    d = Draft()
    d.input("scores", (2, 6, 7), S8)
    table = [round(65535 * 0.97**i) for i in range(256)]
    d.op(Softmax, "p", "scores", table=table, reciprocal_bits=32, shift=24)
    d.operand("v", (2, 7, 4), S8)
    d.op(MatMul, "y", "p", "v", accumulator=accumulator((0, bits, SATURATE)))
    return d.graph()


def test_of_probabilities_a_row_that_a_softmax_makes_comes_close():
    graph = attention(15)
    (found,) = sums_of(graph)
    nearest = nearest_input(graph, found)
    row = nearest.operands["p"][0, 0, 0]
    assert 256 <= row.sum() <= 259  # what a row may sum up to is not all attained
    assert nearest.attained == -128 * int(row.sum())
    assert nearest.overflows(found)
    assert nearest.operands["v"].shape == (1, 2, 7, 4)
    assert all(found.proven for found in sums_of(attention(17)))


def test_products_of_two_activations_attain_their_bound():
    d = Draft()
    d.input("a", (2, 5), S8)
    d.operand("b", (3, 5), U8)
    d.op(MatMul, "y", "a", "b", transpose_b=True, accumulator=accumulator((0, 16, WRAP)))
    (found,) = sums_of(d.graph())
    nearest = nearest_input(d.graph(), found)
    assert nearest.attained == -128 * 255 * 5 == found.interval[0]
    assert nearest.operands["b"].shape == (1, 3, 5)


def test_other_values_are_driven_out_by_rows_that_are_tried():
    d = Draft()
    d.input("a", (2, 8), S8, 3)
    d.op(LayerNorm, "y", "a", gamma=[90] * 8, beta=[5] * 8)
    graph = d.graph()
    for value in ("sum", "square_sum", "variance", "root", "deviation"):
        for kind in ("s9", "u9"):
            widths = {"layernorm": {value: IntType.parse(kind)}}
            (found,) = unproven(prove(graph, widths))
            nearest = nearest_input(graph, found)
            assert nearest.overflows(found), found
            given = trace(graph.ops[0], graph, [nearest.operands["a"]])[value]
            assert nearest.attained in {given.min(), given.max()}


def test_the_scaled_sums_of_a_layer_are_driven_out():
    graph = linear([[3, -7], [5, 2]], [1, -4], accumulator((0, 32, WRAP)), multiplier=(900, 800))
    widths = {"matmul": {"scaled": S16}}
    (found,) = unproven(prove(graph, widths))
    nearest = nearest_input(graph, found)
    assert nearest.attained == found.interval[1 if nearest.upper else 0]
    assert nearest.overflows(found)


def wrapping_gelu():
    d = Draft()
    d.input("a", (1, 4), S8)
    curve = {"clip": 100, "constant": -20000, "one": -9000, "erf_shift": 0, "sum_shift": 0}
    d.op(GeluPolynomial, "y", "a", **curve, negated=False, clip_low=None, intermediate_bits=12)
    return d.graph()


@pytest.mark.parametrize(
    "widths", [{}, {"gelu_polynomial": dict.fromkeys(("polynomial", "sum", "product"), S32)}]
)
def test_values_that_wrap_count_before_they_do_whatever_a_profile_states(widths):
    graph = wrapping_gelu()
    proofs = {found.value: found for found in prove(graph, widths)}
    for value in ("polynomial", "sum", "product"):
        found = proofs[value]
        assert (str(found.register.kind), found.register.stated_by) == ("s12", StatedBy.GRAPH)
        nearest = nearest_input(graph, found)
        assert not found.proven
        assert nearest.overflows(found)
    assert abs(nearest_input(graph, proofs["polynomial"]).attained) == 20000


# --- certificates ---------------------------------------------------------------------------------


def recomputed(entry, tensors, constants, ops):
    """Return the bounds of an accumulator's level, from the files of a graph and numpy alone."""
    op = next(op for op in ops if op["name"] == entry["op"])
    kind, bits = tensors[op["a"]]["type"][0], int(tensors[op["a"]]["type"][1:])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == "s" else (0, (1 << bits) - 1)
    weights = constants[op["b"]].astype(object)
    weights = weights.T if op["transpose_b"] else weights
    levels = op["accumulator"]["levels"]
    level = entry["level"] or 0
    group = levels[level]["group"] or len(weights)
    outermost = level == len(levels) - 1
    bias = constants[op["bias"]].astype(object) if op["bias"] and outermost else 0
    preload = op["accumulator"]["bias"] == "preload"
    parts = [weights[start : start + group] for start in range(0, len(weights), group)]
    most = [np.maximum(p, 0).sum(0) * high + np.minimum(p, 0).sum(0) * low for p in parts]
    least = [np.maximum(p, 0).sum(0) * low + np.minimum(p, 0).sum(0) * high for p in parts]
    above = np.max(most, axis=0) + (bias if preload else np.maximum(bias, 0))
    below = np.min(least, axis=0) + (bias if preload else np.minimum(bias, 0))
    return int(np.min(below)), int(np.max(above))


def test_a_certificate_is_recomputed_from_the_files_by_numpy_alone(tmp_path):
    graph = encoder_block()
    save(graph, tmp_path)
    text = strict_json.dumps(certificate(graph, prove(graph)))
    found = json.loads(text)
    written = json.loads((tmp_path / "graph.json").read_text("utf-8"))
    constants = load_file(tmp_path / "graph.safetensors")
    tensors = {tensor["name"]: tensor for tensor in written["tensors"]}
    of_weights = [entry for entry in found["accumulators"] if "weights" in entry]
    assert len(of_weights) == 2 * 6  # of two levels each
    for entry in of_weights:
        bounds = recomputed(entry, tensors, constants, written["ops"])
        assert (entry["low"], entry["high"]) == bounds
        for end, bound in zip(("worst_low", "worst_high"), bounds, strict=True):
            worst, (low, high) = entry[end], entry["a"]
            if end == "worst_low":
                low, high = high, low
            made = worst["positive"] * high + worst["negative"] * low + worst["bias"]
            assert made == worst["bound"] == bound
    (mixed,) = (entry for entry in found["accumulators"] if "row_sum" in entry)
    assert (mixed["op"], mixed["row_sum_of"]) == ("mix", "probabilities")
    assert mixed["high"] == mixed["row_sum"] * mixed["b"][1]
    assert found["unproven"] == [
        f"{entry['op']}: {entry['value']}"
        + f" level {entry['level']}" * (entry["level"] is not None)
        for entry in [*found["accumulators"], *found["intermediates"]]
        if not entry["proven"]
    ]
    assert found["values"] == len(found["accumulators"]) + len(found["intermediates"])


# --- scaled products ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SCALED_CASES)
def test_the_bound_of_a_scaled_product_is_attained(case):
    d = Draft()
    SCALED_CASES[case](d)
    graph = d.graph()
    for found in sums_of(graph):
        nearest = nearest_input(graph, found)
        assert nearest.attained == found.interval[1 if nearest.upper else 0]
        assert nearest.overflows(found) == (not found.proven)
        if nearest.overflows(found):
            assert nearest.event & (Event.TRANSIENT | Event.PERSISTENT)
    for found in prove(graph):
        if found.value in {"row_scaled", "column_scaled", "biased"} and not unproven(
            sums_of(graph)
        ):
            nearest = nearest_input(graph, found)
            assert nearest.attained == found.interval[1 if nearest.upper else 0], found


def test_a_certificate_says_how_far_sums_are_shifted():
    d = Draft()
    SCALED_CASES["exponents, blocks, then shifted"](d)
    graph = d.graph()
    inner, outer = certificate(graph, prove(graph))["accumulators"]
    assert "left_shift" not in inner
    assert outer["left_shift"] == 7
    worst, (low, high) = outer["worst_high"], outer["a"]
    assert worst["positive"] * high + worst["negative"] * low == worst["bound"]
    assert worst["bound"] << 7 == outer["high"]
