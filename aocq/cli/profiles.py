# SPDX-License-Identifier: Apache-2.0
"""``aocq profiles``: list, show and validate hardware profiles."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(help="Hardware profiles: list, show, validate.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="a shipped profile's name, or a TOML file")]


@app.command("list")
def list_profiles() -> None:
    """List the shipped profiles with their titles."""
    from simulator.profile import load_profile, profile_paths

    for name in profile_paths():
        print(f"{name:20} {load_profile(name).title}")


@app.command("show")
def show(name: Name) -> None:
    """Print every value of a profile and where it comes from."""
    from simulator.profile import flat_values, load_profile

    profile = load_profile(name)
    values = flat_values(profile)
    width = max(map(len, values))
    for path, value in values.items():
        print(f"{path:{width}}  {value!s:24}  {profile.source_of(path)}")


@app.command("validate")
def validate(name: Name) -> None:
    """Check a profile; every mistake is printed with its path. Exit code 3 if there is one."""
    from simulator.profile import load_profile

    profile = load_profile(name)
    print(f"{profile.name}: valid, sha256 {profile.sha256()}", file=sys.stderr)
