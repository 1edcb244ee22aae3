# SPDX-License-Identifier: Apache-2.0
"""``aocq inspect``: a graph as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
) -> None:
    """Print an integer graph, one line per op: shapes, scales, accumulators, rounding."""
    from simulator.graph import load, text

    print(text(load(graph)), end="")
