# SPDX-License-Identifier: Apache-2.0
"""Units of a table's cells: runs in folders with names, where another request's may be.

What the engine knows of a cell is in the table's ``.work/units``, in a folder named by all that the
run depends on: why it failed, and which run in its folder is the one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from simulator.profile import NpuProfile

if TYPE_CHECKING:
    from aocq.jobs.without_weights import UnrunSizes

UNITS, IDENTITY_NAME = "units", "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRequest:
    """A run, and the folder where the engine keeps what it knows of it.

    ``unavailable``: why the network's weights cannot be fetched; then its sizes are the result.
    """

    run: VerifyRequest
    state: Path
    unavailable: str = ""


def planned_cells(cells: Sequence[Design], out: Path, *, numbered: bool = False) -> list[Planned]:
    """Return the cells of a table in ``out`` with the units of their runs.

    ``numbered``: each unit's name begins with its place, as ``3/8``.

    Raises
    ------
    InputError
        If weights or a folder of images cannot be read.
    """
    return [
        Planned(design=design, unit=_unit(design, out, f"{number}/{len(cells)} " * numbered))
        for number, design in enumerate(cells, 1)
    ]


def _unit(design: Design, out: Path, number: str) -> Unit:
    request, profile = design.request, design.chip.profile
    key = f"{run_key(request, profile)}-{request.out.name}"
    state = out.absolute() / WORK / UNITS / key
    shared = request.calibration.shared_folder is not None
    return Unit(
        name=f"{number}{design.name}",
        folder=state,
        request=CellRequest(run=request, state=state),
        make=make_cell,
        find=find_cell,
        shares=calibration_group(request, profile) if shared else "",
    )


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

    if request.unavailable:
        return _sizes(request, progress, note)
    try:
        inputs = opened_inputs(request.run)
    except CannotHoldError as error:
        raise InputError(advice_for_tables(error)) from error
    # Before the run: it is found even where this process ends as soon as it is published.
    keep(request.state / IDENTITY_NAME, request_key(request.run, inputs).encode())
    return make_run(request.run, progress, note)


def checked(
    planned: Sequence[Planned], *, skip_impossible: bool = False, size_without_weights: bool = False
) -> list[Planned]:
    """Check what can be before the first run of those that are not there, and return them all.

    Parameters
    ----------
    skip_impossible
        whether cells whose profile cannot hold what they ask for fail in their turn
    size_without_weights
        whether cells whose pretrained weights cannot be fetched have sizes instead

    Raises
    ------
    InputError, EnvironmentProblem
        If an option, a network or a folder cannot be used.
    """
    from aocq.jobs.inputs import RUN_FILES
    from aocq.records.publishing import refuse_blocked
    from aocq.zoo.models import WeightsUnavailable

    waiting = [each for each in planned if find_cell(each.unit.request) is None]
    possible = []
    for each in waiting:
        problem = impossible_for(each.design.request, each.design.chip.profile)
        if problem is None:
            possible.append(each)
        elif not skip_impossible:
            raise problem
        refuse_blocked(each.design.request.out, RUN_FILES)
    without: dict[tuple[str, Path | None], str] = {}
    # The first network last: its run is the next to open it, and it is open then.
    networks = {_network(each): each for each in reversed(possible)}
    for network, each in networks.items():
        try:
            network_inputs(each.unit.request.run)
        except WeightsUnavailable as error:
            if not size_without_weights:
                raise
            without[network] = str(error)
    return [_told(each, without.get(_network(each), "")) for each in planned]


def impossible_for(request: VerifyRequest, profile: NpuProfile) -> InputError | None:
    """Return why a profile cannot hold what a request asks for, if it cannot."""
    from aocq.jobs.inputs import check_method

    asked = request.calibration
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


def _network(planned: Planned) -> tuple[str, Path | None]:
    model = planned.design.request.model
    return model.name, model.weights


def _told(planned: Planned, unavailable: str) -> Planned:
    """Return a cell whose unit knows that its weights cannot be fetched, and why."""
    if not unavailable:
        return planned
    request = replace(planned.unit.request, unavailable=unavailable)
    return replace(planned, unit=replace(planned.unit, request=request))


def _sizes(request: CellRequest, progress: Progress, note: Note) -> UnrunSizes:
    """Return the sizes of a network without weights, and why it could not be run."""
    from aocq.jobs.without_weights import UnrunSizes, sizes_or_reason

    run = request.run
    recipe = run.calibration.recipe
    found = sizes_or_reason(
        run.model,
        run.profile,
        [(recipe.weight_bits, recipe.activation_bits)],
        progress,
        note,
        end_bits=recipe.end_bits,
        task=run.task,
    )
    return UnrunSizes(reason=request.unavailable, found=found)
