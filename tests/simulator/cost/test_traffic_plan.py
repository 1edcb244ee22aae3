# SPDX-License-Identifier: Apache-2.0
"""Brackets of every estimate, and that a better chip is never slower."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from cost_graphs import Sketch, profile_with, transformer
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cost import estimate
from simulator.graph.macs import total_macs
from simulator.profile.cost import DotEngine

DOT = {"kind": "dot", "m": 2, "n": 4, "k": 8, "cycles_per_step": 1, "pipeline_depth": 5}
OVERLAPPED = {"kind": "systolic", "rows": 4, "columns": 4, "overlap": "fold"}
BANDWIDTHS = st.one_of(st.sampled_from([0.25, 0.5, 1, 2, 3.75, 8, 32]), st.floats(0.1, 64))

engines = st.one_of(
    st.builds(
        lambda rows, columns, dataflow, overlap: {
            "kind": "systolic",
            "rows": rows,
            "columns": columns,
            "dataflow": f"{dataflow}_stationary",
            "overlap": overlap,
        },
        st.integers(1, 9),
        st.integers(1, 9),
        st.sampled_from(["output", "weight", "input"]),
        st.sampled_from(["none", "fold"]),
    ),
    st.sampled_from([DOT, DOT | {"accumulators": 64}, DOT | {"heads_parallel": 2}]),
)
ports = st.builds(
    lambda rate, reads, burst, latency: (
        {
            "bytes_per_cycle": rate,
            "burst_bytes": burst,
            "latency_cycles": latency,
        }
        | ({"read_bytes_per_cycle": rate * reads} if reads else {})
    ),
    BANDWIDTHS,
    st.sampled_from([None, 0.5]),
    st.sampled_from([1, 16]),
    st.integers(0, 40),
)


@st.composite
def chips(draw):
    """Keys of a profile, of a chip that may hold much less than the network's activations."""
    port = draw(ports)
    chip = {
        "compute__engine": draw(engines),
        "compute__vector__lanes": draw(st.integers(1, 16)),
        "compute__issue_cycles": draw(st.sampled_from([0, 7])),
        "compute__requantize": draw(st.sampled_from(["fused", "vector"])),
        "compute__streaming_softmax": draw(st.booleans()),
        "memory__sram_bytes": draw(st.integers(1, 4000)),
        "memory__dram_bytes_per_cycle": port["bytes_per_cycle"],
        "memory__dram_burst_bytes": port["burst_bytes"],
        "memory__dram_latency_cycles": port["latency_cycles"],
        "memory__double_buffer": draw(st.booleans()),
        "memory__prefetch": draw(st.booleans()),
        "memory__tiles_of": draw(st.sampled_from(["all", "constants"])),
    }
    if draw(st.booleans()):
        chip["memory__sram_port"] = draw(ports)
    return chip


graphs = st.builds(
    transformer, st.integers(2, 9), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2)
)
FACTORS = st.sampled_from([1.01, 1.5, 2, 7])


@st.composite
def better(draw, chip):
    """The chip with more of one resource."""
    kinds = ["sram", "dram", "lanes", "latency", *(["port"] if "memory__sram_port" in chip else [])]
    kind = draw(st.sampled_from(kinds))
    times = draw(FACTORS)
    if kind == "sram":
        more = chip["memory__sram_bytes"] + draw(st.integers(1, 4000))
        return chip | {"memory__sram_bytes": more}
    if kind == "lanes":
        more = chip["compute__vector__lanes"] + draw(st.integers(1, 9))
        return chip | {"compute__vector__lanes": more}
    if kind == "dram":
        more = chip["memory__dram_bytes_per_cycle"] * times
        return chip | {"memory__dram_bytes_per_cycle": more}
    if kind == "latency":
        less = draw(st.integers(0, chip["memory__dram_latency_cycles"]))
        return chip | {"memory__dram_latency_cycles": less}
    port = chip["memory__sram_port"]
    rates = {name: port[name] * times for name in port if name.endswith("bytes_per_cycle")}
    less = draw(st.integers(0, port["latency_cycles"]))
    return chip | {"memory__sram_port": port | rates | {"latency_cycles": less}}


