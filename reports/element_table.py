# SPDX-License-Identifier: Apache-2.0
"""What each element of a recipe gains and costs: Markdown, CSV and a page.

A difference is what the element brings: with it less without it, whichever of the two is the row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aocq.records.accuracy import TOP1, Score
from aocq.records.run import RunResult
from reports.format import MISSING
from reports.limits import capital
from reports.templating import template
from simulator.cost.work import Work

NAME = "elements"
FILES = tuple(f"{NAME}.{ending}" for ending in ("md", "csv", "html"))
FREE = "free"
SCORE = "score"  # in files by its key, in tables by its title
_LEGEND = (
    "Rows: full and bare recipe; an element alone beside the bare one; the full one without it; "
    "the full one with another form instead of its own, or added. In brackets, the difference that "
    "the element makes: with it less without it. {score} and agreement with the float network in "
    "percent, drop in points, SQNR of the logits in dB. ESTIMATED, for one image: MACs on "
    "multipliers of 4 x 4 bits, which take wider operands in parts; additions of rotations; other "
    "elements that the vector unit takes time for; peak SRAM, cycles, latency, energy. dB/%: "
    f"decibels of SQNR for each percent of cycles; {FREE}: SQNR for no more cycles."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementRow:
    """A row of the ablation.

    Attributes
    ----------
    role, element, title
        what the row is, its element's short name and what that is; both empty of full and bare
    against
        the role of the row that it is compared with; None of full and bare
    figures
        by the names of :data:`COLUMNS`; None where there is no such figure; empty without a run
    score
        which one ``figures`` has as :data:`SCORE`
    run
        the folder of the run, relative to the table's; empty without a run
    note
        why there is no run
    """

    role: str
    element: str
    title: str
    against: str | None
    figures: Mapping[str, float | None]
    score: Score = TOP1
    run: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure: its heading, how it is written, and whether its difference is a share."""

    heading: str
    written: Callable[[float], str]
    relative: bool = False


def _decimals(digits: int, unit: float = 1) -> Callable[[float], str]:
    return lambda value: f"{value / unit:,.{digits}f}"


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        SCORE: Column("score", _decimals(1)),
        "drop": Column("drop", _decimals(1)),
        "agreement": Column("agreement", _decimals(1)),
        "sqnr_db": Column("SQNR dB", _decimals(2)),
        "narrow_macs": Column("4 x 4 MACs, million", _decimals(1, 1e6)),
        "rotation_additions": Column("additions, million", _decimals(2, 1e6)),
        "vector_elements": Column("vector elements, million", _decimals(2, 1e6)),
        "peak_sram_bytes": Column("SRAM KiB", _decimals(0, 1024)),
        "cycles": Column("cycles, thousand", _decimals(0, 1e3), relative=True),
        "latency_ms": Column("ms", _decimals(2), relative=True),
        "energy_mj": Column("mJ", _decimals(2), relative=True),
    }
)


def figures_of(result: RunResult, work: Work) -> dict[str, float | None]:
    """Return the figures of a run, by the names of :data:`COLUMNS`."""
    accuracy, energy = result.accuracy, result.energy_record
    return {
        SCORE: accuracy.score("integer"),
        "drop": accuracy.drop,
        "agreement": accuracy.agreement.integer_float,
        "sqnr_db": accuracy.logit_sqnr_db.integer_float,
        "narrow_macs": work.narrow_macs,
        "rotation_additions": work.rotation_additions,
        "vector_elements": work.vector_elements,
        "peak_sram_bytes": result.memory.peak_sram_bytes,
        "cycles": result.cycles.total,
        "latency_ms": result.latency_ms,
        "energy_mj": energy.total_mj if energy else None,
    }


def differences(row: ElementRow, rows: Sequence[ElementRow]) -> dict[str, float | None]:
    """Return what an element brings, by column: with it less without it; None where not known.

    Of columns whose differences are shares: in percent of what is without it.
    """
    other = next((each for each in rows if each.role == row.against and not each.element), None)
    found: dict[str, float | None] = {}
    for name, column in COLUMNS.items():
        ours = row.figures.get(name)
        theirs = other.figures.get(name) if other else None
        if ours is None or theirs is None:
            found[name] = None
            continue
        present, absent = (theirs, ours) if row.role == "without" else (ours, theirs)
        change = present - absent
        found[name] = (100 * change / absent if absent else None) if column.relative else change
    return found


