# SPDX-License-Identifier: Apache-2.0
"""A lower bound on the scales of tensors that softmax or a function of one value reads.

Where a branch is all but dead, its scores differ by nearly nothing, and so do the values that GELU
reads. Chips' algorithms take constants from these scales, such as 1 / scale², which then pass any
register. A scale of 2^-25 is as good there: float32 itself knows no smaller difference beside 1.
"""

from __future__ import annotations

from dataclasses import replace

from aocq.capture import FloatOp
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.scale_form import activation_form

LEAST_SCALE = 2.0**-25
_READERS = frozenset({FloatOp.SOFTMAX, FloatOp.UNARY})


def with_scales_for_functions(model: QuantizedModel) -> QuantizedModel:
    """Return a model whose scales are at least the bound; the same one where they are already."""
    activations = dict(model.activations)
    for node in model.graph.nodes:
        if node.op not in _READERS or node.name not in activations:
            continue
        source = arithmetic_source(model.graph, node.inputs[0]).name
        quantizer = activations.get(source)
        if not isinstance(quantizer, ActivationQuantizer):
            continue
        # Another reader of the same source may have widened it.
        widened = replace(model, activations=activations)
        finest = float(widened.scales(node.inputs[0]).min())
        if finest < LEAST_SCALE:
            scale = activation_form(model.limits).nearest(quantizer.scale * (LEAST_SCALE / finest))
            activations[source] = replace(quantizer, scale=scale)
    if activations == model.activations:
        return model
    return replace(model, activations=activations)
