# SPDX-License-Identifier: Apache-2.0
"""Quantizers of tensors inside LayerNorm, for chips that compute it as a graph of operators.

Ranges are those of the fake-quantized network on the calibration images: a LayerNorm reads
quantized tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aocq.capture import FloatNode, FloatOp
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.ranges import ObservedRange, activation_quantizer
from aocq.methods.scale_form import activation_form
from aocq.recipes.limits import ChipLimits

if TYPE_CHECKING:
    from torch import Tensor

PARTS = (
    "input",
    "mean",
    "squares",
    "variance",
    "inverse_root",
    "centred",
    "normalized",
    "scaled",
    "shifted",
)
PART_BITS = (8, 16)


def part_name(layernorm: str, part: str) -> str:
    """Return the name of a tensor inside a LayerNorm."""
    return f"{layernorm}.{part}"


def parts_of(node: FloatNode, x: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every part of a LayerNorm of ``x`` [..., C], in float."""
    weight, bias = node.attributes["weight"], node.attributes["bias"]
    mean = x.mean(-1, keepdim=True)
    squares = (x - mean) ** 2
    variance = squares.mean(-1, keepdim=True)
    root = (variance + node.attributes["epsilon"]).rsqrt()
    normalized = (x - mean) * root
    scaled = normalized * parameters[weight] if weight else normalized
    shifted = scaled + parameters[bias] if bias else scaled
    values = (x, mean, squares, variance, root, x - mean, normalized, scaled, shifted)
    return dict(zip(PARTS, values, strict=True))


def observe_parts(
    model: QuantizedModel,
    images: Tensor,
    bits: int,
    advance: Callable[[int], None] = lambda images: None,
) -> dict[str, ActivationQuantizer]:
    """Return the quantizers of all parts of LayerNorms, by name, from their observed ranges.

    Zero points are used where the recipe allows them and codes have 8 bits; TFLite's operators on
    16-bit codes have none.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    advance
        called with the number of images done since the last call
    """
    import torch

    from aocq.capture.interpreter import run
    from aocq.capture.parts import IMAGES_AT_ONCE

    graph = model.graph
    norms = [node for node in graph.nodes if node.op is FloatOp.LAYERNORM]
    parameters = model.fake_quantized_parameters()
    seen: dict[str, ObservedRange] = {}
    for batch in images.split(IMAGES_AT_ONCE["cpu"]):
        feeds = {graph.input.name: model.fake_quantized_image(batch)}
        with torch.inference_mode():
            sources = run(
                graph,
                feeds,
                [node.inputs[0] for node in norms],
                transform=model.fake_quantize,
                parameters=parameters,
            )
            for node in norms:
                for part, x in parts_of(node, sources[node.inputs[0]], parameters).items():
                    seen.setdefault(part_name(node.name, part), ObservedRange()).see(x)
        advance(len(batch))
    return parts_quantizers(seen, model.limits, bits)


def parts_quantizers(
    seen: Mapping[str, ObservedRange], limits: ChipLimits, bits: int
) -> dict[str, ActivationQuantizer]:
    """Return quantizers of parts of LayerNorms from their ranges, see :func:`observe_parts`."""
    zero_point = limits.zero_point if bits == 8 else "symmetric"
    form = activation_form(limits)
    return {
        name: activation_quantizer(found.low, found.high, bits, zero_point, form)
        for name, found in seen.items()
    }
