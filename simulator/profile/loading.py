# SPDX-License-Identifier: Apache-2.0
"""Profiles from TOML files, with all mistakes at once, each with its path in the file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.errors import InputError
from simulator.profile.chip_tables import table_uses, with_entries
from simulator.profile.problems import problems
from simulator.profile.profile import NpuProfile
from simulator.profile.table_files import read_entries
from simulator.profile_names import profile_file, profile_paths
from simulator.reading import read_bytes

# Far beyond any profile: reading a key of a hundred thousand parts takes minutes.
LARGEST_FILE = 1 << 16
LONGEST_KEY = 500
MOST_NAMED = 5  # profiles in a line of advice


def load_profile(name_or_path: str) -> NpuProfile:
    """Read a shipped profile by name, or any profile by the path of its TOML file.

    Files of tables that it names are read, too.

    Raises
    ------
    InputError
        If there is no such profile or file, it is not TOML, or values are unknown, missing, of the
        wrong type or out of range: all of them in one message, each with its path.
    """
    path = profile_file(name_or_path)
    try:
        parsed = _parsed(path)
        if found := with_entries(parsed):
            raise _refused(path, found)
        return _with_tables(NpuProfile.model_validate(parsed), path)
    except ValidationError as error:
        raise _refused(path, problems(error)) from error


@cache
def _shipped() -> tuple[NpuProfile, ...]:
    return tuple(map(load_profile, profile_paths()))


def advice_to_choose(suits: Callable[[NpuProfile], bool]) -> str:
    """Return ``, or --profile A, B`` with the shipped profiles that ``suits`` accepts.

    Empty if there are none, or more than :data:`MOST_NAMED`: then any other one may do.
    """
    names = [profile.name for profile in _shipped() if suits(profile)]
    return f", or --profile {', '.join(names)}" if 0 < len(names) <= MOST_NAMED else ""


def _refused(path: Path, found: list[str]) -> InputError:
    lines = "\n".join(f"  {line}" for line in found)
    return InputError(f"{path}: {len(found)} problem(s):\n{lines}")


def _with_tables(profile: NpuProfile, path: Path) -> NpuProfile:
    """Return a profile with the entries of the files that it names."""
    uses = list(table_uses(profile))
    if not uses:
        return profile
    plain = profile.model_dump(mode="json", exclude_none=True)
    found: list[str] = []
    for use in uses:
        section, key = use.path
        try:
            entries = read_entries(path.parent / use.table.file, use.type)
        except InputError as error:
            found.append(f"{use.name}.file: {error}")
            continue
        plain[section][key]["entries"] = entries
        if not entries:
            found.append(f"{use.name}: {use.table.file} has 0 entries, wanted {use.size}")
    if found:
        raise _refused(path, found)
    return NpuProfile.model_validate(plain)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = read_bytes(path, LARGEST_FILE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if any(line.count(b".") > LONGEST_KEY for line in content.splitlines()):
        raise InputError(f"{path}: not a profile: a key of more than {LONGEST_KEY} parts")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise InputError(f"{path}: not a profile: tables or lists nested too deeply") from error
    except ValueError as error:  # of TOML, of UTF-8, of whole numbers with thousands of digits
        raise InputError(f"{path}: not TOML: {error}") from error
