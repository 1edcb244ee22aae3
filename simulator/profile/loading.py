# SPDX-License-Identifier: Apache-2.0
"""Profiles from TOML files, with all mistakes at once, each with its path in the file."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from pydantic import ValidationError

import hw_profiles
from simulator.errors import InputError
from simulator.profile.problems import problems
from simulator.profile.profile import NpuProfile


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        found = problems(error)
        lines = "\n".join(f"  {line}" for line in found)
        raise InputError(f"{path}: {len(found)} problem(s):\n{lines}") from error
