# SPDX-License-Identifier: Apache-2.0
"""Options of what candidates are made of and judged on: budget, widths, preset, images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from aocq.cli import options
from aocq.cli.groups import OptionGroup
from aocq.recipes.aocq_options import PresetName

LIMIT = 64


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
        "peak_sram_bytes, cycles, with commas; bytes also as 70KiB (default: a tenth more weight "
        "bytes than the run)",
    ),
]


def known_widths(text: str | None) -> str | None:
    """Return the text of widths, checked; a usage error where it is none."""
    parsed_widths(text)
    return text


def parsed_widths(text: str | None) -> list[int]:
    """Return ``3,4,8`` as widths, none where the option is left out; a usage error otherwise."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in {*"2345678"}:
            raise typer.BadParameter(f"{part!r} is no width of weights, 2 to 8 bits, e.g. 3,4,8")
    return sorted(map(int, parts))


Widths = Annotated[
    str | None,
    typer.Option(
        "--widths",
        callback=known_widths,
        help="widths of weights to choose from, with commas (default: all that the chip has)",
    ),
]


@dataclass(frozen=True, kw_only=True)
class CandidateOptions(OptionGroup):
    """Which recipes are looked at, how they are calibrated, and on how many images judged."""

    budget: Budget = None
    widths: Widths = None
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset",
            help="of the candidates' calibrations, e.g. fast (default: the run's options)",
        ),
    ] = None
    limit: Annotated[
        int,
        typer.Option(
            "--limit", min=2, max=options.MOST_IMAGES, help="judge candidates on this many images"
        ),
    ] = LIMIT
