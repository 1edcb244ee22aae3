# SPDX-License-Identifier: Apache-2.0
"""Designs without accuracy: estimates of one network's graph on thousands of chips, in blocks.

A block is a unit of the engine: a network, a recipe and chips, whose rows are in one file. A graph
is lowered once for all chips that lowering cannot tell apart.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aocq.jobs.request import ModelRequest
from aocq.progress import Note, Progress
from aocq.recipes.recipe import Recipe
from aocq.records.kept import keep, kept
from aocq.records.provenance import code_digest, package_versions
from aocq.sweeps.designs import Design
from aocq.sweeps.engine import run_units
from aocq.sweeps.pool import Pool
from aocq.sweeps.remaining import in_words
from aocq.sweeps.run_key import LENGTH
from aocq.sweeps.table import reason_row
from aocq.sweeps.unit import Failed, Outcome, Unit
from reports.rows import TableRow, sized_row, verdict_columns
from simulator import strict_json
from simulator.errors import AocqError
from simulator.profile import NpuProfile

if TYPE_CHECKING:
    from aocq.jobs.captured import CapturedNetwork
    from aocq.records.run import GraphRecord, ModelRecord
    from simulator.cost import CostEstimate
    from simulator.cost.many import Estimates

COSTS, ROWS_NAME = "costs", "rows.json"
NO_COSTS = "no_costs"  # in a row that is none: why; a column `reason` is of a verdict
BLOCK = 250  # chips; a block takes some ten seconds, which is what an interruption costs
SECONDS = 0.05  # of an estimate of DeiT-Tiny, measured
# Of a profile, what no lowering reads: a graph is the same whatever stands there.
NOT_LOWERED = frozenset(
    {"name", "title", "source", "caveats", "registers", "compute", "memory", "energy"}
)
_EMPTY = TableRow(model="", method="", w_bits=0, a_bits=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRequest:
    """What a block is made from: a network, a recipe, chips, and where its rows go.

    ``bases`` has for every chip the name of the profile that it is varied from, which a reason
    against all chips that lowering cannot tell apart is told with.
    """

    model: ModelRequest
    recipe: Recipe
    task: str
    chips: Sequence[NpuProfile]
    bases: Sequence[str]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A unit, and the places in the plan of the designs that it estimates."""

    unit: Unit
    places: Sequence[int]


def cost_blocks(designs: Sequence[Design], out: Path) -> list[Block]:
    """Return the blocks of a plan's designs; those whose chip there cannot be are left out."""
    found: dict[tuple[str, ...], list[int]] = {}
    for place, design in enumerate(designs):
        if design.chip.profile is not None:
            request = design.request
            recipe = json.dumps(request.calibration.recipe.plain(), sort_keys=True)
            found.setdefault((_network(request.model), recipe, request.task), []).append(place)
    blocks = []
    for places in found.values():
        ordered = sorted(places, key=lambda place: _order(designs[place]))
        for start in range(0, len(ordered), BLOCK):
            chosen = ordered[start : start + BLOCK]
            blocks.append(Block(unit=_unit(designs, chosen, out), places=chosen))
    return blocks


def find_rows(request: CostRequest) -> list[dict[str, Any]] | None:
    """Return the rows of a block that is finished; None of another."""
    content = kept(request.folder / ROWS_NAME)
    return None if content is None else strict_json.loads(content)


def make_rows(request: CostRequest, progress: Progress, note: Note) -> list[dict[str, Any]]:
    """Estimate a block's designs and keep their rows: columns by name, without the defaults.

    Raises
    ------
    InputError
        If there is no such network, or it cannot be captured, or the folder not be written.
    """
    from aocq.jobs.captured import captured_network

    captured = captured_network(request.model, progress, note)
    lowered: dict[tuple[str, str], _Lowered | str] = {}
    rows = []
    with progress(f"{request.model.name}: estimate", len(request.chips)) as advance:
        for base, chip in zip(request.bases, request.chips, strict=True):
            read = base, _read_by_lowering(chip)
            if read not in lowered:
                named = chip.model_copy(update={"name": base})
                lowered[read] = _lowered(captured, request, named)
            rows.append(_row(captured.model, request.recipe, chip, lowered[read]))
            advance(1)
    keep(request.folder / ROWS_NAME, strict_json.dumps(rows).encode())
    return rows


def estimated(
    designs: Sequence[Design],
    blocks: Sequence[Block],
    pool: Pool,
    say: Callable[[str], None],
    note: Note,
    *,
    retry_failed: bool = False,
) -> Iterator[dict[int, TableRow]]:
    """Yield the rows of every block as it ends, by their places in the plan.

    First those of designs whose chip there cannot be. ``say`` gets a line of each block.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.sweeps.engine.run_units`.
    """
    yield {
        place: reason_row(design, design.chip.reason)
        for place, design in enumerate(designs)
        if design.chip.profile is None
    }
    block_of = {id(block.unit): block for block in blocks}
    units, start, made, left = [block.unit for block in blocks], time.monotonic(), 0, len(blocks)
    for unit, outcome in run_units(units, pool, note, retry_failed=retry_failed):
        left -= 1
        made += not outcome.earlier
        told = f": no costs: {outcome.reason}" if isinstance(outcome, Failed) else ""
        when = "finished before"
        if not outcome.earlier:
            ahead = in_words((time.monotonic() - start) / made * left)
            when = f"in {in_words(outcome.seconds)}; about {ahead} left"
        say(f"[{len(blocks) - left}/{len(blocks)}] {unit.name}{told} ({when})")
        yield dict(rows_of_block(designs, block_of[id(unit)], outcome))


