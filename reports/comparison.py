# SPDX-License-Identifier: Apache-2.0
"""Finished runs side by side: one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aocq.records.costs import CyclesRecord, EnergyRecord
from aocq.records.run import RunResult
from reports import layer_widths
from reports.alike import groups_of_data, judged_on, network, warnings
from reports.chips import energy_cell, of_process
from reports.format import (
    MISSING,
    NO_NOISE,
    convention,
    count,
    decibel,
    kib,
    percent,
    plural,
    share,
    signed,
)
from reports.limits import RESOURCES, limiting
from reports.pareto import has_line, pareto
from reports.rows import TableRow, judgings, run_row, score_titles
from reports.tables import ESTIMATED, answer, images, reason, scheme
from reports.templating import inline, template
from simulator.settings import typed

SIDE_BY_SIDE = 8  # runs; more of them are only rows of the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A run of a comparison.

    name : of its folder, as the table has it
    page : address of its own report, relative to the page; empty without one
    """

    result: RunResult
    name: str
    page: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of every run; ``alike`` where all runs have the same."""

    name: str
    values: list[str]

    @property
    def alike(self) -> bool:
        """Whether all runs have the same value."""
        return len({*self.values}) == 1


def html(runs: Sequence[Compared]) -> str:
    """Return a comparison of runs as one self-contained HTML file."""
    rows = [run_row(run.result, {"profile": run.result.profile.name}, run.name) for run in runs]
    plots = []
    for number, group in enumerate(groups_of_data(rows)):
        members, numbers = [rows[i] for i in group], [i + 1 for i in group]
        drawn = inline(pareto(members, f"pareto{number}", numbers))
        plots.append((judged_on(members[0]), numbers, drawn, has_line(members)))
    return template("compare.html.j2").render(
        runs=runs,
        rows=rows,
        title=title(rows),
        warnings=warnings(rows),
        energy_cell=energy_cell,
        of_process=of_process(rows),
        scores=score_titles(rows),
        agreed=" or ".join(dict.fromkeys(each.alike for each in judgings(rows))),
        plots=plots,
        columns=columns(rows),
        sections=sections([run.result for run in runs]) if len(runs) <= SIDE_BY_SIDE else [],
    )


# What rows are of: a column each where they differ in it.
OF_WHAT: dict[str, Callable[[TableRow], str]] = {
    "Network": network,
    "Method": lambda row: f"{row.method} W{row.w_bits}A{row.a_bits}",
    "Profile": lambda row: row.variant["profile"],
    "Judged on": judged_on,
}


def columns(rows: Sequence[TableRow]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the columns in which rows differ, and the values that all of them have."""
    values = {name: [of(row) for row in rows] for name, of in OF_WHAT.items()}
    differing = {name: found for name, found in values.items() if len({*found}) > 1}
    alike = {name: found[0] for name, found in values.items() if name not in differing}
    return differing, alike


def title(rows: Sequence[TableRow]) -> str:
    """Return what is compared: runs, networks, and images where all runs have the same."""
    networks = list(dict.fromkeys(map(network, rows)))
    data = list(dict.fromkeys(map(judged_on, rows)))
    of = networks[0] if len(networks) == 1 else f"{len(networks)} networks"
    on = data[0] if len(data) == 1 else f"{len(data)} sets of images"
    return f"{plural(len(rows), 'run')} of {of}, {on}"


def sections(results: Sequence[RunResult]) -> list[tuple[str, list[Line]]]:
    """Return all that is said of runs side by side: (heading, lines)."""
    return [
        ("What was run", _identity(results)),
        ("Verdict", _verdict(results)),
        ("Accuracy", _accuracy(results)),
        (f"Cost of one image ({ESTIMATED})", _cost(results)),
        ("Overflow and saturation", _overflow(results)),
    ]


def _data(result: RunResult) -> str:
    """Return the name of a run's data and the beginning of its digest: ``val d9a31c3a``."""
    data = result.data
    return MISSING if data is None else f"{data.name} {data.digest[:8]}".rstrip()


