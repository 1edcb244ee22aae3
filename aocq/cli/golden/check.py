# SPDX-License-Identifier: Apache-2.0
"""``aocq golden check``: hold the dump of a device or a simulator to golden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options

if TYPE_CHECKING:
    from simulator.golden.check.verdict import DumpVerdict


def command(
    golden: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="golden vectors, as `aocq golden record` and `directed` write them"
        ),
    ],
    dump: Annotated[
        Path,
        typer.Argument(
            metavar="DUMP",
            help="folder of .npy, hex ($readmemh) or raw files named as those of DIR, one of them, "
            "or with --map any files, and waveforms (VCD, FST)",
        ),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option("--map", help="TOML file that says which array a file or a signal holds"),
    ] = None,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            "--ops",
            help="ops to compare, whose results the dump must have: a name or a pattern in quotes, "
            "'blocks.0.*'; may be repeated (default: all that the dump has)",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="also write the verdict as JUnit XML")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare a dump with golden vectors, and say what is wrong where: every value, exactly.

    Of the first differing value of every op: index, expected and got in decimal and hex, the
    operands that made it. Then where values differ, and which mistake makes exactly the values of
    the dump: another rounding mode, a shift off by one, byte order, lanes, a truncated file. Each
    candidate is computed; where none makes all values, it says "no known pattern".

    Exit code 0 if all compared values are equal, else 1.
    """
    from aocq import progress
    from simulator.golden.check.check import check_dump, ops_named
    from simulator.golden.dump.folder import find_dump
    from simulator.golden.dump.mapping import read_mapping
    from simulator.golden.files import check_files
    from simulator.golden.manifest import Kind, read_manifest

    manifest = read_manifest(golden)
    names = None if ops is None else ops_named(manifest, ops)
    found = find_dump(manifest, dump, None if mapping is None else read_mapping(mapping))
    check_files(golden, manifest)
    with progress.show("check", len(manifest.ops)) as advance:
        verdict = check_dump(golden, found, names, advance)
    _report(verdict, junit, as_json)
    if not verdict.right:
        raise typer.Exit(1)
    if manifest.kind is Kind.NETWORK and not as_json:
        progress.note(f"`aocq golden coverage {golden}` says which mistakes these vectors show")


def _report(verdict: DumpVerdict, junit_file: Path | None, as_json: bool) -> None:
    from simulator import strict_json
    from simulator.control_characters import escaped
    from simulator.files import replace_file
    from simulator.golden.check.verdict_text import as_plain, junit, told

    if junit_file is not None:
        with replace_file(junit_file) as temporary:
            temporary.write_bytes(junit(verdict))
    if as_json:
        print(strict_json.dumps(as_plain(verdict), indent=2))
        return
    for line in told(verdict):
        print(escaped(line))
