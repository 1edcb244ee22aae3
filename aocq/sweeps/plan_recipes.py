# SPDX-License-Identifier: Apache-2.0
"""Recipes of a plan: widths as a text, a recipe file, or a table like one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aocq.recipes.aocq_options import PRESETS
from aocq.recipes.recipe import Recipe
from aocq.recipes.recipe_file import read_recipe, written_recipe
from aocq.sweeps.plan import Plan
from simulator.errors import InputError
from simulator.settings import typed

_WIDTHS = re.compile(r"w([2-8])a([3-8]|16)(?:e([3-8]))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecipe:
    """A recipe, and what a table calls it; nothing where its widths say it all."""

    label: str
    recipe: Recipe


def recipes_of_plan(plan: Plan, refuse: Callable[[str], None]) -> list[NamedRecipe]:
    """Return the recipes of a plan; ``refuse`` gets what is none, with its place in the plan."""
    found = []
    for place, written in enumerate(plan.sweep.recipes):
        try:
            found.append(_recipe(written, plan))
        except InputError as error:
            refuse(f"sweep.recipes[{place}]: {error}")
    return found


def _recipe(written: str | Mapping[str, Any], plan: Plan) -> NamedRecipe:
    """Return a recipe as a plan writes it: ``w4a8``, a file, a table.

    Raises
    ------
    InputError
        If it is none, or a file cannot be read.
    """
    sweep = plan.sweep
    plain = Recipe(aocq=PRESETS[sweep.preset].options, seed=sweep.seed, end_bits=sweep.end_bits)
    if isinstance(written, str) and written.endswith(".toml"):
        path = Path(written)
        return NamedRecipe(label=path.stem, recipe=read_recipe(path).on(plain))
    if isinstance(written, str):
        found = _WIDTHS.fullmatch(written.lower())
        if found is None:
            raise InputError(
                f"{written!r} is no recipe; wanted w4a8 (bits of weights and "
                "activations, 2 to 8 and 3 to 8 or 16; e8 behind it: of the two ends), a recipe "
                "file (.toml) or a table"
            )
        weight_bits, activation_bits, end_bits = (int(x) if x else None for x in found.groups())
        assert weight_bits is not None
        assert activation_bits is not None
        recipe = replace(plain, weight_bits=weight_bits, activation_bits=activation_bits)
        if end_bits is not None:
            return NamedRecipe(label=written.lower(), recipe=replace(recipe, end_bits=end_bits))
        return NamedRecipe(label="", recipe=recipe)
    return _inline(dict(written), plain)


def _inline(table: dict[str, Any], plain: Recipe) -> NamedRecipe:
    """Return the recipe of a table in a plan: what a recipe file has in [recipe], and layers."""
    label, layers = table.pop("name", None), table.pop("layers", {})
    try:
        recipe = written_recipe(table, layers).on(plain)
    except (TypeError, ValueError) as error:  # of pydantic; of dates, and of what is no table
        lines = [str(error)]
        if isinstance(error, ValidationError):
            lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InputError("; ".join(lines)) from error
    rules = {"layers": len(layers)} if layers else {}
    return NamedRecipe(label=str(label or _compact({**table, **rules})), recipe=recipe)


def _compact(table: Mapping[str, Any]) -> str:
    """Return a table as a text of a column: ``weight_bits=4 rounding=nearest``."""
    return typed({**{k: v for k, v in table.items() if k != "aocq"}, **table.get("aocq", {})})
