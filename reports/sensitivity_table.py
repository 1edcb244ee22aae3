# SPDX-License-Identifier: Apache-2.0
"""What other widths at single places gain and cost, as a table: Markdown, CSV, JSON, terminal."""

from __future__ import annotations

from dataclasses import asdict

from aocq.records.search import Sensitivity, StepRow
from reports.design_costs import COST_HEADS, added_cells
from reports.flat_csv import flat_csv
from reports.format import MISSING, decibel, percent, signed
from simulator import strict_json

HEADS = (
    *("layer", "numbers", "bits", "score", "divergence", "expected", *COST_HEADS),
    *("measured", "agreement"),
)
ENOUGH_STEPS = 10  # below, rank correlations of unrelated figures are often large
LEGEND = (
    "Bits: what the run has there, and the step. Score: noise of the logits that the step brings "
    "(below 0: takes away), in percent of the run's; divergence of the predictions that it brings, "
    "in nats per image; expected: the change of SQNR by the score alone. Differences of costs are "
    "ESTIMATED, for one image. Measured: change of SQNR, and agreement with the float network, of "
    "the integers, where the step was emulated."
)


def markdown(found: Sensitivity) -> str:
    """Return the table as Markdown, with what its columns mean."""
    start = found.start
    lines = [list(HEADS), ["---", "---", *["---:"] * (len(HEADS) - 2)], *cells(found)]
    return (
        "\n\n".join(
            [
                f"# Sensitivity of {found.network} on {found.profile}",
                f"The run: {decibel(start.sqnr_db)} on {start.images} images, agreement "
                f"{percent(start.agreement)}, {found.costs.weight_bytes:,.0f} weight bytes, "
                f"{found.costs.latency_ms:.3f} ms. Scores rest on {found.score_images} images.",
                correlation_in_words(found),
                "\n".join(f"| {' | '.join(line)} |" for line in lines),
                LEGEND,
                "## What the noise comes from",
                kinds_in_words(found),
            ]
        )
        + "\n"
    )


def correlation_in_words(found: Sensitivity) -> str:
    """Return how scores and measurements agree, as a sentence."""
    measured = sum(row.measured is not None for row in found.rows)
    if found.rank_correlation is None:
        return f"{measured} of {len(found.rows)} steps were emulated: too few for a correlation."
    few = f" Of fewer than {ENOUGH_STEPS} steps it means little." if measured < ENOUGH_STEPS else ""
    return (
        f"{measured} of {len(found.rows)} steps were emulated; rank correlation (Spearman) of "
        f"expected and measured change of SQNR: {found.rank_correlation:+.2f}.{few}"
    )


def kinds_in_words(found: Sensitivity) -> str:
    """Return the shares of kinds of numbers in the run's noise, as a sentence."""
    if not found.kinds:
        return "The run's logits have no noise."
    told = ", ".join(f"{row.kind} {100 * row.share:.1f} %" for row in found.kinds)
    left = 100 * (1 - sum(row.share for row in found.kinds))
    return (
        f"Shares of rounding in the noise of the logits, by what is rounded: {told}; of higher "
        f"order, or of the chip's approximations: {left:.1f} %."
    )


def cells(found: Sensitivity, most: int | None = None) -> list[list[str]]:
    """Return the first ``most`` steps (None: all) as cells under :data:`HEADS`."""
    return [_cells(row, found) for row in found.rows[:most]]


def csv_text(found: Sensitivity) -> str:
    """Return all steps as CSV with full precision; an empty cell means None."""
    return flat_csv([asdict(row) for row in found.rows])


def json_text(found: Sensitivity) -> str:
    """Return a sensitivity as JSON."""
    return strict_json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n"


def noise_share(row: StepRow, found: Sensitivity) -> float | None:
    """Return a step's score in percent of the noise that the run has; None where it has none."""
    if found.start.sqnr_db is None:
        return None
    return 100 * row.noise / 10 ** (-found.start.sqnr_db / 10)


def _cells(row: StepRow, found: Sensitivity) -> list[str]:
    share = noise_share(row, found)
    start = found.start.sqnr_db
    measured = row.measured
    change = None
    if measured is not None and measured.sqnr_db is not None and start is not None:
        change = measured.sqnr_db - start
    return [
        *(row.op, row.kind, f"{row.bits} → {row.other}"),
        MISSING if share is None else f"{share:+.2f} %",
        f"{row.divergence:+.5f}",
        f"{signed(row.predicted_db)} dB",
        *added_cells(row.added),
        *(
            (MISSING if change is None else f"{signed(change)} dB", percent(measured.agreement))
            if measured is not None
            else (MISSING, MISSING)
        ),
    ]
