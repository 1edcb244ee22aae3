# SPDX-License-Identifier: Apache-2.0
"""Tensors of a fake-quantized network, before and after their quantizers, for figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.residual_stream import residual_stream
from aocq.methods.quantized_model import QuantizedModel
from simulator.errors import InputError

Pair = tuple[Tensor, Tensor]


def before_and_after(
    model: QuantizedModel, images: Tensor, names: Collection[str]
) -> Mapping[str, Pair]:
    """Return tensors [count, ...] of the fake-quantized network on both sides of their quantizers.

    Everything upstream is quantized, so that a pair differs by its own quantizer only. A tensor
    that stays in float is the same on both sides.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]; a handful, as all is held

    Raises
    ------
    KeyError
        If a name is none of the network's.
    """
    before: dict[str, Tensor] = {}

    def watch(node: FloatNode, x: Tensor) -> Tensor:
        if node.name in names:
            before[node.name] = x
        return model.fake_quantize(node, x)

    with torch.inference_mode():
        after = run(
            model.graph,
            {model.graph.input.name: model.fake_quantized_image(images)},
            names,
            transform=watch,
            parameters=model.fake_quantized_parameters(),
        )
    # The image is fed, not computed: fake quantization begins with its codes.
    return {name: (before.get(name, x), x) for name, x in after.items()}


def stream_along_depth(graph: FloatGraph) -> list[str]:
    """Return the sums of the residual stream, in order.

    Not its concatenations, whose parts are often held at their scale already.

    Raises
    ------
    InputError
        If there are none.
    """
    stream = residual_stream(graph)
    found = [n.name for n in graph.nodes if n.name in stream and n.op is FloatOp.ADD]
    if not found:
        raise InputError(f"{graph.name}: has no sums of a residual stream, which figures are of")
    return found


def most_uneven(pairs: Mapping[str, Pair]) -> str:
    """Return the tensor whose channels' largest |values| differ most: largest over median."""

    def unevenness(name: str) -> float:
        x = pairs[name][0]
        largest = x.abs().reshape(-1, x.shape[-1]).amax(0)
        return float(largest.max() / largest.median().clamp_min(1e-12))

    return max(pairs, key=unevenness)
