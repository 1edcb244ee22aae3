# SPDX-License-Identifier: Apache-2.0
"""Networks on a chip's own tables: the ROM is in the graph as it is, and what is around it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from test_target_algorithms import LN_PLAIN, WIDE, chip, emulated, gelu, quantized, softmax
from torch import nn

from aocq.capture import FloatGraph
from aocq.lowering import lower
from simulator.boundary import quantize
from simulator.executor import Executor
from simulator.graph import IntGraph, sha256
from simulator.graph.ops import InterpolatedLookup, Lookup, Rescale, Softmax, SoftmaxLut513
from simulator.numerics.function_tables import function_table, interpolation_table, rsqrt_table
from simulator.numerics.function_tables import gelu as gelu_in_float32
from simulator.numerics.softmax_constants import lut513_tables

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
EXP = {"table_bits": 30, "reciprocal_bits": 60}


def table(entries: np.ndarray, **keys: Any) -> Mapping[str, Any]:
    return {"file": "rom.hex", "entries": [int(entry) for entry in entries], **keys}


def ops(graph: IntGraph, kind: type) -> list[Any]:
    return [op for op in graph.ops if isinstance(op, kind)]


def codes_of(graph: IntGraph, name: str) -> np.ndarray:
    source = graph.tensors[graph.inputs[0]]
    random = np.random.default_rng(4).normal(0, 1, (4, *source.shape))
    run = Executor(graph, threads=1).run(quantize(random, source), taps=[name])
    return run.taps[name]


def exp_rom(scale: float) -> np.ndarray:
    return np.floor(np.exp(-scale * np.arange(256)) * (2**30 - 1) + 0.5)


def gelu_rom() -> Mapping[str, Any]:
    entries = function_table(gelu_in_float32, 0.05, 0, 0.03, -100)
    return table(entries, input_scale=0.05, output_scale=0.03, output_zero_point=-100)


def test_an_exponential_table_is_in_the_graph_as_it_is(nano: Captured) -> None:
    rom = exp_rom(0.04)
    own = table(rom, input_scale=0.04)
    profile = chip(softmax("exp_table", **EXP, table=own), LN_PLAIN)
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    found = ops(graph, Softmax)
    assert found
    for op in found:
        assert graph.constants[op.table].tolist() == rom.tolist()
        assert graph.tensors[op.a].scale == (0.04,)
    assert emulated(model, graph) > 15


def test_at_its_scale_the_table_computed_is_the_same_graph(nano: Captured) -> None:
    """Of every softmax, as if its ROM were the one table of the chip."""
    plain = chip(softmax("exp_table", **EXP), LN_PLAIN)
    model = quantized(nano("class_token")[1], plain)
    graph = lower(model, plain)
    for op in ops(graph, Softmax):
        scale = float(model.scales(model.graph.node(op.name).inputs[0]).reshape(-1)[0])
        own = table(graph.constants[op.table], input_scale=scale)
        with_rom = lower(model, chip(softmax("exp_table", **EXP, table=own), LN_PLAIN))
        (same,) = (one for one in ops(with_rom, Softmax) if one.name == op.name)
        assert same == op
        assert with_rom.constants[same.table].tolist() == graph.constants[op.table].tolist()
        others = [one.name for one in ops(graph, Softmax) if one.name != op.name]
        assert {one.name for one in ops(with_rom, Rescale)} == {f"{one}.scores" for one in others}


def test_one_other_entry_changes_what_follows(nano: Captured) -> None:
    rom = exp_rom(0.04)
    other = rom.copy()
    other[5] -= 1 << 25
    graphs = []
    for entries in (rom, other):
        own = table(entries, input_scale=0.04)
        profile = chip(softmax("exp_table", **EXP, table=own), LN_PLAIN)
        graphs.append(lower(quantized(nano("class_token")[1], profile), profile))
    assert sha256(graphs[0]) != sha256(graphs[1])
    name = ops(graphs[0], Softmax)[0].name
    one, two = (codes_of(graph, name) for graph in graphs)
    assert (one != two).any()
    scores = [codes_of(graph, ops(graph, Softmax)[0].a) for graph in graphs]
    assert (scores[0] == scores[1]).all()


def test_a_gelu_table_is_read_at_its_own_codes(nano: Captured) -> None:
    own = gelu_rom()
    profile = chip(gelu("table_256", table=own), LN_PLAIN)
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    found = ops(graph, Lookup)
    assert found
    for op in found:
        assert graph.constants[op.table].tolist() == own["entries"]
        read, made = graph.tensors[op.a], graph.tensors[op.name]
        assert (read.scale, read.zero_point) == ((0.05,), 0)
        assert (made.scale, made.zero_point) == ((0.03,), -100)
        assert isinstance(next(one for one in graph.ops if one.name == op.a), Rescale)
    assert emulated(model, graph) > 10


def test_a_table_of_samples_is_read_at_its_own_codes(nano: Captured) -> None:
    entries = interpolation_table(gelu_in_float32, 2e-4, 2e-4)
    own = table(entries, input_scale=2e-4, output_scale=2e-4)
    profile = chip(softmax("lut513_q15", bits=15), gelu("table_513", table=own), WIDE)
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    for op in ops(graph, InterpolatedLookup):
        assert graph.constants[op.table].tolist() == own["entries"]
    assert emulated(model, graph) > 20


def test_tables_of_softmax_for_all_scales(nano: Captured) -> None:
    computed = lut513_tables(np.float32)
    changed = computed.reciprocal_table.copy()
    changed[7] += 1
    graphs = {}
    for name, reciprocal in (("same", computed.reciprocal_table), ("other", changed)):
        tables = {
            "exponential_table": table(computed.exp_table),
            "reciprocal_table": table(reciprocal),
        }
        profile = chip(softmax("lut513_q15", bits=15, **tables), gelu("table_513"), WIDE)
        model = quantized(nano("class_token")[1], profile)
        graphs[name] = lower(model, profile)
    plain = chip(softmax("lut513_q15", bits=15), gelu("table_513"), WIDE)
    graphs["computed"] = lower(model, plain)
    assert sha256(graphs["same"]) == sha256(graphs["computed"])
    assert sha256(graphs["other"]) != sha256(graphs["computed"])
    for op in ops(graphs["other"], SoftmaxLut513):
        found = graphs["other"].constants[op.reciprocal_table]
        assert found.tolist() == changed.tolist()


@pytest.mark.parametrize("scale", [0.02, 0.5])
def test_a_root_table_is_read_at_its_own_codes(nano: Captured, scale: float) -> None:
    entries = rsqrt_table(scale, -128, 0.05, -128)
    keys = {"input_zero_point": -128, "output_zero_point": -128}
    own = table(entries, input_scale=scale, output_scale=0.05, **keys)
    layernorm = {"layernorm": {"algorithm": "graph", "root_table": own}}
    profile = chip(layernorm, LN_PLAIN, {"rescale": {"rounding": "TFL"}})
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    roots = [op for op in ops(graph, Lookup) if "inverse_root" in op.name]
    assert roots
    for op in roots:
        assert graph.constants[op.table].tolist() == own["entries"]
        assert graph.tensors[op.a].scale == (scale,)
    emulated(model, graph)
