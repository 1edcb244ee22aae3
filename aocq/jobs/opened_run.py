# SPDX-License-Identifier: Apache-2.0
"""A finished run, read again together with its float network in the form of the quantized one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aocq.capture import FloatGraph, capture
from aocq.jobs.reference_graph import in_form_of, statistics_images_of, takes_images
from aocq.jobs.run_sources import described, load_float_network
from aocq.methods import storage
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from aocq.records.run_folder import load_run
from aocq.tasks.task import Task, images_of, task_of
from simulator.errors import InputError
from simulator.graph import IntGraph
from simulator.graph import load as load_graph
from simulator.graph.meta import GraphMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """A finished run, read again, and its float network in the form of the quantized one."""

    record: RunResult
    rows: Sequence[LayerRow]
    model: QuantizedModel
    meta: GraphMeta
    graph: IntGraph
    captured: FloatGraph
    reference: FloatGraph
    task: Task


def open_run(folder: Path, weights: Path | None, calibration: Path | None) -> OpenedRun:
    """Return a run that ``aocq verify`` made.

    Parameters
    ----------
    weights
        see :func:`aocq.jobs.run_sources.load_float_network`
    calibration
        folder of the run's calibration images, where the form of its network rests on them

    Raises
    ------
    InputError
        If the folder holds no run, its files do not belong together, or the float network is not
        that of the run.
    """
    record, rows = load_run(folder)
    model, graph = storage.load(folder), load_graph(folder)
    if [row.op for row in rows] != [op.name for op in graph.ops]:
        raise InputError(f"{folder}: its record is of other ops than its graph; make it again")
    meta = described(folder, model)
    loaded = load_float_network(folder, model, weights)
    channels, height, width = meta.preprocessing["input_size"]
    captured = capture(loaded.network, loaded.name, (channels, height, width))
    task = task_of(record.accuracy.task)
    images = None
    if takes_images(model) and calibration is not None:
        listed = images_of(task, calibration, meta.classes, lambda text: None)
        images = statistics_images_of(model, calibration, listed, meta.preprocessing)
    return OpenedRun(
        record=record,
        rows=rows,
        model=model,
        meta=meta,
        graph=graph,
        captured=captured,
        reference=in_form_of(model, captured, images),
        task=task,
    )
