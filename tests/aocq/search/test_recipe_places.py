# SPDX-License-Identifier: Apache-2.0
"""Places of recipes, and recipes with widths at these: what is asked for is what layers get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SMALL, input_size, network

from aocq.capture import capture
from aocq.recipes.layer_rules import LayerRule, LayerRules, resolved
from aocq.recipes.recipe import Recipe
from aocq.search.places import places_of, recipe_at, widths_in
from aocq.transforms.reader_widths import PRODUCTS
from simulator.errors import InputError
from simulator.profile import load_profile

GRAPH = capture(network("class_token", SMALL), "small", input_size(SMALL))
W4A8, WIDE = load_profile("edge_npu_w4a8"), load_profile("edge_npu_int8_wide")
LAYERS = (
    "patch_embed.proj",
    *(
        f"blocks.{block}.{layer}"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ),
    "head",
)


def test_places_are_the_weights_of_all_layers() -> None:
    found = places_of(GRAPH, Recipe(weight_bits=4), W4A8)
    assert [place.op for place in found] == [*LAYERS]
    assert {place.key for place in found} == {"w"}
    assert {place.widths for place in found} == {(3, 4, 8)}
    assert {*found.values()} == {4}


def test_chips_that_read_wide_operands_have_places_for_these() -> None:
    found = places_of(GRAPH, Recipe(weight_bits=8), WIDE)
    operands = [place for place in found if place.key == "a"]
    assert [place.op for place in operands] == [*LAYERS[1:]]  # but for the image
    assert {place.widths for place in operands} == {(8, 16)}


def test_widths_can_be_left_out_but_not_the_recipes_own() -> None:
    found = places_of(GRAPH, Recipe(weight_bits=4), W4A8, (8,))
    assert {place.widths for place in found} == {(4, 8)}


@pytest.mark.parametrize(
    ("recipe", "profile", "among", "told"),
    [
        (Recipe(weight_bits=4), W4A8, (5, 8), r"weight.bits = \[8, 4, 3\] has no 5"),
        (Recipe(), load_profile("edge_npu_int8"), (8,), "no other width to choose"),
    ],
)
def test_no_choice_is_told(recipe: Recipe, profile, among: tuple[int, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        places_of(GRAPH, recipe, profile, among)


@given(st.data())
def test_every_layer_has_the_width_that_was_asked_for(data: st.DataObject) -> None:
    rules = {"blocks.1": LayerRule(w=8, a=16), "blocks.0.attn.scores": LayerRule(a=8)}
    recipe = Recipe(
        weight_bits=data.draw(st.sampled_from([3, 4, 8])),
        end_bits=data.draw(st.sampled_from([None, 8])),
        layers=LayerRules.of(rules if data.draw(st.booleans()) else {}),
    )
    places = places_of(GRAPH, recipe, WIDE)
    wanted = {place: data.draw(st.sampled_from(place.widths)) for place in places}
    made = recipe_at(recipe, GRAPH, wanted)
    found = widths_in(GRAPH, made)
    assert {(place.op, place.key): bits for place, bits in wanted.items()} == {
        key: bits for key, bits in found.items() if key in {(p.op, p.key) for p in places}
    }
    assert made.aocq == recipe.aocq
    assert ("blocks.0.attn.scores" in made.layers) == bool(recipe.layers)
    assert recipe_at(made, GRAPH, wanted) == made


def test_one_pattern_stands_for_all_blocks() -> None:
    recipe = Recipe(weight_bits=4)
    places = places_of(GRAPH, recipe, W4A8)
    wanted = {p: 8 if p.op.endswith("proj") or p.op == "head" else b for p, b in places.items()}
    made = recipe_at(recipe, GRAPH, wanted)
    assert made.layers.plain() == {
        "blocks.*.attn.proj": {"w": 8},
        "head": {"w": 8},
        "patch_embed.proj": {"w": 8},
    }


def test_the_commonest_width_is_the_recipes_own() -> None:
    places = places_of(GRAPH, Recipe(weight_bits=4), W4A8)
    made = recipe_at(Recipe(weight_bits=4), GRAPH, dict.fromkeys(places, 8))
    assert made == Recipe(weight_bits=8)


@pytest.mark.parametrize(
    ("recipe", "among"),
    [
        (Recipe(weight_bits=4, end_bits=8), (4,)),
        (Recipe(weight_bits=8, layers=LayerRules.of({"blocks": LayerRule(w=4)})), (8,)),
        (Recipe(weight_bits=4, layers=LayerRules.of({"blocks.0": LayerRule(w=8)})), (8,)),
    ],
)
@pytest.mark.parametrize("end", [0, -1])
def test_layers_without_a_choice_keep_their_width(
    recipe: Recipe, among: tuple[int, ...], end: int
) -> None:
    places = places_of(GRAPH, recipe, W4A8, among)
    widths = widths_in(GRAPH, recipe)
    assert 0 < len(places) < sum(key == "w" for _, key in widths)
    wanted = {place: place.widths[end] for place in places}
    chosen = {(place.op, place.key): bits for place, bits in wanted.items()}
    assert widths_in(GRAPH, recipe_at(recipe, GRAPH, wanted)) == widths | chosen


@pytest.mark.parametrize("bits", [8, 16])
def test_what_a_rule_says_of_products_without_weights_stays(bits: int) -> None:
    recipe = Recipe(layers=LayerRules.of({"blocks.1": LayerRule(a=16)}))
    places = places_of(GRAPH, recipe, WIDE)
    made = recipe_at(recipe, GRAPH, {p: bits if p.key == "a" else b for p, b in places.items()})
    names = [node.name for node in GRAPH.nodes]
    products = [node.name for node in GRAPH.nodes if node.op in PRODUCTS]
    before, after = (resolved(each.layers, "a", products, names) for each in (recipe, made))
    assert after["blocks.1.attn.scores"] == before["blocks.1.attn.scores"] == 16
    assert "blocks.0.attn.scores" not in after
    assert {bits} == {found for (_, key), found in widths_in(GRAPH, made).items() if key == "a"}
