# SPDX-License-Identifier: Apache-2.0
"""Units of a table's cells: runs in folders with names, where another request's may be.

What the engine knows of a cell is in the table's ``.work/units``, in a folder named by all that the
run depends on: why it failed, and which run in its folder is the one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.jobs.request import VerifyRequest
from aocq.progress import Note, Progress
from aocq.records.claim import WORK
from aocq.records.finished import finished_run
from aocq.records.gates import judged
from aocq.records.kept import keep, kept
from aocq.records.run import RunResult
from aocq.sweeps.designs import Design
from aocq.sweeps.run_key import calibration_group, run_key
from aocq.sweeps.runs import Planned
from aocq.sweeps.unit import Unit
from aocq.sweeps.verify_units import make_run, network_inputs, opened_inputs
from simulator.errors import InputError

if TYPE_CHECKING:
    from aocq.jobs.without_weights import UnrunSizes

UNITS, IDENTITY_NAME = "units", "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRequest:
    """A run, and the folder where the engine keeps what it knows of it.

    ``sizes``: whether those of its network are the result where its weights cannot be fetched.
    """

    run: VerifyRequest
    state: Path
    sizes: bool = False


def planned_cells(
    cells: Sequence[Design],
    out: Path,
    *,
    numbered: bool = False,
    size_without_weights: bool = False,
) -> list[Planned]:
    """Return the cells of a table in ``out`` with the units of their runs.

    Parameters
    ----------
    numbered
        whether each unit's name begins with its place, as ``3/8``
    size_without_weights
        whether cells whose pretrained weights cannot be fetched have sizes instead

    Raises
    ------
    InputError
        If weights or a folder of images cannot be read.
    """
    planned = []
    for number, design in enumerate(cells, 1):
        request, profile = design.request, design.chip.profile
        assert profile is not None  # cells have chips that there are
        state = out.absolute() / WORK / UNITS / f"{run_key(request, profile)}-{request.out.name}"
        shared = request.calibration.shared_folder is not None
        unit = Unit(
            name=f"{number}/{len(cells)} {design.name}" if numbered else design.name,
            folder=state,
            request=CellRequest(run=request, state=state, sizes=size_without_weights),
            make=make_cell,
            find=find_cell,
            shares=calibration_group(request, profile) if shared else "",
        )
        planned.append(Planned(design=design, unit=unit))
    return planned


def find_cell(request: CellRequest) -> RunResult | None:
    """Return the record of a cell's run that is there, judged by its gates; None without one."""
    identity = kept(request.state / IDENTITY_NAME)
    found = finished_run(request.run.out, identity.decode()) if identity else None
    if found is None or judged(found[0], request.run.gates).verdict != found[0].verdict:
        return None
    return found[0]


def make_cell(request: CellRequest, progress: Progress, note: Note) -> RunResult | UnrunSizes:
    """Make a cell's run, or take the one in its folder if it answers the request.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.jobs.verify.verify`.
    """
    from aocq.jobs.keys import request_key
    from aocq.lowering.lower import CannotHoldError
    from aocq.zoo.models import WeightsUnavailable

    try:
        inputs = opened_inputs(request.run)
    except CannotHoldError as error:
        raise InputError(advice_for_tables(error)) from error
    except WeightsUnavailable as error:
        if not request.sizes:
            raise
        return _sizes(request.run, str(error), progress, note)
    # Before the run: it is found even where this process ends as soon as it is published.
    keep(request.state / IDENTITY_NAME, request_key(request.run, inputs).encode())
    return make_run(request.run, progress, note)


def check_cells(planned: Sequence[Planned], *, skip_impossible: bool = False) -> None:
    """Check what can be before the first run, of cells that have none yet.

    ``skip_impossible``: whether a cell whose chip cannot hold what is asked for fails in its turn

    Raises
    ------
    InputError, EnvironmentProblem
        If an option, a network or a folder cannot be used.
    """
    from aocq.jobs.inputs import RUN_FILES
    from aocq.records.publishing import refuse_blocked
    from aocq.zoo.models import WeightsUnavailable

    units = [(each.design, each.unit.request) for each in planned if each.unit is not None]
    waiting = [(design, request) for design, request in units if find_cell(request) is None]
    networks: dict[tuple[str, Path | None], CellRequest] = {}
    for design, request in reversed(waiting):  # the first network is open when its run begins
        refuse_blocked(request.run.out, RUN_FILES)
        problem = impossible_for(design)
        if problem is None:
            networks[request.run.model.name, request.run.model.weights] = request
        elif not skip_impossible:
            raise problem
    for request in networks.values():
        try:
            network_inputs(request.run)
        except WeightsUnavailable:
            if not request.sizes:
                raise


def impossible_for(cell: Design) -> InputError | None:
    """Return why a cell's chip cannot hold what is asked for, if it cannot."""
    from aocq.jobs.inputs import check_method

    asked, profile = cell.request.calibration, cell.chip.profile
    assert profile is not None
    try:
        check_method(asked.method, asked.recipe, profile, asked.device)
    except InputError as error:
        return error
    return None


def advice_for_tables(error: InputError) -> str:
    """Return an error's text, with advice that a command over many profiles has options for."""
    from aocq.lowering.lower import CannotHoldError

    if not isinstance(error, CannotHoldError):
        return str(error)
    return f"{error.plainly}; choose another --bits, or verify it on its own"


def _sizes(run: VerifyRequest, reason: str, progress: Progress, note: Note) -> UnrunSizes:
    """Return the sizes of a network without weights, and why it could not be run."""
    from aocq.jobs.without_weights import UnrunSizes, sizes_or_reason

    recipe = run.calibration.recipe
    widths, ends = [(recipe.weight_bits, recipe.activation_bits)], recipe.end_bits
    found = sizes_or_reason(
        run.model, run.profile, widths, progress, note, end_bits=ends, task=run.task
    )
    return UnrunSizes(reason=reason, found=found)
