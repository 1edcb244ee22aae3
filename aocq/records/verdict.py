# SPDX-License-Identifier: Apache-2.0
"""Verdict: what gates say of a run, gate by gate, and what would let one pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aocq.records.fields import Count, Name, Record

Outcome = Literal["pass", "fail", "undecided"]
Figure = Annotated[int | float, Field(ge=-1e19, le=1e19)]
# Gates that hold for every run, whatever is asked for.
FITS_SRAM = "fits_sram"
REPORTED_OVERFLOW = "reported_overflow"
PLACED = "placed"


class GateResult(Record):
    """One gate on one run.

    name : that of its option, such as ``max_drop``, or of a gate that every run has: ``fits_sram``,
        ``placed`` (each op on some unit of the chip), ``reported_overflow``
    limit : what is allowed, or wanted
    value : what the run has; None where it has no such figure
    unit : of both: ``points``, ``%``, ``ms``, ``images/s``, ``bytes``, ``mJ``, ``ops``, ``sums``
        (outputs of accumulators), ``registers``
    outcome : ``undecided``: the images cannot tell, or there is no such figure
    reason : a sentence with value and limit
    interval : exact 95 % interval of the value; None of a figure that images do not sample
    by : what an accuracy was held to the limit by, its ``interval`` or the ``point`` estimate
    score : what an accuracy's drop is of, in words; None of other gates, and in older records
    images_needed : an estimate of how many images would decide at the observed rates; None where
        the outcome is another, or no number within reach would
    """

    name: Name
    limit: Figure
    value: Figure | None
    unit: str
    outcome: Outcome
    reason: str
    interval: tuple[Figure, Figure] | None = None
    by: Literal["interval", "point"] | None = None
    images_needed: Count | None = None
    score: Name | None = None


class Verdict(Record):
    """Yes, no or undecided, and why not yes.

    feasible : activations fit the SRAM, every op has a place, every gate passed, and no sum is
        exact only because its overflow is merely reported
    failed : what did not hold, a sentence each; empty where the verdict is UNDECIDED
    gates : the thresholds that were applied, by option name
    results : every gate that was applied, those included that every run has; empty in older records
    """

    feasible: bool
    failed: list[str]
    gates: dict[str, float] = Field(default_factory=dict)
    results: list[GateResult] = Field(default_factory=list)


UNJUDGED = Verdict(feasible=False, failed=[])  # in the place of a verdict until there is one


def held(
    name: str, value: float, limit: float, unit: str, reason: str, *, at_least: bool = False
) -> GateResult:
    """Return what a gate says of an exact value: up to its limit it passes, or from it on."""
    passes = value >= limit if at_least else value <= limit
    return GateResult(
        name=name,
        limit=limit,
        value=value,
        unit=unit,
        outcome="pass" if passes else "fail",
        reason=reason,
    )


def missing(name: str, limit: float, unit: str, reason: str) -> GateResult:
    """Return what a gate says where there is no figure for it: nothing is decided."""
    return GateResult(
        name=name, limit=limit, value=None, unit=unit, outcome="undecided", reason=reason
    )


def answer(verdict: Verdict) -> Literal["YES", "NO", "UNDECIDED"]:
    """Return the verdict's one word: NO if a gate failed, else UNDECIDED if one is open."""
    if verdict.feasible:
        return "YES"
    return "NO" if verdict.failed else "UNDECIDED"


def undecided(verdict: Verdict) -> list[str]:
    """Return what could not be decided, a sentence each."""
    return [result.reason for result in verdict.results if result.outcome == "undecided"]
