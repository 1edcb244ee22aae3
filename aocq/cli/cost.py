# SPDX-License-Identifier: Apache-2.0
"""``aocq cost``: estimated cycles and memory of an integer graph, or of a network by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import gates, options, recipes
from aocq.cli.console import print_columns
from aocq.cli.groups import OptionGroup, grouped
from aocq.cli.tasks import task_named
from aocq.recipes.fields import field_specs
from aocq.recipes.recipe import Recipe
from aocq.tasks.names import CLASSIFICATION, MODULES

if TYPE_CHECKING:
    from aocq.records.costs import LiftRecord, MemoryRecord
    from aocq.records.verdict import Verdict
    from simulator.cost.host_work import HostWork
    from simulator.graph import IntGraph
    from simulator.profile import NpuProfile

_FIELDS = field_specs(Recipe)


@dataclass(frozen=True, kw_only=True)
class ModelWidths(OptionGroup):
    """Widths of a network that is given by its name; a graph has its own."""

    weight_bits: Annotated[
        int | None, recipes.option(_FIELDS["weight_bits"], "of a MODEL's weights (default: 8)")
    ] = None
    activation_bits: Annotated[
        int | None,
        recipes.option(
            _FIELDS["activation_bits"], "of a MODEL's activations that products read (default: 8)"
        ),
    ] = None
    end_bits: Annotated[int | None, recipes.option(_FIELDS["end_bits"])] = None
    recipe_file: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="recipe file (TOML) with the widths of a MODEL, those of single layers included; "
            "options that are given here win over it",
        ),
    ] = None

    def recipe(self) -> Recipe:
        """Return the recipe of the widths.

        Raises
        ------
        InputError
            If the file is no recipe.
        """
        given = {name: bits for name, bits in asdict(self).items() if bits is not None}
        return replace(recipes.recipe_of(given.pop("recipe_file", None), Recipe()), **given)


@grouped
def command(
    *,
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
    widths: ModelWidths,
    task: options.TaskOfRun = None,
    classes: options.Classes = None,
    model_kwargs: options.ModelKwargs = None,
    judging: gates.CostGateOptions,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="also what lives in SRAM, tiles and traffic of every step"),
    ] = False,
    as_json: options.Json = False,
    # A ``-`` behind --json, which other commands' options take: standard output, as without it.
    stream: Annotated[str | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Print ESTIMATED cycles by kind of op, latency, SRAM and weight bytes of one image.

    A MODEL needs neither weights nor images: random ones take their place. It is quantized by
    base_ptq, whose graph does not depend on them. That of aocq, which verify takes, does, and may
    need half as much SRAM again, and with rotations and steps found at run time twice the cycles:
    to know, quantize and lower the network, and give the graph. A
    captured network is kept, so that another profile or width takes a second or two.

    What the host does with the results in a --task, such as decoding of boxes, is in all figures
    where the profile describes a host, and is said to be missing where it does not.

    With a gate or --junit the estimate is judged, whether activations fit the SRAM included: exit
    code 1 where the verdict is NO or UNDECIDED. Without, the code is 0 and the table says it.

    Example: aocq cost swin_tiny_patch4_window7_224 --profile edge_npu_int8 --w-bits 4

    Example: aocq cost deit_tiny_patch16_224 --profile edge_npu_int8 --recipe recipe.toml
    """
    if stream not in {None, "-"}:
        raise typer.BadParameter(f"{stream}: one GRAPH or MODEL at a time")
    if Path(network).exists():
        if widths != ModelWidths() or classes or model_kwargs:
            raise typer.BadParameter(
                f"{network} is a graph: --w-bits, --a-bits, --end-bits, --recipe, "
                "--num-classes and --model-kwargs are for a MODEL"
            )
        of = _of_graph(Path(network), profile, judging, task)
    else:
        if judging.require_proven:
            raise typer.BadParameter(
                f"--require-proven: {network} is a MODEL with random weights, of which nothing is "
                "proven; quantize and lower the network, and give the graph"
            )
        of = _of_model(
            network,
            profile or "edge_npu_int8",
            widths.recipe(),
            classes,
            model_kwargs or [],
            judging,
            task or CLASSIFICATION,
        )
    verdict = _judged(of.found, judging)
    lifts: list[LiftRecord] = []
    if verdict is not None:
        from aocq.jobs.lifting import lift_records

        lifts = lift_records(of.graph, of.chip, verdict, of.host_work)
        of.found["verdict"] = verdict.model_dump(mode="json")
        of.found["lifts"] = [each.model_dump(mode="json") for each in lifts]
    if plan:
        of.found["plan"] = _plan(of, judging)
    if as_json:
        print(json.dumps(of.found, indent=2, allow_nan=False))
    else:
        _print_table(of.chip_name, of.title, of.found)
    _note_host_work(of)
    if verdict is not None:
        from aocq.records.verdict_junit import gate_cases

        if not as_json:
            gates.print_gates(verdict, lifts, of.chip.compute.clock_mhz, of.found["latency_ms"])
        gates.write_junit(judging.junit, gate_cases(verdict, f"{of.title} on {of.chip_name}"))
        gates.exit_unless_yes(verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimated:
    """A network on a chip, and the keys of ``run.json`` that its estimate answers."""

    title: str
    task: str
    chip_name: str
    graph: IntGraph
    chip: NpuProfile
    host_work: Sequence[HostWork]
    found: dict[str, Any]


def _plan(of: _Estimated, judging: gates.CostGateOptions) -> dict[str, Any]:
    """Return the traffic plan behind an estimate."""
    from aocq.jobs.plan_record import plan_record
    from simulator.cost import estimate

    costs = estimate(of.graph, of.chip, of.host_work, allow_unplaced=judging.allow_unplaced)
    return plan_record(costs)


def _judged(found: dict[str, Any], judging: gates.CostGateOptions) -> Verdict | None:
    """Return the verdict on an estimate; None where nothing asks for one."""
    from aocq.records.costs import CyclesRecord, EnergyRecord
    from aocq.records.gates import Figures, judge
    from aocq.records.run import ProofRecord

    given = judging.gates()
    unplaced = found["cycles"]["unplaced"]
    if not given.applied() and judging.junit is None and not unplaced:
        return None
    energy, proof = found.get("energy_record"), found.get("proof")
    return judge(
        given,
        Figures(
            memory=_memory(found),
            cycles=CyclesRecord(**found["cycles"]),
            latency_ms=found["latency_ms"],
            fps=found["fps"],
            energy_mj=None if energy is None else EnergyRecord(**energy).total_mj,
            proof=None if proof is None else ProofRecord(**proof),
        ),
    )


def _memory(found: dict[str, Any]) -> MemoryRecord:
    """Return the sizes; a graph by itself does not say what the network's parameters were."""
    from aocq.records.costs import MemoryRecord

    return MemoryRecord(**{"model_size_bytes": 0, **found["memory"]})


def named(network: str, settings: Sequence[str]) -> str:
    """Return a network's name and, in brackets, what it is built with."""
    return f"{network} ({' '.join(settings)})" if settings else network


def _of_graph(
    path: Path, profile: str | None, judging: gates.CostGateOptions, task: str | None
) -> _Estimated:
    """Return what a graph says of its network, whose parameters' size it does not know.

    Where a gate asks for it, also what is proven of its values, which takes a while.
    """
    from aocq.jobs.cost_record import cost_records, graph_record, plain_costs, proof_record
    from aocq.tasks.task import host_work_of
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
    chip = load_profile(name)
    known_task = task_named(task, path)
    work = host_work_of(known_task, loaded)
    costs = plain_costs(cost_records(loaded, chip, 0, work, allow_unplaced=judging.allow_unplaced))
    # A graph does not say what the network's parameters were.
    del costs["memory"]["model_size_bytes"]
    found = {"graph": graph_record(loaded).model_dump(), **costs}
    if judging.require_proven:
        found["proof"] = proof_record(loaded, chip).model_dump()
    meta = graph_meta(loaded)
    arguments = typed(meta.model_arguments) if meta else ""
    title = f"{named(loaded.name, arguments.split())} in {path}"
    return _Estimated(
        title=title,
        task=known_task,
        chip_name=name,
        graph=loaded,
        chip=chip,
        host_work=work,
        found=found,
    )


def _of_model(
    name: str,
    profile: str,
    recipe: Recipe,
    classes: int | None,
    settings: list[str],
    judging: gates.CostGateOptions,
    task: str,
) -> _Estimated:
    """Return what a run's record says that needs neither weights nor images."""
    from simulator.profile import load_profile

    # Before a network is captured: a mistyped name is told at once, and a width that is missing.
    chip = load_profile(profile)
    arguments = options.settings(settings, "--model-kwargs")

    from aocq.lowering import check_recipe
    from aocq.recipes.limits import limits_of

    check_recipe(recipe, limits_of(chip, recipe), chip)

    from aocq import progress
    from aocq.jobs.captured import captured_network
    from aocq.jobs.request import ModelRequest
    from aocq.jobs.without_weights import lowered_without_weights, sized_record
    from aocq.tasks.task import host_work_of

    request = ModelRequest(name=name, classes=classes, arguments=arguments)
    captured = captured_network(request, progress.show, progress.note)
    sized = lowered_without_weights(captured, recipe, chip)
    work = host_work_of(task, sized.graph)
    return _Estimated(
        title=named(name, [*settings, *([] if classes is None else [f"num_classes={classes}"])]),
        task=task,
        chip_name=profile,
        graph=sized.graph,
        chip=chip,
        host_work=work,
        found=sized_record(sized, work, allow_unplaced=judging.allow_unplaced),
    )


def _print_table(profile: str, network: str, found: dict[str, Any]) -> None:
    from aocq.records.costs import BufferRecord, CyclesRecord, PeakRecord
    from aocq.records.run import GraphRecord
    from reports.costs import estimate_rows, more_rows
    from reports.plan_table import PLAN_HEAD, plan_rows

    method = found.get("method")
    widths = ""
    if method:
        mixed = " mixed" if method.get("layers") else ""
        widths = f" {method['name']} W{method['weight_bits']}A{method['activation_bits']}{mixed}"
    rows = estimate_rows(
        GraphRecord(**found["graph"]),
        _memory(found),
        _parameters_at(found),
        CyclesRecord(**found["cycles"]),
        found["latency_ms"],
        found["fps"],
        PeakRecord(**found["peak"]) if found["peak"] else None,
        [BufferRecord(**buffer) for buffer in found["buffers"]],
    )
    rows += more_rows(found)
    print_columns([f"{network}{widths} on {profile}, one image", "ESTIMATED", ""], rows)
    for caveat in found["caveats"]:
        print(f"note: of {caveat['about']}: {caveat['text']}", file=sys.stderr)
    if "plan" in found:
        print_columns(PLAN_HEAD, plan_rows(found["plan"]))
    if method:
        print(
            "note: other methods make other graphs: aocq's may need up to half as much SRAM again, "
            "and twice the cycles with rotations and steps found at run time; verify tells",
            file=sys.stderr,
        )


def _parameters_at(found: dict[str, Any]) -> str | None:
    """Return the width that all parameters are counted at; a graph does not know of them."""
    from reports.layer_widths import average_bits

    method = found.get("method")
    if method is None:
        return None
    mixed = "layers" in method
    parameters = found["model"]["parameters"]
    return average_bits(method["weight_bits"], _memory(found), parameters, mixed=mixed)


def _note_host_work(of: _Estimated) -> None:
    """Say that the host's work is missing where nothing says which task a dense network does."""
    result = of.graph.tensors[of.graph.outputs[0]]
    if of.task == CLASSIFICATION and len(result.shape) > 1:
        others = " or ".join(name for name in MODULES if name != CLASSIFICATION)
        print(
            f"note: the network has a result per token ({'x'.join(map(str, result.shape))}), and "
            f"the host's work behind the graph is not included; --task {others} counts it",
            file=sys.stderr,
        )
