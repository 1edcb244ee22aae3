# SPDX-License-Identifier: Apache-2.0
"""What a run was quantized by, as its record."""

from __future__ import annotations

from aocq.methods.quantized_model import QuantizedModel
from aocq.records.run import MethodRecord, WidthsRecord


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
        recipe={**recipe.plain(), **limits.plain()},
        calibration_images=model.calibration_images,
        seconds=seconds,
    )