def _identity(results: Sequence[RunResult]) -> list[Line]:
    return [
        Line("network", [result.model.name for result in results]),
        Line("built with", [typed(result.model.arguments) or MISSING for result in results]),
        Line("weights", [(r.model.checkpoint_sha256 or MISSING)[:8] for r in results]),
        Line("method", [scheme(result) for result in results]),
        Line("widths", [convention(w) if (w := r.method.widths) else MISSING for r in results]),
        Line("layers", [layer_widths.rules(r.method) or MISSING for r in results]),
        Line("profile", [result.profile.name for result in results]),
        Line("data", [_data(r) for r in results]),
        Line("classes", [count(r.data.classes) if r.data else MISSING for r in results]),
        Line("images", [images(result) for result in results]),
    ]


def _verdict(results: Sequence[RunResult]) -> list[Line]:
    return [
        Line("verdict", [answer(result) for result in results]),
        Line("why", ["; ".join(r.verdict.failed) or reason(r) for r in results]),
    ]


def _accuracy(results: Sequence[RunResult]) -> list[Line]:
    found = [result.accuracy for result in results]
    alike = " or ".join(dict.fromkeys(a.alike for a in found))
    score = " or ".join(dict.fromkeys(a.main.title for a in found))
    return [
        Line(f"float {score}", [percent(a.score("float")) for a in found]),
        Line(f"fake-quantized {score}", [percent(a.score("simulated")) for a in found]),
        Line(f"integer {score}", [percent(a.score("integer")) for a in found]),
        Line("integer against float, points", [signed(-a.drop) for a in found]),
        Line(f"{alike} as float", [percent(a.agreement.integer_float) for a in found]),
        Line("logit SQNR", [decibel(a.logit_sqnr_db.integer_float, NO_NOISE) for a in found]),
    ]


def _cost(results: Sequence[RunResult]) -> list[Line]:
    kinds = list(dict.fromkeys(kind for r in results for kind in r.cycles.by_kind))
    kinds.sort(key=lambda kind: -max(r.cycles.by_kind.get(kind, 0) for r in results))
    return [
        Line("latency", [f"{result.latency_ms:,.3f} ms" for result in results]),
        Line("images per second", [f"{result.fps:,.1f}" for result in results]),
        Line("cycles", [count(result.cycles.total) for result in results]),
        *(
            Line(
                f"of these in {kind}",
                [share(r.cycles.by_kind.get(kind, 0), r.cycles.total) for r in results],
            )
            for kind in kinds
        ),
        Line("limited by", [_limit(result.cycles) for result in results]),
        Line("peak SRAM", [kib(result.memory.peak_sram_bytes) for result in results]),
        Line("SRAM of the profile", [kib(result.memory.sram_bytes) for result in results]),
        Line("DRAM traffic", [kib(result.memory.dram_bytes) for result in results]),
        Line("constants", [kib(result.memory.weight_bytes) for result in results]),
        Line("energy", [_energy(result.energy_record) for result in results]),
        Line("float16 takes", [_float16(result) for result in results]),
        Line("multiply-accumulates", [count(result.graph.macs) for result in results]),
        Line("ops not in integers", [_of(r.graph.float_ops, r.graph.ops) for r in results]),
    ]


def _limit(cycles: CyclesRecord) -> str:
    name, part = limiting(cycles)
    return f"{RESOURCES.get(name, name)}, {part:.0f} %" if name else MISSING


def _energy(energy: EnergyRecord | None) -> str:
    return MISSING if energy is None else f"{energy.total_mj:,.4g} mJ at {energy.node_nm:g} nm"


def _float16(result: RunResult) -> str:
    """Return how many times as long the same network takes in float16."""
    half = result.float16
    if half is None or half.latency_ms is None or not result.latency_ms:
        return MISSING
    return f"{half.latency_ms / result.latency_ms:.3g} times as long"


def _overflow(results: Sequence[RunResult]) -> list[Line]:
    found = [result.overflow for result in results]
    return [
        Line("overflow events", [count(overflow.events) for overflow in found]),
        Line("accumulators overflowing", [count(overflow.overflowing) for overflow in found]),
        Line("accumulators proven free", [count(overflow.proven_free) for overflow in found]),
        Line("least headroom, bits", [_optional(o.least_headroom_bits) for o in found]),
    ]


def _of(part: int, whole: int) -> str:
    return f"{count(part)} of {count(whole)}"


def _optional(value: int | None) -> str:
    return MISSING if value is None else str(value)
