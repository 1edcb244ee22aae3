# SPDX-License-Identifier: Apache-2.0
"""Many runs as one table, with the paper's figures beside them: Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reports.alike import (
    DATA_COLUMNS,
    NETWORK_COLUMNS,
    SCORE,
    WIDTHS,
    alike,
    apart,
    cells,
    network,
    warnings,
)
from reports.chips import CHIP_COLUMNS, SIZE_COLUMNS, chip_cells, chip_legend, scores_in_words
from reports.format import MISSING, NO_NOISE, decibel, percent, policy_note, signed
from reports.rows import FLOAT, SIZES_ONLY, TableRow, written_row
from simulator import strict_json
from simulator.files import write_text

POLICY_KEY = "accumulator.policy"  # a reason that names it says what the policy does

PROFILE = "profile"
# Columns of a sweep's variants that are no keys of a profile.
NOT_OF_CHIPS = frozenset({"recipe", "set"})

# A block, the condition number of the stream that enters it, and the same with α.
Block = tuple[str, float, float]


def markdown(
    title: str, rows: Sequence[TableRow], blocks: Sequence[Block] = (), *, chips: bool = False
) -> str:
    """Return the table as Markdown, with what its columns mean, and condition numbers if any.

    ``chips``: it compares chips, though rows that are there may all be of one.
    """
    chips = chips or differ_in_profile(rows)
    columns = _columns(rows, chips=chips)
    lines = [list(columns), ["---", *["---:"] * (len(columns) - 1)]]
    lines += [list(_written(row, columns, rows).values()) for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    legend = chip_legend(rows) if chips else _legend(rows)
    notes = [f"- {note}" for note in notes_on(rows, chips=chips)]
    common = said(alike(rows))
    above = [*warnings(rows), f"In all rows: {common}." if common else ""]
    parts = [f"# {title}", *filter(None, above), table, legend]
    parts += ["\n".join(notes)] if notes else []
    if blocks:
        conditions = ["| block | x | x / α |", "| --- | ---: | ---: |"]
        conditions += [f"| {name} | {x:.3g} | {balanced:.3g} |" for name, x, balanced in blocks]
        parts += ["## Condition number of E[x xᵀ] of the stream entering each block"]
        parts += ["\n".join(conditions)]
    return "\n\n".join(parts) + "\n"


def _legend(rows: Sequence[TableRow]) -> str:
    return (
        f"{scores_in_words(rows)}; float ops: of all ops of the graph; MB: of 1,024,000 bytes, a "
        "checkpoint at the weights' width, as the paper counts; s: calibration. Cycles, ms and "
        "peak SRAM (of what the chip has), where shown, are ESTIMATED, for one image."
    )


def terminal(rows: Sequence[TableRow]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table as text.

    Where rows differ in profile, model, method and widths are left out if all rows have the same:
    :func:`in_common` has them.
    """
    common = in_common(rows)
    columns = [name for name in _columns(rows, chips=differ_in_profile(rows)) if name not in common]
    return columns, [list(_written(row, columns, rows).values()) for row in rows]


