# SPDX-License-Identifier: Apache-2.0
"""Figures of ops that an exported file shows: of the run beside the graph, or estimated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.export.model_explorer import Figures
    from simulator.graph import IntGraph

# Columns of layers.csv that are shown; empty cells are left out.
SHOWN = (
    "cycles",
    "macs",
    "weight_bytes",
    "sqnr_db",
    "headroom_bits",
    "accumulator_bits",
    "saturated",
    "overflowed",
)


def figures_of(path: Path, graph: IntGraph, profile: str | None) -> Figures:
    """Return the figures of a graph's ops, by name.

    Those of ``layers.csv`` beside the graph; where there is none, estimated cycles and bytes, if
    the profile is known; bytes of the result in any case.

    Raises
    ------
    InputError
        If ``layers.csv`` is not about this graph, or there is no such profile.
    """
    from aocq.records.run_folder import LAYERS_NAME

    folder = path if path.is_dir() else path.parent
    found = {op.name: {"result_bytes": graph.result(op).bytes} for op in graph.ops}
    run = (folder / LAYERS_NAME).exists()
    more = _of_run(folder, graph) if run else _estimated(graph, profile)
    return {name: {**more.get(name, {}), **values} for name, values in found.items()}


def _of_run(folder: Path, graph: IntGraph) -> dict[str, dict[str, int | float]]:
    from aocq.records.run_folder import LAYERS_NAME, load_run
    from simulator.errors import InputError

    _, rows = load_run(folder)
    if [row.op for row in rows] != [op.name for op in graph.ops]:
        raise InputError(
            f"{folder / LAYERS_NAME}: has other ops than the graph beside it; make the run again"
        )
    return {
        row.op: {key: value for key in SHOWN if (value := getattr(row, key)) is not None}
        for row in rows
    }


def _estimated(graph: IntGraph, profile: str | None) -> dict[str, dict[str, int | float]]:
    from simulator.cost import estimate
    from simulator.profile import load_profile, profile_paths

    if profile is None and graph.profile not in profile_paths():
        return {}
    costs = estimate(graph, load_profile(profile or graph.profile))
    return {
        op.name: {"cycles": op.total, "macs": op.macs, "weight_bytes": op.weight_bytes}
        for op in costs.ops
    }
