# SPDX-License-Identifier: Apache-2.0
"""``aocq golden coverage``: which mistakes the vectors of a golden folder would show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options
from aocq.cli.console import print_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.golden.coverage.of_op import OpCoverage


def command(
    folder: Annotated[Path, typer.Argument(help="a golden folder")],
    every: Annotated[
        bool, typer.Option("--all", help="also mistakes that no mode, width or table entry is")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say which rounding modes, overflow rules, widths and table entries vectors tell apart.

    Every op is computed as somebody could have built it by mistake, one mistake at a time. A
    mistake is told apart if one result differs, proven equal if no operands make a difference, and
    otherwise RTL that has it passes these vectors. Entries of a softmax table are read, which does
    not tell a wrong one apart. Every file is compared with its sha256 first. See docs/directed.md.
    """
    from aocq import progress
    from simulator import strict_json
    from simulator.golden.coverage.of_folder import folder_coverage, units_of
    from simulator.golden.coverage.of_op import as_record
    from simulator.golden.files import check_files
    from simulator.golden.manifest import read_manifest

    manifest = read_manifest(folder)
    check_files(folder, manifest)
    with progress.show("coverage", len(units_of(manifest))) as advance:
        found = folder_coverage(folder, manifest, advance)
    if as_json:
        print(strict_json.dumps({"format": 1, "ops": as_record(found)}, indent=2))
    else:
        print_coverage(found, every=every)


def print_coverage(coverage: Sequence[OpCoverage], *, every: bool = False) -> None:
    """Print both tables of coverage."""
    from simulator.golden.coverage.text import by_op, by_variant, summary

    for sentence in summary(coverage):
        print(sentence)
    print()
    print_columns(*by_variant(coverage, all_rows=every))
    print()
    print_columns(*by_op(coverage))
