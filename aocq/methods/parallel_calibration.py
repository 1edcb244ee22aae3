# SPDX-License-Identifier: Apache-2.0
"""Calibration of BasePTQ and PTQ4ViT: scales of each matrix product, searched one by one.

Quantized are the weights and inputs of linear layers, and both operands of products of
activations; of the patch embedding only the weights. Bias, Add, LayerNorm, Softmax, GELU and
embeddings stay in float: their nodes have no quantizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import GELUS
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.integer_operators import completed
from aocq.methods.layer_search import (
    Grid,
    InputCandidates,
    LinearLayer,
    LinearScales,
    Product,
    Search,
    search_linear,
    search_product,
    search_product_with_levels,
    uniform_candidates,
    weight_codes,
)
from aocq.methods.layer_values import Direction, LayerValues, values_of
from aocq.methods.objectives import Objective
from aocq.methods.operands import row_blocks, trace_operand
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import (
    LevelQuantizer,
    QuantizedWeight,
)
from aocq.methods.scale_form import ScaleForm, activation_form, weight_form
from aocq.methods.searched_scales import SearchedScales
from aocq.methods.tensor_widths import weight_widths
from aocq.methods.twin_ranges import WIDEST_TWIN, gelu_twin, negative_scale, softmax_exponents
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

# The papers calibrate on 32 images.
IMAGES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The choices in which the methods of this family differ.

    Attributes
    ----------
    direction
        from logits [images, classes] and a seed to what is sent back through the network as the
        gradient of the loss; None for objectives without gradients
    softmax_levels
        the twin quantizer of probabilities by exponent and bits; None for a uniform one
    gelu_multiples
        from candidate scales, bits and the form of scales to multiples of a fraction of the
        negative scale, and the fraction; None for a uniform quantizer of GELU's result
    stem_per_channel
        whether each output channel of the patch embedding has a scale of its own
    """

    method: str
    grid: Grid
    rounds: int
    objective: Objective
    direction: Direction | None = None
    softmax_levels: Callable[[int, int], LevelQuantizer] | None = None
    gelu_multiples: Callable[[list[float], int, ScaleForm], tuple[list[int], int]] | None = None
    stem_per_channel: bool = False


