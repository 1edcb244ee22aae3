# SPDX-License-Identifier: Apache-2.0
"""``aocq models``: which timm models are of a family that can be lowered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer

UNCUT = 300  # columns


def command(
    pattern: Annotated[str, typer.Argument(help="shell pattern, e.g. 'deit*'")] = "*",
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="capture, lower and run the smallest matching one of each kind, random weights",
        ),
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="with --check: NPU profile, name or TOML file")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="with --check: Markdown file to write")] = None,
) -> None:
    """List timm's vision transformers of known families and the bundled demo network.

    The list is by family. Whether every operator of one model can be lowered shows when it is
    captured; the error then names the operator and its place.

    With --check, networks of other families are tried too, and a table says how far each came and
    which operator it stopped at. About ten minutes for all.

    Example: aocq models 'deit*' --check --out deit.md
    """
    if check:
        _check(pattern, profile or "edge_npu_int8", out)
        return
    if profile or out:
        raise typer.BadParameter("--profile and --out are for --check")
    from aocq.torchvision_compat import declare_missing_operators

    declare_missing_operators()  # must come before timm, whose import may fail without it
    import timm

    from aocq.capture.roles import FAMILIES

    modules = [module for family in FAMILIES.values() for module in family.timm_modules]
    names = {name for module in modules for name in timm.list_models(module=module)}
    for name in ["vit_nano_digits", *sorted(names)]:
        if fnmatch(name, pattern):
            print(name)


def _check(pattern: str, profile: str, out: Path | None) -> None:
    from aocq import progress
    from aocq.survey import HEAD, RELATIVES, matching, row, survey
    from simulator.errors import InputError
    from simulator.files import write_text
    from simulator.profile import load_profile

    chip = load_profile(profile)
    progress.note("counting parameters, to find the smallest network of each kind")
    found = matching(pattern)
    if not found:
        names = ", ".join(dict.fromkeys(relative.module for relative in RELATIVES))
        raise InputError(
            f"{pattern}: no such model in timm's modules of vision transformers; they are {names}"
        )
    rows = []
    for count, (model, relative) in enumerate(found.items(), 1):
        progress.note(f"{count}/{len(found)} {model}")
        rows.append(row(survey(model, relative, chip, max(chip.weight.bits))))
        if out is not None:  # a survey that is interrupted leaves what it found
            write_text(out, _markdown(HEAD, rows))
    _print(HEAD, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines
    )


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in rows:
        table.add_row(*map(escape, line))
    # Lines for another program are not cut to the width of a terminal.
    Console(width=None if sys.stdout.isatty() else UNCUT).print(table)
