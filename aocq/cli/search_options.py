# SPDX-License-Identifier: Apache-2.0
"""Groups of options of ``aocq search``: how it searches, and what it confirms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from aocq.cli import options
from aocq.cli.groups import OptionGroup

EngineName = Literal["greedy", "optuna"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions(OptionGroup):
    """What proposes candidates, and how many."""

    engine: Annotated[
        EngineName,
        typer.Option(
            "--engine",
            help="greedy: steps by score per cost, corrected by what is measured; optuna: "
            "trials by Optuna's sampler, which begin with those steps (extra aocq[search])",
        ),
    ] = "greedy"
    evaluations: Annotated[
        int, typer.Option("--evaluations", min=1, max=100_000, help="candidates to emulate")
    ] = 16
    along: Annotated[
        int,
        typer.Option(
            "--along",
            min=1,
            max=1000,
            help="how many of them lie along the first steps up to the budget",
        ),
    ] = 4
    sampler_seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31, help="of --engine optuna's sampler")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(OptionGroup):
    """Which recipes are confirmed, and on which images."""

    confirm: Annotated[
        int,
        typer.Option(
            "--confirm",
            min=0,
            max=1000,
            help="recipes of the front to confirm on images that the search did not use",
        ),
    ] = 2
    confirm_data: Annotated[
        Path | None,
        typer.Option(
            "--confirm-data",
            help="folder of images to confirm on (default: those of --data beyond --limit)",
        ),
    ] = None
    confirm_limit: Annotated[
        int | None,
        typer.Option(
            "--confirm-limit", min=1, max=options.MOST_IMAGES, help="confirm on so many images"
        ),
    ] = None
