# SPDX-License-Identifier: Apache-2.0
"""What more of one resource would give: the estimate again, with a chip that has more of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.cost.estimate import CostEstimate, estimate
from simulator.cost.exact import ceil_div
from simulator.cost.host_work import HostWork
from simulator.graph.graph import IntGraph
from simulator.profile import NpuProfile
from simulator.profile.cost import DotEngine, HostSection
from simulator.profile.section import Section

LiftedResource = Literal[
    "sram_bytes",
    "dram_bytes_per_cycle",
    "sram_bytes_per_cycle",
    "macs_per_cycle",
    "lanes",
    "host_speed",
    "clock_mhz",
]
# A resource is multiplied by powers of this: finer steps would promise what no estimate knows.
STEP = 2
MOST_STEPS = 6
Condition = Callable[[CostEstimate], bool]
_Estimator = Callable[[NpuProfile], CostEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """A chip with more of one resource, and what the network costs on it.

    Attributes
    ----------
    have, need
        of the profile, and of the chip that was estimated instead
    """

    resource: LiftedResource
    have: float
    need: float
    costs: CostEstimate


def lifts(
    graph: IntGraph,
    profile: NpuProfile,
    condition: Condition,
    host_work: Sequence[HostWork] = (),
) -> Iterator[Lift]:
    """Yield, for each resource, the least power-of-two multiple that meets a condition.

    A resource that meets it with none of the multiples up to 64 is left out: it is not what the
    network waits for. One that more of changes nothing is left out after the first.

    Parameters
    ----------
    condition
        of an estimate, one that more of any resource cannot undo, as a limit of latency is
    host_work
        what the host does with the graph's results
    """
    cost_on = _estimator(graph, host_work)
    base = cost_on(profile)
    for resource in _RULES:
        found = _least(cost_on, profile, resource, condition, base)
        if found is not None:
            yield found


def enough_sram(graph: IntGraph, profile: NpuProfile, host_work: Sequence[HostWork] = ()) -> Lift:
    """Return the chip with as much SRAM as the network's peak, to the next KiB."""
    cost_on, have = _estimator(graph, host_work), profile.memory.sram_bytes
    need = ceil_div(cost_on(profile).peak_sram_bytes, 1024) * 1024
    costs = cost_on(_changed(profile, memory={"sram_bytes": need}))
    return Lift(resource="sram_bytes", have=have, need=need, costs=costs)


def doubled(
    graph: IntGraph, profile: NpuProfile, host_work: Sequence[HostWork] = ()
) -> Iterator[Lift]:
    """Yield what twice as much of each resource gives, where it gives anything."""
    cost_on = _estimator(graph, host_work)
    base = cost_on(profile)
    for resource in _RULES:
        have = amount(profile, resource)
        if have is None:
            continue
        costs = cost_on(with_more(profile, resource, STEP))
        if costs.latency_ms < base.latency_ms:
            yield Lift(resource=resource, have=have, need=have * STEP, costs=costs)


def _least(
    cost_on: _Estimator,
    profile: NpuProfile,
    resource: LiftedResource,
    condition: Condition,
    base: CostEstimate,
) -> Lift | None:
    have = amount(profile, resource)
    if have is None:
        return None
    before = base
    for step in range(1, MOST_STEPS + 1):
        times = STEP**step
        costs = cost_on(with_more(profile, resource, times))
        if condition(costs):
            return Lift(resource=resource, have=have, need=have * times, costs=costs)
        if _same(costs, before):
            return None
        before = costs
    return None


def _estimator(graph: IntGraph, host_work: Sequence[HostWork]) -> _Estimator:
    return lambda profile: estimate(graph, profile, host_work, allow_unplaced=True)


def _same(costs: CostEstimate, before: CostEstimate) -> bool:
    return (costs.latency_ms, costs.dram_bytes, costs.fits_sram) == (
        before.latency_ms,
        before.dram_bytes,
        before.fits_sram,
    )


def amount(profile: NpuProfile, resource: LiftedResource) -> float | None:
    """Return how much of a resource a profile has; None where it does not limit it."""
    return _RULES[resource][0](profile)


def with_more(profile: NpuProfile, resource: LiftedResource, times: int) -> NpuProfile:
    """Return a profile with ``times`` as much of one resource, a power of two.

    An array grows along its outputs: a dot engine in n, with places for at least the sums of a
    step, a systolic array by turns in columns and rows. A faster clock is the chip's, its SRAM
    included. The DRAM remains as fast as it is: it gives fewer bytes a cycle, after more cycles.
    """
    return _RULES[resource][1](profile, times)


def _port_rate(profile: NpuProfile) -> float | None:
    port = profile.memory.sram_port
    return port.bytes_per_cycle if port else None