def rows_of_block(
    designs: Sequence[Design], block: Block, outcome: Outcome
) -> Iterator[tuple[int, TableRow]]:
    """Yield the rows of a block that has ended, with their places in the plan."""
    if isinstance(outcome, Failed):
        for place in block.places:
            yield place, reason_row(designs[place], outcome.reason)
        return
    for place, plain in zip(block.places, outcome.value, strict=True):
        if NO_COSTS in plain:
            yield place, reason_row(designs[place], plain[NO_COSTS])
        else:
            yield place, replace(TableRow(**plain), variant=designs[place].variant)


def _unit(designs: Sequence[Design], places: Sequence[int], out: Path) -> Unit:
    first = designs[places[0]]
    chips = [chip for place in places if (chip := designs[place].chip.profile) is not None]
    bases = [designs[place].chip.base for place in places]
    model, recipe, task = first.request.model, first.request.calibration.recipe, first.request.task
    depends_on = (
        *(code_digest(), package_versions(), _network(model), recipe.plain(), task),
        [*bases, *(chip.sha256() for chip in chips)],
    )
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:LENGTH]
    folder = out.absolute() / COSTS / key
    return Unit(
        name=f"{model.name} w{recipe.weight_bits}a{recipe.activation_bits}: {len(chips)} designs",
        folder=folder,
        request=CostRequest(
            model=model, recipe=recipe, task=task, chips=chips, bases=bases, folder=folder
        ),
        make=make_rows,
        find=find_rows,
        shares=_network(model),  # what is captured
    )


@dataclass(slots=True, kw_only=True)
class _Lowered:
    """A network's graph, its estimates on chips that lowering cannot tell apart, the last row."""

    graph: GraphRecord
    parameters_bits: int
    mixed: bool  # whether layers have other widths than the recipe has for all
    estimates: Estimates
    last: tuple[CostEstimate, TableRow] | None = None


def _lowered(captured: CapturedNetwork, request: CostRequest, chip: NpuProfile) -> _Lowered | str:
    """Return a network's graph on a chip, or why there is none."""
    from aocq.jobs.cost_record import graph_record
    from aocq.jobs.method_record import layer_records
    from aocq.jobs.without_weights import lowered_without_weights
    from aocq.tasks.task import host_work_of
    from simulator.cost.many import Estimates

    try:
        sized = lowered_without_weights(captured, request.recipe, chip)
    except AocqError as error:
        return str(error)
    graph = sized.graph
    return _Lowered(
        graph=graph_record(graph),
        parameters_bits=sized.parameters_bits,
        mixed=bool(layer_records(sized.quantized)),
        estimates=Estimates(graph, host_work_of(request.task, graph)),
    )


def _row(
    model: ModelRecord, recipe: Recipe, chip: NpuProfile, lowered: _Lowered | str
) -> dict[str, Any]:
    """Return the columns of a design's row that are not the default, or why it has none."""
    from aocq.jobs.cost_record import cycles_record
    from aocq.jobs.memory_record import memory_record
    from aocq.records.gates import Figures, Gates, judge

    if isinstance(lowered, str):
        return {NO_COSTS: lowered}
    try:
        costs = lowered.estimates.of(chip)
    except AocqError as error:
        return {NO_COSTS: str(error)}
    if lowered.last is not None and lowered.last[0].steps is costs.steps:  # another clock
        return _columns(replace(lowered.last[1], latency_ms=costs.latency_ms))
    memory, cycles = memory_record(costs, lowered.parameters_bits), cycles_record(costs)
    widths = (recipe.weight_bits, recipe.activation_bits)
    figures_of = (lowered.graph, memory, cycles, costs.latency_ms)
    row = sized_row(model, *figures_of, widths, mixed=lowered.mixed)
    # Without gates, and of figures without images: whether it fits the chip, whatever the clock.
    figures = Figures(memory=memory, cycles=cycles, latency_ms=costs.latency_ms, fps=costs.fps)
    row = replace(row, **verdict_columns(judge(Gates(), figures)))
    if costs.energy is not None:
        row = replace(row, energy_mj=costs.energy.total_mj, energy_nm=costs.energy.node_nm)
    products = (chip.accumulator_of("linear"), chip.accumulator_of("matmul"))
    row = replace(row, accumulator_bits=max(each.levels[-1].bits for each in products))
    lowered.last = costs, row
    return _columns(row)


def _columns(row: TableRow) -> dict[str, Any]:
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: value for name, value in values.items() if value != getattr(_EMPTY, name)}


def _read_by_lowering(chip: NpuProfile) -> str:
    return chip.model_dump_json(exclude={*NOT_LOWERED})


def _order(design: Design) -> tuple[Any, ...]:
    from simulator.cost.many import order

    chip = design.chip.profile
    assert chip is not None
    return (design.chip.base, _read_by_lowering(chip), *order(chip))


def _network(model: ModelRequest) -> str:
    """Return all of a network but its weights."""
    settings: list[Mapping[str, Any]] = [model.arguments, model.preprocessing]
    return json.dumps([model.name, model.classes, *settings], sort_keys=True, default=dict)
