# SPDX-License-Identifier: Apache-2.0
"""The task of commands that go on with what another one wrote: what a run's record says it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aocq.tasks.names import CLASSIFICATION

if TYPE_CHECKING:
    from aocq.tasks.task import Task

# Parameters of commands that name a run, a folder in it or a file of it; the first one counts.
_PLACES = ("graph", "folder", "runs", "run")


def task_named(given: str | None, place: Path) -> str:
    """Return the task that is asked for, else that of the run in a folder or beside a file.

    Without a run it is classification.

    Raises
    ------
    InputError
        If nothing is asked for and the record of the run cannot be read: --task is a way out.
    """
    if given is not None:
        return given

    from aocq.records.run_folder import RUN_NAME, load_record
    from simulator.errors import InputError

    folder = place if place.is_dir() else place.parent
    if not (folder / RUN_NAME).is_file():
        return CLASSIFICATION
    try:
        return load_record(folder).accuracy.task
    except InputError as error:
        raise InputError(f"{error}; or say what the network is for with --task") from error


def chosen_task(given: str | None, place: Path) -> Task:
    """Return the task that :func:`task_named` finds."""
    from aocq.tasks.task import task_of

    return task_of(task_named(given, place))


def task_of_parameters(parameters: Mapping[str, Any]) -> str:
    """Return the task that a command's parameters mean."""
    given = parameters.get("task")
    named = next((parameters[key] for key in _PLACES if parameters.get(key)), None)
    first = named[0] if isinstance(named, list) else named
    return task_named(given, Path(first)) if first else given or CLASSIFICATION
