# SPDX-License-Identifier: Apache-2.0
"""Known values of the ops in float, and that images do not depend on their company."""

from __future__ import annotations

import math

import numpy as np
import pytest
from one_op_graphs import CASES, results
from small_graphs import S4, S8, S32, U4, Draft, input_codes

from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.graph.ops import Dequantize, FloatFunction, Function, Quantize
from simulator.numerics.float_type import FLOAT32


def graph_of(build):
    d = Draft()
    build(d)
    return d.graph()


def computed(build, values):
    """Run one image by kernel and reference, which must agree; return the list of results."""
    graph = graph_of(build)
    kind = graph.tensors[graph.inputs[0]].type
    (kernel,), reference = results(graph, {graph.inputs[0]: np.array([values], kind.dtype)})
    assert kernel.codes.tolist() == reference.codes.tolist()
    assert kernel.saturated == reference.saturated
    return kernel.codes[0].tolist(), kernel.saturated


def quantizing(shape, **fields):
    def build(d):
        d.input("a", shape, FLOAT32)
        d.op(Quantize, "y", "a", **fields)

    return build


def test_quantize_rounds_ties_to_even_and_clamps():
    values = [0.25, 0.75, -0.25, -0.75, 1.25, 100, -100, 3.49]
    build = quantizing((8,), step=[0.5], type=S4, zero_point=1)
    assert computed(build, values) == ([1, 3, 1, -1, 3, 7, -8, 7], 3)


def test_the_ends_of_the_type_are_not_saturated():
    assert computed(quantizing((4,), step=[1], type=S4), [7, -8, 7.5, -8.5]) == ([7, -8, 7, -8], 1)


def test_values_that_are_no_numbers_saturate():
    found = computed(quantizing((3,), step=[1], type=S4), [np.nan, np.inf, -np.inf])
    assert found == ([-8, 7, -8], 3)
    assert computed(quantizing((1,), thresholds=[0.5], type=S4), [np.nan]) == ([-8], 0)


def test_a_threshold_belongs_to_the_code_above_it():
    build = quantizing((5,), thresholds=[-1, 0.5, 2], type=U4)
    assert computed(build, [-1.01, -1, 0.4999, 0.5, 9]) == ([0, 1, 1, 2, 3], 0)


def test_steps_run_along_the_dimension_of_their_shape():
    values = [[[1, 1], [1, 1]], [[1, 1], [1, 1]]]
    steps = np.array([1, 0.5])
    per_channel = computed(quantizing((2, 2, 2), step=steps), values)[0]
    assert per_channel == [[[1, 2], [1, 2]], [[1, 2], [1, 2]]]
    per_row = computed(quantizing((2, 2, 2), step=steps.reshape(2, 1)), values)[0]
    assert per_row == [[[1, 1], [2, 2]], [[1, 1], [2, 2]]]
    per_head = computed(quantizing((2, 2, 2), step=steps.reshape(2, 1, 1)), values)[0]
    assert per_head == [[[1, 1], [1, 1]], [[2, 2], [2, 2]]]


def test_dequantize_takes_the_zero_point_off_and_adds_the_bias():
    def build(d):
        d.input("a", (2, 2), S32, 10)
        d.op(Dequantize, "y", "a", step=[0.5, 0.25], bias=[100.0, 0.0])

    assert computed(build, [[12, 12], [0, 2_000_010]])[0] == [[101.0, 0.5], [95.0, 500_000.0]]


def of(function, values, **fields):
    def build(d):
        d.input("a", np.shape(values), FLOAT32)
        d.op(FloatFunction, "y", "a", function=function, **fields)

    return np.array(computed(build, values)[0])


