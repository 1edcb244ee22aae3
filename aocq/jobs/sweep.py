# SPDX-License-Identifier: Apache-2.0
"""Sweep: many runs of the main job for one table; finished ones are taken from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aocq.jobs import verify as pipeline
from aocq.jobs.request import Inputs, VerifyRequest, request_key
from aocq.jobs.verify import Note, Progress
from aocq.lowering.lower import CannotHoldError
from aocq.records.finished import Draw, finished_run
from aocq.records.publishing import claimed, refuse_blocked
from aocq.records.run import RunResult
from aocq.zoo.models import WeightsUnavailable
from simulator.errors import AocqError, InputError
from simulator.profile import NpuProfile, load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a sweep.

    Attributes
    ----------
    name
        for people, unique in the sweep
    variant
        what sets the cell apart in its table, by column
    request
        the ordinary request; its ``out`` is the cell's own folder
    """

    name: str
    variant: Mapping[str, str]
    request: VerifyRequest


Outcome = RunResult | AocqError


def run_cells(
    cells: Sequence[Cell],
    progress: Progress,
    note: Note,
    draw: Draw,
    *,
    skip_impossible: bool = False,
    skip_without_weights: bool = False,
) -> Iterator[tuple[Cell, Outcome]]:
    """Yield the cells in order, each with its record or with the error that stopped it.

    A finished run in a cell's folder is taken as it is if it answers the same request: the same
    network, images, method, recipe, profile and packages. One that was killed goes on where it
    stopped. A cell that fails does not stop the others.

    Parameters
    ----------
    draw
        writes the pages of every new run, which are published with it
    skip_impossible
        whether a cell whose profile cannot hold what its recipe asks for is yielded with that error
        in its turn, instead of ending the sweep before the first run
    skip_without_weights
        the same for one whose pretrained weights cannot be fetched

    Raises
    ------
    InputError, EnvironmentProblem
        Before the first run: an option, a network or a folder that cannot be used.
    """
    profiles = {cell.request.profile: load_profile(cell.request.profile) for cell in cells}
    impossible: dict[str, AocqError] = {}
    for cell in cells:
        found = impossible_for(cell.request, profiles[cell.request.profile])
        if found is not None and not skip_impossible:
            raise found
        if found is not None:
            impossible[cell.name] = InputError(_advice_for_sweeps(found))
    opened, unavailable = _opened(
        [cell for cell in cells if cell.name not in impossible], skip=skip_without_weights
    )
    impossible |= unavailable
    for cell in cells:
        refuse_blocked(cell.request.out, pipeline.RUN_FILES)
    for number, cell in enumerate(cells, 1):
        if cell.name in impossible:
            note(f"{number}/{len(cells)} {cell.name}: {impossible[cell.name]}")
            yield cell, impossible[cell.name]
            continue
        inputs = replace(
            opened[cell.request.model, cell.request.weights],
            profile=profiles[cell.request.profile],
        )
        outcome: Outcome
        try:
            outcome = _outcome(
                cell, inputs, f"{number}/{len(cells)} {cell.name}", progress, note, draw
            )
        except AocqError as error:
            outcome = error
        # A network that torch minds, or numbers that no factor can hold.
        except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
            outcome = AocqError(f"{type(error).__name__}: {error}")
        if isinstance(outcome, AocqError):
            note(f"{cell.name}: {outcome}")
        yield cell, outcome


def _outcome(
    cell: Cell, inputs: Inputs, name: str, progress: Progress, note: Note, draw: Draw
) -> RunResult:
    """Return the finished run in a cell's folder, or make it."""
    with claimed(cell.request.out, note):
        before = finished_run(cell.request.out, request_key(cell.request, inputs))
        if before is not None:
            note(f"{name}: finished before")
            return before[0]
        note(name)
        result, _ = pipeline.verify(cell.request, progress, note, inputs, draw)
        return result


def _opened(
    cells: Sequence[Cell], *, skip: bool
) -> tuple[dict[tuple[str, Path | None], Inputs], dict[str, AocqError]]:
    """Return the inputs of every network, and which cells' weights cannot be fetched, and why."""
    opened: dict[tuple[str, Path | None], Inputs] = {}
    unavailable: dict[str, AocqError] = {}
    without: dict[tuple[str, Path | None], AocqError] = {}
    for cell in cells:
        network = (cell.request.model, cell.request.weights)
        if network not in opened and network not in without:
            try:
                opened[network] = pipeline.open_inputs(cell.request)
            except WeightsUnavailable as error:
                if not skip:
                    raise
                without[network] = error
        if network in without:
            unavailable[cell.name] = without[network]
    return opened, unavailable


def impossible_for(request: VerifyRequest, profile: NpuProfile) -> InputError | None:
    """Return why a profile cannot hold what a request asks for, if it cannot."""
    try:
        pipeline.check_method(request.method, request.recipe, profile, request.device)
    except InputError as error:
        return error
    return None


def _advice_for_sweeps(error: InputError) -> str:
    """Return an error's text, with advice that a command over many profiles has options for."""
    if not isinstance(error, CannotHoldError):
        return str(error)
    return f"{error.plainly}; choose another --bits, or verify it on its own"
