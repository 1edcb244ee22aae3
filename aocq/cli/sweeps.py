# SPDX-License-Identifier: Apache-2.0
"""Options of commands over many runs, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import recipes, requests
from aocq.cli.groups import OptionGroup

if TYPE_CHECKING:
    from aocq.jobs.request import ModelRequest, VerifyRequest
    from aocq.records.gates import Gates
    from aocq.sweeps.pool import Pool

MOST_WORKERS = 1024
Bits = Annotated[str, typer.Option("--bits", help="bits of weights/activations, with commas")]


@dataclass(frozen=True, kw_only=True)
class RunningOptions(OptionGroup):
    """How the runs of a table are made."""

    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            max=MOST_WORKERS,
            help="worker processes, which share the cores; 1: this process does it all",
        ),
    ] = 1
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="print the runs and how long they will take, and end"),
    ] = False
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try again what failed in an earlier command")
    ] = False

    def pool(self, units: int) -> Pool:
        """Return a pool for so many units: this process, or workers that are not started yet."""
        from aocq import progress
        from aocq.sweeps.local_pool import LocalPool
        from aocq.sweeps.pool import ThisProcess

        if self.workers == 1:
            return ThisProcess(progress.show, progress.note)
        return LocalPool(max(1, min(self.workers, units)), progress.note, needs=("torch", "timm"))


@dataclass(frozen=True, kw_only=True)
class TableOptions(OptionGroup):
    """Options of commands whose tables are of ordinary runs."""

    recipe: recipes.SweepFields
    run: requests.RunOptions
    running: RunningOptions

    def templates(
        self,
        models: Iterable[ModelRequest],
        data: Path,
        *,
        methods: Sequence[str],
        widths: Sequence[tuple[int, int]],
        profiles: Iterable[str],
        out: Path,
        gates: Gates | None = None,
        shared_folder: Path | None = None,
    ) -> list[VerifyRequest]:
        """Return a request for each network, method, pair of widths and profile; ``out`` is all's.

        The other parameters are those of :meth:`aocq.cli.requests.RunOptions.request`.
        """
        asked = self.recipe.at_widths(widths, self.run.calibrating.preset)
        return [
            self.run.request(
                model,
                data,
                profile=profile,
                method=method,
                recipe=recipe,
                out=out,
                gates=gates,
                shared_folder=shared_folder,
            )
            for model, method, recipe, profile in product(models, methods, asked, profiles)
        ]


def parse_widths(text: str) -> list[tuple[int, int]]:
    """Return ``8/8,8/16`` as (weight bits, activation bits) pairs; a usage error otherwise."""
    pairs = []
    for part in text.split(","):
        found = re.fullmatch(r"([2-8])/([3-8]|16)", part.strip())
        if not found:
            raise typer.BadParameter(
                f"{part.strip()!r} is not WEIGHTS/ACTIVATIONS, 2 to 8 bits and 3 to 8 (or 16), "
                "e.g. 4/8"
            )
        pairs.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(pairs))


def parse_model(text: str) -> tuple[str, Path | None]:
    """Return ``MODEL`` or ``MODEL=WEIGHTS`` as name and checkpoint."""
    name, _, weights = text.partition("=")
    return name, Path(weights) if weights else None
