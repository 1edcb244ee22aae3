# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from small_graphs import S4, S8, S16, S32, U4, U16, Draft, with_op

from simulator.graph import text, verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import (
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    op_name,
)
from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_normalisation import Normalisation

FALLING = [9, 5] + [0] * 254
LUT513 = {"exp_table": list(range(513)), "reciprocal_table": [1000] * 513}
HALVES = {"table": [0.5**code for code in range(256)]}


def graph_of(op_type, source=S8, columns=5, **fields):
    d = Draft()
    d.input("a", (2, columns), source)
    d.op(op_type, "y", "a", **fields)
    return d.graph()


VALID = [
    (Softmax, {"table": FALLING, "normalisation": Normalisation.DIVISION, "shift": 24}),
    (SoftmaxGemmlowp, {"smallest_difference": 0}),
    (SoftmaxGemmlowp, {"input_left_shift": 31, "smallest_difference": -1}),
    (SoftmaxGemmlowp, {"input_multiplier": (1 << 31) - 1, "columns": 4095, "type": U16}),
    (SoftmaxLut513, LUT513 | {"source": S16, "input_left_shift": 15}),
    (SoftmaxLut513, LUT513 | {"input_left_shift": 23, "columns": 65535}),
    (SoftmaxLut513, LUT513 | {"input_multiplier": 0, "input_left_shift": -31}),
    (SoftmaxFloatTable, HALVES),
    (SoftmaxIBert, {"coefficient_b": 0, "coefficient_c": 1, "coefficient_a": 0}),
    (Shiftmax, {"n": 30, "x0": -1}),
    (Shiftmax, {"n": 15, "x0": -65535}),
    (Shiftmax, {"n": 0, "x0": 1 - (1 << 31), "output_bits": 2}),
    (SoftmaxIta, {"octave_bits": 0, "group": 1, "columns": 2047}),
    (SoftmaxIta, {"largest": 127, "type": S8}),
    (SoftmaxLog2, {"n": 0, "c": 1, "x0": -1, "type": U16}),
]


@pytest.mark.parametrize(("op_type", "fields"), VALID)
def test_the_ends_of_what_is_allowed(op_type, fields):
    graph = graph_of(op_type, **fields)
    assert verify(graph) == []
    assert 0 < bounds(graph, graph.ops[0]).widest_bits <= 64
    assert op_name(graph.ops[0]) in text(graph)


