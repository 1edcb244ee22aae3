# SPDX-License-Identifier: Apache-2.0
"""Sweep: many runs of the main job for one table; finished ones are taken from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from aocq.jobs.cells import Cell
from aocq.jobs.inputs import RUN_FILES, Inputs, check_method, open_inputs
from aocq.jobs.keys import request_key
from aocq.jobs.request import VerifyRequest
from aocq.jobs.verify import judged_again, verify
from aocq.jobs.without_weights import UnrunSizes, sizes_or_reason
from aocq.lowering.lower import CannotHoldError
from aocq.progress import Note, Progress
from aocq.records.finished import Draw, finished_run
from aocq.records.gates import judged
from aocq.records.publishing import claimed, refuse_blocked
from aocq.records.run import RunResult
from aocq.zoo.models import WeightsUnavailable
from simulator.errors import AocqError, InputError
from simulator.profile import NpuProfile, load_profile

# A network whose weights cannot be fetched has sizes instead, where it is asked for.
Outcome = RunResult | UnrunSizes | AocqError
Network = tuple[str, Path | None]  # its name and its weights; else cells of a sweep are alike


def run_cells(
    cells: Sequence[Cell],
    progress: Progress,
    note: Note,
    draw: Draw,
    *,
    skip_impossible: bool = False,
    size_without_weights: bool = False,
) -> Iterator[tuple[Cell, Outcome]]:
    """Yield the cells in order, each with its record or with the error that stopped it.

    A finished run in a cell's folder is taken if it answers the same request: the same network,
    images, method, recipe, profile and packages. Where it was judged by other gates it is judged
    again. One that was killed goes on where it stopped. A cell that fails does not stop the others.

    Parameters
    ----------
    draw
        writes the pages of every new run, which are published with it
    skip_impossible
        whether a cell whose profile cannot hold what its recipe asks for is yielded with that error
        in its turn, instead of ending the sweep before the first run
    size_without_weights
        the same for one whose pretrained weights cannot be fetched; its network is estimated
        without weights instead, once for each pair of widths, and other cells of these are left out

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
            impossible[cell.name] = InputError(advice_for_sweeps(found))
    opened, unavailable = _opened(
        [cell for cell in cells if cell.name not in impossible], skip=size_without_weights
    )
    impossible |= unavailable
    for cell in cells:
        refuse_blocked(cell.request.out, RUN_FILES)
    sized: set[tuple[str, tuple[int, int]]] = set()
    for number, cell in enumerate(cells, 1):
        if cell.name in impossible:
            reason = impossible[cell.name]
            note(f"{number}/{len(cells)} {cell.name}: {reason}")
            if cell.name not in unavailable:
                yield cell, reason
            elif (of := (cell.request.model.name, cell.widths)) not in sized:
                sized.add(of)
                model, profile = cell.request.model, cell.request.profile
                ends = cell.request.calibration.recipe.end_bits
                sizes = sizes_or_reason(
                    model,
                    profile,
                    [cell.widths],
                    progress,
                    note,
                    end_bits=ends,
                    task=cell.request.task,
                )
                yield cell, UnrunSizes(reason=str(reason), found=sizes)
            continue
        inputs = replace(
            opened[_network(cell)],
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
            if judged(before[0], cell.request.gates).verdict != before[0].verdict:
                return judged_again(cell.request, before, draw)[0]
            return before[0]
        note(name)
        result, _ = verify(cell.request, progress, note, inputs, draw)
        return result


def _network(cell: Cell) -> Network:
    return cell.request.model.name, cell.request.model.weights


def _opened(
    cells: Sequence[Cell], *, skip: bool
) -> tuple[dict[Network, Inputs], dict[str, AocqError]]:
    """Return the inputs of every network, and which cells' weights cannot be fetched, and why."""
    opened: dict[Network, Inputs] = {}
    unavailable: dict[str, AocqError] = {}
    without: dict[Network, AocqError] = {}
    for cell in cells:
        network = _network(cell)
        if network not in opened and network not in without:
            try:
                opened[network] = open_inputs(cell.request)
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
        asked = request.calibration
        check_method(asked.method, asked.recipe, profile, asked.device)
    except InputError as error:
        return error
    return None


def advice_for_sweeps(error: InputError) -> str:
    """Return an error's text, with advice that a command over many profiles has options for."""
    if not isinstance(error, CannotHoldError):
        return str(error)
    return f"{error.plainly}; choose another --bits, or verify it on its own"
