# SPDX-License-Identifier: Apache-2.0
"""Profiles from TOML files, with all mistakes at once, each with its path in the file."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import hw_profiles
from simulator.errors import InputError
from simulator.profile.chip_tables import table_uses, with_entries
from simulator.profile.problems import problems
from simulator.profile.profile import NpuProfile
from simulator.profile.table_files import read_entries
from simulator.reading import read_bytes

# Far beyond any profile: reading a key of a hundred thousand parts takes minutes.
LARGEST_FILE = 1 << 16
LONGEST_KEY = 500


def profile_paths() -> dict[str, Path]:
    """Return the shipped profiles by name."""
    return {path.stem: path for path in sorted(hw_profiles.FOLDER.glob("*.toml"))}


def load_profile(name_or_path: str) -> NpuProfile:
    """Read a shipped profile by name, or any profile by the path of its TOML file.

    Files of tables that it names are read, too.

    Raises
    ------
    InputError
        If there is no such profile or file, it is not TOML, or values are unknown, missing, of the
        wrong type or out of range: all of them in one message, each with its path.
    """
    shipped = profile_paths()
    path = shipped.get(name_or_path, Path(name_or_path))
    if not _is_file(path):
        if path.suffix == ".toml" or any(mark in name_or_path for mark in "/\\"):
            raise InputError(f"profile {name_or_path}: {_why_no_file(path)}; name a TOML file")
        near = difflib.get_close_matches(name_or_path, shipped, n=3, cutoff=0.3) or list(shipped)
        raise InputError(
            f"profile {name_or_path}: neither a shipped profile nor a file; nearest: "
            f"{', '.join(near)} (`aocq profiles list` shows all)"
        )
    try:
        parsed = _parsed(path)
        if found := with_entries(parsed):
            raise _refused(path, found)
        return _with_tables(NpuProfile.model_validate(parsed), path)
    except ValidationError as error:
        raise _refused(path, problems(error)) from error


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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that cannot be searched
        return False


def _why_no_file(path: Path) -> str:
    try:
        return "is a folder" if path.is_dir() else "no such file"
    except (OSError, ValueError):
        return "no such file"


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
