# SPDX-License-Identifier: Apache-2.0
"""What a finished run was made of, read again: its float network and its images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from aocq import progress
from aocq.data.image_folder import LabelledImage, evenly
from aocq.jobs.inputs import load_requested
from aocq.jobs.record import data_record
from aocq.jobs.request import ModelRequest
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.run import DataRecord, RunResult
from aocq.records.run_folder import RUN_NAME, load_record
from aocq.tasks.task import Task
from aocq.zoo.models import LoadedModel
from simulator.errors import InputError
from simulator.graph.meta import GraphMeta, meta_of

OPTION = "--weights"


def record_in(folder: Path) -> RunResult | None:
    """Return the record of a run; None in a folder that ``aocq quantize`` wrote.

    Raises
    ------
    InputError
        If there is a record that cannot be read.
    """
    return load_record(folder) if os.path.lexists(folder / RUN_NAME) else None


def described(folder: Path, model: QuantizedModel) -> GraphMeta:
    """Return classes and preprocessing of a quantized model.

    Raises
    ------
    InputError
        If it has none.
    """
    meta = meta_of(model.meta, str(folder))
    if meta is None:
        raise InputError(f"{folder}: does not say how images are preprocessed; quantize again")
    return meta


def load_float_network(folder: Path, model: QuantizedModel, weights: Path | None) -> LoadedModel:
    """Return the float network that a folder's quantized model was made of.

    Parameters
    ----------
    weights
        its checkpoint; None: the file that the run's command line names, or timm's own weights.
        Held to the sha256 in the folder; a folder of an older version without one is noted

    Raises
    ------
    InputError
        If the checkpoint is not there, does not fit, or is another than the run's.
    EnvironmentProblem
        If timm's weights are wanted and cannot be fetched.
    """
    record, meta = record_in(folder), described(folder, model)
    named = last_named(record.command, OPTION) if record else None
    path = weights or (Path(named) if named is not None else None)
    if path is not None and not path.is_file():
        raise InputError(
            f"{path}: not found, the checkpoint of the run in {folder}; name it with {OPTION} FILE"
        )
    loaded = load_requested(
        ModelRequest(
            name=model.graph.name,
            weights=path,
            classes=meta.classes,
            arguments=meta.model_arguments,
        )
    )
    wanted = _checkpoint_sha256(record, model)
    if wanted is None:
        progress.note(
            f"{folder}: does not say of which weights it was made; {path or loaded.name} is taken "
            "for them, unchecked"
        )
    elif wanted != loaded.checkpoint_sha256:
        raise InputError(
            f"{path or loaded.name}: its weights (sha256 {loaded.checkpoint_sha256[:12]}…) are "
            f"not those of the run in {folder} ({wanted[:12]}…); name these with {OPTION} FILE"
        )
    return loaded


def _checkpoint_sha256(record: RunResult | None, model: QuantizedModel) -> str | None:
    """Return the digest of the weights that a model was made of; None in older folders."""
    if record and record.model.checkpoint_sha256:
        return record.model.checkpoint_sha256
    return model.sources.checkpoint_sha256 if model.sources else None


def images_for(
    task: Task, data: Path, meta: GraphMeta, count: int
) -> tuple[Sequence[LabelledImage], DataRecord]:
    """Return images of a folder, evenly taken, read as a task does, and their record.

    Raises
    ------
    InputError
        If there are none of the task.
    """
    dataset = task.read(data, meta.classes, progress.note)
    files = evenly(dataset.images, count)
    return files, data_record(data, files, dataset.classes, dataset.digest)


def last_named(command: Sequence[str], option: str) -> str | None:
    """Return what a recorded command line gives an option: the last one, as it was taken."""
    found = None
    for place, word in enumerate(command):
        if word == option and place + 1 < len(command):
            found = command[place + 1]
        elif word.startswith(f"{option}="):
            found = word.removeprefix(f"{option}=")
    return found
