# SPDX-License-Identifier: Apache-2.0
"""What does not need a compiler: memory, text, refusals. See also tests/hardware."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from one_op_graphs import CASES, Draft
from small_graphs import S8, encoder_block, with_op

from simulator.errors import InputError
from simulator.export.c_arena import ALIGNMENT, arena_of
from simulator.export.c_calls import function_body
from simulator.export.c_network import CONSTANTS_NAME, Constants, export_c, shipped_files
from simulator.export.c_structs import MOST_LEVELS
from simulator.export.c_text import initializer, number
from simulator.graph.ops import MatMul, Quantize, Reshape, SoftmaxFloatTable
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import Overflow


def lifetimes(graph):
    """Return the first and the last step at which each activation is needed."""
    found = {graph.inputs[0]: [-1, -1]}
    for step, op in enumerate(graph.ops):
        found[op.name] = [step, step]
        for name in op.operands:
            if not graph.is_constant(name):
                found[name][1] = step
    for name in graph.outputs:
        found[name][1] = len(graph.ops)
    return found


def ends(graph, name, arena):
    tensor = graph.tensors[name]
    first = arena.offset[name]
    return first, first + tensor.size * tensor.type.dtype.itemsize


def test_activations_that_are_needed_together_share_no_byte(block):
    arena, needed = arena_of(block), lifetimes(block)
    shared = {op.name: op.a for op in block.ops if isinstance(op, Reshape)}
    assert arena.shared == frozenset(shared)
    together = 0
    for one in needed:
        for other in needed:
            if (
                one >= other
                or needed[one][0] > needed[other][1]
                or needed[other][0] > needed[one][1]
            ):
                continue
            if shared.get(one) == other or shared.get(other) == one:
                assert arena.offset[one] == arena.offset[other]
                continue
            (low, high), (other_low, other_high) = (
                ends(block, name, arena) for name in (one, other)
            )
            assert high <= other_low or other_high <= low, (one, other)
            together += 1
    assert together > len(block.ops)


def test_activations_take_less_room_than_all_together(block):
    arena = arena_of(block)
    activations = [*block.inputs, *(op.name for op in block.ops)]
    sizes = [block.tensors[n].size * block.tensors[n].type.dtype.itemsize for n in activations]
    assert max(sizes) < arena.size < sum(sizes) / 2
    assert all(offset % ALIGNMENT == 0 for offset in arena.offset.values())


def test_the_same_graph_gives_the_same_files(block, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        export_c(block, folder)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(["network.c", "network.h", "README.md", *shipped_files()])
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_constants_in_a_file_are_those_of_the_graph(block, tmp_path):
    written = export_c(block, tmp_path, Constants.FILE)
    held = (tmp_path / CONSTANTS_NAME).read_bytes()
    at = 0
    for codes in block.constants.values():
        assert np.array_equal(np.frombuffer(held, codes.dtype, codes.size, at), codes.reshape(-1))
        at += -(-codes.nbytes // 8) * 8
    assert at == len(held)
    assert written.constant_bytes == sum(codes.nbytes for codes in block.constants.values())
    assert f"#define NETWORK_CONSTANTS_BYTES {at}\n" in (tmp_path / "network.h").read_text("utf-8")


def test_no_constants_are_no_file(tmp_path):
    d = Draft()
    d.reshape("y", d.input("a", (2, 3)), 3, 2)
    assert export_c(d.graph(), tmp_path, Constants.FILE).constants is Constants.ARRAYS
    assert not (tmp_path / CONSTANTS_NAME).exists()
    assert CONSTANTS_NAME not in (tmp_path / "README.md").read_text("utf-8")


def test_large_constants_go_into_a_file(tmp_path):
    d = Draft()
    d.input("a", (1, 1 << 11))
    d.constant("weights", np.ones((1 << 11, 1 << 9), np.int64), S8)
    d.op(MatMul, "y", "a", "weights")
    assert export_c(d.graph(), tmp_path).constants is Constants.FILE
    assert export_c(encoder_block(), tmp_path).constants is Constants.ARRAYS


@pytest.mark.parametrize("kind", [Quantize, SoftmaxFloatTable])
def test_a_network_with_an_op_in_float_is_refused_and_nothing_written(tmp_path, kind):
    d = Draft()
    next(iter(CASES[kind].values()))(d)
    with pytest.raises(InputError, match=r"op y \(.*\): is computed in float32, the C model"):
        export_c(d.graph(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_levels_than_the_model_has_are_refused(block):
    levels = [AccumulatorLevel(group=1 << n, bits=30, overflow=Overflow.WRAP) for n in range(8)]
    outermost = AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP)
    for count, fits in ((7, True), (8, False)):
        deep = Accumulator(levels=(*levels[:count], outermost))
        graph = with_op(block, "head", accumulator=deep)
        if fits:
            assert function_body(graph.ops[-1], graph, str)
        else:
            with pytest.raises(InputError, match=r"op head .* has 9 levels, the C model at most 8"):
                function_body(graph.ops[-1], graph, str)


def test_the_model_has_as_many_levels_as_export_thinks():
    assert f"#define AOCQ_MOST_LEVELS {MOST_LEVELS}\n" in shipped_files()["aocq_accumulator.h"]


def test_names_that_differ_by_a_dot_stay_apart(block, tmp_path):
    head = block.constants["head.bias"]
    declared = block.tensors["head.bias"]
    d = {**block.constants, "head_bias": head}
    tensors = {**block.tensors, "head_bias": replace(declared, name="head_bias")}
    export_c(replace(block, constants=d, tensors=tensors), tmp_path)
    text = (tmp_path / "network.c").read_text("utf-8")
    defined = [line.split("[")[0] for line in text.splitlines() if "_head_bias[" in line]
    assert len(set(defined)) == len(defined) == 2


def test_numbers_and_structs_as_c():
    assert number(-(1 << 63)) == "(-9223372036854775807 - 1)"
    assert [number(value) for value in (-(1 << 63) + 1, 0, (1 << 63) - 1)] == [
        "-9223372036854775807",
        "0",
        "9223372036854775807",
    ]
    assert initializer({"a": 1, "b": {"c": "X"}}) == (
        "{\n        .a = 1,\n        .b = {\n            .c = X,\n        },\n    }"
    )
