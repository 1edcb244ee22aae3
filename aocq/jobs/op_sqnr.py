# SPDX-License-Identifier: Apache-2.0
"""SQNR of single ops: results of the integer network against the float network's same tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from aocq.capture import run as run_float
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.parts import in_threads
from aocq.data.loader import ImageBatches
from aocq.jobs.distributions import Distribution
from aocq.jobs.run_images import IntegerRun, run_images
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.run import DistributionRecord
from aocq.tasks.metrics import decibel
from simulator.executor import Executor
from simulator.graph import IntGraph


def sqnr_per_op(
    model: QuantizedModel,
    executor: Executor,
    batches: ImageBatches,
    float_parameters: Mapping[str, Tensor],
    on_progress: Callable[[int], None] | None = None,
    distributions: list[DistributionRecord] | None = None,
) -> dict[str, float | None]:
    """Return the SQNR of every arithmetic op's result against the float network's tensor, in dB.

    The integer side carries all errors made before the op: the values fall along depth, and where
    they fall steeply is where accuracy is lost. Codes with a scale per head are left out: their
    tensor has no scale of its own.

    Parameters
    ----------
    distributions
        where those of the same tensors' float values are put, in the order of the float graph
    """
    graph = executor.graph
    names = [
        node.name
        for node in model.graph.nodes
        if node.op in ARITHMETIC and node.name in graph.tensors and is_readable(graph, node.name)
    ]
    power = {name: np.zeros(2) for name in names}
    gathered = {name: Distribution(graph.tensors[name]) for name in names}
    source = model.graph.input.name
    for images, _, run in run_images(executor, batches, taps=names, on_progress=on_progress):
        with torch.inference_mode():
            real = run_float(model.graph, {source: images}, names, parameters=float_parameters)

        def measure(name: str, real: dict[str, Tensor] = real, run: IntegerRun = run) -> None:
            reference = real[name].double().numpy()
            error = reference - run.real(name)
            power[name] += np.sum(reference**2), np.sum(error**2)
            if distributions is not None:
                gathered[name].add(reference)

        in_threads(measure, names)
    if distributions is not None:
        distributions += filter(None, (gathered[name].record() for name in names))
    return {name: decibel(float(signal), float(noise)) for name, (signal, noise) in power.items()}


def is_readable(graph: IntGraph, name: str) -> bool:
    """Return whether a run returns a tensor that one scale turns into real values."""
    tensor = graph.tensors[name]
    return not graph.is_constant(name) and (tensor.is_float or bool(tensor.scale))
