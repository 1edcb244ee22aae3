# SPDX-License-Identifier: Apache-2.0
"""Places of a recipe that can have a width of their own, and recipes with given widths there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source, residual_stream
from aocq.methods.tensor_widths import weight_widths
from aocq.recipes.layer_rules import LayerRule, LayerRules, resolved
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import readable_widths, reads
from aocq.records.layer_patterns import meets
from aocq.transforms.reader_widths import PRODUCTS, classifiers
from simulator.errors import InputError
from simulator.profile import NpuProfile

Key = Literal["w", "a"]
KINDS: Mapping[Key, str] = {"w": "weights", "a": "operand"}
WIDEST_WEIGHT = 8


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """The weights of a layer, or the activations that it reads.

    Attributes
    ----------
    op, key
        name of the layer, and ``w`` or ``a``, as rules of a recipe have them
    widths
        the bits that a chip's array reads there, ascending
    """

    op: str
    key: Key = "w"
    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """The key of the layer's rule: ``head.w``."""
        return f"{self.op}.{self.key}"

    @property
    def kind(self) -> str:
        """Which numbers of the layer."""
        return KINDS[self.key]


# Bits at every place of a network.
Widths = Mapping[Place, int]


def places_of(
    graph: FloatGraph, recipe: Recipe, profile: NpuProfile, among: Collection[int] = ()
) -> dict[Place, int]:
    """Return the places of a network on a chip that have a choice, and what a recipe has there.

    Weights of all layers; and what layers read, where the chip's products read several widths and
    it is a tensor of its own: not the image, probabilities or the residual stream.

    Parameters
    ----------
    among
        the widths of weights that count, beside those of the recipe; none: all of the chip

    Raises
    ------
    InputError
        If a width is none of the chip's, or there is no choice anywhere.
    """
    lacking = sorted(set(among) - set(profile.weight.bits))
    if lacking:
        raise InputError(
            f"profile {profile.name}: weight.bits = {profile.weight.bits} has no "
            f"{', '.join(map(str, lacking))}; choose widths among these, or another profile"
        )
    able: dict[Key, set[int]] = {
        "w": set(among or profile.weight.bits),
        "a": {bits for bits in readable_widths(profile) if reads(profile, bits, WIDEST_WEIGHT)},
    }
    found = {
        Place(op=op, key=key, widths=tuple(sorted({*able[key], bits}))): bits
        for (op, key), bits in widths_in(graph, recipe).items()
        if able[key] != {bits}
    }
    if not found:
        raise InputError(
            f"profile {profile.name}: weight.bits = {profile.weight.bits}: there is no other width "
            "to choose; name a profile that has some with --profile (see: aocq profiles list)"
        )
    return found


def widths_in(graph: FloatGraph, recipe: Recipe) -> dict[tuple[str, Key], int]:
    """Return the bits of all layers' weights and operands under a recipe, in order."""
    layers = [node for node in graph.nodes if node.op is FloatOp.LINEAR]
    weights = weight_widths(graph, recipe)
    names = [node.name for node in graph.nodes]
    products = [node.name for node in graph.nodes if node.op in PRODUCTS]
    ruled = resolved(recipe.layers, "a", products, names)
    ends = {node.name for node in classifiers(graph)}
    stream = residual_stream(graph)
    found: dict[tuple[str, Key], int] = {}
    for node in layers:
        found[node.name, "w"] = weights[node.attributes["weight"]]
        if _has_operand(graph, node, stream):
            usual = recipe.end_bits if node.name in ends and recipe.end_bits else None
            found[node.name, "a"] = ruled.get(node.name, usual or recipe.activation_bits)
    return found


def _has_operand(graph: FloatGraph, layer: FloatNode, stream: Collection[str]) -> bool:
    source = arithmetic_source(graph, layer.inputs[0])
    return source.op not in {FloatOp.INPUT, FloatOp.SOFTMAX} and source.name not in stream


def recipe_at(recipe: Recipe, graph: FloatGraph, widths: Widths) -> Recipe:
    """Return a recipe with the given widths at places, and its own everywhere else, in few rules.

    The width of weights that most layers have is the recipe's own. Others have a rule: one pattern
    where it meets layers of one width alone, as ``blocks.*.attn.proj``. Rules of other things stay.
    """
    wanted = widths_in(graph, recipe) | {(p.op, p.key): bits for p, bits in widths.items()}
    weights = Counter(bits for (_, key), bits in wanted.items() if key == "w")
    common = weights.most_common(1)[0][0] if weights else recipe.weight_bits
    bare = replace(recipe, weight_bits=common, layers=_without(recipe.layers, graph, wanted))
    rules = {pattern: rule.given() for pattern, rule in bare.layers.items()}
    own = widths_in(graph, bare)
    for key in KINDS:
        of_key = {op: bits for (op, other), bits in wanted.items() if other == key}
        stay = bare.layers.values_of(key)  # a pattern could tie with one of these, or lose to it
        contested = any(meets(pattern, op) for pattern in stay for op in of_key)
        for op, bits in of_key.items():
            if own[op, key] != bits:
                pattern = op if contested else _pattern(op, of_key)
                rules.setdefault(pattern, {})[key] = bits
    return replace(
        bare, layers=LayerRules.of({name: LayerRule(**rule) for name, rule in rules.items()})
    )


def _pattern(op: str, wanted: Mapping[str, int]) -> str:
    """Return a pattern that meets a layer and none of another width: at best one for all blocks."""
    pattern = re.sub(r"(?<=\.)\d+(?=\.)", "*", op)
    met = {bits for name, bits in wanted.items() if meets(pattern, name)}
    return pattern if met == {wanted[op]} else op


def _without(
    rules: LayerRules, graph: FloatGraph, wanted: Collection[tuple[str, Key]]
) -> LayerRules:
    """Return rules less the widths that they give nothing but layers that get theirs anew."""
    able: Mapping[Key, list[str]] = {
        "w": [node.name for node in graph.nodes if node.op is FloatOp.LINEAR],
        "a": [node.name for node in graph.nodes if node.op in PRODUCTS],
    }
    kept = {}
    for pattern, rule in rules.items():
        said = {
            key
            for key, names in able.items()
            if all((name, key) in wanted for name in names if meets(pattern, name))
        }
        others = {key: value for key, value in rule.given().items() if key not in said}
        if others:
            kept[pattern] = LayerRule(**others)
    return LayerRules.of(kept)
