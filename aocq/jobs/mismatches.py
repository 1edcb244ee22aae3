# SPDX-License-Identifier: Apache-2.0
"""Where the chip's integers leave simulated quantization: counted op by op, on equal inputs.

Two evaluations of one quantized network part within a few blocks once a single code differs, so
comparing them tensor by tensor names nearly every op. Here every op is given the chip's own inputs
again, in float64: what then differs is what this op approximates.
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
from aocq.jobs.evaluate import is_readable
from aocq.methods.quantized_model import QuantizedModel
from simulator.boundary import dequantize, quantize
from simulator.executor import Executor
from simulator.graph import IntGraph


def differing_codes(
    model: QuantizedModel,
    executor: Executor,
    batches: ImageBatches,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Return how many codes per image each quantized op computes unlike simulated quantization.

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
    parameters = model.fake_quantized_parameters()
    found, images_run = dict.fromkeys(names, 0), 0
    source = graph.tensors[model.graph.input.name]
    for images, _ in batches:
        taps = executor.run(quantize(images.numpy(), source), taps=names).taps
        held = {
            name: torch.from_numpy(dequantize(taps[name], graph.tensors[name])) for name in taps
        }
        held[model.graph.input.name] = model.fake_quantized_image(images)
        for name in names:
            codes = _codes_from(model, name, held, parameters)
            found[name] += int(np.count_nonzero(codes != taps[name]))
        images_run += len(images)
        if on_progress:
            on_progress(len(images))
    return {name: count / images_run for name, count in found.items()} if images_run else {}


def compared(model: QuantizedModel, graph: IntGraph) -> list[str]:
    """Return the quantized arithmetic nodes whose codes a run of ``graph`` can return."""
    return [
        node.name
        for node in model.graph.nodes
        if node.op in ARITHMETIC
        and node.inputs
        and node.name in model.activations
        and node.name in graph.tensors
        and is_readable(graph, node.name)
    ]


def _codes_from(
    model: QuantizedModel,
    name: str,
    held: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> NDArray[np.float64]:
    """Return the codes of one node, computed in float64 from what the chip holds before it."""

    def simulate(node: FloatNode, x: Tensor) -> Tensor:
        return x if node.name == name else model.fake_quantize(node, x)

    feeds = {known: value for known, value in held.items() if known != name}
    with torch.inference_mode():
        raw = run_float(model.graph, feeds, [name], transform=simulate, parameters=parameters)[name]
        codes: NDArray[np.float64] = model.activations[name].codes(raw).numpy()
    return codes
