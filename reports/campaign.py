# SPDX-License-Identifier: Apache-2.0
"""Many runs as one table, with the paper's figures beside them: Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path

from aocq.records.run import CyclesRecord, GraphRecord, MemoryRecord, ModelRecord, RunResult
from reports.alike import DATA_COLUMNS, NETWORK_COLUMNS, alike, apart, cells, different_data
from reports.chips import CHIP_COLUMNS, CHIP_LEGEND, SIZE_COLUMNS, chip_cells, chip_figures
from reports.format import MISSING, NO_NOISE, count, decibel, percent, policy_note, signed
from simulator import strict_json
from simulator.files import write_text
from simulator.settings import typed

PAPER_IMAGES = 50_000
# What two correct evaluations of one checkpoint may differ by, in points: resampling of images.
SAME_CHECKPOINT = 0.3
# The paper's names. Its BasePTQ is the baseline of PTQ4ViT, not the plain method of this package.
PAPER_METHODS = {
    "base_ptq_paper": "BasePTQ",
    "ptq4vit_paper": "PTQ4ViT",
    "ptq4vit_released": "PTQ4ViT",
    "fq_vit": "FQ-ViT",
    "aocq": "AOCQ",
}
PAPER_MODELS = {
    "deit_tiny_patch16_224": "DeiT-Tiny",
    "deit_small_patch16_224": "DeiT-Small",
    "deit_base_patch16_224": "DeiT-Base",
    "swin_tiny_patch4_window7_224": "Swin-Tiny",
    "swin_small_patch4_window7_224": "Swin-Small",
    "swin_base_patch4_window7_224": "Swin-Base",
}
SIZES_ONLY = "sizes only"  # in place of a method, as is
FLOAT = "float"
POLICY_KEY = "accumulator.policy"  # a reason that names it says what the policy does
PARTIAL = ("BasePTQ", "PTQ4ViT")
# Rows that cannot both be right: Swin-Small and Swin-Base have the same figures there.
COPIED = {
    (model, 4, method)
    for model in ("Swin-Small", "Swin-Base")
    for method in ("BasePTQ", "PTQ4ViT", "FQ-ViT")
}

# A block, the condition number of the stream that enters it, and the same with α.
Block = tuple[str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One row of the paper's Table 2: MB as it counts them, percent, points."""

    model: str
    w_bits: int
    a_bits: int
    method: str
    size_mb: float
    top1: float
    delta: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One run, or a cell without one; the columns of the CSV, in order.

    Percentages in percent, differences in points, SQNR in dB (None: no noise), MB of 1,024,000
    bytes as the paper counts them. ``delta`` is integer minus float.

    Attributes
    ----------
    variant
        what sets the row apart, by column; columns of their own in every form of the table
    arguments
        of the network's constructor, where they are not those of its name, as they are typed
    data, classes, data_digest
        the images that the run was judged on: their folder's name, how many classes the network
        tells apart, and what two runs on the same images have in common
    overflowed, persistent, transient, changed
        results whose accumulator overflowed; persistently, transiently, with another sum
    policy
        what that means for the run: see :class:`aocq.records.run.OverflowRecord`
    least_headroom_bits
        register bits that no sum used, in the op with the fewest; below 0 where one did not fit
    cycles, latency_ms, peak_sram_bytes, sram_bytes
        ESTIMATED, of one image; the last is what the profile has
    feasible, reason
        the verdict, and the first thing that speaks against it
    paper_top1, paper_delta, paper_float_top1, paper_size_mb
        the paper's figures for this network, method and these widths, where it has any
    note
        why they cannot be compared, or why there is no run
    """

    model: str
    method: str
    w_bits: int
    a_bits: int
    variant: Mapping[str, str] = field(default_factory=dict)
    arguments: str = ""
    data: str = ""
    classes: int | None = None
    data_digest: str = ""
    images: int | None = None
    float_top1: float | None = None
    simulated_top1: float | None = None
    integer_top1: float | None = None
    delta: float | None = None
    agreement: float | None = None
    logit_sqnr_db: float | None = None
    float_ops: int | None = None
    ops: int | None = None
    size_mb: float | None = None
    calibration_images: int | None = None
    calibration_seconds: float | None = None
    overflowed: int | None = None
    persistent: int | None = None
    transient: int | None = None
    changed: int | None = None
    policy: str = ""
    least_headroom_bits: int | None = None
    cycles: int | None = None
    latency_ms: float | None = None
    peak_sram_bytes: int | None = None
    sram_bytes: int | None = None
    feasible: bool | None = None
    reason: str = ""
    paper_top1: float | None = None
    paper_delta: float | None = None
    paper_float_top1: float | None = None
    paper_size_mb: float | None = None
    note: str = ""
    run: str = ""


def run_row(result: RunResult, variant: Mapping[str, str], folder: str) -> TableRow:
    """Return the row of a finished run; ``folder`` is where its report is."""
    accuracy, method, data = result.accuracy, result.method, result.data
    row = TableRow(
        model=result.model.name,
        method=method.name,
        w_bits=method.weight_bits,
        a_bits=method.activation_bits,
        variant=variant,
        arguments=typed(result.model.arguments),
        data=data.name if data else "",
        classes=data.classes if data else None,
        data_digest=data.digest if data else "",
        images=accuracy.images,
        float_top1=accuracy.float.top1,
        simulated_top1=accuracy.simulated.top1,
        integer_top1=accuracy.integer.top1,
        delta=accuracy.integer.top1 - accuracy.float.top1,
        agreement=accuracy.agreement.integer_float,
        logit_sqnr_db=accuracy.logit_sqnr_db.integer_float,
        float_ops=result.graph.float_ops,
        ops=result.graph.ops,
        size_mb=paper_size(result.model, method.weight_bits),
        calibration_images=method.calibration_images,
        calibration_seconds=method.seconds,
        run=folder,
        **chip_figures(result),
    )
    paper = paper_row(result.model.name, method.name, method.weight_bits, method.activation_bits)
    if paper is None or result.model.arguments:  # built otherwise than its name says
        return row
    base = next(other for other in paper_table() if other.model == paper.model)
    return replace(
        row,
        paper_top1=paper.top1,
        paper_delta=paper.delta,
        paper_float_top1=base.top1,
        paper_size_mb=paper.size_mb,
        note="; ".join(differences(result, paper, base)),
    )


def float_row(model: ModelRecord) -> TableRow:
    """Return the row of a float network's size."""
    printed = None if model.arguments else _paper_row(model.name, FLOAT, 32, 32)
    return TableRow(
        model=model.name,
        method=FLOAT,
        w_bits=32,
        a_bits=32,
        arguments=typed(model.arguments),
        size_mb=paper_size(model, 32),
        paper_size_mb=printed.size_mb if printed else None,
    )


