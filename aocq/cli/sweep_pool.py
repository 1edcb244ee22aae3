# SPDX-License-Identifier: Apache-2.0
"""Where the units of a sweep are made: options of commands, and the pool that they name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from aocq.cli.groups import OptionGroup
from aocq.cli.sweeps import MOST_WORKERS

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.sweeps.pool import Pool

NEEDS = ("torch", "timm")
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Place(OptionGroup):
    """Where runs are made: here, by a cluster, or a part of them here and others elsewhere."""

    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=MOST_WORKERS,
            help="worker processes, which share the cores (default: one for each core)",
            show_default=False,
        ),
    ] = None
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="SCHEDULER",
            help="use the workers of a Dask cluster: tcp://HOST:PORT, or a scheduler's file "
            "(docs/cluster.md)",
            show_default=False,
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="only the I-th of N parts of the plan, for machines that share no files "
            "(docs/cluster.md)",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Refuse options that do not go together, and a scheduler's name that is none.

        Raises
        ------
        BadParameter
            If ``--workers`` is given with ``--dask``.
        InputError
            If the scheduler's file cannot be read.
        """
        if self.dask is None:
            return
        if self.workers is not None:
            raise typer.BadParameter(
                "--workers is for this machine alone; with --dask there are as many as were "
                "started by `dask worker --nworkers`"
            )
        from aocq.sweeps.dask_scheduler import scheduler_address

        scheduler_address(self.dask)

    def opened(
        self, workers: int, out: Path, requests: Iterable[VerifyRequest]
    ) -> AbstractContextManager[Pool]:
        """Return the pool of a sweep: of the cluster's workers, or of so many processes here."""
        from aocq import progress

        if self.dask is None:
            from aocq.sweeps.local_pool import LocalPool

            return LocalPool(max(1, workers), progress.note, needs=NEEDS)
        from aocq.sweeps.dask_pool import DaskPool

        return DaskPool(self.dask, out, progress.note, sorted(inputs(requests)))


def part_of(items: Sequence[_Item], shard: str | None) -> Sequence[_Item]:
    """Return the part of a plan that ``I/N`` names; parts follow each other in the plan's order.

    Neighbours in a plan share calibrations, so that few of them are made in two parts.

    Raises
    ------
    BadParameter
        If it is not of that form, or I is not one of 1 to N.
    """
    if shard is None:
        return items
    found = _SHARD.fullmatch(shard)
    number, parts = (int(text) for text in found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise typer.BadParameter(
            f"--shard {shard!r}: wanted is I/N with I from 1 to N, such as 1/4"
        )
    return items[len(items) * (number - 1) // parts : len(items) * number // parts]


def inputs(requests: Iterable[VerifyRequest]) -> set[Path]:
    """Return the files and folders that runs read, which all workers must have at their places."""
    found: set[Path | None] = set()
    for request in requests:
        found |= {request.model.weights, request.calibration.folder, request.evaluation.folder}
        if request.profile.endswith(".toml"):
            found.add(Path(request.profile))
    return {path for path in found if path is not None}
