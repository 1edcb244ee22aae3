# SPDX-License-Identifier: Apache-2.0
"""Fake quantization of a model, and the same model on a chip, for tests of methods."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from simulator.boundary import dequantize, quantize
from simulator.executor import Executor, run_reference
from simulator.profile import load_profile


def logits(model: QuantizedModel, inputs: Tensor) -> Tensor:
    """What fake quantization yields, float64 [images, classes]."""
    output = model.graph.output.name
    return run(
        model.graph,
        {model.graph.input.name: model.fake_quantized_image(inputs)},
        [output],
        transform=model.fake_quantize,
        parameters=model.fake_quantized_parameters(),
    )[output]


def sqnr(model: QuantizedModel, inputs: Tensor, graph: FloatGraph | None = None) -> float:
    """Signal to quantization noise of the logits, in dB.

    ``graph`` is the float network, where the method changed parameters of its own copy (biases).
    """
    output = model.graph.output.name
    real = run(graph or model.graph, {model.graph.input.name: inputs}, [output])[output].double()
    error = real - logits(model, inputs)
    return float(10 * torch.log10((real**2).sum() / (error**2).sum()))


def on_chip(
    model: QuantizedModel, inputs: Tensor, profile: str = "edge_npu_int8"
) -> NDArray[np.float64]:
    """Logits of the integer graph, after a look that kernels and plain Python agree on it."""
    graph = lower(model, load_profile(profile))
    codes = quantize(inputs.numpy(), graph.tensors[model.graph.input.name])
    output = Executor(graph, gemm="numba", threads=1).run(codes).outputs[graph.outputs[0]]
    assert np.array_equal(run_reference(graph, codes[0])[graph.outputs[0]], output[0])
    return dequantize(output, graph.tensors[graph.outputs[0]])


def left_in_float(model: QuantizedModel) -> set[FloatOp]:
    """The operations whose nodes have no quantizer."""
    return {
        node.op
        for node in model.graph.nodes
        if node.op in ARITHMETIC and node.name not in model.activations
    }
