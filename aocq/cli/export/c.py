# SPDX-License-Identifier: Apache-2.0
"""``aocq export c``: a whole network in C99."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from aocq.cli import options


def command(
    *,
    graph: Annotated[
        Path, typer.Argument(help="a run, a graph's folder, or graph.json", metavar="RUN")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the C files")],
    constants: Annotated[
        Literal["arrays", "file"] | None,
        typer.Option(
            "--constants",
            help="arrays: weights and tables as const arrays in network.c; file: in constants.bin, "
            "which main reads (default: arrays up to 1 MiB)",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a graph as C99 that computes the same integers, ready to compile.

    The folder holds network.c and network.h (one call per op, in order), the headers of the C
    model, main.c, which reads images' codes and writes the outputs' codes, a Makefile and a README.
    No heap, no float. Ops in float are refused. Next: make -C OUT
    """
    import json

    from aocq import progress
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from simulator.export.c_network import Constants, export_c
    from simulator.graph import load, sha256

    loaded = load(graph)
    with claimed(out, progress.note):
        refuse_run_folder(out)
        place = staging(out)
        written = export_c(loaded, place, Constants(constants) if constants else None)
        _refuse_to_replace(out, (path.name for path in place.iterdir()))
        publish(out, "export c", f"graph {sha256(loaded)}, constants {written.constants}")
    about = {
        "network": loaded.name,
        "profile": loaded.profile,
        "graph_sha256": sha256(loaded),
        "ops": len(loaded.ops),
        "constants": str(written.constants),
        "constant_bytes": written.constant_bytes,
        "activation_bytes": written.arena_bytes,
    }
    if as_json:
        print(json.dumps(about, indent=2))
    else:
        for key, value in about.items():
            print(f"{key:20} {value}")
    print(f"C: {out}; compile it: make -C {out}", file=sys.stderr)


def _refuse_to_replace(folder: Path, names: Iterable[str]) -> None:
    """Refuse to replace files that no earlier command wrote, such as a Makefile of one's own.

    Raises
    ------
    InputError
        If there is one.
    """
    from aocq.records.manifest import load_manifest
    from simulator.errors import InputError

    known = load_manifest(folder).names
    for name in sorted(names):
        if name not in known and (folder / name).exists():
            raise InputError(
                f"{folder / name}: was not written by aocq, and would be replaced; move it away, "
                "or name another folder with --out"
            )
