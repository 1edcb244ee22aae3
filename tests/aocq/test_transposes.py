# SPDX-License-Identifier: Apache-2.0
"""Joined transpositions move every value to where the two of them did."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.transposes import common_extents, single_transposes


def node(
    name: str, op: FloatOp, shape: tuple[int, ...], source: str, **attributes: object
) -> FloatNode:
    inputs = (source,) if source else ()
    return FloatNode(name=name, op=op, inputs=inputs, attributes=attributes, shape=shape)


@st.composite
def chains(draw: st.DrawFn) -> FloatGraph:
    """Transpose, reshape to any shape of the size, transpose."""
    first = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)))
    permutation = tuple(draw(st.permutations(range(len(first)))))
    moved = tuple(first[axis] for axis in permutation)
    rest, shape = math.prod(first), []
    while rest > 1 or draw(st.booleans()):
        extent = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        shape.append(extent)
        rest //= extent
        if len(shape) > 5:
            shape.append(rest)
            break
    shape = shape or [1]
    again = tuple(draw(st.permutations(range(len(shape)))))
    nodes = (
        node("x", FloatOp.INPUT, first, ""),
        node("a", FloatOp.TRANSPOSE, moved, "x", permutation=permutation),
        node("b", FloatOp.RESHAPE, tuple(shape), "a"),
        node("y", FloatOp.TRANSPOSE, tuple(shape[i] for i in again), "b", permutation=again),
    )
    return FloatGraph(name="chain", nodes=nodes, parameters={})


@given(chains())
def test_values_go_where_both_transpositions_took_them(graph: FloatGraph) -> None:
    first = graph.nodes[0].shape
    x = torch.arange(2 * math.prod(first)).reshape(2, *first)
    joined = single_transposes(graph)
    assert joined.output.name == "y"
    expected = run(graph, {"x": x}, ["y"])["y"]
    assert torch.equal(run(joined, {"x": x}, ["y"])["y"], expected)
    for part in joined.nodes:
        assert run(joined, {"x": x}, [part.name])[part.name].shape[1:] == part.shape


@pytest.mark.parametrize(
    ("first", "second", "extents"),
    [
        ((16, 16, 3, 16), (4, 4, 4, 4, 48), [4, 4, 4, 4, 3, 16]),  # heads joined, windows cut
        ((48, 256), (48, 16, 16), [48, 16, 16]),
        ((2, 3), (3, 2), None),
        ((4, 9), (6, 6), None),
        ((5,), (1, 1, 5), [1, 1, 5]),
    ],
)
def test_shapes_are_made_of_common_extents(
    first: tuple[int, ...], second: tuple[int, ...], extents: list[int] | None
) -> None:
    found = common_extents(first, second)
    assert (found[0] if found else None) == extents


def test_a_single_window_is_not_moved() -> None:
    nodes = (
        node("x", FloatOp.INPUT, (1, 4, 1, 5), ""),
        node("y", FloatOp.TRANSPOSE, (1, 1, 4, 5), "x", permutation=(0, 2, 1, 3)),
    )
    joined = single_transposes(FloatGraph(name="window", nodes=nodes, parameters={}))
    assert joined.output.op is FloatOp.RESHAPE


def test_heads_and_windows_are_moved_once() -> None:
    nodes = (
        node("x", FloatOp.INPUT, (4, 3, 4, 5), ""),
        node("a", FloatOp.TRANSPOSE, (4, 4, 3, 5), "x", permutation=(0, 2, 1, 3)),
        node("b", FloatOp.RESHAPE, (2, 2, 2, 2, 15), "a"),
        node("y", FloatOp.TRANSPOSE, (2, 2, 2, 2, 15), "b", permutation=(0, 2, 1, 3, 4)),
    )
    joined = single_transposes(FloatGraph(name="windows", nodes=nodes, parameters={}))
    (source,) = joined.output.inputs
    assert joined.output.op is FloatOp.RESHAPE
    assert joined.node(source).op is FloatOp.TRANSPOSE
    assert joined.node(joined.node(source).inputs[0]).inputs == ("x",)
