# SPDX-License-Identifier: Apache-2.0
"""What a run was quantized by, as its record."""

from __future__ import annotations

from dataclasses import replace

from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.tensor_widths import product_widths
from aocq.recipes.layer_rules import NO_RULES
from aocq.records.run import LayerWidthsRecord, MethodRecord, WidthsRecord


def method_record(model: QuantizedModel, seconds: float) -> MethodRecord:
    """Return the method, its recipe and widths, and how long it took."""
    recipe, limits = model.recipe, model.limits
    return MethodRecord(
        name=model.method,
        weight_bits=recipe.weight_bits,
        activation_bits=recipe.activation_bits,
        widths=WidthsRecord(
            operands=recipe.activation_bits,
            probabilities=limits.probability_bits(recipe),
            vector=limits.vector_width(recipe),
            stream=limits.residual_bits,
            ends=recipe.end_bits,
            result=limits.output_bits,
        ),
        layers=layer_records(model),
        recipe={**recipe.plain(), **limits.plain()},
        calibration_images=model.calibration_images,
        seconds=seconds,
    )


def layer_records(model: QuantizedModel) -> list[LayerWidthsRecord]:
    """Return the layers and products to which rules or ``end_bits`` give other widths, in order."""
    graph, recipe, limits = model.graph, model.recipe, model.limits
    uniform = replace(recipe, layers=NO_RULES, end_bits=None)
    known = product_widths(graph, uniform, limits)
    return [
        LayerWidthsRecord(op=name, a_bits=widths[0], b_bits=widths[1])
        for name, widths in product_widths(graph, recipe, limits).items()
        if widths != known[name]
    ]
