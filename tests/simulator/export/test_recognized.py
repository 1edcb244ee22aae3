# SPDX-License-Identifier: Apache-2.0
"""Tables are recognized by their entries, and only those that are within a code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exported import built, by_onnxruntime, emulated, inputs_of
from small_graphs import S8, S16

from simulator.export.recognized import FUNCTIONS, function_of
from simulator.graph.ops import InterpolatedLookup, Lookup
from simulator.numerics import function_tables

SCALES = {"a": 0.06, "y": 0.05}


def lookup(table, zero_point=-100):
    def build(draft):
        draft.input("a", (2, 3), S8, 3)
        draft.op(Lookup, "y", "a", table=table, type=S8, zero_point=zero_point)

    graph = built(build)
    scaled = {name: replace(graph.tensors[name], scale=(SCALES[name],)) for name in SCALES}
    return replace(graph, tensors={**graph.tensors, **scaled})


def entries(name):
    real = SCALES["a"] * (np.arange(-128, 128) - 3)
    codes = np.floor(FUNCTIONS[name](real) / SCALES["y"] + 0.5) - 100
    return np.clip(codes, -128, 127).astype(np.int64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_known_by_its_table(name):
    graph = lookup(entries(name))
    found = function_of(graph, graph.ops[0])
    assert found is not None
    assert (entries(found) == entries(name)).all()  # GELU and its tanh form may have one table
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values) - emulated(graph, values).astype(np.int64))
    assert apart.max() <= 1


def test_tables_in_float32_are_known():
    for function in (function_tables.gelu, function_tables.gelu_tanh):
        graph = lookup(function_tables.function_table(function, 0.06, 3, 0.05, -100))
        assert function_of(graph, graph.ops[0]) in {"gelu", "gelu_tanh"}


def test_one_entry_by_two_codes_is_a_table_of_its_own_and_exported_as_it_is():
    table = entries("gelu")
    table[40] += 2
    graph = lookup(table)
    assert function_of(graph, graph.ops[0]) is None
    values = inputs_of(graph, 64)
    assert (by_onnxruntime(graph, values) == emulated(graph, values)).all()


def test_samples_of_a_function_are_known():
    table = function_tables.interpolation_table(function_tables.gelu, 2e-4, 1.5e-4)

    def build(draft):
        draft.input("a", (2, 3), S16)
        draft.op(InterpolatedLookup, "y", "a", table=table)

    graph = built(build)
    scaled = {
        "a": replace(graph.tensors["a"], scale=(2e-4,)),
        "y": replace(graph.tensors["y"], scale=(1.5e-4,)),
    }
    graph = replace(graph, tensors={**graph.tensors, **scaled})
    assert function_of(graph, graph.ops[0]) == "gelu"
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values) - emulated(graph, values).astype(np.int64))
    assert apart.max() <= 3
