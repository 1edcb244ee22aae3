# SPDX-License-Identifier: Apache-2.0
"""Coverage as tables: by mistake over all ops, and by op; as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulator import strict_json
from simulator.files import write_text
from simulator.golden.coverage.of_op import MODES, OpCoverage, Verdict, as_record

COVERAGE_JSON, COVERAGE_TEXT = "coverage.json", "coverage.md"
MOST_NAMES = 6  # of variants, in a cell
FIRST_OPS = 2  # of those that a unit stands for, in a terminal
Table = tuple[list[str], list[list[str]]]


def by_variant(coverage: Sequence[OpCoverage], *, all_rows: bool = False) -> Table:
    """Return a row for each mistake: the number of ops by what vectors say of it.

    Of modes, widths and table entries; ``all_rows``: of values of constants, too.
    """
    counted: dict[str, dict[Verdict, int]] = {}
    about: dict[str, tuple[str, str]] = {}
    for one in coverage:
        for row in one.rows:
            if row.family in MODES or all_rows:
                verdicts = counted.setdefault(row.variant, dict.fromkeys(Verdict, 0))
                verdicts[row.verdict] += 1
                about.setdefault(row.variant, (str(row.family), row.sentence))
    titles = ["mistake", "what", *map(str, Verdict)]
    order = list(MODES)
    names = sorted(counted, key=lambda name: [str(f) for f in order].index(about[name][0])
                   if about[name][0] in map(str, order) else len(order))  # fmt: skip
    rows = [
        [name, about[name][1], *(str(counted[name][verdict]) for verdict in Verdict)]
        for name in names
    ]
    return titles, rows


def by_op(coverage: Sequence[OpCoverage], *, all_names: bool = False) -> Table:
    """Return a row for each op: what its vectors reach, and what they do not tell apart.

    Of units of a graph also the ops that they stand for: the first ones, or with ``all_names`` all.
    """
    titles = [
        "op", "kind", "codes", "ties", "clipped", "table", *map(str, Verdict), "of these",
    ]  # fmt: skip
    rows = [_row(one) for one in coverage]
    if any(one.stands_for for one in coverage):
        titles.insert(1, "stands for")
        for one, row in zip(coverage, rows, strict=True):
            row.insert(1, _names(one.stands_for, None if all_names else FIRST_OPS))
    return titles, rows


def _row(one: OpCoverage) -> list[str]:
    reached = one.reached
    ties = clipped = table = "-"
    if reached.negative_ties is not None and reached.positive_ties is not None:
        ties = f"{reached.negative_ties + reached.positive_ties:,}"
    if reached.saturated_low is not None and reached.saturated_high is not None:
        clipped = f"{reached.saturated_low + reached.saturated_high:,}"
    if reached.entries:
        table = ", ".join(f"{used} of {entries}" for used, entries in reached.entries.values())
    counts = [str(len(one.of(verdict, MODES))) for verdict in Verdict]
    return [
        one.op,
        one.kind,
        f"{reached.codes:,}",
        ties,
        clipped,
        table,
        *counts,
        _names([row.variant for row in one.missing], MOST_NAMES),
    ]


def _names(names: Sequence[str], most: int | None) -> str:
    """Return names in one cell: the first ``most`` of them and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if most is None or len(names) <= most else f"{shown} and {len(names) - most} more"


def summary(coverage: Sequence[OpCoverage]) -> list[str]:
    """Return sentences: how many results, ties and clipped codes, what is not told apart."""
    codes = sum(one.reached.codes for one in coverage)
    shifted = [one.reached for one in coverage if one.reached.negative_ties is not None]
    results = sum(one.codes for one in shifted)
    ties = sum((one.negative_ties or 0) + (one.positive_ties or 0) for one in shifted)
    missing = sum(len(one.missing) for one in coverage)
    told = sum(len(one.of(Verdict.TOLD_APART, MODES)) for one in coverage)
    equal = sum(len(one.of(Verdict.EQUAL, MODES)) for one in coverage)
    read = sum(len(one.of(Verdict.READ, MODES)) for one in coverage)
    tables = f"; all entries are read of {read} more tables" if read else ""
    return [
        f"{codes:,} results of {len(coverage)} ops; {results:,} are shifted and rounded, "
        f"{ties:,} of them exact ties",
        f"modes, widths and table entries: {told} mistakes told apart, {equal} proven equal, "
        f"{missing} not told apart{tables}",
    ]


def markdown(coverage: Sequence[OpCoverage]) -> str:
    """Return both tables as Markdown."""
    parts = ["# Coverage", "", *(f"{sentence}.\n" for sentence in summary(coverage))]
    for title, (titles, rows) in (
        ("By mistake: number of ops", by_variant(coverage)),
        ("By op", by_op(coverage, all_names=True)),
    ):
        parts += [f"## {title}", "", _line(titles), _line(["---"] * len(titles))]
        parts += [*map(_line, rows), ""]
    return "\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_coverage(coverage: Sequence[OpCoverage], folder: Path) -> None:
    """Write ``coverage.json`` and ``coverage.md``.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    record: dict[str, Any] = {"format": 1, "ops": as_record(coverage)}
    write_text(folder / COVERAGE_JSON, strict_json.dumps(record, indent=1) + "\n")
    write_text(folder / COVERAGE_TEXT, markdown(coverage))
