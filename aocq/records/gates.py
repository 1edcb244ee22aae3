# SPDX-License-Identifier: Apache-2.0
"""Gates: conditions on a finished run's figures that make its verdict a yes or a no."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from aocq.records.accuracy_gates import By, agreement_result, drop_result
from aocq.records.quantities import compared
from aocq.records.run import (
    Accuracy,
    CyclesRecord,
    MemoryRecord,
    OverflowRecord,
    ProofRecord,
    RunResult,
)
from aocq.records.verdict import FITS_SRAM, PLACED, REPORTED_OVERFLOW, GateResult, Verdict
from simulator.errors import InputError
from simulator.sizes import LARGEST

DEFAULT_MAX_DROP = 5.0  # points, of commands that judge every run
REPORT_POLICY = "report"
_NAMED = 3  # values that a sentence names
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

    max_drop : float top-1 minus integer top-1, in points
    min_agreement : integer against float, in percent
    max_latency_ms, max_energy_mj : ESTIMATED, of one image
    min_fps : ESTIMATED images per second
    max_sram_bytes : ESTIMATED peak
    max_dram_bytes : ESTIMATED traffic of one image
    no_overflow : no accumulator overflowed in the run, not even where its sum was right in the end
    require_proven : no input can overflow a register, whatever the run's images did
    default_drop : as ``max_drop`` where that is None, but held to by the point estimate
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
        found |= {"max_drop": drop, "default_drop": None, "decide": None}
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
        *_of_every_run(figures),
        *_of_accuracy(gates, figures.accuracy),
        *_of_costs(gates, figures),
        *_of_registers(gates, figures),
    ]
    return Verdict(
        feasible=all(result.outcome == "pass" for result in found),
        failed=[result.reason for result in found if result.outcome == "fail"],
        gates=gates.applied(),
        results=found,
    )


def judged(result: RunResult, gates: Gates) -> RunResult:
    """Return a finished run with the verdict that other gates give it."""
    return result.model_copy(update={"verdict": judge(gates, figures_of(result))})


def _missing(name: str, limit: float, unit: str, reason: str) -> GateResult:
    """Return what a gate says where there is no figure for it."""
    return GateResult(
        name=name, limit=limit, value=None, unit=unit, outcome="undecided", reason=reason
    )


def _held(name: str, value: float, limit: float, unit: str, reason: str) -> GateResult:
    """Return what a gate says of a value that must not exceed its limit."""
    outcome = "pass" if value <= limit else "fail"
    return GateResult(
        name=name, limit=limit, value=value, unit=unit, outcome=outcome, reason=reason
    )


# --- what every run has to hold -------------------------------------------------------------------


def _of_every_run(figures: Figures) -> list[GateResult]:
    """Return what no option sets: SRAM, a place for every op, overflow that is only reported.

    Where overflow is only reported, sums stay exact that the registers could not hold: the accuracy
    is not the chip's.
    """
    memory = figures.memory
    needed, available = compared(memory.peak_sram_bytes, memory.sram_bytes, "bytes")
    found = [
        _held(
            FITS_SRAM,
            memory.peak_sram_bytes,
            memory.sram_bytes,
            "bytes",
            f"activations need {needed} of SRAM (ESTIMATED), the profile has {available}",
        ),
        _placed(figures.cycles.unplaced),
    ]
    if figures.overflow is not None:
        reported = _only_counted(figures.overflow)
        sums = f"{reported or 'no'} {'sum' if reported == 1 else 'sums'}"
        reason = f'{sums} would overflow; accumulator.policy = "report" only counts them'
        if not reported:
            reason = "no sum is exact only because its overflow is merely reported"
        found.append(_held(REPORTED_OVERFLOW, reported, 0, "sums", reason))
    return found


def _placed(unplaced: Sequence[str]) -> GateResult:
    """Return whether the chip has a place for every op."""
    number = len(unplaced)
    ops = f"{number} {'op' if number == 1 else 'ops'}"
    reason = f"the chip has no place for {ops}: {', '.join(unplaced[:_NAMED])}"
    reason += ", …" * (number > _NAMED)
    if not number:
        reason = "the chip has a place for every op"
    return _held(PLACED, number, 0, "ops", reason)


def _only_counted(overflow: OverflowRecord) -> int:
    """Return how many overflows are reported only; 0 if none of them would change a sum.

    Older records have no count of it: there all of a run's overflows count.
    """
    if overflow.reported is not None:
        return overflow.reported
    reports = REPORT_POLICY in (overflow.policy or "").split(", ")
    return overflow.events if reports and overflow.changed else 0


# --- what options ask for -------------------------------------------------------------------------


def _of_accuracy(gates: Gates, accuracy: Accuracy | None) -> list[GateResult]:
    """Return the gates on classes; one that was asked for is held to its limit by its interval."""
    drop, by_default = gates.max_drop, False
    if drop is None:
        drop, by_default = gates.default_drop, True
    reason = "no images were run"
    found = []
    if drop is not None:
        by = gates.decide or ("point" if by_default else "interval")
        found.append(
            drop_result(drop, accuracy, by)
            if accuracy is not None
            else _missing("max_drop", drop, "points", reason)
        )
    if gates.min_agreement is not None:
        found.append(
            agreement_result(gates.min_agreement, accuracy, gates.decide or "interval")
            if accuracy is not None
            else _missing("min_agreement", gates.min_agreement, "%", reason)
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """A gate on an estimate: its unit, what its sentence calls the figure, and the figure."""

    unit: str
    called: str
    figure: Callable[[Figures], float | None]
    at_least: bool = False


_COSTS: Mapping[str, _Cost] = MappingProxyType(
    {
        "max_latency_ms": _Cost(unit="ms", called="latency is", figure=lambda f: f.latency_ms),
        "min_fps": _Cost(
            unit="images/s", called="throughput is", figure=lambda f: f.fps, at_least=True
        ),
        "max_sram_bytes": _Cost(
            unit="bytes", called="peak of SRAM is", figure=lambda f: f.memory.peak_sram_bytes
        ),
        "max_dram_bytes": _Cost(
            unit="bytes",
            called="DRAM traffic of one image is",
            figure=lambda f: f.memory.dram_bytes,
        ),
        "max_energy_mj": _Cost(
            unit="mJ", called="energy of one image is", figure=lambda f: f.energy_mj
        ),
    }
)
NO_ENERGY = (
    "energy of one image is not known: the profile has no table of energies, or the record is older"
)


def _of_costs(gates: Gates, figures: Figures) -> list[GateResult]:
    """Return the gates on estimates, which are exact numbers of the model."""
    found = []
    for name, cost in _COSTS.items():
        limit = getattr(gates, name)
        if limit is None:
            continue
        value = cost.figure(figures)
        if value is None:
            found.append(_missing(name, limit, cost.unit, NO_ENERGY))
            continue
        written, allowed = compared(value, limit, cost.unit)
        word = "wanted" if cost.at_least else "allowed"
        reason = f"ESTIMATED {cost.called} {written}, {word} {allowed}"
        result = _held(name, value, limit, cost.unit, reason)
        if cost.at_least:
            outcome = "pass" if value >= limit else "fail"
            result = result.model_copy(update={"outcome": outcome})
        found.append(result)
    return found


def _of_registers(gates: Gates, figures: Figures) -> list[GateResult]:
    """Return the gates on overflow in the run, and on what is proven for all inputs."""
    found = []
    overflow = figures.overflow
    if gates.no_overflow and overflow is None:
        found.append(_missing("no_overflow", 0, "sums", "no images were run"))
    elif gates.no_overflow and overflow is not None:
        events = overflow.events
        reason = f"{events:,} {'sum' if events == 1 else 'sums'} overflowed in the run, allowed 0"
        found.append(_held("no_overflow", events, 0, "sums", reason))
    if gates.require_proven:
        found.append(_proven(overflow, figures.proof))
    return found


def _proven(overflow: OverflowRecord | None, proof: ProofRecord | None) -> GateResult:
    """Return whether all values are proven, or of older records, without a proof, accumulators."""
    if proof is None and overflow is None:
        return _missing("require_proven", 0, "registers", "no bounds were looked at")
    if proof is None and overflow is not None:
        missing = overflow.counted_free + overflow.overflowing
        what, named = "accumulator", ""
    elif proof is not None:
        registers = [register for register in proof.registers if not register.proven]
        missing, what = len(registers), "register"
        named = ", ".join(f"{each.op} {each.value}" for each in registers[:_NAMED])
        named = f": {named}{', …' * (missing > _NAMED)}" if registers else ""
    are = f"{what} is" if missing == 1 else f"{what}s are"
    reason = f"{missing} {are} not proven free of overflow{named}"
    if not missing:
        reason = f"all {what}s are proven free of overflow"
    return _held("require_proven", missing, 0, "registers", reason)
