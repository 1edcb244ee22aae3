# SPDX-License-Identifier: Apache-2.0
"""The plan of a sweep: a TOML file, read strictly; all its mistakes at once, with their places."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aocq.recipes.aocq_options import PresetName
from aocq.recipes.methods import DEFAULT_METHOD, METHOD_SPECS
from aocq.recipes.recipe import LARGEST_SEED
from aocq.tasks.names import CLASSIFICATION, MODULES
from simulator.errors import InputError
from simulator.reading import read_bytes

LARGEST_FILE = 1 << 20  # bytes: a network of every line would be thousands
LONGEST_SHOWN = 80
MOST_IMAGES = 10**8
Images = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]


def _method(name: str) -> str:
    if name not in METHOD_SPECS:
        raise ValueError(f"no such method{_near(name, METHOD_SPECS)}")
    return name


def _task(name: str) -> str:
    if name not in MODULES:
        raise ValueError(f"no such task{_near(name, MODULES)}")
    return name


class _Table(BaseModel):
    """A table of the plan, which refuses keys that it has not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NetworkEntry(_Table):
    """``[[network]]``: a network of timm.

    weights : a checkpoint; without, timm's pretrained weights
    arguments, preprocessing : as of ``--model-kwargs`` and ``--preprocessing``
    data : names of ``[data.NAME]``; without, all
    """

    name: Text
    weights: Text | None = None
    classes: Annotated[int, Field(ge=1, le=10**6)] | None = None
    arguments: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    task: Annotated[str, AfterValidator(_task)] = CLASSIFICATION
    data: list[str] | None = None


class DataEntry(_Table):
    """``[data.NAME]``: images to evaluate, and to calibrate with.

    calibrate : without, those of ``evaluate``
    images : at most so many are evaluated, evenly from all classes
    calibration_images : at most; without, as many as the method was published with, or the preset's
    """

    evaluate: Text
    calibrate: Text | None = None
    images: Images | None = None
    calibration_images: Images | None = None


class SweepEntry(_Table):
    """``[sweep]``: what is multiplied, and what is the same in all runs.

    recipes : ``"w4a8"``, a recipe file (.toml), or a table with fields of a recipe
    profiles : names or TOML files
    keys : keys of profiles and the values that each takes
    costs_only : estimates of each design, without images
    """

    methods: Annotated[list[Annotated[str, AfterValidator(_method)]], Field(min_length=1)] = [
        DEFAULT_METHOD
    ]
    recipes: Annotated[list[str | dict[str, Any]], Field(min_length=1)] = ["w8a8"]
    profiles: Annotated[list[Text], Field(min_length=1)] = ["edge_npu_int8"]
    keys: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    preset: PresetName = "default"
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    end_bits: Annotated[int, Field(ge=3, le=8)] | None = None
    batch: Annotated[int, Field(ge=1, le=4096)] = 32
    skip_bad_images: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    costs_only: bool = False


class Plan(_Table):
    """A plan as its file has it; what it leaves out has the default."""

    title: Text = "Sweep"
    network: Annotated[list[NetworkEntry], Field(min_length=1)]
    data: dict[str, DataEntry] = {}
    sweep: SweepEntry = SweepEntry()


def readable_plan(path: Path) -> tuple[Plan | None, list[str]]:
    """Read a plan; its relative paths are made ones that begin at its folder.

    Returns
    -------
    Plan | None
        without the keys that are wrong, for the rest to be looked at; None where they decide too
        much for that
    list[str]
        a line for each mistake: values that are unknown, missing, of the wrong type, out of range,
        or name what the plan has not

    Raises
    ------
    InputError
        If there is no such file, or it is not TOML.
    """
    parsed = _parsed(path)
    try:
        plan = Plan.model_validate(parsed)
    except ValidationError as error:
        found = [_problem(item) for item in error.errors()]
        return _without(parsed, error, path.parent), found
    return _beside(plan, path.parent), list(_inconsistent(plan))


