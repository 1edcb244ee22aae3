# SPDX-License-Identifier: Apache-2.0
"""Whether a chip's array reads both operands of every product at the widths of a recipe."""

from __future__ import annotations

from aocq.capture import FloatGraph
from aocq.methods.tensor_widths import product_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import reads
from aocq.transforms.reader_widths import with_narrow_readers
from simulator.errors import InputError
from simulator.profile import NpuProfile


def check_products(
    graph: FloatGraph, recipe: Recipe, limits: ChipLimits, profile: NpuProfile
) -> None:
    """Check a network's products under a recipe's rules for single layers; without rules nothing.

    Raises
    ------
    InputError
        If a rule meets nothing, two contradict each other, or the array of ``profile`` does not
        read two operands of a product together.
    """
    if not recipe.layers:
        return
    graph = with_narrow_readers(graph, recipe, limits)
    for name, (a, b) in product_widths(graph, recipe, limits).items():
        if not reads(profile, a, b):
            raise InputError(
                f"profile {profile.name}: {name}: multiplies operands of {a} and {b} bits, which "
                "compute.engine.widths does not name; give it a rule of its own with fewer bits "
                f'(layers."{name}" = {{ a = … }})'
            )
