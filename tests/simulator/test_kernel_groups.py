# SPDX-License-Identifier: Apache-2.0
"""Several ops by one kernel: the integers and the counts of its ops, one by one or portable."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import S8, SATURATE, U8, Draft, exponentials

from simulator.executor import Executor, run_reference
from simulator.graph import verify
from simulator.graph.ops import Add, Lookup, MatMul, Softmax
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.rounding import Rounding

pytestmark = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
RANDOM = np.random.default_rng(23)
TABLE = RANDOM.permutation(256) - 128
EXPONENTIALS = exponentials(8, largest=(1 << 30) - 1, half_life=9)
ONE_BIT = IntType(bits=1)


def parts_of(d, shapes, kind=S8):
    """Make tensors of these shapes out of the parts of one input."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    d.input("image", (sum(sizes),), kind)
    begin = 0
    for (name, shape), size in zip(shapes.items(), sizes, strict=True):
        part = d.slice(f"{name}.part", "image", begin, begin + size)
        d.reshape(name, part, *shape)
        begin += size


def attention(
    leading=(3,), rows=7, tokens=11, depth=8, width=8, *, biases=(), mask=None, rounding=None,
    kind=S8, normal_order=False,
):  # fmt: skip
    """Return the graph of an attention: ``biases`` and ``mask`` are shapes of what is added."""
    d = Draft(rounding or Rounding.HALF_UP, SATURATE)
    keys = (depth, tokens) if normal_order else (tokens, depth)
    parts_of(
        d,
        {"q": (*leading, rows, depth), "k": (*leading, *keys), "v": (*leading, tokens, width)},
        kind,
    )
    factor = {"multiplier": ((1 << 30) + 77,)}
    name = d.op(
        MatMul, "scores", "q", "k", transpose_b=not normal_order, shift=(39,), **factor,
        zero_point=-3,
    )  # fmt: skip
    for number, shape in enumerate(biases):
        d.constant(f"b{number}", RANDOM.integers(-128, 128, shape).tolist(), S8, -5)
        name = d.op(
            Add, f"add{number}", name, f"b{number}", multiplier_a=(5,), multiplier_b=(3,), shift=2,
            zero_point=9,
        )  # fmt: skip
    if mask is not None:
        zero = d.tensors[name].zero_point
        d.constant("off", RANDOM.integers(-1, 1, mask).tolist(), ONE_BIT)
        name = d.op(
            Add, "mask", name, "off", multiplier_a=(1,), multiplier_b=(255,), shift=0,
            zero_point=zero,
        )  # fmt: skip
    d.op(Softmax, "probabilities", name, table=EXPONENTIALS, reciprocal_bits=60, shift=52)
    d.op(MatMul, "context", "probabilities", "v", shift=(37,), **factor)
    return d.graph()


def codes_for(graph, images=3):
    """Return random codes, then all lowest and all highest ones."""
    (name,) = graph.inputs
    kind, shape = graph.tensors[name].type, graph.tensors[name].shape
    codes = RANDOM.integers(kind.low, kind.high + 1, (images, *shape))
    ends = [np.full((1, *shape), end) for end in (kind.low, kind.high)]
    return np.concatenate([codes, *ends]).astype(kind.dtype)


def groups_in(executor):
    return [tuple(op.name for op in step.ops) for step in executor._steps if len(step.ops) > 1]


def assert_group_equals_its_ops(graph, names, codes=None):
    """Compare a group's kernel with those of its ops, portable ones and the references."""
    assert verify(graph) == []
    codes = codes_for(graph) if codes is None else codes
    executor = Executor(graph, gemm="avx2", threads=2)
    assert groups_in(executor) == [names]
    together = executor.run(codes)
    every = [op.name for op in graph.ops]
    one_by_one = executor.run(codes, taps=every)
    portable = Executor(graph, gemm="numba", portable=True).run(codes, taps=every)
    expected = run_reference(graph, codes[0])
    for name in graph.outputs:
        assert np.array_equal(together.outputs[name], portable.outputs[name])
        assert np.array_equal(together.outputs[name][0], expected[name])
    for name in every:
        assert np.array_equal(one_by_one.taps[name], portable.taps[name]), name
    assert together.counts == one_by_one.counts == portable.counts
    return together


