# SPDX-License-Identifier: Apache-2.0
"""Steps of the host behind a graph: their cycles, where they count, and a chip without a host."""

from __future__ import annotations

import pytest
from cost_graphs import Sketch, profile_with, transformer

from simulator.cost import estimate
from simulator.cost.float16 import float16_estimate
from simulator.cost.host_work import HostWork
from simulator.cost.lifts import doubled, enough_sram, lifts
from simulator.profile import load_profile

RATES = {"softmax": 30, "layernorm": 30, "lookup": 2, "add": 3, "rescale": 10, "mean": 10}
HOST = {
    "cycles_per_element": RATES | {"layout": 5, "float": 20},
    "cycles_per_mac": 0.3,
    "copy_bytes_per_cycle": 3,
    "handover_cycles": 1000,
}
WORK = (
    HostWork(name="decode", operations=101, functions=7),
    HostWork(name="suppress", operations=11),
)
DECODING, SUPPRESSING = 171, 4  # 101 x 0.3 + 7 x 20 and 11 x 0.3, rounded up


def with_host(**more):
    return profile_with(compute__host=HOST, **more)


def test_the_first_step_takes_the_results_over_and_the_others_do_not():
    graph, profile = transformer(), with_host()
    bare, found = estimate(graph, profile), estimate(graph, profile, WORK)
    size = graph.tensors[graph.outputs[0]].size  # codes of 8 bits
    copies = -(-size // 3)
    assert [(s.bytes, s.handover, s.copying, s.working) for s in found.host_steps] == [
        (size, 1000, copies, DECODING),
        (0, 0, 0, SUPPRESSING),
    ]
    more = 1000 + copies + DECODING + SUPPRESSING
    assert found.total_cycles == bare.total_cycles + more
    assert found.host_cycles == bare.host_cycles + more - 1000
    assert found.issue_cycles == bare.issue_cycles + 1000
    assert found.bound_by["host"] == bare.bound_by["host"] + more
    assert found.stall_cycles == bare.stall_cycles
    assert found.dram_bytes == bare.dram_bytes, "the chip had stored its results anyway"
    assert found.latency_ms == pytest.approx(found.total_cycles / profile.compute.clock_mhz / 1e3)
    for totals, before in ((found.by_kind, bare.by_kind), (found.by_block, bare.by_block)):
        assert totals == before | {"decode": more - SUPPRESSING, "suppress": SUPPRESSING}


def test_results_that_are_on_the_host_are_not_handed_over():
    s = Sketch()
    graph = s.graph(s.rescale("y", s.input("x", 10, 16)))
    first, _ = estimate(graph, with_host(compute__placement={"rescale": "host"}), WORK).host_steps
    assert (first.bytes, first.handover, first.copying) == (0, 0, 0)


def test_a_memory_that_both_share_is_not_copied():
    host = {key: value for key, value in HOST.items() if key != "copy_bytes_per_cycle"}
    first, _ = estimate(transformer(), profile_with(compute__host=host), WORK).host_steps
    assert first.bytes > 0
    assert first.total == 1000 + DECODING


def test_without_a_host_the_steps_are_named_and_in_no_figure():
    graph, profile = transformer(), load_profile("narrow_acc_20")
    assert profile.compute.host is None
    bare, found = estimate(graph, profile), estimate(graph, profile, WORK)
    assert found.left_out == ("decode", "suppress")
    assert found.host_steps == ()
    assert (found.total_cycles, found.by_kind) == (bare.total_cycles, bare.by_kind)
    assert estimate(graph, with_host(), WORK).left_out == ()


def test_the_chip_leaks_while_its_host_works():
    table = {
        "node_nm": 7,
        "float16_mac": 1.0,
        "mac": [{"a_bits": 8, "b_bits": 8, "pj": 1.0}],
        "vector_element": 1.0,
        "sram_byte": 1.0,
        "dram_byte": 1.0,
        "leakage_per_cycle": 10.0,
    }
    graph, profile = transformer(), with_host(energy=table)
    bare, found = estimate(graph, profile), estimate(graph, profile, WORK)
    more = found.total_cycles - bare.total_cycles
    assert found.energy.total_mj - bare.energy.total_mj == pytest.approx(more * 10 / 1e9)


def test_the_same_network_in_float16_has_the_same_work():
    graph = transformer()
    profile = with_host(compute__float16={"mac_speed": 0.5, "vector_speed": 0.5})
    more = float16_estimate(graph, profile, WORK).cycles - float16_estimate(graph, profile).cycles
    size = graph.tensors[graph.outputs[0]].size
    assert more == 1000 + -(-2 * size // 3) + DECODING + SUPPRESSING


def test_more_of_a_resource_is_estimated_with_the_work():
    graph, profile = transformer(), with_host()
    heavy = (HostWork(name="decode", operations=10**7),)
    base = estimate(graph, profile, heavy)
    assert {lift.resource for lift in doubled(graph, profile)} & {"host_speed"} == set()
    found = {lift.resource: lift.costs for lift in doubled(graph, profile, heavy)}
    assert base.total_cycles - found["host_speed"].total_cycles == 1_500_000
    assert "lanes" in found
    assert found["lanes"].host_steps == base.host_steps
    assert enough_sram(graph, profile, heavy).costs.host_steps == base.host_steps
    fast = [*lifts(graph, profile, lambda c: c.latency_ms < 0.6 * base.latency_ms, heavy)]
    assert [lift.resource for lift in fast] == ["host_speed"]