@settings(max_examples=45, deadline=None)
@given(graphs, chips(), st.data())
def test_a_better_chip_is_never_slower(graph, chip, data):
    before = estimate(graph, profile_with(**chip)).total_cycles
    after = estimate(graph, profile_with(**data.draw(better(chip)))).total_cycles
    assert after <= before


@settings(max_examples=40, deadline=None)
@given(graphs, chips())
def test_every_estimate_keeps_its_brackets(graph, chip):
    profile = profile_with(**chip)
    cost = estimate(graph, profile)
    assert cost.total_cycles == sum(op.total for op in cost.ops)
    assert cost.total_cycles == sum(step.total for step in cost.steps)
    memory, engine = profile.memory, profile.compute.engine
    peak = (
        engine.m * engine.n * engine.k
        if isinstance(engine, DotEngine)
        else (engine.rows * engine.columns)
    )
    peak *= engine.heads_parallel or 1
    assert cost.total_cycles >= total_macs(graph) / peak
    assert cost.total_cycles >= cost.dram_bytes / memory.dram_bytes_per_cycle * (1 - 1e-12)
    if memory.sram_port is not None:
        moved = cost.sram_traffic_bytes / memory.sram_port.bytes_per_cycle
        assert cost.total_cycles >= moved * (1 - 1e-12)
    parts = (cost.issue_cycles, cost.compute_cycles, cost.vector_cycles, cost.host_cycles)
    serial = sum(parts) + cost.sram_cycles + cost.dma_cycles
    assert cost.total_cycles <= serial
    if memory.double_buffer is False:
        assert cost.total_cycles == serial
    # Everything that is stored outside passes the port at least once.
    ends = sum(graph.tensors[name].bytes for name in (*graph.inputs, *graph.outputs))
    assert cost.dram_bytes >= cost.weight_bytes + ends


@settings(max_examples=20, deadline=None)
@given(graphs, chips())
def test_overlap_is_never_slower(graph, chip):
    overlapped = estimate(graph, profile_with(**chip | {"memory__double_buffer": True}))
    in_turn = estimate(graph, profile_with(**chip | {"memory__double_buffer": False}))
    assert overlapped.total_cycles <= in_turn.total_cycles
    early = estimate(
        graph, profile_with(**chip | {"memory__double_buffer": True, "memory__prefetch": True})
    )
    late = estimate(
        graph, profile_with(**chip | {"memory__double_buffer": True, "memory__prefetch": False})
    )
    assert early.total_cycles <= late.total_cycles
    engine = chip["compute__engine"]
    if engine["kind"] == "systolic":
        strict = estimate(
            graph, profile_with(**chip | {"compute__engine": engine | {"overlap": "none"}})
        )
        fold = estimate(
            graph, profile_with(**chip | {"compute__engine": engine | {"overlap": "fold"}})
        )
        assert fold.total_cycles <= strict.total_cycles


@settings(max_examples=25, deadline=None)
@given(graphs, chips())
def test_what_lives_in_sram_fits_it_side_by_side(graph, chip):
    cost = estimate(graph, profile_with(**chip))
    offsets = cost.traffic.residency.offsets
    buffers = {each.name: each for each in cost.plan.buffers}
    for number, step in enumerate(cost.steps):
        here = [
            (offsets[name], offsets[name] + each.bytes)
            for name, each in buffers.items()
            if name in offsets and each.first <= number <= each.last
        ]
        taken = sum(end - start for start, end in here)
        assert max((end for _, end in here), default=0) <= cost.sram_bytes
        assert taken == len({byte for start, end in here for byte in range(start, end)})
        if step.tiling is not None:
            assert step.tiling.room <= cost.sram_bytes - taken
    assert set(offsets) | set(cost.spilled) <= set(buffers)
    assert not set(offsets) & set(cost.spilled)
    if chip["memory__sram_bytes"] < min(each.bytes for each in buffers.values()):
        assert offsets == {}