def _faster_port(profile: NpuProfile, times: int) -> NpuProfile:
    port = profile.memory.sram_port
    if port is None:
        return profile
    rate = port.bytes_per_cycle * times
    return _changed(profile, memory={"sram_port": _with(port, bytes_per_cycle=rate)})


def _macs(profile: NpuProfile) -> float:
    engine = profile.compute.engine
    if isinstance(engine, DotEngine):
        return engine.m * engine.n * engine.k / engine.cycles_per_step
    return engine.rows * engine.columns


def _more_sram(profile: NpuProfile, times: int) -> NpuProfile:
    return _changed(profile, memory={"sram_bytes": profile.memory.sram_bytes * times})


def _faster_dram(profile: NpuProfile, times: int) -> NpuProfile:
    rate = profile.memory.dram_bytes_per_cycle * times
    return _changed(profile, memory={"dram_bytes_per_cycle": rate})


def _larger_array(profile: NpuProfile, times: int) -> NpuProfile:
    return _changed(profile, compute={"engine": _larger(profile, times)})


def _more_lanes(profile: NpuProfile, times: int) -> NpuProfile:
    vector = profile.compute.vector
    return _changed(profile, compute={"vector": _with(vector, lanes=vector.lanes * times)})


def _faster_clock(profile: NpuProfile, times: int) -> NpuProfile:
    memory = profile.memory
    reads, waits = memory.dram_read_bytes_per_cycle, memory.dram_latency_cycles
    return _changed(
        profile,
        compute={
            "clock_mhz": profile.compute.clock_mhz * times,
            "host": _slower_host(profile, times),
        },
        memory={
            "dram_bytes_per_cycle": memory.dram_bytes_per_cycle / times,
            "dram_read_bytes_per_cycle": None if reads is None else reads / times,
            "dram_latency_cycles": None if waits is None else waits * times,
        },
    )


def _slower_host(profile: NpuProfile, times: float) -> HostSection | None:
    """Return the host with rates in so many times as many cycles; None where there is none."""
    host = profile.compute.host
    if host is None:
        return None
    rates = {kind: rate * times for kind, rate in host.cycles_per_element if rate is not None}
    copies = host.copy_bytes_per_cycle
    return host.model_copy(
        update={
            "cycles_per_element": host.cycles_per_element.model_copy(update=rates),
            "cycles_per_mac": host.cycles_per_mac * times,
            "copy_bytes_per_cycle": None if copies is None else copies / times,
            "handover_cycles": round(host.handover_cycles * times),
        }
    )


def _host(profile: NpuProfile) -> float | None:
    """Return 1 for a chip with a host, which is the unit that its speed is lifted in."""
    return None if profile.compute.host is None else 1


def _faster_host(profile: NpuProfile, times: int) -> NpuProfile:
    """Return a chip whose host is faster; copies and handovers take as long as before."""
    host = profile.compute.host
    if host is None:
        return profile
    faster = _slower_host(profile, 1 / times)
    kept = {key: getattr(host, key) for key in ("copy_bytes_per_cycle", "handover_cycles")}
    return _changed(profile, compute={"host": faster and faster.model_copy(update=kept)})


def _larger(profile: NpuProfile, times: int) -> Section:
    engine = profile.compute.engine
    if isinstance(engine, DotEngine):
        columns, sums = engine.n * times, engine.accumulators
        held = None if sums is None else max(sums, engine.m * columns)
        return _with(engine, n=columns, accumulators=held)
    doublings = int(math.log2(times))
    columns, rows = 2 ** ((doublings + 1) // 2), 2 ** (doublings // 2)
    return _with(engine, columns=engine.columns * columns, rows=engine.rows * rows)


def _changed(
    profile: NpuProfile,
    compute: dict[str, object] | None = None,
    memory: dict[str, object] | None = None,
) -> NpuProfile:
    return profile.model_copy(
        update={
            "compute": profile.compute.model_copy(update=compute or {}),
            "memory": profile.memory.model_copy(update=memory or {}),
        }
    )


def _with(section: Section, **values: object) -> Section:
    return section.model_copy(update=values)


_Amount = Callable[[NpuProfile], float | None]
_More = Callable[[NpuProfile, int], NpuProfile]
_RULES: dict[LiftedResource, tuple[_Amount, _More]] = {
    "sram_bytes": (lambda profile: profile.memory.sram_bytes, _more_sram),
    "dram_bytes_per_cycle": (lambda profile: profile.memory.dram_bytes_per_cycle, _faster_dram),
    "sram_bytes_per_cycle": (_port_rate, _faster_port),
    "macs_per_cycle": (_macs, _larger_array),
    "lanes": (lambda profile: profile.compute.vector.lanes, _more_lanes),
    "host_speed": (_host, _faster_host),
    "clock_mhz": (lambda profile: profile.compute.clock_mhz, _faster_clock),
}
