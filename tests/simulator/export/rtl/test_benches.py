# SPDX-License-Identifier: Apache-2.0
"""What a bench feeds, element by element: the results follow from it by the op's formula alone."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.executor import Executor
from simulator.export.rtl.bench import Part, broadcast_strides
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.folder import OwnModule, bench_files, unit_files
from simulator.export.rtl.vectors import of_operands, of_random_run
from simulator.export.rtl.wrappers import wrapper_of
from simulator.golden.one_op import of_graph
from simulator.graph import GraphBuilder
from simulator.graph.ops import (
    Add,
    L2Norm,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Quantize,
    Reshape,
    ShiftGelu,
    Slice,
    Softmax,
)
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, OverflowPolicy
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import Rounding

S8, U8, S20 = IntType(bits=8), IntType(bits=8, signed=False), IntType(bits=20)
RANDOM = np.random.default_rng(7)


def builder(**changes):
    level = AccumulatorLevel(group=0, bits=20, overflow=Overflow.WRAP)
    fields = {
        "rounding": Rounding.HALF_UP,
        "overflow": Overflow.SATURATE,
        "accumulator": Accumulator(levels=(level,)),
    }
    return GraphBuilder("one", defaults=fields | changes)


def vectors_of(build, name="y", images=3):
    executor = Executor(build.build(), gemm="numba", threads=1)
    return of_random_run(executor, name, images)


def elements(bench):
    """Return the codes of every stream in the order in which they are fed."""
    extents = [loop.extent for loop in bench.loops]
    found = {}
    for stream in bench.streams:
        flat = stream.words.reshape(-1).astype(np.int64)
        places = [
            sum(i * stride for i, stride in zip(index, stream.strides, strict=True))
            for index in np.ndindex(*extents)
        ]
        found[stream.name] = flat[places].reshape(extents)
    return found


def linear(**changes):
    build = builder(**changes)
    x = build.input("x", (2, 3, 6), S8)
    weights = build.constant("w", RANDOM.integers(-128, 128, (6, 4)), S8)
    build.op(
        MatMul, "y", x, weights, transpose_b=False, bias=[100, -7, 0, 5], multiplier=[1, 3, 5, 7],
        shift=5, type=S20,
    )  # fmt: skip
    return build


def by_hand(fed):
    sums = (fed["a"] * fed["b"]).sum(axis=-1) + fed["bias"][..., 0]
    shift = fed["shift"][..., 0]
    return (sums * fed["multiplier"][..., 0] + (1 << (shift - 1))) >> shift


def test_a_layer():
    vectors = vectors_of(linear())
    bench = bench_of(vectors)
    assert bench.sums
    assert [loop.extent for loop in bench.loops] == [3, 2, 3, 4, 6]
    assert np.array_equal(by_hand(elements(bench)), vectors.result)


@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_product_of_two_activations(transpose_b):
    build = builder()
    x = build.input("x", (2, 2, 4, 4), S8)
    parts = []
    for place in range(2):
        half = build.op(Slice, f"half_{place}", x, axis=0, start=place, stop=place + 1)
        parts.append(build.op(Reshape, f"part_{place}", half, shape=(2, 4, 4)))
    build.op(
        MatMul, "y", *parts, transpose_b=transpose_b, bias=None, multiplier=3, shift=9, type=S8
    )
    vectors = vectors_of(build)
    fed = elements(bench_of(vectors))
    sums = (fed["a"] * fed["b"]).sum(axis=-1)
    expected = np.clip((sums * 3 + 256) >> 9, -128, 127)
    assert np.array_equal(expected, vectors.result)


def test_the_parts_of_a_layer_meet_at_the_accumulator():
    vectors = vectors_of(linear())
    sums = bench_of(vectors, Part.SUMS)
    fed = elements(sums)
    assert {*fed} == {"a", "b", "bias"}
    assert np.array_equal((fed["a"] * fed["b"]).sum(axis=-1) + fed["bias"][..., 0], sums.result)
    rest = bench_of(vectors, Part.REQUANTIZATION)
    fed = elements(rest)
    assert {*fed} == {"accumulator", "multiplier", "shift"}
    assert np.array_equal(fed["accumulator"], sums.result)
    assert np.array_equal((fed["accumulator"] * fed["multiplier"] + 16) >> 5, rest.result)


@pytest.mark.parametrize(("axis", "kept"), [(0, False), (0, True), (1, False), (1, True)])
def test_a_mean(axis, kept):
    build = builder()
    x = build.input("x", (5, 4), S8, zero_point=-3)
    build.op(Mean, "y", x, axis=axis, keep_dimension=kept, multiplier=1, shift=2, type=S8)
    vectors = vectors_of(build)
    sums = (elements(bench_of(vectors))["a"] + 3).sum(axis=-1)
    assert np.array_equal(
        np.clip((sums + 2) >> 2, -128, 127).reshape(-1), vectors.result.reshape(-1)
    )


def test_a_constant_that_is_repeated():
    build = builder()
    x = build.input("x", (3, 4), S8)
    b = build.constant("b", [[5], [-6], [7]], S8)
    build.op(Mul, "y", x, b, multiplier=1, shift=3, type=S8)
    vectors = vectors_of(build)
    fed = elements(bench_of(vectors))
    assert np.array_equal(np.clip((fed["a"] * fed["b"] + 4) >> 3, -128, 127), vectors.result)


def test_multipliers_and_tables():
    build = builder()
    x = build.input("x", (2, 4), S8)
    build.op(Add, "sum", x, x, multiplier_a=[1, 2, 3, 4], multiplier_b=5, shift=3, type=S8)
    build.op(Lookup, "y", "sum", table=build.constant("table", np.arange(-128, 128), S8), type=S8)
    vectors = vectors_of(build, "sum")
    bench = bench_of(vectors)
    fed = elements(bench)
    expected = fed["a"] * fed["multiplier_a"] + fed["b"] * fed["multiplier_b"]
    assert np.array_equal(np.clip((expected + 4) >> 3, -128, 127), vectors.result)
    assert wrapper_of(bench, vectors).unused == ("multiplier_a", "multiplier_b")
    bench = bench_of(vectors_of(build, "y"))
    assert [stream.name for stream in bench.streams] == ["a"]
    assert [rom.words.size for rom in bench.roms] == [256]


def test_sums_that_stay_exact_get_a_register_that_holds_them():
    level = AccumulatorLevel(group=0, bits=12, overflow=Overflow.SATURATE)
    policy = Accumulator(levels=(level,), policy=OverflowPolicy.REPORT)
    vectors = vectors_of(linear(accumulator=policy))
    text = bench_files(vectors)["matmul_device.sv"]
    assert ".ACCUMULATOR_BITS(18)" in text
    assert ".ACCUMULATOR_OVERFLOW(2)" in text


def test_layout_real_values_and_missing_parts_are_refused():
    build = builder()
    x = build.input("x", (2, 4), S8)
    flat = build.op(Reshape, "flat", x, shape=(8,))
    build.op(Lookup, "y", flat, table=build.constant("table", np.arange(-128, 128), S8), type=S8)
    with pytest.raises(InputError, match="op flat: Reshape only moves codes"):
        bench_of(vectors_of(build, "flat"))
    with pytest.raises(InputError, match="op y: Lookup has no part sums"):
        bench_of(vectors_of(build, "y"), Part.SUMS)
    build = builder()
    x = build.input("x", (4,), FLOAT32)
    build.op(Quantize, "y", x, step=np.array([0.5], np.float32), thresholds=None, type=S8)
    with pytest.raises(InputError, match="tensor x of this Quantize holds real values"):
        bench_of(vectors_of(build))


def shift_gelu():
    build = builder()
    x = build.input("x", (2, 4), S8)
    build.op(
        ShiftGelu, "y", x, octave=7, fraction_bits=23, output_bits=8, multiplier=1, shift=7, type=S8
    )
    return vectors_of(build)


def test_an_op_without_a_unit_has_a_bench_for_a_module_of_ones_own():
    vectors = shift_gelu()
    with pytest.raises(InputError, match=r"no unit for ShiftGelu.*--module NAME"):
        bench_files(vectors)
    files = bench_files(vectors, OwnModule(name="gelu", sources={}))
    assert "// octave = 7" in files["gelu.sv"]
    assert "module gelu (" in files["gelu.sv"]
    assert "gelu device (" in files["testbench.sv"]
    assert {"a.hex", "multiplier.hex", "shift.hex", "expected.hex", "Makefile"} <= files.keys()


def test_a_constant_by_heads_is_a_memory():
    build = builder()
    x = build.input("x", (2, 3, 4), S8)
    build.op(
        L2Norm, "y", x, gain=build.constant("gain", [9, 12], U8), epsilon=1, sqrt_fraction_bits=4,
        reciprocal_bits=30, normalized_fraction_bits=8, shift=6, type=S8,
    )  # fmt: skip
    files = bench_files(vectors_of(build), OwnModule(name="mine", sources={}))
    assert files["gain.hex"] == "09\n0c\n"
    assert "in_gain" not in files["mine.sv"]


def test_rescaling_in_float_has_no_unit():
    build = builder()
    x = build.input("x", (2, 6), S8)
    weights = build.constant("w", RANDOM.integers(-128, 128, (6, 4)), S8)
    build.op(
        MatMul, "y", x, weights, transpose_b=False, bias=None, arithmetic=Arithmetic.FLOAT32,
        multiplier=build.constant("m", np.array([0.01], np.float32)), shift=None, type=S8,
    )  # fmt: skip
    with pytest.raises(InputError, match="tensor m of this MatMul holds real values"):
        bench_files(vectors_of(build))


@pytest.mark.parametrize("name", ["", "2nd", "a b", "testbench", "a;b"])
def test_a_module_needs_a_name(name):
    with pytest.raises(InputError, match="no name that a module can have"):
        bench_files(shift_gelu(), OwnModule(name=name, sources={}))


def test_a_source_does_not_replace_the_testbench():
    own = OwnModule(name="gelu", sources={"testbench.sv": "module gelu; endmodule"})
    with pytest.raises(InputError, match=r"testbench\.sv: the testbench's own file"):
        bench_files(shift_gelu(), own)


def test_a_unit_comes_with_what_it_is_made_of():
    assert [*unit_files(["layernorm"])] == [
        "divider.sv",
        "fit.sv",
        "layernorm.sv",
        "layernorm_root.sv",
        "output_stage.sv",
        "square_root.sv",
    ]


def test_a_softmax_has_rows():
    build = builder()
    x = build.input("x", (2, 5), S8)
    table = build.constant("table", np.arange(256, 0, -1), IntType(bits=9, signed=False))
    build.op(Softmax, "y", x, table=table, reciprocal_bits=20, shift=12, type=U8)
    bench = bench_of(vectors_of(build))
    assert bench.loops[-1].extent == 5
    assert not bench.sums
    assert bench.numbers["normalisation"] == "reciprocal"


@pytest.mark.parametrize(("shape", "strides"), [((4,), (0, 0, 1)), ((3, 1), (0, 1, 0))])
def test_strides_of_what_is_repeated(shape, strides):
    assert broadcast_strides(shape, (2, 3, 4)) == strides


@pytest.mark.parametrize("shape", [(5,), (2, 2, 3, 4)])
def test_what_does_not_repeat_has_no_strides(shape):
    with pytest.raises(ValueError, match=r"\("):
        broadcast_strides(shape, (2, 3, 4))


def test_operands_of_ones_own():
    graph = linear().build()
    one = of_graph(graph, "y")
    vectors = of_operands(one, {"x": np.full((1, 2, 3, 6), 3, np.int8)})
    assert np.array_equal(by_hand(elements(bench_of(vectors))), vectors.result)