def _without(parsed: dict[str, Any], error: ValidationError, folder: Path) -> Plan | None:
    """Return what a plan is without its wrong keys; None where something is missing then."""
    for item in error.errors():
        node: Any = parsed
        table, key = parsed, ""
        for part in item["loc"]:
            if isinstance(node, dict) and part in node:
                table, key = node, str(part)
            elif not (isinstance(node, list) and isinstance(part, int)):
                break
            node = node[part]
        if item["type"] == "missing" or key == "costs_only":
            return None
        table.pop(key, None)  # of two mistakes in one value, the first has taken it away
    try:
        return _beside(Plan.model_validate(parsed), folder)
    except ValidationError:
        return None


def _inconsistent(plan: Plan) -> Iterator[str]:
    """Yield what is wrong between tables of a plan."""
    for place, network in enumerate(plan.network):
        for name in network.data or ():
            if name not in plan.data:
                yield f"network[{place}].data: no table [data.{name}]{_near(name, plan.data)}"
        if network in plan.network[:place]:
            yield f"network[{place}]: is there twice"
    if not plan.data and not plan.sweep.costs_only:
        yield "data: missing; name images in a table [data.NAME], or set sweep.costs_only = true"
    if plan.sweep.costs_only and "methods" in plan.sweep.model_fields_set:
        yield "sweep.methods: no use with costs_only = true, whose graphs are base_ptq's; remove it"
    for key in ("methods", "recipes", "profiles"):
        values = getattr(plan.sweep, key)
        yield from (f"sweep.{key}: {each!r} is there twice" for each in _twice(values))
    for key, values in plan.sweep.keys.items():
        yield from (f'sweep.keys."{key}": {each!r} is there twice' for each in _twice(values))


def _twice(values: list[Any]) -> list[Any]:
    return [each for place, each in enumerate(values) if each in values[:place]]


def _beside(plan: Plan, folder: Path) -> Plan:
    """Return a plan whose relative paths begin at ``folder``."""

    def placed(text: str | None) -> str | None:
        return None if text is None else str(folder / text)

    def placed_file(text: Any) -> Any:
        return placed(text) if isinstance(text, str) and text.endswith(".toml") else text

    networks = [each.model_copy(update={"weights": placed(each.weights)}) for each in plan.network]
    data = {
        name: each.model_copy(
            update={"evaluate": placed(each.evaluate), "calibrate": placed(each.calibrate)}
        )
        for name, each in plan.data.items()
    }
    files = {
        key: [placed_file(each) for each in getattr(plan.sweep, key)]
        for key in ("recipes", "profiles")
    }
    return plan.model_copy(
        update={"network": networks, "data": data, "sweep": plan.sweep.model_copy(update=files)}
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = read_bytes(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; aocq sweep wants a plan (TOML)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise InputError(f"{path}: not a plan: tables or lists nested too deeply") from error
    except ValueError as error:  # of TOML, of UTF-8, of whole numbers with thousands of digits
        raise InputError(f"{path}: not TOML: {error}") from error


def refused(path: Path, found: Sequence[str]) -> InputError:
    """Return the error that tells all mistakes of a plan, a line each."""
    lines = "\n".join(f"  {line}" for line in found)
    return InputError(f"{path}: {len(found)} problem(s):\n{lines}")


def _problem(item: Mapping[str, Any]) -> str:
    """Return one mistake as a line: its place in the file, its value, what must hold."""
    parts = [part for part in item["loc"] if part not in ("str", "dict[str,any]")]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    place = place.removeprefix(".")
    if item["type"] == "extra_forbidden":
        known = _keys_of(tuple(map(str, parts[:-1])))
        return f"{place}: unknown key{_near(str(parts[-1]), known)}"
    if item["type"] == "missing":
        return f"{place}: missing"
    message = item["msg"].removeprefix("Value error, ")
    value = item["input"]
    shown = "" if isinstance(value, dict | list) else f" = {repr(value)[:LONGEST_SHOWN]}"
    return f"{place}{shown}: {message[0].lower()}{message[1:]}"


def _keys_of(table: tuple[str, ...]) -> list[str]:
    """Return the keys of a table of the plan, by the path that an error gives."""
    tables: dict[str, type[_Table]] = {
        "network": NetworkEntry,
        "data": DataEntry,
        "sweep": SweepEntry,
    }
    found: type[_Table] = tables.get(table[0], Plan) if table else Plan
    return [*found.model_fields]


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(known)}"
