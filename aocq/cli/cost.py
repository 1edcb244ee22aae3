# SPDX-License-Identifier: Apache-2.0
"""``aocq cost``: estimated cycles and memory of an integer graph, or of a network by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from aocq.cli import options, recipes
from aocq.cli.console import print_columns
from aocq.recipes.fields import field_specs
from aocq.recipes.recipe import Recipe

_FIELDS = field_specs(Recipe)


def command(
    network: Annotated[
        str,
        typer.Argument(
            metavar="GRAPH|MODEL",
            help="graph.json, the folder that holds it, or timm's name of a network",
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            help="hardware profile (default: the graph's own; edge_npu_int8 for a MODEL)",
        ),
    ] = None,
    weight_bits: Annotated[
        int | None, recipes.option(_FIELDS["weight_bits"], "of a MODEL's weights (default: 8)")
    ] = None,
    activation_bits: Annotated[
        int | None,
        recipes.option(_FIELDS["activation_bits"], "of a MODEL's activations (default: 8)"),
    ] = None,
    classes: options.Classes = None,
    model_kwargs: options.ModelKwargs = None,
    as_json: options.Json = False,
    stream: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="after --json: standard output, where it goes anyway"),
    ] = None,
) -> None:
    """Print ESTIMATED cycles by kind of op, latency, SRAM and weight bytes of one image.

    A MODEL needs neither weights nor images: random ones take their place. It is quantized by
    base_ptq, whose graph does not depend on them. That of aocq, which verify takes, does, and may
    need a third more SRAM: to know, quantize and lower the network, and give the graph.

    Example: aocq cost swin_tiny_patch4_window7_224 --profile edge_npu_int8 --w-bits 4
    """
    if stream not in {None, "-"}:
        raise typer.BadParameter(f"{stream}: one GRAPH or MODEL at a time")
    if Path(network).exists():
        if weight_bits or activation_bits or classes or model_kwargs:
            raise typer.BadParameter(
                f"{network} is a graph: --w-bits, --a-bits, --num-classes and --model-kwargs are "
                "for a MODEL"
            )
        title, name, found = _of_graph(Path(network), profile)
    else:
        title, name = named(network, model_kwargs or []), profile or "edge_npu_int8"
        found = _of_model(
            network, name, weight_bits or 8, activation_bits or 8, classes, model_kwargs or []
        )
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        _print_table(name, title, found)


def named(network: str, settings: Sequence[str]) -> str:
    """Return a network's name and, in brackets, what it is built with."""
    return f"{network} ({' '.join(settings)})" if settings else network


def _of_graph(path: Path, profile: str | None) -> tuple[str, str, dict[str, Any]]:
    """Return what a graph is of, the profile's name, and the keys of ``run.json`` that it answers.

    Others, as the size of the network's parameters, no graph knows by itself.
    """
    from aocq.jobs.cost_record import cost_records, graph_record, plain_costs
    from simulator.errors import InputError
    from simulator.graph import load
    from simulator.graph.meta import graph_meta
    from simulator.profile import load_profile, profile_paths
    from simulator.settings import typed

    loaded = load(path)
    if profile is None and loaded.profile not in profile_paths():
        raise InputError(
            f"{path}: lowered for profile {loaded.profile}, which is not a shipped one; pass its "
            "file with --profile"
        )
    name = profile or loaded.profile
    costs = plain_costs(cost_records(loaded, load_profile(name), 0, 0))
    # A graph does not say what the network's parameters were.
    del costs["memory"]["model_size_bytes"]
    found = {"graph": graph_record(loaded).model_dump(), **costs}
    meta = graph_meta(loaded)
    arguments = typed(meta.model_arguments) if meta else ""
    return f"{named(loaded.name, arguments.split())} in {path}", name, found


def _of_model(
    name: str,
    profile: str,
    weight_bits: int,
    activation_bits: int,
    classes: int | None,
    settings: list[str],
) -> dict[str, Any]:
    """Return what a run's record says that needs neither weights nor images."""
    from simulator.profile import load_profile

    # Before torch and timm are imported: a mistyped name is told at once.
    chip = load_profile(profile)
    arguments = options.settings(settings, "--model-kwargs")

    from aocq import progress
    from aocq.capture import capture
    from aocq.jobs.without_weights import estimate_without_weights, sized_record
    from aocq.recipes.recipe import Recipe
    from aocq.zoo.models import random_model
    from simulator.errors import InputError

    try:
        model = random_model(name, classes, arguments=arguments)
    except InputError as error:
        if "/" in name or name.endswith(".json"):
            raise InputError(f"{name}: no such graph, and no model's name") from error
        raise
    recipe = Recipe(weight_bits=weight_bits, activation_bits=activation_bits)
    with progress.show(f"capture, quantize and lower {name} with random weights", 1) as advance:
        float_graph = capture(model.network, name, model.input_size)
        sized = estimate_without_weights(model, float_graph, recipe, chip)
        advance(1)
    return sized_record(sized)


def _print_table(profile: str, network: str, found: dict[str, Any]) -> None:
    from aocq.records.run import CyclesRecord, GraphRecord, MemoryRecord
    from reports.costs import estimate_rows

    method = found.get("method")
    widths = ""
    if method:
        widths = f" {method['name']} W{method['weight_bits']}A{method['activation_bits']}"
    rows = estimate_rows(
        GraphRecord(**found["graph"]),
        # A graph by itself does not say what the network's parameters were.
        MemoryRecord(**{"model_size_bytes": 0, **found["memory"]}),
        method["weight_bits"] if method else None,
        CyclesRecord(**found["cycles"]),
        found["latency_ms"],
        found["fps"],
    )
    print_columns([f"{network}{widths} on {profile}, one image", "ESTIMATED", ""], rows)
    if method:
        print("note: other methods make other graphs; aocq's may need more SRAM", file=sys.stderr)
