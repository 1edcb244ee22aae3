# SPDX-License-Identifier: Apache-2.0
"""Graphs by hand: constants, shapes, defaults, and what is refused."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
from small_graphs import S8, S16, S32, U8

from simulator.errors import InputError
from simulator.graph import GraphBuilder, builder, verify
from simulator.graph.builder import narrowest
from simulator.graph.ops import (
    SPECS,
    Add,
    Concat,
    FloatFunction,
    Function,
    Lookup,
    Mean,
    Mul,
    Quantize,
    Rescale,
    Reshape,
    ShiftGelu,
    Slice,
)
from simulator.numerics.float_type import FLOAT32, FLOAT64
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import Rounding

CHOICES = {"rounding": Rounding.HALF_UP, "overflow": Overflow.SATURATE}


def started(**attributes):
    made = GraphBuilder("made", defaults=CHOICES, **attributes)
    made.input("a", (2, 3), S8, -5, (0.5,))
    return made


def test_the_example_of_the_builder_runs():
    results = doctest.testmod(builder)
    assert results.attempted > 10
    assert results.failed == 0


@pytest.mark.parametrize(
    ("values", "signed", "expected"),
    [
        ([0], None, "u1"),
        ([255, 3], None, "u8"),
        ([-1, 0], None, "s2"),
        ([-128, 127], None, "s8"),
        ([-128, 128], None, "s9"),
        ([-129], None, "s9"),
        ([0], True, "s2"),
        ([127], True, "s8"),
        ([1 << 62], None, "u63"),
        ([-(1 << 63)], None, "s64"),
    ],
)
def test_the_narrowest_type(values, signed, expected):
    assert str(narrowest(values, signed=signed)) == expected


def test_arrays_become_constants_named_after_their_fields():
    made = started(types={"shift": IntType(bits=6, signed=False)})
    fields = {"octave": 12, "fraction_bits": 23, "output_bits": 8}
    name = made.op(
        ShiftGelu, "gelu", "a", multiplier=[3], shift=8, type=S8, zero_point=-3, **fields
    )
    graph = made.build()
    op = graph.ops[0]
    assert (name, op.name, op.a, op.octave) == ("gelu", "gelu", "a", 12)
    assert op.requantize.multiplier == "gelu.multiplier"
    assert op.requantize.rounding is Rounding.HALF_UP
    types = {name: str(graph.tensors[name].type) for name in graph.constants}
    assert types == {"gelu.multiplier": "u2", "gelu.shift": "u6"}
    assert graph.constants["gelu.shift"].tolist() == [8]
    assert graph.constants["gelu.shift"].dtype == np.uint8
    result = graph.tensors["gelu"]
    assert (result.type, result.zero_point, result.shape) == (S8, -3, (2, 3))


def test_a_constant_may_be_there_already_and_be_shared():
    made = started()
    curve = made.constant("curve", range(-128, 128), S8)
    made.op(Lookup, "once", "a", table=curve, type=S8)
    made.op(Lookup, "twice", "once", table=curve, type=S8)
    assert made.build().ops[1].table == "curve"


def test_operands_may_be_arrays_or_named_by_field():
    made = started()
    made.op(Add, "sum", a="a", b=[1, 2, 300], multiplier_a=3, multiplier_b=5, shift=3, type=S8)
    graph = made.build()
    assert graph.ops[0].operands == ("a", "sum.b")
    assert str(graph.tensors["sum.b"].type) == "u9"


def test_shapes_follow_from_the_op():
    made = started()
    made.op(Slice, "part", "a", axis=1, start=1, stop=3)
    made.op(Concat, "joined", "a", "part", "part", axis=1)
    made.op(Reshape, "flat", "joined", shape=(14,))
    assert [made.tensors[name].shape for name in ("part", "joined", "flat")] == [
        (2, 2),
        (2, 7),
        (14,),
    ]
    # What only moves codes keeps how to read them.
    assert made.tensors["flat"].zero_point == -5
    assert made.tensors["flat"].scale == (0.5,)
    assert verify(made.build()) == []


def test_constants_of_real_values():
    made = started()
    made.op(Rescale, "wide", "a", multiplier=[0.1], arithmetic=Arithmetic.FLOAT64, type=S16)
    made.op(Rescale, "coarse", "wide", multiplier=[1], arithmetic=Arithmetic.FLOAT32, type=S8)
    assert made.tensors["wide.multiplier"].type == FLOAT64
    assert made.constants["wide.multiplier"].tolist() == [0.1]
    assert made.tensors["coarse.multiplier"].type == FLOAT32
    assert verify(made.build()) == []
    real = GraphBuilder("real")
    real.input("a", (2, 3), FLOAT32)
    real.op(FloatFunction, "gelu", "a", function=Function.GELU)
    real.op(Quantize, "codes", "gelu", step=[1], type=U8)
    graph = real.build()
    assert graph.tensors["gelu"].type == graph.tensors["codes.step"].type == FLOAT32
    assert graph.ops[1].thresholds is None


def test_fields_that_are_left_out():
    made = started()
    given = {"multiplier": 3, "shift": 8, "type": S8}
    made.op(Mul, "product", "a", "a", rounding=Rounding.FLOOR, **given)
    assert made.ops[0].requantize.rounding is Rounding.FLOOR
    assert made.ops[0].requantize.overflow is Overflow.SATURATE
    made.op(Rescale, "ready", "a", requantize=made.ops[0].requantize, type=S8)
    assert made.ops[1].requantize is made.ops[0].requantize


@pytest.mark.parametrize(
    ("op_type", "given", "problem"),
    [
        (
            Mul,
            {"b": "a", "multiplier": 1, "type": S8},
            "a requantization in fixed point needs a shift",
        ),
        (Mean, {"multiplier": 1, "shift": 1, "type": S8}, "op y (Mean): needs axis, accumulator"),
        (Slice, {"begin": 1}, "op y (Slice): has no field begin"),
        (Slice, {"step_": 1}, "did you mean step?"),
        (Slice, {"shift": 1}, "op y (Slice): has no field shift"),
        (Rescale, {"multiplier": 1, "shift": 1}, "op y (rescale): needs the type of its result"),
        (Lookup, {"table": "curve", "type": S8}, "operand curve is not defined before it"),
        (Lookup, {"table": [300] * 256, "type": S8}, "table holds u9, result is s8"),
        (Reshape, {"shape": (4,)}, "op y (reshape): (2, 3) has 6 elements, (4,) has 4"),
        (Slice, {"axis": 2, "start": 0, "stop": 1}, "op y (slice): axis 2 of (2, 3)"),
    ],
)
def test_what_is_refused(op_type, given, problem):
    made = started()

    def build():
        made.op(op_type, "y", "a", **given)
        return made.build()

    with pytest.raises(InputError, match=re.escape(problem)):
        build()


def test_operands_are_there_and_not_too_many():
    made = started()
    with pytest.raises(InputError, match=r"op y \(rescale\): there is no tensor b; add it first"):
        made.op(Rescale, "y", "b", multiplier=1, shift=1, type=S8)
    with pytest.raises(InputError, match=r"op z \(Rescale\): has 2 operands, wanted a"):
        made.op(Rescale, "z", "a", "a", multiplier=1, shift=1, type=S8)


def test_names_are_given_once():
    made = started()
    with pytest.raises(InputError, match="has two tensors a; give each its own name"):
        made.constant("a", [1])
    made.op(Reshape, "y", "a", shape=(6,))
    with pytest.raises(InputError, match="has two tensors y"):
        made.op(Reshape, "y", "a", shape=(6,))
    assert [op.name for op in made.ops] == ["y"]


def test_constants_hold_whole_numbers_that_fit():
    made = started()
    with pytest.raises(InputError, match="constant c: does not fit s8, it needs u8"):
        made.constant("c", [128], S8)
    with pytest.raises(InputError, match="constant c: has values that are not whole numbers"):
        made.constant("c", [0.5], S8)
    made.constant("c", np.array([2.0, -3.0]), S8)
    assert made.constants["c"].dtype == np.int8
    assert made.constants["c"].tolist() == [2, -3]
    made.constant("d", [0.1])
    assert made.tensors["d"].type == FLOAT32


def test_a_graph_that_is_not_valid_is_refused_as_a_whole():
    made = started()
    made.op(Rescale, "y", "a", multiplier=1, shift=63, type=S8)
    made.constant("spare", [1], S32)
    with pytest.raises(InputError, match=r"graph made: not a valid graph: op y .*: shift 63"):
        made.build()
    assert verify(made.unverified())


def test_constants_that_no_op_reads_can_be_dropped():
    made = started()
    made.constant("spare", [1])
    made.op(Rescale, "y", "a", multiplier=1, shift=1, type=S8)
    made.drop_unread_constants()
    assert set(made.build().constants) == {"y.multiplier", "y.shift"}


def test_outputs_are_results_that_no_op_reads_or_those_named():
    made = started()
    for name in ("y", "z"):
        made.op(Rescale, name, "a", multiplier=1, shift=1, type=S8)
    assert made.build().outputs == ("y", "z")
    assert made.build("z", "y").outputs == ("z", "y")


def test_no_field_of_an_op_is_a_name_of_the_builder():
    for op_type in SPECS:
        taken = {"type", "zero_point", "scale", "shape"}
        assert not taken & set(op_type.__dataclass_fields__), op_type
