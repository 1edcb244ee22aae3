# SPDX-License-Identifier: Apache-2.0
"""Places of a recipe that can have a width of their own, and recipes with given widths there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from aocq.capture.float_graph import FloatGraph, FloatOp
from aocq.methods.tensor_widths import weight_widths
from aocq.recipes.layer_rules import LayerRule, LayerRules, meets
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.profile import NpuProfile


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """The weights of a layer.

    Attributes
    ----------
    op
        name of the layer, as rules of a recipe have it
    widths
        the bits that a chip's array reads there, ascending
    """

    op: str
    widths: tuple[int, ...]


# Bits at every place of a network.
Widths = Mapping[Place, int]


def places_of(
    graph: FloatGraph, recipe: Recipe, profile: NpuProfile, among: Collection[int] = ()
) -> dict[Place, int]:
    """Return the places of a network on a chip, in order, and what a recipe has there.

    Parameters
    ----------
    among
        the widths of the chip that count, beside those of the recipe; none: all

    Raises
    ------
    InputError
        If a width is none of the chip's, or there is only one to choose from.
    """
    lacking = sorted(set(among) - set(profile.weight.bits))
    if lacking:
        raise InputError(
            f"profile {profile.name}: weight.bits = {profile.weight.bits} has no "
            f"{', '.join(map(str, lacking))}; choose widths among these, or another profile"
        )
    chosen = set(among or profile.weight.bits)
    found = weight_bits(graph, recipe)
    places = {
        Place(op=op, widths=tuple(sorted({*chosen, bits}))): bits for op, bits in found.items()
    }
    if all(len(place.widths) == 1 for place in places):
        raise InputError(
            f"profile {profile.name}: weight.bits = {profile.weight.bits}: there is no other width "
            "to choose; name a profile that has some with --profile (see: aocq profiles list)"
        )
    return places


def weight_bits(graph: FloatGraph, recipe: Recipe) -> dict[str, int]:
    """Return the bits of every layer's weights by the layer's name, in order."""
    found = weight_widths(graph, recipe)
    layers = (node for node in graph.nodes if node.op is FloatOp.LINEAR)
    return {node.name: found[node.attributes["weight"]] for node in layers}


def recipe_at(recipe: Recipe, graph: FloatGraph, widths: Widths) -> Recipe:
    """Return a recipe with the given widths of weights, in few rules.

    The width that most layers have is the recipe's own. Others have a rule: one pattern where it
    meets layers of one width alone, as ``blocks.*.attn.proj``. Rules of other things stay.
    """
    (common, _), *_ = Counter(widths.values()).most_common()
    bare = replace(recipe, weight_bits=common, layers=_without_widths(recipe.layers))
    wanted = {place.op: bits for place, bits in widths.items()}
    rules = dict(bare.layers.items())
    own = weight_bits(graph, bare)
    differing = [op for op, bits in wanted.items() if own[op] != bits]
    for pattern, bits in _patterns(differing, wanted).items():
        rule = rules.get(pattern)
        rules[pattern] = replace(rule, w=bits) if rule else LayerRule(w=bits)
    return replace(bare, layers=LayerRules.of(rules))


def _patterns(differing: Sequence[str], wanted: Mapping[str, int]) -> dict[str, int]:
    """Return patterns that give layers their bits, and no other layer other ones."""
    found = {}
    for op in differing:
        pattern = re.sub(r"(?<=\.)\d+(?=\.)", "*", op)
        alike = {bits for name, bits in wanted.items() if meets(pattern, name)} == {wanted[op]}
        found[pattern if alike else op] = wanted[op]
    return found


def _without_widths(rules: LayerRules) -> LayerRules:
    kept = {}
    for pattern, rule in rules.items():
        others = {key: value for key, value in rule.given().items() if key != "w"}
        if others:
            kept[pattern] = LayerRule(**others)
    return LayerRules.of(kept)
