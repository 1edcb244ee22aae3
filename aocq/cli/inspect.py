# SPDX-License-Identifier: Apache-2.0
"""``aocq inspect``: a graph as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
    widths: Annotated[
        bool,
        typer.Option(
            "--widths",
            help="also every value inside an op that hardware holds in a register: the bounds that "
            "no input exceeds, the narrowest type (s24, u19)",
        ),
    ] = False,
) -> None:
    """Print an integer graph, one line per op: shapes, scales, accumulators, rounding."""
    from simulator.graph import load, text

    print(text(load(graph), widths=widths), end="")
