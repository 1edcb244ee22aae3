# SPDX-License-Identifier: Apache-2.0
"""``aocq profiles``: list, show, begin and validate hardware profiles."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options
from aocq.cli.group import markup

app = typer.Typer(
    help="Hardware profiles: list, show, new, validate.",
    no_args_is_help=True,
    rich_markup_mode=markup(),
)

Name = Annotated[str, typer.Argument(help="a shipped profile's name, or a TOML file")]


@app.command("list")
def list_profiles() -> None:
    """List the shipped profiles, and how much of each is known how well.

    The numbers count values that change integers: measured against an implementation, read in a
    source or a document, assumed.
    """
    from aocq.cli.profile_text import list_head, list_row
    from simulator.profile import load_profile, profile_paths

    names = list(profile_paths())
    width = max(map(len, names))
    print(list_head(width))
    for name in names:
        print(list_row(load_profile(name), width))


@app.command("show")
def show(name: Name, as_json: options.Json = False) -> None:
    """Print every value of a profile, how well it is known, and where it is from."""
    from aocq.cli.profile_text import as_data, page
    from simulator.profile import load_profile

    profile = load_profile(name)
    if as_json:
        print(json.dumps(as_data(profile), indent=2, allow_nan=False))
    else:
        print(page(profile, shutil.get_terminal_size().columns))


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="the new profile's name: a-z, 0-9 and _")],
    neighbour: Annotated[
        str, typer.Option("--from", help="the profile to begin with: the chip most like yours")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the TOML file to write")],
) -> None:
    """Begin a profile as a copy of another: same comments, every value assumed.

    A file that is there already is left as it is (exit code 3).
    """
    from simulator.errors import InputError
    from simulator.files import write_text
    from simulator.profile import load_profile, profile_paths
    from simulator.profile.chip_tables import table_uses
    from simulator.profile.copying import copied

    shipped = profile_paths()
    if not re.fullmatch("[a-z0-9_]+", name):
        raise typer.BadParameter(f"{name!r}: a name has letters a-z, digits and _ only")
    if name in shipped:
        raise typer.BadParameter(f"{name!r} is a shipped profile; choose another name")
    known = load_profile(neighbour)
    if out.exists():
        raise InputError(f"{out}: is there already; name another file")
    source = shipped.get(neighbour, Path(neighbour))
    files = {
        use.path: (use.table.file, _path_from(out.parent, source.parent / use.table.file))
        for use in table_uses(known)
    }
    text = source.read_text(encoding="utf-8")
    write_text(out, copied(text, name, known.name, files))
    print(
        f"{out}: every value is that of {known.name}, and assumed\n"
        f"next: change what you know, and say in [source] where it is from\n"
        f"      aocq profiles validate {out}\n"
        f"      aocq demo --profile {out}",
        file=sys.stderr,
    )


def _path_from(folder: Path, file: Path) -> str:
    """Return a file's path as a profile in ``folder`` names it."""
    return os.path.relpath(file.resolve(), folder.resolve()).replace(os.sep, "/")


@app.command("validate")
def validate(name: Name) -> None:
    """Check a profile; every mistake is printed with its path. Exit code 3 if there is one."""
    from simulator.profile import load_profile
    from simulator.profile.chip_tables import table_uses

    profile = load_profile(name)
    for use in table_uses(profile):
        print(f"{use.name}: {use.table.file}, {use.size} entries of {use.type}", file=sys.stderr)
    print(f"{profile.name}: valid, sha256 {profile.sha256()}", file=sys.stderr)