def sized_row(
    model: ModelRecord,
    graph: GraphRecord,
    memory: MemoryRecord,
    cycles: CyclesRecord,
    latency_ms: float,
    widths: tuple[int, int],
) -> TableRow:
    """Return the row of a network without a run: sizes and costs, which need no weights."""
    weight_bits, activation_bits = widths
    printed = None
    if not model.arguments:
        printed = _paper_row(model.name, "AOCQ", weight_bits, activation_bits)
    return TableRow(
        model=model.name,
        method=SIZES_ONLY,
        w_bits=weight_bits,
        a_bits=activation_bits,
        arguments=typed(model.arguments),
        float_ops=graph.float_ops,
        ops=graph.ops,
        size_mb=paper_size(model, weight_bits),
        cycles=cycles.total,
        latency_ms=latency_ms,
        peak_sram_bytes=memory.peak_sram_bytes,
        sram_bytes=memory.sram_bytes,
        paper_size_mb=printed.size_mb if printed else None,
    )


def paper_size(model: ModelRecord, bits: int) -> float:
    """Return a network's size as the paper's MB, at a width of the weights.

    1000 KiB each, of a float checkpoint with its tables (indices of relative positions, masks);
    narrower ones are parts of that. DeiT-Tiny's 5,717,416 parameters make 22.3, 5.58 and 2.79 at
    32, 8 and 4 bits, printed there as 22, 5.6 and 2.8; neither 10^6 bytes (22.9) nor MiB (21.8,
    5.45) give these. Swin-Small's 49,606,258 make 195.3, 48.8 and 24.4 with its tables (printed
    195, 49, 24), and 193.8 and 48.4 without.
    """
    return (4 * model.parameters + model.table_bytes) * bits / 32 / 1024 / 1000


