# SPDX-License-Identifier: Apache-2.0
"""``aocq export model-explorer``: a graph and figures of its ops for Google's Model Explorer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli.export import shared


def command(
    graph: shared.Graph,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="the .json file; overlays are beside it, NAME.FIGURE.json"
        ),
    ],
    profile: shared.Profile = None,
) -> None:
    """Write a graph as Model Explorer reads it, and an overlay of every figure.

    Figures are those of the run's layers.csv: ESTIMATED cycles, bytes, SQNR, headroom; of a graph
    without one, estimated cycles and bytes. They are among the attributes of every node, too.

    Example: aocq export model-explorer runs/demo --out demo.json
    """
    from aocq.cli.export.figures import figures_of
    from simulator import strict_json
    from simulator.export.model_explorer import collection, overlays
    from simulator.files import write_text
    from simulator.graph import load

    loaded = load(graph)
    figures = figures_of(graph, loaded, profile)
    write_text(out, strict_json.dumps(collection(loaded, figures), indent=1) + "\n")
    print(f"{out}: {len(loaded.ops)} ops; open it in Model Explorer", file=sys.stderr)
    for key, data in overlays(loaded, figures).items():
        path = out.with_suffix(f".{key}.json")
        write_text(path, strict_json.dumps(data, indent=1) + "\n")
        print(f"{path}: add it there as node data", file=sys.stderr)
