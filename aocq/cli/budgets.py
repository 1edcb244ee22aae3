# SPDX-License-Identifier: Apache-2.0
"""The option ``--budget``."""

from __future__ import annotations

from typing import Annotated

import typer


def known_budget(text: str | None) -> str | None:
    """Return the text of a budget, checked; a usage error where it is none."""
    parsed_budget(text)
    return text


def parsed_budget(text: str | None) -> dict[str, float]:
    """Return a budget by axis, empty where none is given; a usage error where it is none."""
    if text is None:
        return {}
    from aocq.search.budget import parse_budget

    try:
        return parse_budget(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        callback=known_budget,
        metavar="AXIS=NUMBER,...",
        help="the most that a recipe may cost: latency_ms, weight_bytes, energy_mj, "
        "peak_sram_bytes, cycles, with commas (default: a tenth more weight bytes than the run)",
    ),
]
