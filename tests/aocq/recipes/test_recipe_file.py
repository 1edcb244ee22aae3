# SPDX-License-Identifier: Apache-2.0
"""Recipe files: what is written is read, what is left out stays, and mistakes are told by key."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aocq.recipes.aocq_options import PRESETS, AocqOptions
from aocq.recipes.layer_rules import OPERAND_WIDTHS, LayerRule, LayerRules
from aocq.recipes.recipe import Recipe
from aocq.recipes.recipe_file import WrittenRecipe, read_recipe, recipe_toml
from simulator.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.toml"


def read(file: Path, text: str) -> WrittenRecipe:
    file.write_text(text, encoding="utf-8")
    return read_recipe(file)


PATTERNS = st.text(min_size=1, max_size=20).filter(str.isprintable)
RULES = st.builds(
    LayerRule,
    w=st.integers(2, 8),
    a=st.none() | st.sampled_from(OPERAND_WIDTHS),
    alpha=st.none() | st.sampled_from(["none", "pot3", "free"]),
)
RECIPES = st.builds(
    Recipe,
    weight_bits=st.integers(2, 8),
    end_bits=st.none() | st.integers(3, 8),
    float_ops=st.sampled_from(["declared", "integer"]),
    seed=st.integers(0, 2**63 - 1),
    aocq=st.builds(
        AocqOptions,
        alpha=st.sampled_from(["none", "free"]),
        norm_exponent=st.floats(0, 4),
        rotate_heads=st.booleans(),
    ),
    layers=st.dictionaries(PATTERNS, RULES, max_size=4).map(LayerRules.of),
)


@given(recipe=RECIPES, heading=st.lists(st.text(), max_size=3))
@example(recipe=Recipe(), heading=["run\nformat = 2", "\x1b[1m\udc80"])
def test_reading_gives_back_what_was_written(
    file: Path, recipe: Recipe, heading: list[str]
) -> None:
    found = read(file, recipe_toml(recipe, heading))
    assert found.on(Recipe()) == recipe
    # Every value is stated, so that no preset and no later default can change it.
    stated = {field.name for field in fields(Recipe)} - {"aocq", "layers", "end_bits"}
    assert stated <= found.fields.keys()
    assert found.own["aocq"].keys() == {field.name for field in fields(AocqOptions)}


def test_what_a_file_leaves_out_stays_as_it_was(file: Path) -> None:
    preset = Recipe(weight_bits=4, seed=7, aocq=PRESETS["fast"].options)
    found = read(file, 'format = 1\n[recipe.aocq]\nalpha = "pot5"\n')
    assert found == WrittenRecipe(fields={}, own={"aocq": {"alpha": "pot5"}})
    assert found.on(preset).aocq.scale_passes == preset.aocq.scale_passes == 0
    assert found.on(preset).weight_bits == 4
    assert read(file, "format = 1\n").on(preset) == preset


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "format: missing; wanted format = 1"),
        ("format = 2", "format: 2; wanted format = 1"),
        ("format = true", "format: True; wanted format = 1"),
        ("format = 1\nlayer = 3", "layer: unknown key (did you mean layers?)"),
        ("format = 1\nrecipe = 3", "recipe: must be a table, [recipe]"),
        ("format = 1\nlayers = 3", "layers: must be a table"),
        ("format = 1\n[recipe]\nlayers = 3", "recipe.layers: rules for single layers stand in"),
        ("format = 1\n[recipe]\naocq = 3", "recipe.aocq: must be a table"),
        ("format = 1\n[recipe]\nw_bits = 3", "recipe.w_bits: unknown key (did you mean end_bits?"),
        ("format = 1\n[recipe]\nweight_bits = 4.0", "recipe.weight_bits = 4.0: input should be a"),
        ("format = 1\n[recipe]\nweight_bits = 9", "recipe.weight_bits = 9: input should be less"),
        ("format = 1\n[recipe]\nseed = 2020-01-01", "recipe.seed: dates, times and nan are no"),
        ("format = 1\n[recipe.aocq]\nnorm_exponent = nan", "recipe.aocq.norm_exponent: dates, tim"),
        ("format = 1\n[recipe.aocq]\nalfa = 1", "recipe.aocq.alfa: unknown key (did you mean al"),
        ("format = 1\n[recipe.fq_vit]\nx = 1", "recipe.fq_vit: unknown key"),
        ("format = 1\n[layers]\nblocks.0 = {w = 4}", "a pattern with dots stands in quotes"),
        ('format = 1\n[layers]\n"a.b" = {w = 1}', 'layers."a.b".w = 1: input should be greater'),
        ('format = 1\n[layers]\n"a.b" = {a = 12}', 'layers."a.b": a = 12: wanted 3 to 8, or 16'),
        (
            'format = 1\n[layers]\n"a.b" = {}',
            'layers."a.b": says nothing: wanted one of w, a, alpha',
        ),
        ('format = 1\n[layers]\n"" = {w = 8}', "layers: '' is no pattern"),
        (
            'format = 1\n[layers]\n"a" = {w = 8}\n"a" = {w = 4}',
            "not TOML: Cannot overwrite a value",
        ),
        ("format = ", "not TOML: Invalid value"),
        (
            'format = 1\n[layers]\n"a.*" = {w = 8}\n  blocks.*.mlp.fc2 = {w = 8}',
            'column 10); a pattern stands in quotes: "blocks.*.mlp.fc2" = ...',
        ),
        ("format = 1\n[layers]\nb.[0-3] = {w = 8}", '; a pattern stands in quotes: "b.[0-3]" ='),
        ("x = " + "[" * 100_000, "nested too deeply"),
    ],
)
def test_mistakes_are_told_by_their_keys(file: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        read(file, text)
    assert str(raised.value).startswith(f"{file}: ")
    assert told in str(raised.value)


def test_other_mistakes_of_toml_say_nothing_of_quotes(file: Path) -> None:
    with pytest.raises(InputError, match="not TOML") as raised:
        read(file, 'format = 1\n[layers]\n"a.*" = {w = 8\n')
    assert "quotes" not in str(raised.value)


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    with pytest.raises(InputError, match=r"3 problem\(s\)"):
        read(file, 'format = 1\n[recipe]\nweight_bits = 9\nx = 1\n[layers]\n"head" = 8\n')


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found; --recipe wants a recipe file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_text("#" * ((1 << 20) + 1), encoding="utf-8")
    with pytest.raises(InputError, match="a file of its kind at most"):
        read_recipe(tmp_path / "large.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not TOML"):
        read_recipe(tmp_path / "bytes.toml")
