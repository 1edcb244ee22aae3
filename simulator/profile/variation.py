# SPDX-License-Identifier: Apache-2.0
"""A chip like another with some of its values changed, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from simulator.errors import InputError
from simulator.profile.aliases import ROUNDING_ALIASES
from simulator.profile.chip_tables import table_uses
from simulator.profile.problems import path_of, problems
from simulator.profile.profile import NpuProfile, flat_values


class UnknownKeyError(InputError):
    """A profile has no such key, whatever its value."""


# Keys of the outermost accumulator level, wherever a profile states levels: ``accumulator.bits``.
OUTERMOST = ("bits", "overflow")
_ACCUMULATOR = "accumulator"


def varied(profile: NpuProfile, name: str, changes: Mapping[str, Any]) -> NpuProfile:
    """Return a profile under another name with some values changed.

    Parameters
    ----------
    changes
        by the path of a table or a value (``activation.bits``): what stands there, whole; None:
        nothing. ``accumulator.bits`` and ``accumulator.overflow`` are those of the outermost level,
        of every kind of op. A vendor's word for a rounding decides all that it means. What
        ``[source]`` says of a changed value is left out: it is assumed

    Raises
    ------
    InputError
        If there is no such chip, or the profile has tables in files.
    UnknownKeyError
        If there is no such key.
    """
    if list(table_uses(profile)):
        raise InputError(
            f"profile {profile.name}: has tables in files, so that it cannot be varied; choose one "
            "without"
        )
    plain = profile.model_dump(mode="json", exclude_none=True)
    plain["name"], plain["title"] = name, f"{profile.name} with other {', '.join(changes)}"[:200]
    for path, value in changes.items():
        table, _, key = path.rpartition(".")
        if table == _ACCUMULATOR and key in OUTERMOST:
            change_outermost_level(plain, {key: value})
            _assumed(plain, f"{_ACCUMULATOR}.levels", profile)
            continue
        for each, meant in _meaning(path, value).items():
            _set(plain, each, meant, profile)
            _assumed(plain, each, profile, stated=meant is not None)
    try:
        return NpuProfile.model_validate(plain)
    except ValidationError as error:
        unknown = [path_of(x) for x in error.errors() if x["type"] == "extra_forbidden"]
        found = [*problems(error), *_nearest(profile, _below(changes, unknown))]
        if unknown:
            raise UnknownKeyError(f"profile {profile.name}: {'; '.join(found)}") from error
        raise InputError(f"profile {name}: {'; '.join(found)}") from error


def _below(changes: Mapping[str, Any], unknown: Sequence[str]) -> list[str]:
    """Return the changed keys that are unknown ones, or would stand in an unknown table."""
    return [path for path in changes if any(f"{path}.".startswith(f"{x}.") for x in unknown)]


def _nearest(profile: NpuProfile, wrong: Sequence[str]) -> Iterator[str]:
    """Yield, of every key that profiles have not, those of the profile that may be meant."""
    known = [*flat_values(profile), *(f"{_ACCUMULATOR}.{key}" for key in OUTERMOST)]
    for path in wrong:
        last = path.rpartition(".")[2]
        same = [each for each in known if each.rpartition(".")[2] == last]
        if near := get_close_matches(path, known, n=3) or same[:3]:
            yield f"near {path}: {', '.join(near)}"


def change_outermost_level(plain: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Change the outermost accumulator level of a profile's plain values, of every kind of op."""
    overrides = (kind.get(_ACCUMULATOR) for kind in plain["ops"].values())
    for table in (plain[_ACCUMULATOR], *overrides):
        if table and "levels" in table:
            table["levels"] = [*table["levels"][:-1], {**table["levels"][-1], **changes}]


def _meaning(path: str, value: Any) -> dict[str, Any]:
    """Return what a value stands for, by path: a vendor's word for a rounding may be two keys."""
    table, _, key = path.rpartition(".")
    if key == "rounding" and isinstance(value, str) and value.lower() in ROUNDING_ALIASES:
        meant = ROUNDING_ALIASES[value.lower()]
        return {f"{table}.{each}": word for each, word in meant.items()}
    return {path: value}


def _set(plain: dict[str, Any], path: str, value: Any, profile: NpuProfile) -> None:
    """Set a value by its path, in tables that are made where they may be and are not there."""
    *tables, key = path.split(".")
    table = plain
    for depth, part in enumerate(tables, 1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UnknownKeyError(
                f"profile {profile.name}: {'.'.join(tables[:depth])} is no table, so that it has "
                f"no key {path}; change it as a whole"
            )
    table.pop(key, None)
    if value is not None:
        table[key] = value


def _assumed(plain: dict[str, Any], path: str, profile: NpuProfile, *, stated: bool = True) -> None:
    """Replace what is said of the source of a value, which is another now."""
    for known in [known for known in plain["source"] if f"{known}.".startswith(f"{path}.")]:
        del plain["source"][known]
    if stated:
        plain["source"][path] = f"assumed: varied from {profile.name}"


def toml_text(profile: NpuProfile) -> str:
    """Return a profile as the text of a TOML file, a table on every line."""
    plain = profile.model_dump(mode="json", exclude_none=True)
    return "".join(f"{key} = {_value(value)}\n" for key, value in plain.items())


def _value(value: Any) -> str:
    """Return a value in TOML, of which JSON's strings, numbers and truth values are a part."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)
