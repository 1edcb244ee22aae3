# SPDX-License-Identifier: Apache-2.0
"""Mismatches of the integer network with fake quantization, op by op, on equal inputs.

Two evaluations of one quantized network drift apart within a few blocks once a single code differs,
so that a comparison tensor by tensor names nearly every op. Here every op gets the chip's own
inputs again, in float64: its mismatches are those of its own approximations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aocq.capture import FloatNode
from aocq.capture import run as run_float
from aocq.capture.float_graph import ARITHMETIC
from aocq.data.loader import ImageBatches
from aocq.jobs.op_sqnr import is_readable
from aocq.jobs.run_images import run_images
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import DynamicQuantizer
from simulator.executor import Executor
from simulator.graph import IntGraph


def mismatches_per_image(
    model: QuantizedModel,
    executor: Executor,
    batches: ImageBatches,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Return mismatches per image of each quantized op: codes that fake quantization has otherwise.

    Parameters
    ----------
    batches
        a few images: every op has 10^4 codes and more in each
    on_progress
        called with the number of images done since the last call

    Returns
    -------
    dict
        by op name; empty if no image could be decoded
    """
    graph = executor.graph
    names = compared(model, graph)
    readable = [name for name in names if is_readable(graph, name)]
    parameters = model.fake_quantized_parameters()
    found, images_run = dict.fromkeys(names, 0), 0
    for images, _, run in run_images(executor, batches, taps=names, on_progress=on_progress):
        held = {name: torch.from_numpy(run.real(name)) for name in readable}
        held[model.graph.input.name] = model.fake_quantized_image(images)
        for name in names:
            codes = _codes_from(model, name, held, parameters)
            found[name] += int(np.count_nonzero(codes != run.output.taps[name]))
        images_run += len(images)
    return {name: count / images_run for name, count in found.items()} if images_run else {}


def compared(model: QuantizedModel, graph: IntGraph) -> list[str]:
    """Return the quantized arithmetic nodes whose codes a run of ``graph`` can return.

    Codes with dynamic steps are compared too; what reads them gets them from what they are made of.
    """
    return [
        node.name
        for node in model.graph.nodes
        if node.op in ARITHMETIC
        and node.inputs
        and node.name in model.activations
        and node.name in graph.tensors
        and (
            is_readable(graph, node.name)
            or isinstance(model.activations[node.name], DynamicQuantizer)
        )
    ]


def _codes_from(
    model: QuantizedModel,
    name: str,
    held: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> NDArray[np.float64]:
    """Return the codes of one node, computed in float64 from what the chip holds before it."""

    def fake_quantized(node: FloatNode, x: Tensor) -> Tensor:
        return x if node.name == name else model.fake_quantize(node, x)

    feeds = {known: value for known, value in held.items() if known != name}
    with torch.inference_mode():
        raw = run_float(
            model.graph, feeds, [name], transform=fake_quantized, parameters=parameters
        )[name]
        codes: NDArray[np.float64] = model.activations[name].codes(raw).numpy()
    return codes
