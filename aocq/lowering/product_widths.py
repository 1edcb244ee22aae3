# SPDX-License-Identifier: Apache-2.0
"""Whether a chip's array reads both operands of every product at the widths of a recipe."""

from __future__ import annotations

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.tensor_widths import tensor_widths, weight_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import reads
from aocq.transforms.reader_widths import PRODUCTS, with_narrow_readers
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
    tensors, weights = tensor_widths(graph, recipe, limits), weight_widths(graph, recipe)
    for node in graph.nodes:
        if node.op not in PRODUCTS:
            continue
        a, b = _operand_bits(graph, node, tensors, weights)
        if not reads(profile, a, b):
            raise InputError(
                f"profile {profile.name}: {node.name}: multiplies operands of {a} and {b} bits, "
                f"which compute.engine.widths does not name; give it a rule of its own with fewer "
                f'bits (layers."{node.name}" = {{ a = … }})'
            )


def _operand_bits(
    graph: FloatGraph, node: FloatNode, tensors: dict[str, int], weights: dict[str, int]
) -> tuple[int, int]:
    read = [tensors[arithmetic_source(graph, name).name] for name in node.inputs]
    if node.op is FloatOp.LINEAR:
        read.append(weights[node.attributes["weight"]])
    return read[0], read[1]