def test_known_functions():
    values = [0.0, 1.0, -1.0, 2.0]
    phi = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values]
    assert of(Function.GELU, values) == pytest.approx(np.multiply(values, phi))
    assert of(Function.GELU_TANH, values) == pytest.approx([0, 0.841192, -0.158808, 1.954598])
    assert of(Function.RELU, values).tolist() == [0, 1, 0, 2]
    assert of(Function.SILU, values) == pytest.approx([0, 0.7310586, -0.2689414, 1.7615942])
    assert of(Function.SILU, [-1e30, 1e30]).tolist() == [0, np.float32(1e30)]
    assert of(Function.SOFTMAX, [math.log(1), math.log(3)]) == pytest.approx([0.25, 0.75])
    assert of(Function.SOFTMAX, [1e30, -1e30]).tolist() == [1, 0]
    assert of(Function.SOFTMAX, [0.0, 2000.0, 1000.0]).tolist() == [0, 1, 0]
    assert of(Function.SCALE, [3.0], factor=0.5).tolist() == [1.5]
    assert of(Function.MEAN, [[1.0, 2], [3, 5]], axis=0).tolist() == [2, 3.5]
    normal = of(Function.LAYERNORM, [1.0, 3.0], weight=[2, 1], bias=[0, 5], epsilon=3.0)
    assert normal.tolist() == [-1.0, 5.5]  # sqrt(1 + 3) = 2
    # Far from 0 a difference of squares would lose every digit of the variance.
    far = of(Function.LAYERNORM, [2.0**23 - 1, 2.0**23 + 1], weight=[1, 1], bias=[0, 0], epsilon=0)
    assert far.tolist() == [-1.0, 1.0]
    linear = of(Function.LINEAR, [[1.0, 2]], weight=[[1, 10], [0, 1], [-1, 0]], bias=[0, 1, 0])
    assert linear.tolist() == [[21, 3, -1]]


FLOAT_CASES = [
    pytest.param(build, id=f"{kind.__name__}: {name}")
    for kind in (Quantize, Dequantize, FloatFunction)
    for name, build in CASES[kind].items()
]


@pytest.mark.parametrize("build", FLOAT_CASES)
def test_bits_depend_neither_on_the_batch_nor_on_threads(build):
    graph = graph_of(build)
    images = input_codes(graph, 9)
    alone = [Executor(graph, gemm="numba", threads=1).run(images[i : i + 1]) for i in range(9)]
    together = Executor(graph, gemm="numba", threads=3).run(images)
    (name,) = graph.outputs
    expected = b"".join(run.outputs[name].tobytes() for run in alone)
    assert together.outputs[name].tobytes() == expected


def test_wide_products_do_not_depend_on_the_batch_either():
    d = Draft()
    d.input("a", (50, 192), FLOAT32)
    weight = np.random.default_rng(0).normal(size=(192, 192))
    d.op(FloatFunction, "linear", "a", function=Function.LINEAR, weight=weight)
    d.reshape("heads", "linear", 50, 3, 64)
    d.transpose("q", "heads", 1, 0, 2)
    d.op(FloatFunction, "y", "q", "q", function=Function.MATMUL, transpose_b=True)
    graph = d.graph()
    images = input_codes(graph, 5)
    together = Executor(graph, threads=2).run(images).outputs["y"]
    for index in range(5):
        alone = Executor(graph, threads=1).run(images[index : index + 1]).outputs["y"]
        assert alone.tobytes() == together[index].tobytes()


def test_the_executor_takes_real_images_and_counts_what_is_clamped():
    graph = graph_of(quantizing((2, 2), step=[0.5], type=S8))
    images = np.array([[[0.5, 1], [1000, -1000]]], np.float32)
    run = Executor(graph, gemm="numba").run(images, taps=["a"])
    assert run.outputs["y"].tolist() == [[[1, 2], [127, -128]]]
    assert (run.counts["y"].saturated, run.counts["y"].elements) == (2, 4)
    assert run.taps["a"].tolist() == images.tolist()
    assert run_reference(graph, images[0])["y"].tolist() == run.outputs["y"][0].tolist()


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (np.ones((1, 2, 2)), r"codes of type float64 given, float32 \(f32\) wanted"),
        (np.full((1, 2, 2), np.nan, np.float32), "values that are not finite numbers"),
    ],
)
def test_real_images_are_checked(images, problem):
    graph = graph_of(quantizing((2, 2), step=[0.5]))
    with pytest.raises(InputError, match=problem):
        Executor(graph, gemm="numba").run(images)
