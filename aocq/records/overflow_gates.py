# SPDX-License-Identifier: Apache-2.0
"""Gates on registers: what overflowed in a run, what only counted it, what no input can do."""

from __future__ import annotations

from aocq.records.run import OverflowRecord, ProofRecord
from aocq.records.verdict import REPORTED_OVERFLOW, GateResult, held, missing

REPORT_POLICY = "report"
_NAMED = 3  # registers in a sentence


def reported_overflow(overflow: OverflowRecord) -> GateResult:
    """Return whether no overflow is merely reported.

    Where it is, sums stay exact that the registers could not hold: the accuracy is not the chip's.
    """
    reported = _only_counted(overflow)
    reason = "no sum is exact only because its overflow is merely reported"
    if reported:
        sums = f"{reported} {'sum' if reported == 1 else 'sums'}"
        reason = f'{sums} would overflow; accumulator.policy = "report" only counts them'
    return held(REPORTED_OVERFLOW, reported, 0, "sums", reason)


def _only_counted(overflow: OverflowRecord) -> int:
    """Return how many overflows are reported only; 0 if none of them would change a sum.

    Older records have no count of it: there all of a run's overflows count.
    """
    if overflow.reported is not None:
        return overflow.reported
    reports = REPORT_POLICY in (overflow.policy or "").split(", ")
    return overflow.events if reports and overflow.changed else 0


def no_overflow(overflow: OverflowRecord | None) -> GateResult:
    """Return whether no accumulator overflowed in the run; None: nothing was run."""
    if overflow is None:
        return missing("no_overflow", 0, "sums", "overflow is not known: no images were run")
    events = overflow.events
    reason = f"{events:,} {'sum' if events == 1 else 'sums'} overflowed in the run, allowed 0"
    return held("no_overflow", events, 0, "sums", reason)


def require_proven(overflow: OverflowRecord | None, proof: ProofRecord | None) -> GateResult:
    """Return whether all registers are proven, or of older records, without a proof, accumulators.

    None of both: no bounds were looked at.
    """
    if proof is not None:
        registers = [register for register in proof.registers if not register.proven]
        named = ", ".join(f"{each.op} {each.value}" for each in registers[:_NAMED])
        more = f": {named}{', …' * (len(registers) > _NAMED)}"
        return _proven(len(registers), "register", more)
    if overflow is not None:
        return _proven(overflow.counted_free + overflow.overflowing, "accumulator", "")
    return missing("require_proven", 0, "registers", "no bounds of registers were looked at")


def _proven(lacking: int, what: str, named: str) -> GateResult:
    are = f"{what} is" if lacking == 1 else f"{what}s are"
    reason = f"{lacking} {are} not proven free of overflow{named}"
    if not lacking:
        reason = f"all {what}s are proven free of overflow"
    return held("require_proven", lacking, 0, "registers", reason)
