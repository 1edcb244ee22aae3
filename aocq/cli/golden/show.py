# SPDX-License-Identifier: Apache-2.0
"""``aocq golden show``: what is in a golden folder, and whether its files are as recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options
from aocq.cli.console import print_columns

if TYPE_CHECKING:
    from simulator.golden.manifest import Manifest


def command(
    *,
    folder: Annotated[Path, typer.Argument(help="what `aocq golden record --out` wrote")],
    as_json: options.Json = False,
) -> None:
    """List the ops of a golden folder; every file is compared with its sha256 first.

    Shape and type are those of the result; values inside are the files inner/OP.VALUE.npy.
    """
    from simulator.control_characters import escaped
    from simulator.golden.files import check_files
    from simulator.golden.manifest import read_manifest

    manifest = read_manifest(folder)
    check_files(folder, manifest)
    rows = _rows(manifest)
    if as_json:
        print(json.dumps({**_about(manifest), "ops": rows}, indent=2, allow_nan=False))
        return
    for key, value in _about(manifest).items():
        if value is not None:
            print(f"{key:20} {escaped(str(value))}")
    print()
    print_columns(
        ["op", "type", "result", "bits", "values inside", "saturated"],
        [[str(value) for value in row.values()] for row in rows],
    )


def _about(manifest: Manifest) -> dict[str, Any]:
    """Return what holds for the whole folder."""
    graph = manifest.graph
    return {
        "kind": manifest.kind.value,
        "network": None if graph is None else graph.name,
        "profile": None if graph is None else graph.profile,
        "graph_sha256": None if graph is None else graph.sha256,
        "images": manifest.images,
        "source": manifest.source or None,
        "word_bits": manifest.word_bits,
        "arrays": len(manifest.files),
        "other_formats": len(manifest.derived or {}),
    }


def _rows(manifest: Manifest) -> list[dict[str, Any]]:
    """Return a row for every op."""
    from simulator.golden.manifest import RESULT, ArrayRole

    rows = []
    for entry in manifest.ops:
        result = manifest.files[entry.arrays[RESULT]]
        inner = [
            key
            for key, path in entry.arrays.items()
            if manifest.files[path].role is ArrayRole.INNER
        ]
        rows.append(
            {
                "op": entry.name,
                "type": entry.op,
                "result": "x".join(map(str, result.shape)),
                "bits": str(result.type),
                "values_inside": len(inner),
                "saturated": (entry.counts or {}).get("saturated", ""),
            }
        )
    return rows
