# SPDX-License-Identifier: Apache-2.0
"""Units that are runs of the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from aocq.jobs.request import VerifyRequest
from aocq.progress import Note, Progress, silent
from aocq.records.finished import whole_run
from aocq.records.run import RunResult
from aocq.sweeps.run_key import calibration_group, run_key
from aocq.sweeps.unit import Unit

if TYPE_CHECKING:
    from aocq.capture import FloatGraph
    from aocq.jobs.inputs import Inputs
    from simulator.profile import NpuProfile

RUNS, QUANTIZED = "runs", "quantized"  # folders of a sweep's own


def run_unit(request: VerifyRequest, name: str, profile: NpuProfile) -> Unit:
    """Return the unit of a run on a chip.

    Its folder, below ``request.out``, is named by what it depends on. Runs of a sweep find each
    other's calibrations in its folder ``quantized``.

    Raises
    ------
    InputError
        If the weights or a folder of images cannot be read.
    """
    sweep = request.out.absolute()
    folder = sweep / RUNS / run_key(request, profile)
    calibration = replace(request.calibration, shared_folder=sweep / QUANTIZED)
    return Unit(
        name=name,
        folder=folder,
        request=replace(request, out=folder, calibration=calibration),
        make=make_run,
        find=find_run,
        shares=calibration_group(request, profile),
    )


def find_run(request: VerifyRequest) -> RunResult | None:
    """Return the record of a run whose folder is named by what it depends on; None without one."""
    return whole_run(request.out)


def make_run(request: VerifyRequest, progress: Progress, note: Note) -> RunResult:
    """Do the main job into the request's folder, with its pages, and return its record as written.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.jobs.verify.verify`.
    """
    from aocq.jobs.verify import verify
    from aocq.records.publishing import claimed
    from aocq.records.run_folder import load_record
    from reports.write import write_report

    with claimed(request.out, note):
        inputs = opened_inputs(request)
        graph = _captured(_Opened(request, progress))
        verify(request, progress, note, inputs, write_report, graph)
        return load_record(request.out)


def opened_inputs(request: VerifyRequest) -> Inputs:
    """Return a request's inputs; a worker keeps those of the network that it had last.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.jobs.inputs.open_inputs`.
    """
    from aocq.jobs.inputs import RUN_FILES, check_method
    from aocq.records.publishing import refuse_blocked
    from simulator.profile import load_profile

    asked = request.calibration
    profile = load_profile(request.profile)
    check_method(asked.method, asked.recipe, profile, asked.device)
    refuse_blocked(request.out, RUN_FILES)
    return replace(network_inputs(request), profile=profile)


def network_inputs(request: VerifyRequest) -> Inputs:
    """Return the inputs of a request, of which the profile may be another's of the same network.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.jobs.inputs.open_inputs`.
    """
    return _network_inputs(_Opened(request))


class _Opened:
    """A request, compared by what its network, images and task are made from."""

    def __init__(self, request: VerifyRequest, progress: Progress = silent) -> None:
        self.request, self.progress = request, progress
        model, folders = request.model, (request.calibration.folder, request.evaluation.folder)
        parts = (model.name, model.weights, model.classes, _plain(model.arguments))
        self._key = (*parts, _plain(model.preprocessing), *folders, request.task)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _plain(settings: Mapping[str, object]) -> str:
    return repr(sorted(settings.items()))


@lru_cache(maxsize=1)
def _network_inputs(opened: _Opened) -> Inputs:
    from aocq.jobs.inputs import open_inputs

    return open_inputs(opened.request)


@lru_cache(maxsize=1)
def _captured(opened: _Opened) -> FloatGraph:
    from aocq.jobs.verify import captured_for_run

    return captured_for_run(opened.request, _network_inputs(opened), opened.progress)