@cache
def paper_table() -> tuple[PaperRow, ...]:
    """Return the paper's Table 2, float rows first of each network."""
    text = (resources.files("reports") / "paper_table2.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        PaperRow(
            model=row["model"],
            w_bits=int(row["w_bits"]),
            a_bits=int(row["a_bits"]),
            method=row["method"],
            size_mb=float(row["size_mb"]),
            top1=float(row["top1"]),
            delta=float(row["delta"]) if row["delta"] else None,
        )
        for row in csv.DictReader(lines)
    )


def paper_row(model: str, method: str, w_bits: int, a_bits: int) -> PaperRow | None:
    """Return the paper's row for a timm name, a method of this package and widths, if any."""
    return _paper_row(model, PAPER_METHODS.get(method), w_bits, a_bits)


def _paper_row(model: str, method: str | None, w_bits: int, a_bits: int) -> PaperRow | None:
    """Return the same for a method by the paper's name."""
    name, _, _ = model.partition(".")
    wanted = (PAPER_MODELS.get(name), method, w_bits, a_bits)
    return next(
        (r for r in paper_table() if (r.model, r.method, r.w_bits, r.a_bits) == wanted), None
    )


def differences(result: RunResult, paper: PaperRow, base: PaperRow) -> list[str]:
    """Return why a run and a row of the paper cannot be compared as they are, a phrase each."""
    found = []
    images, float_top1 = result.accuracy.images, result.accuracy.float.top1
    if images != PAPER_IMAGES:
        found.append(f"{count(images)} images, the paper's {count(PAPER_IMAGES)}")
    apart = float_top1 - base.top1
    if abs(apart) > SAME_CHECKPOINT:
        found.append(f"float {signed(apart)} against the paper's: other images or checkpoint")
    if (paper.model, paper.w_bits, paper.method) in COPIED:
        found.append("the paper has the same figures for Swin-Small and Swin-Base: a copy error")
    if paper.method in PARTIAL and not result.graph.float_ops:
        found.append("the paper leaves operators in float here, this run does not")
    return found


def markdown(title: str, rows: Sequence[TableRow], blocks: Sequence[Block] = ()) -> str:
    """Return the table as Markdown, with what its columns mean, and condition numbers if any."""
    columns = _columns(rows)
    lines = [list(columns), ["---", *["---:"] * (len(columns) - 1)]]
    lines += [list(_written(row, columns, rows).values()) for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    legend = CHIP_LEGEND if differ_in_profile(rows) else LEGEND
    notes = [f"- {note}" for note in notes_on(rows)]
    common = said(alike(rows))
    above = [different_data(rows), f"In all rows: {common}." if common else ""]
    parts = [f"# {title}", *filter(None, above), table, legend]
    parts += ["\n".join(notes)] if notes else []
    if blocks:
        conditions = ["| block | x | x / α |", "| --- | ---: | ---: |"]
        conditions += [f"| {name} | {x:.3g} | {balanced:.3g} |" for name, x, balanced in blocks]
        parts += ["## Condition number of E[x xᵀ] of the stream entering each block"]
        parts += ["\n".join(conditions)]
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Top-1 in percent, Δ: integer minus float, in points; float ops: of all ops of the graph; MB: "
    "of 1,024,000 bytes, a checkpoint at the weights' width, as the paper counts; s: calibration. "
    "Cycles, ms and peak SRAM (of what the chip has), where shown, are ESTIMATED, for one image."
)


