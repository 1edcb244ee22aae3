# SPDX-License-Identifier: Apache-2.0
"""Kinds of activations, by what decides about their width."""

from __future__ import annotations

from aocq.capture import FloatGraph, FloatOp
from aocq.capture.residual_stream import logits, residual_stream
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.tensor_widths import operands

IMAGE, STREAM, PROBABILITIES = "image", "stream", "probabilities"
RESULT, OPERANDS, VECTOR = "result", "operands", "vector unit"


def kinds_of(graph: FloatGraph, model: QuantizedModel) -> dict[str, str]:
    """Return the kind of every activation that a model has codes of, by name, in order.

    Parameters
    ----------
    graph
        the float network, in the form of the model
    """
    stream, results, read = residual_stream(graph), logits(graph), operands(graph)

    def kind(name: str) -> str:
        node = graph.node(name)
        if node.op is FloatOp.INPUT:
            return IMAGE
        if node.op is FloatOp.SOFTMAX:
            return PROBABILITIES
        decided = ((stream, STREAM), (results, RESULT), (read, OPERANDS))
        return next((found for names, found in decided if name in names), VECTOR)

    return {node.name: kind(node.name) for node in graph.nodes if node.name in model.activations}
