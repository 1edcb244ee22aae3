# SPDX-License-Identifier: Apache-2.0
"""Designs of a plan: network, images, method, recipe and chip, one row of the table each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.recipes.aocq_options import PresetName
from aocq.recipes.limits import limits_of
from aocq.recipes.methods import calibration_images, knows_chip, leaves_floats
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import missing_layer_widths, missing_widths
from aocq.records.distinct_names import distinct
from aocq.records.gates import Gates
from aocq.sweeps.chips import ProfileVariant, profile_variants
from aocq.sweeps.plan import DataEntry, NetworkEntry, Plan, readable_plan, refused
from aocq.sweeps.plan_recipes import NamedRecipe, recipes_of_plan
from reports.rows import SIZES_ONLY
from simulator.errors import InputError
from simulator.settings import typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One row of a sweep's table.

    Attributes
    ----------
    name
        for people
    variant
        what sets it apart in the table, by column, beside network, method and widths
    request
        the ordinary request of a run; ``out`` is the sweep's folder
    """

    name: str
    variant: Mapping[str, str]
    request: VerifyRequest
    chip: ProfileVariant


def read_designs(path: Path, out: Path, command: Sequence[str]) -> tuple[Plan, list[Design]]:
    """Read a plan, and return it with its designs.

    Raises
    ------
    InputError
        If there is no such file, or it has mistakes: all that can be told before a run, in one
        message. Of recipes, profiles and their keys, of folders and files that are not there.
    """
    plan, found = readable_plan(path)
    if plan is None:
        raise refused(path, found)
    recipes = recipes_of_plan(plan, found.append)
    chips = profile_variants(plan, out, found.append)
    found += _not_there(plan)
    if found:
        raise refused(path, found)
    return plan, _designs(plan, recipes, chips, out, command)


def _not_there(plan: Plan) -> Iterator[str]:
    """Yield the files and folders of a plan that are missing; estimates read none of them."""
    if plan.sweep.costs_only:
        return
    for place, network in enumerate(plan.network):
        if network.weights and not Path(network.weights).exists():
            yield f"network[{place}].weights: {network.weights}: not found"
    for name, data in plan.data.items():
        for key, folder in (("evaluate", data.evaluate), ("calibrate", data.calibrate)):
            if folder and not Path(folder).exists():
                yield f"data.{name}.{key}: {folder}: not found"


def _designs(
    plan: Plan,
    recipes: Sequence[NamedRecipe],
    chips: Sequence[ProfileVariant],
    out: Path,
    command: Sequence[str],
) -> list[Design]:
    """Return the designs of a plan, in its order: networks, images, methods, recipes, chips."""
    labelled = any(each.label for each in recipes)
    several = len(plan.data) > 1
    found = []
    for network, name, method, asked, chip in _combined(plan, recipes, chips):
        request = _request(plan, network, name, method, asked.recipe, chip, out, command)
        variant = {"profile": chip.base, **chip.settings}
        if labelled:
            variant = {"recipe": asked.label, **variant}
        if several:
            variant = {"set": name or "", **variant}
        widths = asked.label or f"w{asked.recipe.weight_bits}a{asked.recipe.activation_bits}"
        settings = [f"{key}={value}" for key, value in chip.settings.items()]
        parts = [_title(network), method, widths, chip.base, *settings, *([name] * several)]
        found.append(
            Design(
                name=" ".join(str(part) for part in parts),
                variant=variant,
                request=request,
                chip=chip if plan.sweep.costs_only else _able(chip, method, asked.recipe),
            )
        )
    return _each_named_once(found)


def _able(chip: ProfileVariant, method: str, recipe: Recipe) -> ProfileVariant:
    """Return a chip; without its profile, and with the reason, where it lacks a recipe's widths."""
    profile = chip.profile
    if profile is None:
        return chip
    in_float = leaves_floats(method, recipe.float_ops)
    widths = (recipe.weight_bits, recipe.activation_bits, recipe.end_bits)
    if not (
        missing_widths(profile, *widths, leaves_floats=in_float)
        or missing_layer_widths(profile, recipe.layers, leaves_floats=in_float)
    ):
        return chip
    # Imported where something is missing: for the message that commands of one network give.
    from aocq.lowering import check_recipe

    knows = knows_chip(method)
    try:
        limits = limits_of(profile, recipe)
        check_recipe(recipe, limits, profile, leaves_floats=in_float, knows_chip=knows)
    except InputError as error:
        return replace(chip, profile=None, reason=str(error))
    return chip


def _each_named_once(designs: Sequence[Design]) -> list[Design]:
    """Return designs with a number behind a name that came before: other weights, say."""
    names = distinct(design.name for design in designs)
    return [replace(design, name=name) for design, name in zip(designs, names, strict=True)]


def _combined(
    plan: Plan, recipes: Sequence[NamedRecipe], chips: Sequence[ProfileVariant]
) -> Iterator[tuple[NetworkEntry, str | None, str, NamedRecipe, ProfileVariant]]:
    for network in plan.network:
        names: list[str | None] = [*(network.data or plan.data)]
        if plan.sweep.costs_only:
            names = [None]
        methods = [SIZES_ONLY] if plan.sweep.costs_only else plan.sweep.methods
        for name, method, asked, chip in product(names, methods, recipes, chips):
            yield network, name, method, asked, chip


def _request(
    plan: Plan,
    network: NetworkEntry,
    name: str | None,
    method: str,
    recipe: Recipe,
    chip: ProfileVariant,
    out: Path,
    command: Sequence[str],
) -> VerifyRequest:
    data = plan.data[name] if name is not None else DataEntry(evaluate=".")
    sweep = plan.sweep
    return VerifyRequest(
        model=ModelRequest(
            name=network.name,
            weights=Path(network.weights) if network.weights else None,
            classes=network.classes,
            arguments=_tuples(network.arguments),
            preprocessing=_tuples(network.preprocessing),
        ),
        profile=chip.path,
        calibration=CalibrationRequest(
            method=method,
            recipe=recipe,
            folder=Path(data.calibrate or data.evaluate),
            images=data.calibration_images or _published_images(method, sweep.preset),
            skip_bad_images=sweep.skip_bad_images,
            device=sweep.device,
        ),
        evaluation=EvaluationRequest(
            folder=Path(data.evaluate),
            limit=data.images,
            batch=sweep.batch,
            skip_bad_images=sweep.skip_bad_images,
        ),
        emulation=EmulationRequest(),
        gates=Gates(),
        out=out,
        command=tuple(command),
        task=network.task,
    )


def _published_images(method: str, preset: PresetName) -> int:
    """Return with how many images a method calibrates; 0 where costs alone are asked for."""
    return 0 if method == SIZES_ONLY else calibration_images(method, preset)


def _title(network: NetworkEntry) -> str:
    own = typed(network.arguments)
    return f"{network.name} ({own})" if own else network.name


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a command line's are: tuples where TOML has lists."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