def terminal(rows: Sequence[TableRow]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table as text.

    Where rows differ in profile, model, method and widths are left out if all rows have the same:
    :func:`in_common` has them.
    """
    common = in_common(rows)
    columns = [name for name in _columns(rows) if name not in common]
    return columns, [list(_written(row, columns, rows).values()) for row in rows]


def in_common(rows: Sequence[TableRow]) -> dict[str, str]:
    """Return what rows have in common, by column: of network and data, see :mod:`reports.alike`.

    Where rows differ in profile, also model, method and widths.
    """
    return {**_of_chips(rows), **alike(rows)}


def said(common: Mapping[str, str]) -> str:
    """Return what rows have in common as one line."""
    return ", ".join(f"{name} {value}" for name, value in common.items())


def _of_chips(rows: Sequence[TableRow]) -> dict[str, str]:
    if not differ_in_profile(rows):
        return {}
    names = ("model", "method", "W/A")
    found = [_written(row, names, rows) for row in rows]
    return {name: found[0][name] for name in names if len({row[name] for row in found}) == 1}


def differ_in_profile(rows: Sequence[TableRow]) -> bool:
    """Whether the rows compare chips: then columns say what each makes of the network."""
    return len({row.variant.get("profile") for row in rows}) > 1


def notes_on(rows: Sequence[TableRow]) -> list[str]:
    """Return what must be said of single rows, a line each.

    Where rows compare chips, that is what speaks against each, and nothing of the paper.
    """
    chips = differ_in_profile(rows)
    alone = len(_of_chips(rows)) == 3  # then the profile says which row is meant
    places = [row.variant.get("profile", "") if alone else _place(row) for row in rows]
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
    plain = [asdict(row) for row in rows]
    names = [name for name in TableRow.__dataclass_fields__ if name != "variant"]
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
) -> None:
    """Write ``name``.md, .csv and .json into ``folder``, each whole or not at all.

    ``blocks`` go into the Markdown and into conditioning.csv.
    """
    if blocks:
        write_text(folder / "conditioning.csv", conditioning_csv(blocks))
    plain = {"title": title, "rows": [asdict(row) for row in rows]}
    write_text(folder / f"{name}.md", markdown(title, rows, blocks))
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


def _columns(rows: Sequence[TableRow]) -> list[str]:
    """Return the heads: those of the paper only where it has a figure, of chips if they differ.

    What networks are built with, and the images, have columns where rows differ in them.
    """
    names = ["model", *apart(rows, NETWORK_COLUMNS), "method", "W/A", *_variants(rows)]
    names += apart(rows, DATA_COLUMNS)
    if differ_in_profile(rows):
        return [*names, *CHIP_COLUMNS]
    with_paper = any(row.paper_size_mb is not None for row in rows)
    sized = any(row.method == SIZES_ONLY for row in rows)
    # Without any run there is no accuracy either.
    runs = any(row.method not in (SIZES_ONLY, FLOAT) for row in rows)
    return [
        *names,
        *(("float", "simulated", "integer", "Δ", "agreement", "SQNR") if runs else ()),
        *("float ops", "MB"),
        *(("s",) if runs else ()),
        *(SIZE_COLUMNS if sized else ()),
        *(("paper", "paper Δ") if with_paper and runs else ()),
        *(("paper MB",) if with_paper else ()),
    ]


def _written(row: TableRow, columns: Sequence[str], rows: Sequence[TableRow]) -> dict[str, str]:
    def top1(value: float | None) -> str:
        return MISSING if value is None else f"{value:.2f}"

    lowered = row.ops is not None
    written = {
        **{name: row.variant.get(name, "") for name in columns},
        **cells(row, rows),
        "model": row.model,
        "method": row.method,
        "W/A": f"{row.w_bits}/{row.a_bits}",
        "float": top1(row.float_top1),
        "simulated": top1(row.simulated_top1),
        "integer": top1(row.integer_top1),
        "Δ": signed(row.delta),
        "agreement": MISSING if row.agreement is None else percent(row.agreement),
        "SQNR": decibel(row.logit_sqnr_db, NO_NOISE if row.integer_top1 is not None else MISSING),
        "float ops": f"{row.float_ops}/{row.ops}" if lowered else MISSING,
        "MB": MISSING if row.size_mb is None else f"{row.size_mb:.3g}",
        "s": MISSING if row.calibration_seconds is None else f"{row.calibration_seconds:.0f}",
        **chip_cells(row),
        "paper": top1(row.paper_top1),
        "paper Δ": signed(row.paper_delta),
        "paper MB": MISSING if row.paper_size_mb is None else f"{row.paper_size_mb:g}",
    }
    return {name: written[name] for name in columns}


def _place(row: TableRow) -> str:
    variant = "".join(f" {name} {value}" for name, value in row.variant.items() if value)
    return f"{row.model} {row.method} W{row.w_bits}A{row.a_bits}{variant}"
