# SPDX-License-Identifier: Apache-2.0
"""Gates of a verdict as rows of text: limit, value, interval, outcome."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aocq.records.quantities import bound, compared
from aocq.records.verdict import (
    FITS_SRAM,
    PLACED,
    REPORTED_OVERFLOW,
    GateResult,
    Verdict,
    undecided,
)
from reports.format import MISSING, plural

GATE_HEAD = ("gate", "limit", "value", "95 % interval", "outcome")
# Gates that have no number of their own.
FLAGS = frozenset({"no_overflow", "require_proven"})
_CALLED: Mapping[str, str] = MappingProxyType(
    {
        FITS_SRAM: "activations fit the SRAM, ESTIMATED",
        PLACED: "ops without a place",
        REPORTED_OVERFLOW: "overflow that is only reported",
        "max_drop": "drop of top-1",  # of older records, which do not say of which score
        "min_agreement": "agreement with float",
        "max_latency_ms": "latency, ESTIMATED",
        "min_fps": "throughput, ESTIMATED",
        "max_sram_bytes": "peak SRAM, ESTIMATED",
        "max_dram_bytes": "DRAM traffic, ESTIMATED",
        "max_energy_mj": "energy, ESTIMATED",
        "no_overflow": "overflow in the run",
        "require_proven": "registers not proven",
    }
)
_OUTCOMES = {"pass": "pass", "fail": "FAIL", "undecided": "UNDECIDED"}


def gate_name(name: str) -> str:
    """Return what tables call a gate."""
    return _CALLED.get(name, name.replace("_", " "))


def gate_rows(verdict: Verdict) -> list[tuple[str, str, str, str, str]]:
    """Return every gate that was applied, as cells below :data:`GATE_HEAD`.

    Empty of an older record. An accuracy that was held to its limit by its point estimate says so.
    """
    return [_row(result) for result in verdict.results]


def _row(result: GateResult) -> tuple[str, str, str, str, str]:
    sign = "≥" if result.name.startswith("min_") else "≤"
    value, limit = MISSING, bound(result.limit, result.unit)
    if result.value is not None:
        value, limit = compared(result.value, result.limit, result.unit)
    outcome = _OUTCOMES[result.outcome]
    if result.by == "point":
        outcome += " (by the point estimate)"
    if result.images_needed is not None:
        outcome += f" (about {plural(result.images_needed, 'image')} would decide)"
    low_high = MISSING if result.interval is None else interval(*result.interval)
    name = f"drop of {result.score}" if result.score else gate_name(result.name)
    return name, f"{sign} {limit}", value, low_high, outcome


def interval(low: float, high: float) -> str:
    """Write an interval: ``-0.31 to 3.70``."""
    return f"{_plain(low)} to {_plain(high)}"


def _plain(value: float) -> str:
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text


def against(verdict: Verdict) -> list[str]:
    """Return what speaks against a yes, a sentence each: what failed, then what is undecided."""
    return [*verdict.failed, *undecided(verdict)]


def why(verdict: Verdict) -> str:
    """Return the verdict's one sentence, without its word."""
    if verdict.failed:
        text = f"{plural(len(verdict.failed), 'condition')} not met"
        open_ = len(undecided(verdict))
        return text + f", {open_} not shown to hold" * bool(open_)
    if not verdict.feasible:
        return f"{plural(len(undecided(verdict)), 'gate')} not shown to hold"
    return f"activations fit the SRAM, gates passed: {_applied(verdict) or 'none set'}"


def _applied(verdict: Verdict) -> str:
    """Return the gates that options set: ``max drop 5 by its point estimate, no overflow``."""
    by_point = {result.name for result in verdict.results if result.by == "point"}
    sizes = {result.name: result for result in verdict.results if result.unit == "bytes"}
    found = []
    for name, limit in verdict.gates.items():
        words = name.replace("_", " ")
        if name in sizes:
            words = f"{words.removesuffix(' bytes')} {bound(limit, 'bytes')}"
        elif name not in FLAGS:
            words += f" {limit:g}"
        found.append(words + " by its point estimate" * (name in by_point))
    return ", ".join(found)
