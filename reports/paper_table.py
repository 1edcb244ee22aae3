# SPDX-License-Identifier: Apache-2.0
"""Table 2 of the AOCQ paper: its rows, and the differences that a run has to them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aocq.records.run import ModelRecord, RunResult
from reports.format import count, signed

PAPER_IMAGES = 50_000
# Largest difference of two correct evaluations of one checkpoint, in points: images resampled.
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
PARTIAL = ("BasePTQ", "PTQ4ViT")
# Rows that cannot both be right: Swin-Small and Swin-Base have the same figures there.
COPIED = {
    (model, 4, method)
    for model in ("Swin-Small", "Swin-Base")
    for method in ("BasePTQ", "PTQ4ViT", "FQ-ViT")
}


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


def paper_size(model: ModelRecord, bits: float) -> float:
    """Return a network's size as the paper's MB, at a width of the weights or their average one.

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
    return printed_row(model, PAPER_METHODS.get(method), w_bits, a_bits)


def printed_row(model: str, method: str | None, w_bits: int, a_bits: int) -> PaperRow | None:
    """Return the paper's row for a timm name, a method by the paper's name and widths, if any."""
    name, _, _ = model.partition(".")
    wanted = (PAPER_MODELS.get(name), method, w_bits, a_bits)
    return next(
        (r for r in paper_table() if (r.model, r.method, r.w_bits, r.a_bits) == wanted), None
    )


def differences(result: RunResult, paper: PaperRow, base: PaperRow) -> list[str]:
    """Return why a run and a row of the paper cannot be compared as they are, a phrase each."""
    found = []
    images, float_top1 = result.accuracy.images, result.accuracy.score("float")
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
