# SPDX-License-Identifier: Apache-2.0
"""Recipes and limits by their fields, as methods take them one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from simulator.profile import NpuProfile

LIMITS = {field.name for field in fields(ChipLimits)}


def recipe_of(**values: Any) -> Recipe:
    """A recipe, its ``aocq`` as fields too."""
    if isinstance(values.get("aocq"), Mapping):
        values["aocq"] = AocqOptions(**values["aocq"])
    return Recipe(**values)


def asked(**values: Any) -> tuple[Recipe, ChipLimits]:
    """Fields of both, told apart by their names."""
    limits = {name: value for name, value in values.items() if name in LIMITS}
    return (
        recipe_of(**{name: value for name, value in values.items() if name not in LIMITS}),
        ChipLimits(**limits),
    )


def for_chip(profile: NpuProfile, **values: Any) -> tuple[Recipe, ChipLimits]:
    """A recipe and what a profile allows it."""
    recipe = recipe_of(**values)
    return recipe, limits_of(profile, recipe)
