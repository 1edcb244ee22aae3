# SPDX-License-Identifier: Apache-2.0
"""Rows of an ablation of elements: each differs from what it stands beside in one place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.records.gates import Gates
from aocq.sweeps.elements import Variation, cells_of, elements_of, variations
from simulator.profile import load_profile, profile_paths

DYNAMIC = "edge_npu_w4a4_dynamic"
# What any chip has an element for.
PLAIN = {"heads", "stream", "alpha", "inputs", "gptq", "reconstruct"}


def template(out: Path, profile: str = DYNAMIC) -> VerifyRequest:
    recipe = Recipe(weight_bits=4, activation_bits=4)
    return VerifyRequest(
        model=ModelRequest(name="vit_nano_digits"),
        profile=profile,
        calibration=CalibrationRequest(method="aocq", recipe=recipe, folder=out, images=4),
        evaluation=EvaluationRequest(folder=out),
        emulation=EmulationRequest(),
        gates=Gates(),
        out=out,
        command=(),
    )


def rows_of(profile: str = DYNAMIC) -> list[Variation]:
    return variations(elements_of(load_profile(profile)))


def changed_places(row: Variation, other: Variation) -> set[str]:
    assert row.settings.keys() == other.settings.keys()
    return {place for place in row.settings if row.settings[place] != other.settings[place]}


def test_a_row_differs_from_the_one_beside_it_in_its_elements_place_alone() -> None:
    full, bare, *others = rows_of()
    assert (full.role, bare.role, full.against) == ("full", "bare", None)
    for row in others:
        assert row.element is not None
        beside = bare if row.role == "alone" else full
        assert row.against == beside.role
        assert changed_places(row, beside) == {row.element.place}
    told = [tuple(row.labels().values()) for row in (full, bare, *others)]
    assert len(set(told)) == len(told)


def test_full_and_bare_differ_in_every_element_of_the_recipe() -> None:
    elements = elements_of(load_profile(DYNAMIC))
    full, bare = variations(elements)[:2]
    wanted = {each.place for each in elements if each.role == "recipe"}
    assert changed_places(full, bare) == wanted
    assert wanted == {
        *("softmax", "heads", "hadamard", "block_steps", "row_steps", "alpha", "inputs"),
        "rounding",
    }


def test_what_takes_longest_comes_last() -> None:
    keys = [row.element.key if row.element else "" for row in rows_of()]
    assert keys[-2:] == ["reconstruct", "reconstruct"]
    assert "reconstruct" not in keys[:-2]


@pytest.mark.parametrize("name", profile_paths())
def test_elements_are_those_that_a_chip_has(name: str) -> None:
    profile = load_profile(name)
    keys = [each.key for each in elements_of(profile)]
    assert len(set(keys)) == len(keys)
    found = set(keys)
    assert found >= PLAIN
    assert ({"hadamard", "hadamard_fc2"} <= found) == (profile.hadamard is not None)
    assert ("row_steps" in found) == (limits_of(profile, Recipe()).row_scale != "none")
    assert ("block_steps" in found) == (limits_of(profile, Recipe()).block > 0)
    assert ("row_steps_attention" in found) == ("row_steps" in found)
    dynamic = profile.dynamic
    clips = dynamic is not None and (dynamic.row_scale == "multiplier" or dynamic.block_trim > 0)
    assert ("clipping" in found) == clips
    assert ("softmax" in found) == (profile.softmax.algorithm == "deferred_log2")
    assert ("vector" in found) == (profile.activation.operand_width < profile.activation.bits)
    assert ("stream16" in found) == (profile.activation.residual_bits < 16)


def test_varied_chips_are_profiles_with_that_value_and_others_stay(tmp_path: Path) -> None:
    rows = rows_of()
    cells = cells_of(template(tmp_path), load_profile(DYNAMIC), rows)
    assert len({cell.request.out for cell in cells}) == len(cells)
    chips = {
        tuple(row.labels().values()): cell.chip.profile
        for row, cell in zip(rows, cells, strict=True)
    }
    shipped = chips["full", "all"]
    assert shipped == load_profile(DYNAMIC)
    assert chips["without", "heads"] == shipped
    assert chips["bare", "all"].softmax.algorithm == "exp_table"
    assert chips["bare", "all"].softmax.output_bits == 4
    assert chips["alone", "softmax"] == shipped
    assert chips["instead", "probabilities8"].softmax.output_bits == 8
    assert chips["instead", "stream16"].activation.residual_bits == 16
    assert chips["without", "vector"].activation.bits == 4
    assert shipped.dynamic is not None
    assert shipped.dynamic.block_trim
    assert chips["without", "clipping"].dynamic == shipped.dynamic.model_copy(
        update={"block_trim": 0}
    )
    assert chips["alone", "stream16"].softmax == chips["bare", "all"].softmax
    for chip in chips.values():
        same = {"compute": shipped.compute, "memory": shipped.memory, "weight": shipped.weight}
        assert {key: getattr(chip, key) for key in same} == same


def test_recipes_are_the_templates_but_for_what_elements_set(tmp_path: Path) -> None:
    rows = rows_of()
    own = template(tmp_path)
    asked_for = own.calibration.recipe
    options = replace(asked_for.aocq, scale_passes=1, hadamard_block=64)
    own = replace(
        own, calibration=replace(own.calibration, recipe=replace(asked_for, aocq=options, seed=5))
    )
    recipes = {
        tuple(row.labels().values()): cell.request.calibration.recipe
        for row, cell in zip(rows, cells_of(own, load_profile(DYNAMIC), rows), strict=True)
    }
    for recipe in recipes.values():
        assert (recipe.seed, recipe.aocq.scale_passes, recipe.aocq.hadamard_block) == (5, 1, 64)
    full, bare = recipes["full", "all"], recipes["bare", "all"]
    assert (full.end_bits, bare.end_bits, recipes["without", "ends"].end_bits) == (8, 8, None)
    assert (full.aocq.hadamard, full.aocq.row_steps, full.aocq.block_steps) == (
        *("all", "all"),
        True,
    )
    assert (bare.aocq.hadamard, bare.aocq.row_steps, bare.aocq.block_steps) == (
        *("none", "none"),
        False,
    )
    assert recipes["instead", "hadamard_fc2"] == replace(
        full, aocq=replace(full.aocq, hadamard="fc2")
    )
    assert recipes["without", "clipping"].aocq == replace(full.aocq, row_clipping=1.0)
    attention = recipes["instead", "row_steps_attention"].aocq
    assert attention == replace(full.aocq, row_steps="attention")
    assert recipes["instead", "reconstruct"].aocq.rounding == "reconstruct"
    assert recipes["alone", "gptq"] == replace(bare, aocq=replace(bare.aocq, rounding="gptq"))