def calibrate(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    settings: Settings,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize ``graph`` by the first :data:`IMAGES` of ``images``.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    on_progress
        called with (layers done, layers in all)
    """
    images = images[:IMAGES]
    scales = SearchedScales(graph, images, recipe, limits)
    calibration = _Calibration(
        graph, recipe, limits, settings, scales, weight_widths(graph, recipe)
    )
    layers = [node for node in graph.nodes if node.op in {FloatOp.LINEAR, FloatOp.MATMUL}]
    tensors = values_of(graph, images, layers, settings.direction, recipe.seed)
    for done, (node, values) in enumerate(tensors, start=1):
        if node.op is FloatOp.LINEAR:
            calibration.linear(node, values)
        else:
            calibration.product(node, values)
        if on_progress:
            on_progress(done, len(layers))
    activations = scales.quantizers()
    if recipe.float_ops == "integer":
        activations = completed(graph, images, recipe, limits, activations)
    return QuantizedModel(
        graph=graph,
        method=settings.method,
        recipe=recipe,
        limits=limits,
        activations=activations,
        weights=calibration.weights,
        calibration_images=len(images),
        log=tuple(calibration.log),
    )


@dataclass(slots=True)
class _Calibration:
    """Searches layer by layer, and their results so far."""

    graph: FloatGraph
    recipe: Recipe
    limits: ChipLimits
    settings: Settings
    scales: SearchedScales
    weight_widths: Mapping[str, int]
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)

    def search(self, weight_bits: int, activation_bits: int) -> Search:
        """Return the settings of a search at widths of weights and of activations."""
        return Search(
            grid=self.settings.grid,
            objective=self.settings.objective,
            rounds=self.settings.rounds,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            weight_form=weight_form(self.limits),
            activation_form=activation_form(self.limits),
            one_scale=self.limits.activation_granularity == "per_tensor",
        )

    def linear(self, node: FloatNode, values: LayerValues) -> None:
        """Search a linear layer and note its weight codes and its input's scale or levels."""
        weight = self.graph.parameters[node.attributes["weight"]]
        bias = node.attributes["bias"]
        source = arithmetic_source(self.graph, node.inputs[0])
        blocks = self._blocks(node, source)
        order = torch.tensor([row for block in blocks for row in block])
        x = values.inputs[0].reshape(-1, weight.shape[1])
        layer = LinearLayer(
            x=x,
            weight=weight[order],
            bias=self.graph.parameters[bias][order] if bias else torch.zeros(len(weight)),
            real=values.real.reshape(-1, len(weight))[:, order],
            gradient=(
                values.gradient.reshape(-1, len(weight))[:, order]
                if values.gradient is not None
                else None
            ),
            blocks=len(blocks),
        )
        search = self.search(
            self.weight_widths[node.attributes["weight"]], self.scales.bits(source.name)
        )
        candidates, fraction = self._input_candidates(source, x, search)
        result = search_linear(layer, candidates, search)
        self._note_weight(node, layer, order, result, search.weight_bits)
        if result.input is not None and fraction:
            bits, form = search.activation_bits, search.activation_form
            multiple = round(result.input / (negative_scale(bits, form) / fraction))
            self.scales.note_levels(source.name, gelu_twin(multiple, fraction, bits, form))
        elif result.input is not None:
            scale = torch.full((source.shape[-1],), result.input, dtype=torch.float64)
            self.scales.note(source.name, -1, scale)

    def _blocks(self, node: FloatNode, source: FloatNode) -> tuple[tuple[int, ...], ...]:
        rows = tuple(range(node.shape[-1]))
        if self.limits.weight_granularity == "per_tensor":
            return (rows,)
        if source.op is FloatOp.INPUT and self.settings.stem_per_channel:
            return tuple((row,) for row in rows)
        return row_blocks(self.graph, node)

    def _input_candidates(
        self, source: FloatNode, x: Tensor, search: Search
    ) -> tuple[InputCandidates | None, int]:
        """Return the candidates for a layer's input and, of a twin quantizer, its fraction."""
        if source.op is FloatOp.INPUT:
            return None, 0
        uniform = uniform_candidates(x, search)
        multiples = self.settings.gelu_multiples
        bits, form = search.activation_bits, search.activation_form
        is_gelu = source.attributes.get("function") in GELUS
        if multiples is None or not is_gelu or bits > WIDEST_TWIN:
            return uniform, 0
        whole_multiples, fraction = multiples(list(uniform.scales), bits, form)
        negative_unit = negative_scale(bits, form)
        scales = [multiple * negative_unit / fraction for multiple in whole_multiples]
        negative = torch.round(x / negative_unit).clamp_(uniform.low, 0)
        return (
            InputCandidates(
                scales=tuple(scales),
                first=min(scales, key=lambda scale: abs(scale - uniform.first)),
                low=0,
                high=uniform.high,
                fixed=negative.mul_(negative_unit),
            ),
            fraction,
        )

    def _note_weight(
        self, node: FloatNode, layer: LinearLayer, order: Tensor, result: LinearScales, bits: int
    ) -> None:
        codes = torch.empty(layer.weight.shape, dtype=torch.int8)
        codes[order] = weight_codes(layer.weight, result.weight, bits)
        scale = result.weight
        if layer.blocks > 1:
            scale = torch.empty(len(order), dtype=torch.float64)
            scale[order] = result.weight.repeat_interleave(len(order) // layer.blocks)
        self.weights[node.attributes["weight"]] = QuantizedWeight(
            bits=bits, codes=codes.numpy(), scale=scale.numpy()
        )
        self.log.append(
            {
                "layer": node.name,
                "weight_steps": result.weight.tolist(),
                "input_step": result.input,
                "rounds": result.rounds,
            }
        )

    def product(self, node: FloatNode, values: LayerValues) -> None:
        """Search a product of two activations and note both operands' scales or levels."""
        a, b = values.inputs
        if node.attributes["transpose_b"]:
            b = b.transpose(-1, -2)
        operands = [trace_operand(self.graph, node, side) for side in (0, 1)]
        product = Product(
            a=_by_head(a),
            b=_by_head(b),
            real=_by_head(values.real),
            gradient=_by_head(values.gradient) if values.gradient is not None else None,
            factors=(operands[0].factor, operands[1].factor),
            left_bits=self.scales.bits(operands[0].source),
        )
        search = self.search(self.recipe.weight_bits, self.scales.bits(operands[1].source))
        left = self.graph.node(operands[0].source)
        is_twin = left.op is FloatOp.SOFTMAX and self.scales.bits(left.name) <= WIDEST_TWIN
        if self.settings.softmax_levels and is_twin:
            levels = self._probability_levels(self.settings.softmax_levels)
            result = search_product_with_levels(product, levels, search)
        else:
            result = search_product(product, search)
        entry: dict[str, Any] = {"layer": node.name, "rounds": result.rounds}
        for side, operand, scales in zip("ab", operands, (result.a, result.b), strict=True):
            if isinstance(scales, LevelQuantizer):
                self.scales.note_levels(operand.source, scales)
                entry[f"{side}_unit"] = scales.scale
            else:
                self.scales.note_heads(operand, scales)
                entry[f"{side}_steps"] = scales.tolist()
        self.log.append(entry)

    def _probability_levels(
        self, levels: Callable[[int, int], LevelQuantizer]
    ) -> list[LevelQuantizer]:
        """Return the twin quantizers to choose from, their unit one that the chip can hold.

        Where that is a power of two, the last level is a little below 1, not the first far above.
        """
        bits, form = self.limits.probability_bits(self.recipe), activation_form(self.limits)
        twins = [levels(exponent, bits) for exponent in softmax_exponents(bits)]
        return [replace(twin, scale=form.below(twin.scale)) for twin in twins]


def _by_head(x: Tensor) -> Tensor:
    """View an operand or a result as [images, heads, rows, columns]; windows count as images."""
    return x.unsqueeze(1) if x.ndim == 3 else x.reshape(-1, *x.shape[-3:])
