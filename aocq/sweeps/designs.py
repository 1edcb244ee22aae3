# SPDX-License-Identifier: Apache-2.0
"""Designs of a plan: network, images, method, recipe and chip, one row of the table each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.recipes.aocq_options import PRESETS, PresetName
from aocq.recipes.methods import calibration_images
from aocq.recipes.recipe import Recipe
from aocq.records.gates import Gates
from aocq.sweeps.plan import DataEntry, NetworkEntry, Plan
from reports.rows import SIZES_ONLY
from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import UnknownKeyError, toml_text, varied
from simulator.settings import typed

PROFILES = "profiles"  # folder of a sweep's own, with the varied ones
LONGEST_NAME = 100  # of a profile
_WIDTHS = re.compile(r"w([2-8])a([3-8]|16)(?:e([3-8]))?")
_RECIPE = TypeAdapter(Recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVariant:
    """A chip of a sweep.

    Attributes
    ----------
    base
        the name of the profile that the plan names
    settings
        of its keys that the plan varies: value by key, as texts
    path
        its name or file; of a varied one where :meth:`write` puts it
    profile
        with these values; None where there can be no such chip
    reason
        why there can be none
    """

    base: str
    settings: Mapping[str, str]
    path: str
    profile: NpuProfile | None = None
    reason: str = ""

    def write(self) -> None:
        """Write the file of a varied profile, if it is not there.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        if self.profile is None or not self.settings:
            return
        path, text = Path(self.path), toml_text(self.profile)
        if not (path.exists() and path.read_text(encoding="utf-8") == text):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecipe:
    """A recipe, and what a table calls it; nothing where its widths say it all."""

    label: str
    recipe: Recipe


def designs_of(plan: Plan, out: Path, command: Sequence[str]) -> list[Design]:
    """Return the designs of a plan, in its order: networks, images, methods, recipes, chips.

    Raises
    ------
    InputError
        If a profile or a recipe cannot be read, or a key of profiles is unknown.
    """
    chips = list(profile_variants(plan, out))
    recipes = [_recipe(each, plan) for each in plan.sweep.recipes]
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
                chip=chip,
            )
        )
    return _each_named_once(found)


def _each_named_once(designs: Sequence[Design]) -> list[Design]:
    """Return designs with a number behind a name that came before: other weights, say."""
    times: dict[str, int] = {}
    named = []
    for design in designs:
        times[design.name] = number = times.get(design.name, 0) + 1
        again = f"{design.name} ({number})" if number > 1 else design.name
        named.append(replace(design, name=again))
    return named


def profile_variants(plan: Plan, out: Path) -> Iterator[ProfileVariant]:
    """Yield every chip of a plan: its profiles, each with every combination of its keys' values.

    Raises
    ------
    InputError
        If a profile cannot be read, or has no such key.
    """
    keys = plan.sweep.keys
    for path in plan.sweep.profiles:
        profile = load_profile(path)
        for values in product(*keys.values()):
            if not keys:
                yield ProfileVariant(base=profile.name, settings={}, profile=profile, path=path)
                continue
            yield _variant(profile, dict(zip(keys, values, strict=True)), out)


def _variant(profile: NpuProfile, changes: Mapping[str, Any], out: Path) -> ProfileVariant:
    """Return a chip with other values, or why there can be none."""
    name = varied_name(profile.name, changes)
    plain = ProfileVariant(
        base=profile.name,
        settings={key: _text(value) for key, value in changes.items()},
        path=str(out / PROFILES / f"{name}.toml"),
    )
    try:
        return replace(plain, profile=varied(profile, name, changes))
    except UnknownKeyError as error:
        raise InputError(f"sweep.keys: {error}") from error
    except InputError as error:
        return replace(plain, reason=str(error))


def varied_name(base: str, changes: Mapping[str, Any]) -> str:
    """Return the name of a varied profile: its base, and the last part of each key with its value.

    A long one is cut, with a digest of the whole.
    """
    texts = [f"{key.rpartition('.')[2]}{_text(value)}" for key, value in changes.items()]
    whole = re.sub(r"[^a-z0-9_]+", "_", "_".join([base, *texts]).lower()).strip("_")
    if len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(repr((base, dict(changes))).encode()).hexdigest()[:8]
    return f"{whole[: LONGEST_NAME - 9]}_{digest}"


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


def _recipe(written: str | Mapping[str, Any], plan: Plan) -> NamedRecipe:
    """Return a recipe of a plan."""
    sweep = plan.sweep
    plain = Recipe(aocq=PRESETS[sweep.preset].options, seed=sweep.seed, end_bits=sweep.end_bits)
    if isinstance(written, str):
        found = _WIDTHS.fullmatch(written.lower())
        if found is None:
            raise InputError(
                f"sweep.recipes: {written!r} is no recipe; wanted w4a8 (bits of weights and "
                "activations, 2 to 8 and 3 to 8 or 16; e8 behind it: of the two ends), or a table"
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
    """Return the recipe of a table in a plan: fields of a recipe, a method's options in its own."""
    label = table.pop("name", None)
    try:
        found = _RECIPE.validate_json(strict_json.dumps(table))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InputError(f"sweep.recipes: {'; '.join(lines)}") from error
    fields = {key: getattr(found, key) for key in table if key != "aocq"}
    options = {key: getattr(found.aocq, key) for key in table.get("aocq", {})}
    recipe = replace(plain, aocq=replace(plain.aocq, **options), **fields)
    return NamedRecipe(label=str(label or _compact(table)), recipe=recipe)


def _compact(table: Mapping[str, Any]) -> str:
    """Return a table as a text of a column: ``weight_bits=4 rounding=nearest``."""
    return typed({**{k: v for k, v in table.items() if k != "aocq"}, **table.get("aocq", {})})


def _title(network: NetworkEntry) -> str:
    own = typed(network.arguments)
    return f"{network.name} ({own})" if own else network.name


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a command line's are: tuples where TOML has lists."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value)