def in_common(rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the values common to all rows, by column: network and data (:mod:`reports.alike`).

    Where rows differ in profile, also model, method and widths.
    """
    return {**_of_chips(rows), **alike(rows)}


def said(common: Mapping[str, str]) -> str:
    """Return common values as one line."""
    return ", ".join(f"{name} {value}" for name, value in common.items())


def _of_chips(rows: Sequence[TableRow]) -> dict[str, str]:
    if not differ_in_profile(rows):
        return {}
    names = ("model", "method", "W/A")
    found = [_written(row, names, rows) for row in rows]
    return {name: found[0][name] for name in names if len({row[name] for row in found}) == 1}


def differ_in_profile(rows: Sequence[TableRow]) -> bool:
    """Return whether the rows compare chips: then the columns are those of :mod:`reports.chips`.

    Chips differ in their profile, or in the value of one of its keys that a sweep varies.
    """
    return several_chips(row.variant for row in rows)


def several_chips(variants: Iterable[Mapping[str, str]]) -> bool:
    """Return whether rows with these variants are of more than one chip."""
    return len({tuple(sorted(_chip(variant).items())) for variant in variants}) > 1


def _chip(variant: Mapping[str, str]) -> dict[str, str]:
    """Return what says on which chip a row is: profile and varied keys; nothing without one."""
    if PROFILE not in variant:
        return {}
    return {name: value for name, value in variant.items() if name not in NOT_OF_CHIPS}


def notes_on(rows: Sequence[TableRow], *, chips: bool = False) -> list[str]:
    """Return the notes on single rows, a line each.

    Where rows compare chips, a note is the reason against the chip, and none is of the paper.
    """
    chips = chips or differ_in_profile(rows)
    alone = len(_of_chips(rows)) == 3  # then the chip says which row is meant
    places = [_chip_in_words(row) if alone else _place(row) for row in rows]
    times = Counter(places)
    found = []
    for row, place in zip(rows, places, strict=True):
        text = row.note
        if chips and row.feasible is not None:
            text = row.reason
        if row.overflowed and POLICY_KEY not in text:
            text = "; ".join(part for part in (text, policy_note(row.policy)) if part)
        which = f"{place} ({row.run})" if times[place] > 1 and row.run else place
        if text:
            found.append(f"{which}: {' '.join(text.split())}")
    return found


def csv_text(rows: Sequence[TableRow]) -> str:
    """Return the table as CSV with full precision; an empty cell means None."""
    variants = _variants(rows)
    plain = [written_row(row, rows) for row in rows]
    bare = TableRow(model="", method="", w_bits=0, a_bits=0)
    names = [name for name in written_row(bare, rows) if name != "variant"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names[:4], *variants, *names[4:]], lineterminator="\n")
    writer.writeheader()
    for row in plain:
        variant = row.pop("variant")
        writer.writerow({**row, **{name: variant.get(name, "") for name in variants}})
    return text.getvalue()


def write_table(
    name: str,
    title: str,
    rows: Sequence[TableRow],
    folder: Path,
    blocks: Sequence[Block] = (),
    *,
    chips: bool = False,
) -> None:
    """Write ``name``.md, .csv and .json into ``folder``, each whole or not at all.

    ``blocks`` go into the Markdown and into conditioning.csv; ``chips`` as in :func:`markdown`.
    """
    if blocks:
        write_text(folder / "conditioning.csv", conditioning_csv(blocks))
    plain = {"title": title, "rows": [written_row(row, rows) for row in rows]}
    write_text(folder / f"{name}.md", markdown(title, rows, blocks, chips=chips))
    write_text(folder / f"{name}.csv", csv_text(rows))
    write_text(
        folder / f"{name}.json", strict_json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
    )


def conditioning_csv(blocks: Sequence[Block]) -> str:
    """Return condition numbers as CSV."""
    lines = ["block,condition,condition_with_alpha"]
    lines += [f"{name},{plain:.6g},{balanced:.6g}" for name, plain, balanced in blocks]
    return "\n".join(lines) + "\n"


def _variants(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.variant))


def _columns(rows: Sequence[TableRow], *, chips: bool) -> list[str]:
    """Return the heads: those of the paper only where it has a figure, of chips if they differ.

    What networks are built with, and the images, have columns where rows differ in them.
    """
    names = ["model", *apart(rows, NETWORK_COLUMNS), "method", "W/A", *apart(rows, (WIDTHS,))]
    names += [*_variants(rows), *apart(rows, (*DATA_COLUMNS, SCORE))]
    if chips:
        energies = any(row.energy_mj is not None for row in rows)
        return [*names, *(name for name in CHIP_COLUMNS if name != "mJ" or energies)]
    with_paper = any(row.paper_size_mb is not None for row in rows)
    sized = any(row.method == SIZES_ONLY for row in rows)
    # Without any run there is no accuracy either.
    runs = any(row.method not in (SIZES_ONLY, FLOAT) for row in rows)
    return [
        *names,
        *(("float", "fake-quantized", "integer", "Δ", "agreement", "SQNR") if runs else ()),
        *("float ops", "MB"),
        *(("s",) if runs else ()),
        *(SIZE_COLUMNS if sized else ()),
        *(("paper", "paper Δ") if with_paper and runs else ()),
        *(("paper MB",) if with_paper else ()),
    ]


def _written(row: TableRow, columns: Sequence[str], rows: Sequence[TableRow]) -> dict[str, str]:
    def score(value: float | None) -> str:
        return MISSING if value is None else f"{value:.2f}"

    lowered = row.ops is not None
    written = {
        **{name: row.variant.get(name, "") for name in columns},
        **cells(row, rows),
        "model": row.model,
        "method": row.method,
        "W/A": f"{row.w_bits}/{row.a_bits}",
        "float": score(row.float_score),
        "fake-quantized": score(row.simulated_score),
        "integer": score(row.integer_score),
        "Δ": signed(row.delta),
        "agreement": MISSING if row.agreement is None else percent(row.agreement),
        "SQNR": decibel(row.logit_sqnr_db, NO_NOISE if row.integer_score is not None else MISSING),
        "float ops": f"{row.float_ops}/{row.ops}" if lowered else MISSING,
        "MB": MISSING if row.size_mb is None else f"{row.size_mb:.3g}",
        "s": MISSING if row.calibration_seconds is None else f"{row.calibration_seconds:.0f}",
        **chip_cells(row, rows),
        "paper": score(row.paper_top1),
        "paper Δ": signed(row.paper_delta),
        "paper MB": MISSING if row.paper_size_mb is None else f"{row.paper_size_mb:g}",
    }
    return {name: written[name] for name in columns}


def _chip_in_words(row: TableRow) -> str:
    """Return a row's chip: ``edge_npu_int8 memory.sram_bytes 4096``."""
    keys = [f"{name} {value}" for name, value in _chip(row.variant).items() if name != PROFILE]
    return " ".join([row.variant.get(PROFILE, ""), *keys])


def _place(row: TableRow) -> str:
    variant = "".join(f" {name} {value}" for name, value in row.variant.items() if value)
    return f"{network(row)} {row.method} W{row.w_bits}A{row.a_bits}{variant}"