REFUSED = [
    (SoftmaxGemmlowp, {"source": IntType(bits=17)}, "a has 17 bits, wanted at most 16"),
    (SoftmaxIBert, {"type": S32}, "y has 32 bits, wanted at most 16"),
    (SoftmaxGemmlowp, {"input_multiplier": 0}, "input_multiplier 0: must be 1..2147483647"),
    (SoftmaxGemmlowp, {"input_multiplier": 1 << 31}, "input_multiplier 2147483648: must be"),
    (
        SoftmaxGemmlowp,
        {"input_left_shift": -1, "smallest_difference": 0},
        "input_left_shift -1: must be 0..31",
    ),
    (SoftmaxGemmlowp, {"smallest_difference": 1}, "smallest_difference 1: must be -512..0"),
    (SoftmaxGemmlowp, {"smallest_difference": -513}, "smallest_difference -513: must be"),
    (SoftmaxGemmlowp, {"columns": 4096}, "rows of 4096: the sum of exponentials has room for"),
    (
        SoftmaxLut513,
        LUT513 | {"source": S16, "input_left_shift": 16},
        "input_left_shift 16: must be -31..15",
    ),
    (SoftmaxLut513, LUT513 | {"input_left_shift": -32}, "input_left_shift -32: must be"),
    (SoftmaxLut513, LUT513 | {"input_multiplier": -1}, "input_multiplier -1: must be"),
    (SoftmaxLut513, LUT513 | {"columns": 65536}, "rows of 65536: the sum of exponentials"),
    (
        SoftmaxLut513,
        LUT513 | {"zero_point": 1},
        "result is s16 with zero point 1, it must hold 0..32767 above it",
    ),
    (
        SoftmaxLut513,
        LUT513 | {"exp_table": [1] * 512},
        "table y.exp_table has shape (512,), wanted (513,)",
    ),
    (
        SoftmaxLut513,
        LUT513 | {"reciprocal_table": [-1] + [5] * 512},
        "table y.reciprocal_table: must be in 0..32767",
    ),
    (
        SoftmaxLut513,
        LUT513 | {"exp_table": [1] * 512 + [0]},
        "table y.exp_table: must end above 0",
    ),
    (SoftmaxFloatTable, {"table": [1.0] * 255}, "has shape (255,), wanted (256,)"),
    (SoftmaxFloatTable, {"table": [0.5] * 256}, "must be in 0..1 and start with 1"),
    (SoftmaxFloatTable, {"table": [1.0, 1.5] + [0] * 254}, "must be in 0..1"),
    (SoftmaxFloatTable, {"table": [1.0, -0.1] + [0] * 254}, "must be in 0..1"),
    (SoftmaxIBert, {"log2": 0}, "log2 0: must be at least 1"),
    (SoftmaxIBert, {"coefficient_a": -1}, "must not be negative"),
    (SoftmaxIBert, {"coefficient_c": -1}, "must not be negative"),
    (SoftmaxIBert, {"coefficient_b": 0, "coefficient_c": 0}, "must be above 0"),
    (Shiftmax, {"x0": 0}, "x0 0: must be -65535..-1"),
    (Shiftmax, {"x0": -65536}, "x0 -65536: must be"),
    (Shiftmax, {"n": 31}, "n 31: must be 0..30"),
    (Shiftmax, {"output_bits": 1}, "output_bits 1: must be 2..32"),
    (Shiftmax, {"output_bits": 17}, "it must hold 0..65535 above it"),
    (SoftmaxIta, {"octave_bits": -1}, "octave_bits -1: must be 0..16"),
    (SoftmaxIta, {"group": 0}, "group 0: must be 1.."),
    (SoftmaxIta, {"largest": 0}, "largest 0: must be 1..65535"),
    (SoftmaxIta, {"largest": 256}, "result is u8 with zero point 0, it must hold 0..256"),
    (SoftmaxIta, {"columns": 2048}, "rows of 2048: the sum of exponentials has room for 2047"),
    (SoftmaxLog2, {"x0": 0}, "x0 0: must be negative"),
    (SoftmaxLog2, {"c": 0}, "c 0: must be at least 1"),
    (SoftmaxLog2, {"n": 63}, "n 63: must be 0..62"),
    (SoftmaxLog2, {"type": S4}, "result is s4 with zero point 0, wanted unsigned and 0"),
    (SoftmaxLog2, {"zero_point": 2, "type": U4}, "zero point 2, wanted unsigned and 0"),
    # Intermediates.
    (SoftmaxLog2, {"n": 60}, "an intermediate may need"),
    (SoftmaxIBert, {"coefficient_a": 1 << 46}, "an intermediate may need"),
    (
        Softmax,
        {"table": FALLING, "normalisation": Normalisation.DIVISION, "shift": 25},
        "shift 25: a division needs reciprocal_bits - shift",
    ),
]


@pytest.mark.parametrize(("op_type", "fields", "problem"), REFUSED)
def test_what_is_refused(op_type, fields, problem):
    (found,) = verify(graph_of(op_type, **fields))
    assert problem in found
    assert "op y (" in found


def test_a_division_needs_no_room_for_a_reciprocal():
    fields = {"table": FALLING, "reciprocal_bits": 62, "shift": 50}
    assert verify(graph_of(Softmax, **fields)) == []
    fields["table"] = [1, 60000] + [0] * 254
    (found,) = verify(graph_of(Softmax, **fields))
    assert "an intermediate may need" in found
    assert verify(graph_of(Softmax, **fields, normalisation=Normalisation.DIVISION)) == []


def test_tables_are_of_the_type_that_the_algorithm_computes_with():
    d = Draft()
    d.input("a", (2, 5), S8)
    d.constant("real", [1.0] * 513)
    d.op(SoftmaxLut513, "y", "a", **LUT513 | {"exp_table": [1] * 513})
    mixed = with_op(d.graph(), "y", exp_table="real")
    assert "op y (softmax_lut513): constant real is f32, wanted integers" in verify(mixed)
    d = Draft()
    d.input("a", (2, 5), S8)
    d.constant("integers", [1] * 256, S8)
    d.op(SoftmaxFloatTable, "y", "a", **HALVES)
    mixed = with_op(d.graph(), "y", table="integers")
    (found, *_) = verify(mixed)
    assert "op y (softmax_float_table): constant integers is s8, wanted real values" in found


def test_only_the_float_table_counts_as_an_operation_in_float():
    assert graph_of(SoftmaxFloatTable, **HALVES).float_ops == 1
    assert graph_of(SoftmaxLut513, **LUT513).float_ops == 0
