# SPDX-License-Identifier: Apache-2.0
"""Sizes, scales and ends of graphs, and what must not be left over."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fuzzed_graphs import classifier
from small_graphs import INT32, S8, SATURATE, Draft, accumulator, with_codes, with_tensor

from simulator.graph import IntGraph, verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import MatMul, Mean, Quantize, Rescale, Reshape, SoftmaxIta
from simulator.graph.verify_tensors import MOST_ELEMENTS
from simulator.numerics.float_type import FLOAT32, FLOAT64


def refusal(graph: IntGraph) -> str:
    (problem,) = verify(graph)
    return problem


def moved(*shape: int) -> IntGraph:
    d = Draft()
    d.input("a", shape)
    d.reshape("y", "a", *shape)
    return d.graph()


# --- sizes ----------------------------------------------------------------------------------------


def test_a_tensor_has_at_most_eight_dimensions() -> None:
    assert verify(moved(*[1] * 7, 4)) == []
    for count in (9, 33, 65):
        problems = verify(moved(*[1] * (count - 1), 4))
        assert [f"has {count} dimensions, wanted at most 8" in problem for problem in problems]


def test_a_tensor_has_fewer_elements_than_31_bits_count() -> None:
    assert verify(moved(MOST_ELEMENTS)) == []
    assert verify(moved(1 << 16, (1 << 15) - 1)) == []
    for shape in ((1 << 31,), (1 << 16, 1 << 15), (1 << 62, 1), ((1 << 63) - 1,) * 8):
        problems = verify(moved(*shape))
        assert len(problems) == 2
        assert all("elements" in problem and "wanted at most" in problem for problem in problems)


def large_graphs() -> list[IntGraph]:
    """Graphs of a few lines that declare tensors of a thousand million elements."""
    large = 1 << 30
    d = Draft()
    d.input("a", (large, 1))
    d.op(Mean, "y", "a", accumulator=accumulator((3, 40, SATURATE), (0, 48, SATURATE)), shift=(33,))
    product = Draft()
    product.input("a", (1, large))
    product.reshape("b", "a", large, 1)
    product.op(MatMul, "y", "a", "b", accumulator=accumulator((3, 40, SATURATE), (0, 64, SATURATE)))
    rows = Draft()
    rows.input("a", (1, large))
    rows.op(SoftmaxIta, "y", "a", octave_bits=0, largest=127, type=S8)
    return [d.graph(), product.graph(), rows.graph()]


@pytest.mark.parametrize("number", range(3))
def test_verifying_takes_no_more_memory_than_the_files(number: int) -> None:
    graph = large_graphs()[number]
    tracemalloc.start()
    verify(graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_bounds_of_large_sums_are_exact() -> None:
    mean, product, _ = large_graphs()
    assert verify(mean) == verify(product) == []
    assert bounds(mean, mean.ops[-1]).accumulator == (-(1 << 37), 127 << 30)
    assert bounds(product, product.ops[-1]).accumulator == (-127 * 128 << 30, 1 << 44)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, 2)])
def test_constants_have_elements(shape: tuple[int, ...]) -> None:
    graph = classifier()
    graph = with_tensor(graph, "head.shift", shape=shape)
    graph = with_codes(graph, "head.shift", np.zeros(shape, np.uint8))
    assert "tensor head.shift: has shape" in refusal(graph)


def test_real_constants_are_finite() -> None:
    for value in (np.nan, np.inf):
        d = Draft()
        d.input("a", (2,), FLOAT32)
        d.op(Quantize, "y", "a", step=[value])
        assert "y.step: has values that are not finite" in refusal(d.graph())


def test_only_factors_are_f64() -> None:
    d = Draft()
    d.input("a", (2,), FLOAT64)
    d.reshape("y", "a", 2, 1)
    problems = verify(with_tensor(d.graph(), "y", type=FLOAT64))
    assert all("is f64, which only the factors" in problem for problem in problems)
    assert len(problems) == 2


def test_there_are_not_too_many_ops() -> None:
    graph = moved(4)
    names = [f"y{number}" for number in range(1 << 15)]
    tensors = {name: replace(graph.tensors["y"], name=name) for name in names}
    sources = ["a", *(f"r{name}" for name in names)]
    tensors |= {name: replace(graph.tensors["y"], name=name) for name in sources[1:]}
    ops = [
        Reshape(name=name, a=source)
        for source, name in zip(sources, [*sources[1:], "y"], strict=True)
    ]
    many = {"a": graph.tensors["a"], **{op.name: graph.tensors["y"] for op in ops}}
    many = {name: replace(tensor, name=name) for name, tensor in many.items()}
    assert refusal(replace(graph, ops=tuple(ops), tensors=many)) == (
        "graph small: has 32769 ops, wanted at most 32768"
    )


# --- scales ---------------------------------------------------------------------------------------

SCALES = [0.0, -0.0, -0.01, float("nan"), float("inf"), -float("inf"), 1e-320, 1e-39, 1e38, 1e308]


@pytest.mark.parametrize("name", ["image", "embed", "head"])
@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_positive_numbers_of_float32(name: str, scale: float) -> None:
    graph = classifier()
    assert f"tensor {name}: has scale {scale}" in refusal(with_tensor(graph, name, scale=(scale,)))
    channels = graph.tensors[name].shape[-1]
    many = (*[0.5] * (channels - 1), scale)
    assert f"tensor {name}: has scale {scale}" in refusal(with_tensor(graph, name, scale=many))


@pytest.mark.parametrize("scale", [2.0**-126, 1e-12, 1.0, 1e12, 2.0**126])
def test_every_scale_of_float32_is_taken(scale: float) -> None:
    assert verify(with_tensor(classifier(), "image", scale=(scale,))) == []


def test_scales_are_one_for_each_channel() -> None:
    message = refusal(with_tensor(classifier(), "embed", scale=(0.5,) * 7))
    assert message == "tensor embed: has 7 scales for shape (4, 6)"


# --- ends and what is left over -------------------------------------------------------------------


def test_an_output_is_a_result_and_named_once() -> None:
    graph = classifier(meta={})
    assert "output image: is a constant or the input" in refusal(
        replace(graph, outputs=("head", "image"))
    )
    assert "output head.shift: is a constant or the input" in refusal(
        replace(graph, outputs=("head", "head.shift"))
    )
    assert "output head: is named 2 times" in refusal(replace(graph, outputs=("head", "head")))


def test_every_result_serves_an_output() -> None:
    graph = classifier(meta={})
    assert refusal(replace(graph, outputs=("pool",))) == (
        "tensor head: no op reads it, and it is no output"
    )
    assert verify(replace(graph, outputs=("pool", "head"))) == []


def test_every_constant_is_read() -> None:
    d = Draft()
    d.input("a", (2,))
    d.constant("lonely", [1], S8)
    d.op(Rescale, "y", "a")
    assert refusal(d.graph()) == "tensor lonely: no op reads it, and it is no output"


# --- layers ---------------------------------------------------------------------------------------


def test_the_first_broken_layer_is_the_last_that_is_looked_at() -> None:
    d = Draft()
    d.input("a", (2, 3))
    d.constant("b", np.ones((4, 5), int), S8)
    d.op(MatMul, "y", "a", "b", accumulator=INT32, shift=(63,))
    shapes = d.graph()
    assert "cannot multiply (2, 3) by (4, 5)" in refusal(shapes)
    constants = with_codes(shapes, "b", np.ones((4, 5), np.int16))
    assert "constant b: is stored as int16" in refusal(constants)
    tensors = with_tensor(constants, "a", shape=(2, 0))
    assert "tensor a: has shape (2, 0)" in refusal(tensors)
    names = replace(tensors, outputs=("nowhere",))
    assert "nowhere: named as input or output" in refusal(names)
    assert "profile '': is no name" in refusal(replace(names, profile=""))