ATTENTIONS = {
    "two tiles of tokens": {"tokens": 35, "rows": 35},
    "one row": {"rows": 1, "leading": (1,)},
    "more than a strip": {"rows": 131, "tokens": 8, "leading": (2,)},
    "odd sizes": {"depth": 5, "width": 9, "tokens": 65, "rows": 13},
    "keys as columns": {"normal_order": True, "tokens": 17},
    "a bias per head": {"leading": (2, 3), "biases": [(3, 7, 11)]},
    "a bias, a mask": {"leading": (4, 3), "biases": [(3, 7, 11)], "mask": (4, 1, 7, 11)},
    "a bias per head and window, a mask": {
        "leading": (4, 3),
        "biases": [(4, 3, 7, 11)],
        "mask": (4, 1, 7, 11),
    },
    "a mask alone": {"leading": (2, 2, 1), "mask": (2, 1, 7, 11)},
    "rounding by bits": {"rounding": Rounding.HALF_EVEN, "tokens": 70},
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_as_one_kernel(name):
    case = ATTENTIONS[name]
    graph = attention(**case)
    inner = [op.name for op in graph.ops if isinstance(op, MatMul | Add | Softmax)]
    assert_group_equals_its_ops(graph, tuple(inner))


def test_attention_with_a_constant_that_can_only_be_read():
    graph = attention(leading=(4, 3), biases=[(3, 7, 11)], mask=(4, 1, 7, 11))
    graph.constants["off"].flags.writeable = False
    assert_group_equals_its_ops(graph, ("scores", "add0", "mask", "probabilities", "context"))


def test_attention_counts_what_saturates_in_every_op():
    graph = attention(leading=(2, 3), biases=[(3, 7, 11)], rows=7)
    found = assert_group_equals_its_ops(graph, ("scores", "add0", "probabilities", "context"))
    for name in ("scores", "add0", "context"):
        counts = found.counts[name]
        assert 0 < counts.saturated < counts.elements


def test_attention_of_unsigned_values():
    """Unsigned right operands have no form in quads of signed bytes."""
    graph = attention(kind=U8, tokens=19, rows=5)
    assert_group_equals_its_ops(graph, ("scores", "probabilities", "context"))


@pytest.mark.parametrize("tapped", ["scores", "add0", "probabilities"])
def test_a_tap_inside_takes_a_group_apart(tapped):
    graph = attention(leading=(2, 3), biases=[(3, 7, 11)])
    codes = codes_for(graph)
    executor = Executor(graph, gemm="avx2")
    together = executor.run(codes)
    apart = executor.run(codes, taps=[tapped])
    assert np.array_equal(apart.taps[tapped][0], run_reference(graph, codes[0])[tapped])
    assert np.array_equal(apart.outputs["context"], together.outputs["context"])
    assert apart.counts == together.counts
    assert groups_in(executor) == [("scores", "add0", "probabilities", "context")]


def layer(rows=7, terms=16, columns=24, kind=S8, table_kind=S8):
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("image", (rows, terms), kind, 3)
    d.constant("weights", RANDOM.integers(-128, 128, (columns, terms)).tolist(), S8)
    d.op(MatMul, "fc1", "image", "weights", transpose_b=True, multiplier=(1 << 30,), shift=(38,))
    d.op(Lookup, "act", "fc1", table=TABLE if table_kind == S8 else TABLE + 128, type=table_kind)
    return d.graph()


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 16, 24), (49, 17, 65), (97, 9, 3)], ids=str)
@pytest.mark.parametrize("table_kind", [S8, U8])
def test_a_layer_and_its_table_as_one_kernel(sizes, table_kind):
    found = assert_group_equals_its_ops(layer(*sizes, table_kind=table_kind), ("fc1", "act"))
    assert found.counts["act"].elements == found.counts["fc1"].elements


def test_what_others_read_is_written_out():
    """No group where an inner result has a second reader, or is an output of the graph."""
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("image", (7, 16), S8, 3)
    d.constant("weights", RANDOM.integers(-128, 128, (16, 16)).tolist(), S8)
    d.op(MatMul, "fc1", "image", "weights", multiplier=(1 << 30,), shift=(38,))
    d.op(Lookup, "act", "fc1", table=TABLE, type=S8)
    d.op(Add, "sum", "act", "fc1", multiplier_a=(1,), multiplier_b=(1,), shift=1)
    graph = d.graph()
    assert verify(graph) == []
    assert groups_in(Executor(graph, gemm="avx2")) == []
    assert groups_in(Executor(layer(), gemm="avx2", portable=True)) == []
    assert groups_in(Executor(layer(), gemm="numba")) == []
    assert groups_in(Executor(layer(), gemm="avx2")) == [("fc1", "act")]


def test_ops_that_have_no_form_in_a_group_run_alone():
    """A softmax that wraps, an Add of another operand, and a product that may overflow."""
    d = Draft(Rounding.HALF_UP, Overflow.WRAP)
    parts_of(d, {"q": (2, 9, 8), "k": (2, 9, 8), "v": (2, 9, 8)})
    factor = {"multiplier": (1 << 30,)}
    d.op(MatMul, "scores", "q", "k", transpose_b=True, shift=(39,), **factor)
    d.op(Softmax, "probabilities", "scores", table=EXPONENTIALS, reciprocal_bits=60, shift=52)
    d.op(MatMul, "context", "probabilities", "v", shift=(40,), **factor)
    graph = d.graph()
    assert verify(graph) == []
    assert groups_in(Executor(graph, gemm="avx2")) == []
