# SPDX-License-Identifier: Apache-2.0
"""Gates: conditions on a finished run's figures that make its verdict a yes or a no."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from aocq.records.run import (
    FEW_IMAGES,
    Accuracy,
    MemoryRecord,
    OverflowRecord,
    ProofRecord,
    RunResult,
    Verdict,
)
from simulator.errors import InputError

# Percentages are quotients in float64: a gate met exactly must not fail by their last digit.
ROUNDING = 1e-9
REPORT_POLICY = "report"
# A gate without a number: it is applied, or not.
REQUIRE_PROVEN = "require_proven"
_NAMED = 3  # values that a sentence names
# Smallest and largest sensible value of each gate that is a number.
RANGES = {
    "max_drop": (-100.0, 100.0),
    "min_agreement": (0.0, 100.0),
    "max_latency_ms": (0.0, 1e9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Conditions that turn a run into a yes or a no; None leaves one out.

    max_drop : float top-1 minus integer top-1, in points
    min_agreement : integer against float, in percent
    max_latency_ms : ESTIMATED latency of one image
    require_proven : no input can overflow a register, whatever the run's images did
    """

    max_drop: float | None = 5.0
    min_agreement: float | None = None
    max_latency_ms: float | None = None
    require_proven: bool = False

    def __post_init__(self) -> None:
        """Refuse a gate that every run would pass, or none.

        Raises
        ------
        InputError
            If a gate is not a number or out of its range.
        """
        for name, value in self.applied().items():
            if name == REQUIRE_PROVEN:
                continue
            least, most = RANGES[name]
            if not (math.isfinite(value) and least <= value <= most):
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} {value}: wanted a number from {least:g} to {most:g}")

    def applied(self) -> dict[str, float]:
        """Return the gates that are set, by name; 1 is that of the gate without a number."""
        set_ = {name: value for name, value in asdict(self).items() if value not in {None, False}}
        return {name: float(value) for name, value in set_.items()}


def judge(
    gates: Gates,
    accuracy: Accuracy,
    overflow: OverflowRecord,
    memory: MemoryRecord,
    latency_ms: float,
    proof: ProofRecord | None = None,
) -> Verdict:
    """Return yes if activations fit the SRAM, no overflow is merely reported, every gate passes."""
    failed = [
        *_of_the_chip(overflow, memory),
        *_of_accuracy(gates, accuracy),
    ]
    if gates.max_latency_ms is not None and latency_ms > gates.max_latency_ms:
        failed.append(
            f"ESTIMATED latency is {latency_ms:.3f} ms, allowed {gates.max_latency_ms:g} ms"
        )
    if gates.require_proven:
        failed += _not_proven(overflow, proof)
    return Verdict(feasible=not failed, failed=failed, gates=gates.applied())


def judged(result: RunResult, gates: Gates) -> RunResult:
    """Return a finished run with the verdict that other gates give it."""
    verdict = judge(
        gates, result.accuracy, result.overflow, result.memory, result.latency_ms, result.proof
    )
    return result.model_copy(update={"verdict": verdict})


def _of_the_chip(overflow: OverflowRecord, memory: MemoryRecord) -> list[str]:
    """Return the reasons against a run that no gate sets: SRAM, and overflow that is only reported.

    Where overflow is only reported, sums stay exact that the registers could not hold: the accuracy
    is not the chip's.
    """
    failed = []
    if memory.peak_sram_bytes > memory.sram_bytes:
        failed.append(
            f"activations need {memory.peak_sram_bytes} bytes of SRAM (ESTIMATED), the profile has "
            f"{memory.sram_bytes}"
        )
    reported = _only_counted(overflow)
    if reported:
        failed.append(
            f"{reported} {'sum' if reported == 1 else 'sums'} would overflow; "
            'accumulator.policy = "report" only counts them'
        )
    return failed


def _only_counted(overflow: OverflowRecord) -> int:
    """Return how many overflows are reported only; 0 if none of them would change a sum.

    Older records have no count of it: there all of a run's overflows count.
    """
    if overflow.reported is not None:
        return overflow.reported
    reports = REPORT_POLICY in (overflow.policy or "").split(", ")
    return overflow.events if reports and overflow.changed else 0


def _not_proven(overflow: OverflowRecord, proof: ProofRecord | None) -> list[str]:
    """Return what is not proven: values, or of older records, which have none, accumulators."""
    if proof is None:
        sums = overflow.counted_free + overflow.overflowing
        what = "accumulator is" if sums == 1 else "accumulators are"
        return [f"{sums} {what} not proven free of overflow"] if sums else []
    missing = [register for register in proof.registers if not register.proven]
    if not missing:
        return []
    named = ", ".join(f"{each.op} {each.value}" for each in missing[:_NAMED])
    more = ", …" * (len(missing) > _NAMED)
    what = "register is" if len(missing) == 1 else "registers are"
    return [f"{len(missing)} {what} not proven free of overflow: {named}{more}"]


def _of_accuracy(gates: Gates, accuracy: Accuracy) -> list[str]:
    failed = []
    drop = accuracy.float.top1 - accuracy.integer.top1
    if gates.max_drop is not None and drop > gates.max_drop + ROUNDING:
        few = f" (one of {accuracy.images} images is {100 / accuracy.images:.2f} points)"
        failed.append(
            f"integer top-1 is {drop:.2f} points below float, allowed {gates.max_drop:g}"
            + few * (accuracy.images < FEW_IMAGES)
        )
    agreed = accuracy.agreement.integer_float
    if gates.min_agreement is not None and agreed < gates.min_agreement - ROUNDING:
        failed.append(
            f"integer agrees with float on {agreed:.2f} % of images, "
            f"wanted {gates.min_agreement:g} %"
        )
    return failed
