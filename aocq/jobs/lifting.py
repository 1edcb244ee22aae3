# SPDX-License-Identifier: Apache-2.0
"""What would let a network through: the estimate again, with a chip that has more of something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from aocq.jobs.cost_record import lift_record
from aocq.records.costs import LiftRecord
from aocq.records.run import RunResult
from aocq.records.verdict import FITS_SRAM, GateResult, Verdict
from aocq.tasks.task import host_work_of
from simulator.cost import CostEstimate
from simulator.cost.host_work import HostWork
from simulator.cost.lifts import Condition, doubled, enough_sram, lifts
from simulator.errors import AocqError
from simulator.graph import IntGraph, load
from simulator.profile import NpuProfile, load_profile


def lift_records(
    graph: IntGraph, profile: NpuProfile, verdict: Verdict, host_work: Sequence[HostWork] = ()
) -> list[LiftRecord]:
    """Return what would meet the gates that failed, or what makes the network faster.

    Gates on accuracy, overflow and energy are not met by more of a resource. Where no other gate
    failed, or none is met by more of one resource alone, the records say what twice as much of each
    gives.
    """
    failed = [result for result in verdict.results if result.outcome == "fail"]
    conditions = {result.name: met for result in failed if (met := _condition(result))}
    found = []
    for gate, met in conditions.items():
        found += [lift_record(lift, gate) for lift in lifts(graph, profile, met, host_work)]
    if any(result.name == FITS_SRAM for result in failed):
        found.append(lift_record(enough_sram(graph, profile, host_work), FITS_SRAM))
    return found or [lift_record(lift, None) for lift in doubled(graph, profile, host_work)]


def lifted_again(result: RunResult, folder: Path) -> RunResult:
    """Return a run that was judged by other gates with what would meet these.

    The run's folder has its graph. Without it, or where the profile of its name is another one by
    now, nothing is known of what would lift a gate.
    """
    return result.model_copy(update={"lifts": list(_of_folder(result, folder))})


def _of_folder(result: RunResult, folder: Path) -> Iterator[LiftRecord]:
    try:
        graph, profile = load(folder), load_profile(result.profile.name)
    except (AocqError, OSError):
        return
    if profile.sha256() == result.profile.sha256:
        work = host_work_of(result.accuracy.task, graph)
        yield from lift_records(graph, profile, result.verdict, work)


def _condition(gate: GateResult) -> Condition | None:
    """Return when an estimate meets a gate; None of a gate that no resource lifts."""
    limit = gate.limit

    def fast_enough(costs: CostEstimate) -> bool:
        return costs.latency_ms <= limit

    def often_enough(costs: CostEstimate) -> bool:
        return costs.fps >= limit

    def little_traffic(costs: CostEstimate) -> bool:
        return costs.dram_bytes <= limit

    conditions: dict[str, Condition] = {
        "max_latency_ms": fast_enough,
        "min_fps": often_enough,
        "max_dram_bytes": little_traffic,
    }
    return conditions.get(gate.name)
