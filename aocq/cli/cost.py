# SPDX-License-Identifier: Apache-2.0
"""``aocq cost``: estimated cycles and memory of an integer graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options


def command(
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="hardware profile (default: the graph's own)"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print ESTIMATED cycles by kind of op, latency, SRAM and weight bytes of a graph."""
    from simulator.cost import estimate
    from simulator.errors import InputError
    from simulator.graph import load
    from simulator.profile import load_profile, profile_paths

    loaded = load(graph)
    if profile is None and loaded.profile not in profile_paths():
        raise InputError(
            f"{graph}: lowered for profile {loaded.profile}, which is not a shipped one; pass its "
            "file with --profile"
        )
    costs = estimate(loaded, load_profile(profile or loaded.profile))
    result = {
        "memory": {
            "weight_bytes": costs.weight_bytes,
            "peak_sram_bytes": costs.peak_sram_bytes,
            "peak_lower_bound_bytes": costs.peak_lower_bound_bytes,
            "sram_bytes": costs.sram_bytes,
            "dram_bytes": costs.dram_bytes,
        },
        "cycles": {
            "total": costs.total_cycles,
            "compute": costs.compute_cycles,
            "vector": costs.vector_cycles,
            "dma": costs.dma_cycles,
            "stall": costs.stall_cycles,
            "by_kind": dict(costs.by_kind),
            "bound_by": dict(costs.bound_by),
        },
        "latency_ms": costs.latency_ms,
        "fps": costs.fps,
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"ESTIMATED on {profile or loaded.profile}, one image")
    print(f"activations fit the SRAM: {'yes' if costs.fits_sram else 'no'}")
    print(f"latency_ms {costs.latency_ms:.3f}   fps {costs.fps:.1f}")
    for section in ("memory", "cycles"):
        for key, value in result[section].items():  # type: ignore[attr-defined]
            print(f"{section}.{key:24} {value}")
