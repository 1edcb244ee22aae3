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
    """List timm's vision transformers that can be lowered, and the bundled demo network.

    The list is by name. --model-kwargs may make a network of it that has other operators; the error
    then names the operator and its place.

    With --check, networks of other families are tried too, of each kind the smallest whose name
    matches, and a table says how far each came and which operator it stopped at. About ten minutes
    for all.

    Example: aocq models 'deit*' --check --out deit.md
    """
    if check:
        _check(pattern, profile or "edge_npu_int8", out)
        return
    if profile or out:
        raise typer.BadParameter("--profile and --out are for --check")
    names = _known(pattern)
    if not names:
        raise _nothing(pattern)
    print(*names, sep="\n")


def _known(pattern: str) -> list[str]:
    from aocq.demo import NETWORKS
    from aocq.zoo.families import known_networks
    from aocq.zoo.published import networks

    names = known_networks(networks().of_module)
    return [name for name in [*NETWORKS.values(), *names] if fnmatch(name, pattern)]


def _nothing(pattern: str) -> Exception:
    """Return the error where no known network has such a name."""
    from aocq.zoo.published import networks
    from simulator.errors import InputError

    others = [
        name
        for name in networks().modules
        if fnmatch(name, pattern) and not name.startswith("test_")
    ]
    if others:
        return InputError(
            f"{pattern}: timm has {', '.join(others[:3])}{' …' * (len(others) > 3)}, of no known "
            f"family or with an operator that has no lowering; `aocq models {pattern!r} --check` "
            "tells how far they come"
        )
    return InputError(
        f"{pattern}: timm {networks().version} has no such model, without the tag of its weights "
        "and beside those for its own tests; `aocq models` lists all"
    )


def _check(pattern: str, profile: str, out: Path | None) -> None:
    from aocq import progress
    from aocq.jobs.coverage import HEAD, coverage_of, matching, row
    from aocq.zoo.architectures import ARCHITECTURES
    from simulator.files import write_text
    from simulator.profile import load_profile

    chip = load_profile(profile)
    with progress.show(
        "count parameters, to find the smallest of each kind", len(ARCHITECTURES)
    ) as on:
        found = matching(pattern, on)
    if not found:
        raise _nothing(pattern)
    rows = []
    for count, (model, architecture) in enumerate(found.items(), 1):
        progress.note(f"{count}/{len(found)} {model}")
        rows.append(row(coverage_of(model, architecture, chip, max(chip.weight.bits))))
        if out is not None:  # a table that is interrupted has its rows so far
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

    from simulator.control_characters import escaped

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in rows:
        table.add_row(*(escape(escaped(cell)) for cell in line))
    # Lines for another program are not cut to the width of a terminal.
    Console(width=None if sys.stdout.isatty() else UNCUT).print(table)
