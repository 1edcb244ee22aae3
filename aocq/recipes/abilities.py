# SPDX-License-Identifier: Apache-2.0
"""What a chip could do for a quantization that nothing asks it for, as sentences."""

from __future__ import annotations

from aocq.recipes.limits import ChipLimits
from aocq.recipes.methods import knows_chip
from aocq.recipes.recipe import Recipe


def unused_abilities(method: str, recipe: Recipe, limits: ChipLimits) -> list[str]:
    """Return which abilities of a chip are left without use, and what would use each."""
    options, knows = recipe.aocq, knows_chip(method)
    abilities = (
        (
            limits.hadamard_order > 0 and not (knows and options.hadamard != "none"),
            "rotate the inputs of layers as it runs ([hadamard])",
            "--hadamard",
        ),
        (
            limits.row_scale != "none" and not (knows and options.row_steps != "none"),
            "find a step for each row of an operand as it runs (dynamic.row_scale)",
            "--row-steps",
        ),
        (
            limits.block > 0 and not (knows and options.block_steps),
            "find a step for each block of a sum as it runs (dynamic.block)",
            "--block-steps",
        ),
    )
    return [
        f"the chip can {ability}, which "
        + (f"is not used: {option} asks for it" if knows else f"method {method} does not use")
        for unused, ability, option in abilities
        if unused
    ]