@pytest.mark.parametrize("engine", [DOT, OVERLAPPED | {"dataflow": "output_stationary"}])
def test_cycles_do_not_depend_on_codes(engine):
    graph = transformer(tokens=7, heads=2, width=4, blocks=1)
    profile = profile_with(compute__engine=engine, memory__sram_bytes=300)
    constants = {
        name: np.zeros_like(codes) if name.endswith("weight") else codes
        for name, codes in graph.constants.items()
    }
    other = estimate(replace(graph, constants=constants), profile)
    assert other.steps == estimate(graph, profile).steps
    assert not all(np.array_equal(constants[name], graph.constants[name]) for name in constants)


KIB = 1024


@pytest.fixture(scope="module")
def blocks_of_deit_tiny():
    return transformer(tokens=197, heads=3, width=64, blocks=2)


@pytest.mark.parametrize(
    "chip",
    [
        {"memory__dram_bytes_per_cycle": 1},
        {
            "memory__sram_port": {"bytes_per_cycle": 16, "burst_bytes": 64, "latency_cycles": 32},
            "memory__dram_bytes_per_cycle": 3.75,
            "memory__dram_burst_bytes": 128,
            "memory__dram_latency_cycles": 500,
            "compute__streaming_softmax": False,
            "compute__engine": DOT | {"m": 4, "n": 8, "accumulators": 2048},
            "memory__prefetch": True,
        },
    ],
    ids=["plain", "ports and stored exponentials"],
)
def test_a_transformer_is_faster_with_every_larger_sram(blocks_of_deit_tiny, chip):
    costs = [
        estimate(blocks_of_deit_tiny, profile_with(memory__sram_bytes=size * KIB, **chip))
        for size in (8, 24, 64, 100, 128, 256, 400, 512, 1000, 1024, 2048)
    ]
    assert all(large.total_cycles <= small.total_cycles for small, large in pairwise(costs))
    # From next to nothing to everything: what is spilled, and the cycles that it takes.
    assert len(costs[0].spilled) > 20
    assert costs[0].total_cycles > 1.2 * costs[-1].total_cycles
    assert costs[0].dram_bytes > 3 * costs[-1].dram_bytes
    assert costs[-1].spilled == ()
    ends = 196 * 12 + 10
    assert costs[-1].dram_bytes >= costs[-1].weight_bytes + ends


def test_a_chip_that_holds_everything_streams_each_constant_once(blocks_of_deit_tiny):
    profile = profile_with(memory__sram_bytes=512 * KIB)
    cost = estimate(blocks_of_deit_tiny, profile)
    exponentials = 2 * 256  # a table that both blocks read
    assert cost.spilled == ()
    assert cost.dram_bytes == cost.weight_bytes + exponentials + 196 * 12 + 10
    rate = profile.memory.dram_bytes_per_cycle
    for op, step in zip((each for each in cost.ops if each.total), cost.steps, strict=True):
        assert op.total == max(op.compute + op.vector, op.dma)
        assert op.dma == -(-step.dram_bytes // rate)


def test_what_the_sram_does_not_hold_is_written_and_read_outside():
    s = Sketch()
    first = s.rescale("first", s.input("x", 40, 10))
    s.add("last", s.rescale("second", first), first)
    graph = s.graph("last")
    constants = 5 + 5 + 4  # multipliers and shifts of two Rescales, multipliers of one Add
    large, small = (
        estimate(graph, profile_with(memory__sram_bytes=size, memory__dram_bytes_per_cycle=1))
        for size in (1200, 1199)
    )
    assert (large.spilled, large.dram_bytes) == ((), constants + 800)
    # "second" is needed twice and "first" three times; x and the output pass by.
    assert small.spilled == ()
    assert small.dram_bytes == constants + 800
    tight, none = (
        estimate(graph, profile_with(memory__sram_bytes=size, memory__dram_bytes_per_cycle=1))
        for size in (799, 399)
    )
    assert (tight.spilled, tight.dram_bytes) == (("second",), constants + 800 + 2 * 400)
    assert (none.spilled, none.dram_bytes) == (("first", "second"), constants + 800 + 5 * 400)
    assert [step.in_dram for step in none.steps] == [
        ("x", "first"),
        ("first", "second"),
        ("second", "first", "last"),
    ]
