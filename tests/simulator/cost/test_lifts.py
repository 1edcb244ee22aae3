# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cost_graphs import profile_with, transformer

from simulator.cost import estimate
from simulator.cost.lifts import amount, doubled, lifts, with_more
from simulator.profile import load_profile

DOT = {"kind": "dot", "m": 4, "n": 4, "k": 4, "cycles_per_step": 2, "pipeline_depth": 0}
PORT = {"bytes_per_cycle": 4}
RESOURCES = (
    "sram_bytes",
    "dram_bytes_per_cycle",
    "sram_bytes_per_cycle",
    "macs_per_cycle",
    "lanes",
    "clock_mhz",
)


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("engine", [None, DOT], ids=["systolic", "dot"])
def test_more_of_a_resource_is_as_much_as_is_said(resource, engine):
    changes = {} if engine is None else {"compute__engine": engine}
    profile = profile_with(memory__sram_port=PORT, **changes)
    assert amount(with_more(profile, resource, 4), resource) == 4 * amount(profile, resource)
    others = set(RESOURCES) - {resource, "dram_bytes_per_cycle"}
    assert all(amount(with_more(profile, resource, 4), o) == amount(profile, o) for o in others)


def test_a_host_is_lifted_by_itself_and_no_faster_for_the_chips_clock():
    rate = {"softmax": 30, "layernorm": 30, "lookup": 2, "add": 3, "rescale": 10, "mean": 10}
    host = {
        "cycles_per_element": rate | {"layout": 5, "float": 20},
        "cycles_per_mac": 4,
        "copy_bytes_per_cycle": 2,
        "handover_cycles": 100,
    }
    profile = profile_with(compute__placement={"softmax": "host"}, compute__host=host)
    graph = transformer(tokens=17, blocks=2)
    base = estimate(graph, profile)
    on_host = base.host_cycles / profile.compute.clock_mhz
    clock = with_more(profile, "clock_mhz", 4)
    assert estimate(graph, clock).host_cycles / clock.compute.clock_mhz == on_host
    faster = estimate(graph, with_more(profile, "host_speed", 2))
    copies = sum(4 * 17 * 17 // 2 for _ in range(2))  # 2 heads' codes in and out, each block
    assert faster.host_cycles - copies == (base.host_cycles - copies) // 2
    assert faster.issue_cycles == base.issue_cycles
    assert "host_speed" in {lift.resource for lift in doubled(graph, profile)}
    assert amount(load_profile("narrow_acc_20"), "host_speed") is None


def test_a_faster_clock_leaves_the_dram_as_fast_as_it_is():
    profile = profile_with(compute__clock_mhz=500, memory__dram_bytes_per_cycle=8)
    faster = with_more(profile, "clock_mhz", 2)
    assert faster.memory.dram_bytes_per_cycle * faster.compute.clock_mhz == 8 * 500


def test_a_faster_clock_waits_more_cycles_for_the_dram():
    profile = profile_with(memory__dram_read_bytes_per_cycle=4, memory__dram_latency_cycles=100)
    memory = with_more(profile, "clock_mhz", 2).memory
    assert (memory.dram_read_bytes_per_cycle, memory.dram_latency_cycles) == (2, 200)


def test_a_larger_dot_engine_has_places_for_its_sums():
    profile = profile_with(compute__engine=DOT | {"accumulators": 32})
    assert with_more(profile, "macs_per_cycle", 2).compute.engine.accumulators == 32
    larger = with_more(profile, "macs_per_cycle", 64)
    assert larger.compute.engine.accumulators == 4 * 4 * 64
    assert estimate(transformer(), larger).total_cycles > 0


def test_the_least_multiple_that_meets_a_limit():
    graph, profile = transformer(tokens=17, blocks=2), profile_with(memory__dram_bytes_per_cycle=1)
    base = estimate(graph, profile).latency_ms

    def fast(costs):
        return costs.latency_ms <= base * 0.7

    found = {lift.resource: lift for lift in lifts(graph, profile, fast)}
    dram = found["dram_bytes_per_cycle"]
    assert fast(dram.costs)
    less = with_more(profile, "dram_bytes_per_cycle", int(dram.need / dram.have) // 2)
    assert not fast(estimate(graph, less))
    assert "sram_bytes" not in found  # everything fits already


def test_nothing_is_said_of_what_changes_nothing():
    graph = transformer()
    profile = profile_with(memory__dram_bytes_per_cycle=1e-3)
    named = {lift.resource for lift in doubled(graph, profile)}
    assert "dram_bytes_per_cycle" in named
    assert "sram_bytes" not in named
    for lift in doubled(graph, profile):
        assert lift.costs.latency_ms < estimate(graph, profile).latency_ms
