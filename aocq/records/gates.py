# SPDX-License-Identifier: Apache-2.0
"""Gates: conditions on a finished run's figures that make its verdict a yes or a no."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from aocq.records.accuracy import Accuracy
from aocq.records.accuracy_gates import By, agreement_result, drop_result
from aocq.records.cost_gates import cost_result, fits_sram, placed
from aocq.records.costs import CyclesRecord, MemoryRecord
from aocq.records.overflow_gates import no_overflow, reported_overflow, require_proven
from aocq.records.run import OverflowRecord, ProofRecord, RunResult
from aocq.records.verdict import GateResult, Verdict
from simulator.errors import InputError
from simulator.sizes import LARGEST

DEFAULT_MAX_DROP = 5.0  # points, of commands that judge every run
# Smallest and largest sensible value of each gate that is a number.
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "max_drop": (-100.0, 100.0),
        "min_agreement": (0.0, 100.0),
        "max_latency_ms": (0.0, 1e9),
        "min_fps": (0.0, 1e9),
        "max_sram_bytes": (0, LARGEST),
        "max_dram_bytes": (0, LARGEST),
        "max_energy_mj": (0.0, 1e9),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Conditions that turn a run into a yes or a no; None leaves one out.

    max_drop : main score of float minus that of the integer network, in points
    min_agreement : integer against float, in percent
    max_latency_ms, max_energy_mj : ESTIMATED, of one image
    min_fps : ESTIMATED images per second
    max_sram_bytes : ESTIMATED peak
    max_dram_bytes : ESTIMATED traffic of one image
    no_overflow : no accumulator overflowed in the run, not even where its sum was right in the end
    require_proven : no input can overflow a register, whatever the run's images did
    default_drop : as ``max_drop`` where that is None, but held to by the point estimate
    allow_unplaced : no gate: an op that the chip has no place for makes a NO, and is no error
    decide : what accuracies are held to their limits by; None: the default by its point estimate,
        what was asked for by its interval
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    max_latency_ms: float | None = None
    min_fps: float | None = None
    max_sram_bytes: int | None = None
    max_dram_bytes: int | None = None
    max_energy_mj: float | None = None
    no_overflow: bool = False
    require_proven: bool = False
    default_drop: float | None = None
    decide: By | None = None
    allow_unplaced: bool = False

    def __post_init__(self) -> None:
        """Refuse a gate that every run would pass, or none.

        Raises
        ------
        InputError
            If a gate is not a number or out of its range.
        """
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} {value}: wanted a number from {least:g} to {most:g}")

    def applied(self) -> dict[str, float]:
        """Return the gates that are set, by name; 1 is that of a gate without a number."""
        drop = self.default_drop if self.max_drop is None else self.max_drop
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found |= {"max_drop": drop, "default_drop": None, "decide": None, "allow_unplaced": None}
        return {
            name: float(value)
            for name, value in found.items()
            if value is not None and value is not False
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What gates judge; None is what a run, an estimate or an older record does not have.

    cycles : for the ops that the chip has no place for
    latency_ms, fps, energy_mj : ESTIMATED, of one image
    """

    memory: MemoryRecord
    cycles: CyclesRecord
    latency_ms: float
    fps: float
    energy_mj: float | None = None
    accuracy: Accuracy | None = None
    overflow: OverflowRecord | None = None
    proof: ProofRecord | None = None


def figures_of(result: RunResult) -> Figures:
    """Return what gates judge of a run."""
    energy = result.energy_record
    return Figures(
        memory=result.memory,
        cycles=result.cycles,
        latency_ms=result.latency_ms,
        fps=result.fps,
        energy_mj=None if energy is None else energy.total_mj,
        accuracy=result.accuracy,
        overflow=result.overflow,
        proof=result.proof,
    )


def judge(gates: Gates, figures: Figures) -> Verdict:
    """Return yes if activations fit the SRAM, every op has a place, and every gate passes.

    A gate on a figure that there is none of is undecided.
    """
    found = [
        fits_sram(figures.memory),
        placed(figures.cycles.unplaced),
        *([] if figures.overflow is None else [reported_overflow(figures.overflow)]),
        *_of_accuracy(gates, figures.accuracy),
        *_of_costs(gates, figures),
    ]
    if gates.no_overflow:
        found.append(no_overflow(figures.overflow))
    if gates.require_proven:
        found.append(require_proven(figures.overflow, figures.proof))
    return Verdict(
        feasible=all(result.outcome == "pass" for result in found),
        failed=[result.reason for result in found if result.outcome == "fail"],
        gates=gates.applied(),
        results=found,
    )


def judged(result: RunResult, gates: Gates) -> RunResult:
    """Return a finished run with the verdict that other gates give it."""
    return result.model_copy(update={"verdict": judge(gates, figures_of(result))})


def _of_accuracy(gates: Gates, accuracy: Accuracy | None) -> list[GateResult]:
    """Return the gates on classes; one that was asked for is held to its limit by its interval."""
    drop, by = gates.max_drop, gates.decide or "interval"
    if drop is None:
        drop, by = gates.default_drop, gates.decide or "point"
    found = []
    if drop is not None:
        found.append(drop_result(drop, accuracy, by))
    if gates.min_agreement is not None:
        by = gates.decide or "interval"
        found.append(agreement_result(gates.min_agreement, accuracy, by))
    return found


def _of_costs(gates: Gates, figures: Figures) -> list[GateResult]:
    values: dict[str, float | None] = {
        "max_latency_ms": figures.latency_ms,
        "min_fps": figures.fps,
        "max_sram_bytes": figures.memory.peak_sram_bytes,
        "max_dram_bytes": figures.memory.dram_bytes,
        "max_energy_mj": figures.energy_mj,
    }
    limits = {name: getattr(gates, name) for name in values}
    return [
        cost_result(name, limit, values[name], figures.cycles.left_out)
        for name, limit in limits.items()
        if limit is not None
    ]
