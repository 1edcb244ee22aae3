# SPDX-License-Identifier: Apache-2.0
"""QuantizedModel: a network with the scales and integer weights that a method chose for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import fusable_layers
from aocq.methods.masks import quantizer_of
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight, Quantizer
from aocq.methods.scales import Scales, linear_scales, scales_of
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a network was quantized from, by digests.

    Attributes
    ----------
    checkpoint_sha256
        of the float network's weights, see :class:`aocq.zoo.models.LoadedModel`
    calibration_sha256
        of the listing of the calibration images, see
        :func:`aocq.data.image_folder.listing_sha256`
    """

    checkpoint_sha256: str
    calibration_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedModel:
    """A quantized network: scales, integer weights and zero points that a method chose.

    It is the expensive part, computed once and lowered to many chips.

    Attributes
    ----------
    graph
        the float network (its parameters that stay real: biases, LayerNorm's γ and β, tokens)
    method, recipe, limits
        who decided, what was asked, and what the chip allowed
    activations
        by node name; an arithmetic node without one stays in float
    weights
        by parameter name, one for every linear layer
    calibration_images
        how many images the decisions rest on
    log
        how the decisions were found, for people
    meta
        class count and preprocessing of the network, carried along into every graph
    layernorm_quantizers
        quantizers of tensors inside LayerNorms, by name of a part, see
        :mod:`aocq.methods.layernorm_parts`
    sources
        weights and images that it was made of; None where nobody noted them
    """

    graph: FloatGraph
    method: str
    recipe: Recipe
    limits: ChipLimits
    activations: Mapping[str, Quantizer]
    weights: Mapping[str, QuantizedWeight]
    calibration_images: int
    log: tuple[Mapping[str, Any], ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    layernorm_quantizers: Mapping[str, ActivationQuantizer] = field(default_factory=dict)
    sources: Sources | None = None

    @property
    def title(self) -> str:
        """The method and its widths: ``aocq W4A8``; ``mixed`` where layers have their own."""
        mixed = " mixed" if self.recipe.layers else ""
        return f"{self.method} W{self.recipe.weight_bits}A{self.recipe.activation_bits}{mixed}"

    def parameter(self, name: str) -> NDArray[np.float64]:
        """Return the values of a parameter of the float network."""
        return np.asarray(self.graph.parameters[name], np.float64)

    @property
    def leaves_floats(self) -> bool:
        """Whether any operator stays in float; products are rescaled in float then."""
        fused = self.fused_layers
        return any(
            node.op in ARITHMETIC and node.name not in self.activations and node.name not in fused
            for node in self.graph.nodes
        )

    @property
    def fused_layers(self) -> dict[str, FloatNode]:
        """Linear layers fused with an addition to the residual stream, and the sum of each.

        The layer has no quantizer; the sum has one.
        """
        return {
            name: total
            for name, total in fusable_layers(self.graph).items()
            if name not in self.activations and total.name in self.activations
        }

    def scales(self, name: str) -> Scales:
        """Return the scales of a node's codes, as :mod:`aocq.methods.scales` holds them."""
        return scales_of(self.graph, self.activations, self.limits, name)

    def bias_scale(self, node: FloatNode) -> NDArray[np.float64]:
        """Return the scale of a linear node's accumulator, [N] or [1].

        Raises
        ------
        InputError
            If the input is held balanced and the weight's columns do not carry its factors.
        """
        weight = self.weights[node.attributes["weight"]]
        return linear_scales(node, self.scales(node.inputs[0]), weight).reshape(-1)

    def bias_codes(self, node: FloatNode) -> NDArray[np.int64]:
        """Return a linear node's bias in codes of its accumulator, [N]; zeros where it has none.

        Raises
        ------
        InputError
            If a code would need more than 63 bits.
        """
        if not node.attributes["bias"]:
            return np.zeros(len(self.weights[node.attributes["weight"]].codes), np.int64)
        real = self.parameter(node.attributes["bias"])
        codes = np.rint(real / self.bias_scale(node))
        if not np.abs(codes).max(initial=0) < 2.0**62:
            raise InputError(
                f"{node.attributes['bias']}: is {np.abs(codes).max():.3g} times the scale of "
                f"{node.name}'s sums, which no bias holds; quantize the network again"
            )
        return codes.astype(np.int64)

    def fake_quantize(self, node: FloatNode, x: Tensor) -> Tensor:
        """Quantize and dequantize a node's result: the interpreter's ``transform``."""
        quantizer = quantizer_of(self.graph, self.activations, node)
        return quantizer(x) if quantizer else x

    def fake_quantized_image(self, images: Tensor) -> Tensor:
        """Return quantized and dequantized images, float64: the input of fake quantization.

        Where the network's input stays in float, the images as they are.
        """
        quantizer = self.activations.get(self.graph.input.name)
        if quantizer is None:
            return images.double()
        return (quantizer.codes(images).double() - quantizer.zero_point) * quantizer.scale

    def fake_quantized_parameters(self) -> dict[str, Tensor]:
        """Return quantized and dequantized weights, and rounded biases, in float64.

        In float64 the sums of products of codes are exact, so that fake quantization differs
        from a chip only by what the chip approximates. Biases stay as they are where products are
        rescaled in float.
        """
        import torch

        parameters = {name: value.double() for name, value in self.graph.parameters.items()}
        for node in () if self.leaves_floats else self.graph.nodes:
            if node.op is FloatOp.LINEAR and node.attributes["bias"]:
                real = self.bias_codes(node) * self.bias_scale(node)
                parameters[node.attributes["bias"]] = torch.from_numpy(real)
        for name, weight in self.weights.items():
            parameters[name] = weight.dequantized()
        return parameters
