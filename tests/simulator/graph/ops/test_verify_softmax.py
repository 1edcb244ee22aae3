# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from small_graphs import S4, S8, S16, S32, U4, U16, Draft, with_op

from simulator.graph import text, verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import Normalisation, op_name
from simulator.numerics.integer_type import IntType

FALLING = [9, 5] + [0] * 254
LUT513 = {"exp_table": list(range(513)), "reciprocal_table": [1000] * 513}
HALVES = {"table": [0.5**code for code in range(256)]}


def graph_of(method, source=S8, columns=5, **fields):
    d = Draft()
    d.input("a", (2, columns), source)
    getattr(d, method)("y", "a", **fields)
    return d.graph()


VALID = [
    ("softmax", {"table": FALLING, "normalisation": Normalisation.DIVISION, "shift": 24}),
    ("softmax_gemmlowp", {"smallest_difference": 0}),
    ("softmax_gemmlowp", {"input_left_shift": 31, "smallest_difference": -1}),
    ("softmax_gemmlowp", {"input_multiplier": (1 << 31) - 1, "columns": 4095, "kind": U16}),
    ("softmax_lut513", LUT513 | {"source": S16, "input_left_shift": 15}),
    ("softmax_lut513", LUT513 | {"input_left_shift": 23, "columns": 65535}),
    ("softmax_lut513", LUT513 | {"input_multiplier": 0, "input_left_shift": -31}),
    ("softmax_float_table", HALVES),
    ("softmax_ibert", {"coefficient_b": 0, "coefficient_c": 1, "coefficient_a": 0}),
    ("shiftmax", {"n": 30, "x0": -1}),
    ("shiftmax", {"n": 15, "x0": -65535}),
    ("shiftmax", {"n": 0, "x0": 1 - (1 << 31), "output_bits": 2}),
    ("softmax_ita", {"octave_bits": 0, "group": 1, "columns": 2047}),
    ("softmax_ita", {"largest": 127, "kind": S8}),
    ("softmax_log2", {"n": 0, "c": 1, "x0": -1, "kind": U16}),
]


@pytest.mark.parametrize(("method", "fields"), VALID)
def test_the_ends_of_what_is_allowed(method, fields):
    graph = graph_of(method, **fields)
    assert verify(graph) == []
    assert 0 < bounds(graph, graph.ops[0]).widest_bits <= 64
    assert op_name(graph.ops[0]) in text(graph)