def decibels_per_percent(changes: Mapping[str, float | None]) -> float | None:
    """Return what a percent of cycles buys in dB of SQNR; None where it takes no more of them."""
    gain, cycles = changes["sqnr_db"], changes["cycles"]
    return gain / cycles if gain is not None and cycles is not None and cycles > 0 else None


def markdown(title: str, rows: Sequence[ElementRow]) -> str:
    """Return the table as Markdown."""
    head, body = text_cells(rows)
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = [f"- {row.role} {row.title}: {row.note}" for row in rows if row.note]
    parts = [f"# {title}", table, legend(rows), *(["\n".join(notes)] if notes else [])]
    return "\n\n".join(parts) + "\n"


def html(title: str, rows: Sequence[ElementRow]) -> str:
    """Return the table as one self-contained page, with links to the runs' own."""
    head, body = text_cells(rows)
    return template("elements.html.j2").render(
        title=title, head=head, lines=list(zip(rows, body, strict=True)), explained=legend(rows)
    )


def csv_text(rows: Sequence[ElementRow]) -> str:
    """Return the table as CSV with full precision; an empty cell means None."""
    text = io.StringIO()
    called = {name: name for name in COLUMNS} | {SCORE: _score(rows).key}
    names = [part for name in COLUMNS for part in (called[name], _changed(called[name], name))]
    head = ["row", "element", "title", "against", *names, "db_per_percent_of_cycles", "run", "note"]
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        changes = differences(row, rows)
        line: dict[str, object] = {"row": row.role, "element": row.element, "title": row.title}
        line |= {"against": row.against, "run": row.run, "note": row.note}
        for name in COLUMNS:
            line[called[name]] = row.figures.get(name)
            line[_changed(called[name], name)] = changes[name]
        writer.writerow({**line, "db_per_percent_of_cycles": decibels_per_percent(changes)})
    return text.getvalue()


def files(title: str, rows: Sequence[ElementRow]) -> dict[str, str]:
    """Return the texts of :data:`FILES`, by name."""
    return dict(zip(FILES, (markdown(title, rows), csv_text(rows), html(title, rows)), strict=True))


def text_cells(rows: Sequence[ElementRow]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table as text; columns without any figure are left out."""
    names = [name for name in COLUMNS if any(row.figures.get(name) is not None for row in rows)]
    headings = {name: COLUMNS[name].heading for name in names} | {SCORE: _score(rows).title}
    head = ["row", "element", *(headings[name] for name in names), "dB/%"]
    body = []
    for row in rows:
        changes = differences(row, rows)
        cells = [_cell(name, row.figures.get(name), changes[name]) for name in names]
        body.append([row.role, row.title, *cells, _price(changes)])
    return head, body


def _cell(name: str, value: float | None, change: float | None) -> str:
    if value is None:
        return MISSING
    column = COLUMNS[name]
    text = column.written(value)
    if change is None:
        return text
    if column.relative:
        return f"{text} ({change:+.1f} %)"
    written = column.written(change)
    return f"{text} ({written if change < 0 else f'+{written}'})"


def _price(changes: Mapping[str, float | None]) -> str:
    """Return what a percent of cycles buys; of an element that gains nothing, nothing."""
    gain, cycles = changes["sqnr_db"], changes["cycles"]
    if gain is None or cycles is None or gain <= 0:
        return MISSING
    price = decibels_per_percent(changes)
    return FREE if price is None else f"{price:.2f}"


def _changed(written: str, name: str) -> str:
    """Return the column of what an element changes of a figure, from what that is called."""
    return f"{written}_{'percent_more' if COLUMNS[name].relative else 'difference'}"


def _score(rows: Sequence[ElementRow]) -> Score:
    """Return the score that the rows have: one ablation is of one task."""
    return next((row.score for row in rows if row.figures), TOP1)


def legend(rows: Sequence[ElementRow]) -> str:
    """Return what the columns mean."""
    return _LEGEND.replace("{score}", capital(_score(rows).title))
