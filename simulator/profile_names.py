# SPDX-License-Identifier: Apache-2.0
"""Names of hardware profiles and their files, found without what checks a profile's content.

That takes half a second to import: a name that is mistyped is told before.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import hw_profiles
from simulator.errors import InputError


def profile_paths() -> dict[str, Path]:
    """Return the shipped profiles by name."""
    return {path.stem: path for path in sorted(hw_profiles.FOLDER.glob("*.toml"))}


def profile_file(name_or_path: str) -> Path:
    """Return the file of a shipped profile by name, or any by its path.

    Raises
    ------
    InputError
        If there is no such profile or file.
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
    return path


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