REFUSED = [
    ("softmax_gemmlowp", {"source": IntType(bits=17)}, "a has 17 bits, wanted at most 16"),
    ("softmax_ibert", {"kind": S32}, "y has 32 bits, wanted at most 16"),
    ("softmax_gemmlowp", {"input_multiplier": 0}, "input_multiplier 0: must be 1..2147483647"),
    ("softmax_gemmlowp", {"input_multiplier": 1 << 31}, "input_multiplier 2147483648: must be"),
    (
        "softmax_gemmlowp",
        {"input_left_shift": -1, "smallest_difference": 0},
        "input_left_shift -1: must be 0..31",
    ),
    ("softmax_gemmlowp", {"smallest_difference": 1}, "smallest_difference 1: must be -512..0"),
    ("softmax_gemmlowp", {"smallest_difference": -513}, "smallest_difference -513: must be"),
    ("softmax_gemmlowp", {"columns": 4096}, "rows of 4096: the sum of exponentials has room for"),
    (
        "softmax_lut513",
        LUT513 | {"source": S16, "input_left_shift": 16},
        "input_left_shift 16: must be -31..15",
    ),
    ("softmax_lut513", LUT513 | {"input_left_shift": -32}, "input_left_shift -32: must be"),
    ("softmax_lut513", LUT513 | {"input_multiplier": -1}, "input_multiplier -1: must be"),
    ("softmax_lut513", LUT513 | {"columns": 65536}, "rows of 65536: the sum of exponentials"),
    (
        "softmax_lut513",
        LUT513 | {"zero_point": 1},
        "result is s16 with zero point 1, it must hold 0..32767 above it",
    ),
    (
        "softmax_lut513",
        LUT513 | {"exp_table": [1] * 512},
        "table y.exp_table has shape (512,), wanted (513,)",
    ),
    (
        "softmax_lut513",
        LUT513 | {"reciprocal_table": [-1] + [5] * 512},
        "table y.reciprocal_table: must be in 0..32767",
    ),
    (
        "softmax_lut513",
        LUT513 | {"exp_table": [1] * 512 + [0]},
        "table y.exp_table: must end above 0",
    ),
    ("softmax_float_table", {"table": [1.0] * 255}, "has shape (255,), wanted (256,)"),
    ("softmax_float_table", {"table": [0.5] * 256}, "must be in 0..1 and start with 1"),
    ("softmax_float_table", {"table": [1.0, 1.5] + [0] * 254}, "must be in 0..1"),
    ("softmax_float_table", {"table": [1.0, -0.1] + [0] * 254}, "must be in 0..1"),
    ("softmax_ibert", {"log2": 0}, "log2 0: must be at least 1"),
    ("softmax_ibert", {"coefficient_a": -1}, "must not be negative"),
    ("softmax_ibert", {"coefficient_c": -1}, "must not be negative"),
    ("softmax_ibert", {"coefficient_b": 0, "coefficient_c": 0}, "must be above 0"),
    ("shiftmax", {"x0": 0}, "x0 0: must be -65535..-1"),
    ("shiftmax", {"x0": -65536}, "x0 -65536: must be"),
    ("shiftmax", {"n": 31}, "n 31: must be 0..30"),
    ("shiftmax", {"output_bits": 1}, "output_bits 1: must be 2..32"),
    ("shiftmax", {"output_bits": 17}, "it must hold 0..65535 above it"),
    ("softmax_ita", {"octave_bits": -1}, "octave_bits -1: must be 0..16"),
    ("softmax_ita", {"group": 0}, "group 0: must be 1.."),
    ("softmax_ita", {"largest": 0}, "largest 0: must be 1..65535"),
    ("softmax_ita", {"largest": 256}, "result is u8 with zero point 0, it must hold 0..256"),
    ("softmax_ita", {"columns": 2048}, "rows of 2048: the sum of exponentials has room for 2047"),
    ("softmax_log2", {"x0": 0}, "x0 0: must be negative"),
    ("softmax_log2", {"c": 0}, "c 0: must be at least 1"),
    ("softmax_log2", {"n": 63}, "n 63: must be 0..62"),
    ("softmax_log2", {"kind": S4}, "result is s4 with zero point 0, wanted unsigned and 0"),
    ("softmax_log2", {"zero_point": 2, "kind": U4}, "zero point 2, wanted unsigned and 0"),
    # Intermediates.
    ("softmax_log2", {"n": 60}, "an intermediate may need"),
    ("softmax_ibert", {"coefficient_a": 1 << 46}, "an intermediate may need"),
    (
        "softmax",
        {"table": FALLING, "normalisation": Normalisation.DIVISION, "shift": 25},
        "shift 25: a division needs reciprocal_bits - shift",
    ),
]


@pytest.mark.parametrize(("method", "fields", "problem"), REFUSED)
def test_what_is_refused(method, fields, problem):
    (found,) = verify(graph_of(method, **fields))
    assert problem in found
    assert "op y (" in found


def test_a_division_needs_no_room_for_a_reciprocal():
    fields = {"table": FALLING, "reciprocal_bits": 62, "shift": 50}
    assert verify(graph_of("softmax", **fields)) == []
    fields["table"] = [1, 60000] + [0] * 254
    (found,) = verify(graph_of("softmax", **fields))
    assert "an intermediate may need" in found
    assert verify(graph_of("softmax", **fields, normalisation=Normalisation.DIVISION)) == []


def test_tables_are_of_the_type_that_the_algorithm_computes_with():
    d = Draft()
    d.input("a", (2, 5), S8)
    d.real("real", [1.0] * 513)
    d.softmax_lut513("y", "a", **LUT513 | {"exp_table": [1] * 513})
    mixed = with_op(d.graph(), "y", exp_table="real")
    assert "op y (softmax_lut513): constant real is f32, wanted integers" in verify(mixed)
    d = Draft()
    d.input("a", (2, 5), S8)
    d.constant("integers", [1] * 256, S8)
    d.softmax_float_table("y", "a", **HALVES)
    mixed = with_op(d.graph(), "y", table="integers")
    (found, *_) = verify(mixed)
    assert "op y (softmax_float_table): constant integers is s8, wanted real values" in found


def test_only_the_float_table_counts_as_an_operation_in_float():
    assert graph_of("softmax_float_table", **HALVES).float_ops == 1
    assert graph_of("softmax_lut513", **LUT513).float_ops == 0
