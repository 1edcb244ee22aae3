# SPDX-License-Identifier: Apache-2.0
"""What a reader wants to know of a run first: questions and their answers, a sentence each.

Costs are ESTIMATED; a question that a record cannot answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aocq.records.accuracy import Accuracy
from aocq.records.accuracy_gates import counted, drop_interval, in_percent
from aocq.records.intervals import share_interval
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.attribution import attribution_sentence
from reports.costs import host_sentence
from reports.format import MISSING, count, decibel, kib, percent, plural, share, signed
from reports.gates import interval
from reports.limits import (
    ENERGY_PARTS,
    capital,
    fit_sentence,
    lift_sentence,
    limit_sentence,
    peak_sentence,
    times,
)
from reports.ops import steepest_fall, worst_ops
from reports.sources import assumed_sentence
from reports.tables import overflow_sentence


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and its answer; ``section``: the id of the page's section that has more."""

    question: str
    text: str
    section: str


def answers(result: RunResult, rows: Sequence[LayerRow]) -> list[Answer]:
    """Return the questions with their answers, in the order of the page's sections."""
    lift = lift_sentence(result) or "The record does not say; it is older."
    return [
        Answer("Does it fit?", _fits(result), "memory"),
        Answer("How fast?", _speed(result), "time"),
        Answer("What limits it?", limit_sentence(result), "time"),
        Answer("What would lift that?", lift, "time"),
        Answer("What did quantization cost?", cost_sentence(result), "accuracy"),
        Answer("Where?", where_sentence(rows), "lost"),
        Answer(
            "Can an accumulator overflow?", f"{capital(overflow_sentence(result))}.", "overflow"
        ),
        Answer("How much energy?", energy_sentence(result), "energy"),
        Answer("What of this is assumed?", assumed_sentence(result), "assumed"),
    ]


def _fits(result: RunResult) -> str:
    allowed = [
        gate.limit
        for gate in result.verdict.results
        if gate.name == "max_sram_bytes" and gate.outcome == "fail"
    ]
    more = [f"The gate allows {kib(round(limit))}." for limit in allowed]
    return " ".join([fit_sentence(result), *more, peak_sentence(result)]).rstrip()


def _speed(result: RunResult) -> str:
    text = f"{result.latency_ms:,.3f} ms, {result.fps:,.2f} images/s"
    half = result.float16
    if half is not None and half.latency_ms and result.latency_ms:
        text += f"; {times(half.latency_ms, result.latency_ms)} as fast as in float16"
    return f"{text}. {host_sentence(result.cycles)}".rstrip()


def cost_sentence(result: RunResult) -> str:
    """Return what quantization did to the main score and to the logits."""
    accuracy = result.accuracy
    found = drop_interval(accuracy)
    exact = "" if found is None else f", 95 %: {interval(-found.high, -found.low)}"
    return (
        f"{signed(-accuracy.drop)} points of {accuracy.main.title} "
        f"({percent(accuracy.score('integer'))}, float {percent(accuracy.score('float'))}{exact}). "
        f"{attribution_sentence(accuracy)}"
    )


def score_interval(accuracy: Accuracy, found: float) -> str:
    """Return the exact 95 % interval of a score: ``81.60 to 88.90``; a dash where there is none."""
    if not accuracy.by_image:
        return MISSING
    images = accuracy.images
    return interval(*in_percent(share_interval(counted(found, images), images)))


def where_sentence(rows: Sequence[LayerRow]) -> str:
    """Return the op of lowest SQNR and that of the steepest fall."""
    worst = worst_ops(rows, 1)
    if not worst:
        return "No op has an SQNR."
    text = f"Lowest SQNR: {worst[0].row.op}, {decibel(worst[0].sqnr_db)}"
    fall = steepest_fall(rows)
    if fall is not None:
        text += f"; steepest fall: {fall.row.op}, {signed(fall.change)} dB"
    return f"{text}."


def energy_sentence(result: RunResult) -> str:
    """Return the energy of an image and what spends most; that there is none without a table."""
    energy = result.energy_record
    if energy is None:
        return "Not estimated: the profile has no energies for this network."
    text = f"{energy.total_mj:,.4g} mJ an image at {energy.node_nm:g} nm"
    if energy.total_mj and energy.parts:
        part = max(sorted(energy.parts), key=lambda name: energy.parts[name])
        spent = 100 * energy.parts[part] / energy.total_mj
        text += f", {spent:.0f} % of it in {ENERGY_PARTS.get(part, part)}"
    return f"{text}."


def against_float16(result: RunResult) -> list[tuple[str, str, str, str]]:
    """Return what the network costs, what it would in float16, and the ratio, as rows of text."""
    half = result.float16
    if half is None:
        return []
    memory, energy = result.memory, result.energy_record
    pairs: list[tuple[str, float | None, float | None, str]] = [
        ("latency, ms", result.latency_ms, half.latency_ms, ",.3f"),
        ("cycles", result.cycles.total, half.cycles, ","),
        ("constants, KiB", memory.weight_bytes / 1024, half.weight_bytes / 1024, ",.2f"),
        ("peak SRAM, KiB", memory.peak_sram_bytes / 1024, half.peak_sram_bytes / 1024, ",.2f"),
        ("DRAM traffic, KiB", memory.dram_bytes / 1024, half.dram_bytes / 1024, ",.2f"),
        ("energy, mJ", energy.total_mj if energy else None, half.energy_mj, ",.4g"),
    ]
    rows = [
        (name, format(now, look), format(then, look), times(then, now))
        for name, now, then, look in pairs
        if now and then is not None
    ]
    now, then = (
        "yes" if peak <= memory.sram_bytes else "NO"
        for peak in (memory.peak_sram_bytes, half.peak_sram_bytes)
    )
    return [*rows, ("fits the SRAM", now, then, "")]


def ports(result: RunResult) -> list[tuple[str, ...]]:
    """Return what memories' ports move: name, KiB, cycles, share of all, rate, burst, latency."""
    return [
        (
            name.upper(),
            f"{port.bytes / 1024:,.2f}",
            count(port.cycles),
            share(port.cycles, result.cycles.total),
            "not limited" if port.bytes_per_cycle is None else f"{port.bytes_per_cycle:,.4g}",
            plural(port.burst_bytes, "byte"),
            plural(port.latency_cycles, "cycle"),
        )
        for name, port in result.ports.items()
    ]
