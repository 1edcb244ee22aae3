# SPDX-License-Identifier: Apache-2.0
"""Profiles from TOML files, with all mistakes at once, each with its path in the file."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

import hw_profiles
from simulator.errors import InputError
from simulator.profile.profile import NpuProfile
from simulator.profile.section import Section


def profile_paths() -> dict[str, Path]:
    """Return the shipped profiles by name."""
    return {path.stem: path for path in sorted(hw_profiles.FOLDER.glob("*.toml"))}


def load_profile(name_or_path: str) -> NpuProfile:
    """Read a shipped profile by name, or any profile by the path of its TOML file.

    Raises
    ------
    InputError
        If there is no such profile or file, it is not TOML, or values are unknown, missing, of the
        wrong type or out of range: all of them in one message, each with its path.
    """
    shipped = profile_paths()
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        near = difflib.get_close_matches(name_or_path, shipped, n=3, cutoff=0.3) or list(shipped)
        raise InputError(
            f"profile {name_or_path}: neither a shipped profile nor a file; nearest: "
            f"{', '.join(near)} (`aocq profiles list` shows all)"
        )
    try:
        return NpuProfile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(item)}" for item in error.errors())
        raise InputError(f"{path}: {error.error_count()} problem(s):\n{problems}") from error


_KNOWN_KEYS = frozenset(
    key for section in Section.__subclasses__() for key in section.model_fields
)
# Which member of a union was tried is no part of a path in the file.
_UNION_TAGS = frozenset(
    value
    for section in Section.__subclasses__()
    for field in ("kind", "algorithm")
    if field in section.model_fields
    for value in get_args(section.model_fields[field].annotation)
)


def _problem(item: Any) -> str:
    """Turn one validation error into ``path = value: what must hold``."""
    location = [part for part in item["loc"] if part not in _UNION_TAGS]
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _KNOWN_KEYS, n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    if item["type"] == "missing":
        return f"{path}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message.startswith("Input") else message
    value = item["input"]
    shown = f" = {value!r}" if path and not isinstance(value, (dict, list)) else ""
    return f"{path}{shown}: {message}" if path else message
