# SPDX-License-Identifier: Apache-2.0
"""The form of the factors α that a recipe asks for, tensor by tensor of the residual stream."""

from __future__ import annotations

from aocq.capture import FloatGraph
from aocq.capture.residual_stream import residual_stream
from aocq.recipes.aocq_options import Alpha
from aocq.recipes.layer_rules import resolved
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError


def stream_forms(graph: FloatGraph, recipe: Recipe) -> dict[str, Alpha]:
    """Return the form of α of every tensor of the stream, by name: a rule's, or the recipe's.

    Raises
    ------
    InputError
        If a rule meets no tensor of the stream, or two contradict each other; if tensors of one
        width, which share their factors (``alpha_sharing = "stage"``), would have different forms.
    """
    stream = residual_stream(graph)
    nodes = [node for node in graph.nodes if node.name in stream]
    names = [node.name for node in nodes]
    ruled = resolved(recipe.layers, "alpha", names, [node.name for node in graph.nodes])
    forms: dict[str, Alpha] = {name: ruled.get(name, recipe.aocq.alpha) for name in names}
    if recipe.aocq.alpha_sharing == "stage":
        first: dict[int, str] = {}
        for node in nodes:
            other = first.setdefault(node.shape[-1], node.name)
            if forms[other] != forms[node.name]:
                raise InputError(
                    f"layers: {node.name}: alpha is {forms[node.name]}, that of {other} is "
                    f"{forms[other]}, and tensors of {node.shape[-1]} channels share their factors "
                    "(alpha_sharing = stage); give all of them one form, or choose --alpha-sharing "
                    "node"
                )
    return forms
