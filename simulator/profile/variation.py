# SPDX-License-Identifier: Apache-2.0
"""A chip like another with some of its values changed, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from simulator.errors import InputError
from simulator.profile.chip_tables import table_uses
from simulator.profile.problems import problems
from simulator.profile.profile import NpuProfile


def varied(profile: NpuProfile, name: str, changes: Mapping[str, Any]) -> NpuProfile:
    """Return a profile under another name with some values changed.

    Parameters
    ----------
    changes
        by the path of a table or a value (``activation.bits``): what stands there, whole; None:
        nothing. What ``[source]`` says of it is left out: it is assumed

    Raises
    ------
    InputError
        If there is no such chip, or the profile has tables in files.
    """
    if list(table_uses(profile)):
        raise InputError(
            f"profile {profile.name}: has tables in files, so that it cannot be varied; choose one "
            "without"
        )
    plain = profile.model_dump(mode="json", exclude_none=True)
    plain["name"], plain["title"] = name, f"{profile.name} with other {', '.join(changes)}"[:200]
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = plain
        for part in tables:
            table = table.setdefault(part, {})
        table.pop(key, None)
        if value is not None:
            table[key] = value
        sources = [known for known in plain["source"] if f"{known}.".startswith(f"{path}.")]
        for known in sources:
            del plain["source"][known]
        if value is not None:
            plain["source"][path] = f"assumed: varied from {profile.name}"
    try:
        return NpuProfile.model_validate(plain)
    except ValidationError as error:
        raise InputError(f"profile {name}: {'; '.join(problems(error))}") from error


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
