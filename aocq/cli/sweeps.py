# SPDX-License-Identifier: Apache-2.0
"""What ``aocq table2``, ``ablate``, ``targets`` share: their options' meaning, cells to table."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.jobs.sweep import Cell
    from aocq.methods import Recipe
    from reports.picture import Picture
    from reports.rows import TableRow
    from reports.sweep_table import Block


LONGEST_NAME = 120  # of a folder; file systems take 255 bytes, and other tools less


def parse_widths(text: str) -> list[tuple[int, int]]:
    """Return ``8/8,8/16`` as (weight bits, activation bits) pairs; a usage error otherwise."""
    pairs = []
    for part in text.split(","):
        found = re.fullmatch(r"([2-8])/([3-8]|16)", part.strip())
        if not found:
            raise typer.BadParameter(
                f"{part.strip()!r} is not WEIGHTS/ACTIVATIONS, 2 to 8 bits and 3 to 8 (or 16), "
                "e.g. 4/8"
            )
        pairs.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(pairs))


def parse_model(text: str) -> tuple[str, Path | None]:
    """Return ``MODEL`` or ``MODEL=WEIGHTS`` as name and checkpoint."""
    name, _, weights = text.partition("=")
    return name, Path(weights) if weights else None


def cell(
    template: VerifyRequest,
    recipe: Recipe,
    variant: Mapping[str, str] | None = None,
) -> Cell:
    """Return the cell of a request with another recipe, in a folder below the request's own."""
    from aocq.jobs.sweep import Cell

    parts = [template.method, f"w{recipe.weight_bits}a{recipe.activation_bits}"]
    parts += (variant or {}).values()
    name = "-".join(parts)
    network = network_folder(template.model, template.classes, template.model_arguments)
    request = replace(template, recipe=recipe, out=template.out / network / name)
    return Cell(name=f"{network} {name}", variant=variant or {}, request=request)


def built(request: VerifyRequest) -> str:
    """Return a network's name and, in brackets, what it is built with, for a title."""
    from simulator.settings import typed

    arguments = typed(request.model_arguments)
    return f"{request.model} ({arguments})" if arguments else request.model


def network_folder(model: str, classes: int | None, arguments: Mapping[str, Any]) -> str:
    """Return the name of a folder for runs of a network, other than those of its namesakes.

    What it is built with follows timm's name, as it is typed: ``NAME,img_size=32,depths=2,2``. A
    name that no file system takes is cut, with a digest of the whole.
    """
    from simulator.settings import typed

    own = {**arguments, **({} if classes is None else {"num_classes": classes})}
    whole = ",".join([model, *(typed({key: own[key]}) for key in own)])
    plain = re.sub(r"[^\w.,=+-]", "_", whole, flags=re.ASCII)
    if plain == whole and len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizesWanted:
    """What networks are sized up for; widths are (weight bits, activation bits) pairs."""

    widths: Sequence[tuple[int, int]]
    profile: str
    classes: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def sizes_of(model: str, wanted: SizesWanted) -> list[TableRow]:
    """Return rows of sizes and costs of a network with random weights: float, then each width."""
    from aocq import progress
    from aocq.capture import capture
    from aocq.jobs.cost_record import cycles_record, graph_record, memory_record
    from aocq.jobs.record import model_record
    from aocq.jobs.without_weights import estimate_without_weights
    from aocq.methods import Recipe
    from aocq.zoo.models import random_model
    from reports.rows import float_row, sized_row
    from simulator.profile import load_profile

    chip = load_profile(wanted.profile)
    network = random_model(
        model, wanted.classes, arguments=wanted.arguments, preprocessing=wanted.preprocessing
    )
    record = model_record(network)
    found = [float_row(record)]
    with progress.show(f"{model}: capture, quantize, lower", len(wanted.widths)) as advance:
        float_graph = capture(network.network, model, network.input_size)
        for weight_bits, activation_bits in wanted.widths:
            recipe = Recipe(weight_bits=weight_bits, activation_bits=activation_bits)
            sized = estimate_without_weights(network, float_graph, recipe, chip)
            row = sized_row(
                record,
                graph_record(sized.graph),
                memory_record(sized.costs, network.parameters, weight_bits),
                cycles_record(sized.costs),
                sized.costs.latency_ms,
                (weight_bits, activation_bits),
            )
            found.append(row)
            advance(1)
    return found


def sizes_or_reason(model: str, wanted: SizesWanted) -> list[TableRow]:
    """Return :func:`sizes_of`, or a row without figures for each width, with what stood against it.

    A network that cannot be sized does not stop the others.
    """
    from aocq import progress
    from reports.rows import SIZES_ONLY, TableRow
    from simulator.errors import AocqError
    from simulator.settings import typed

    try:
        return sizes_of(model, wanted)
    except AocqError as error:
        reason = str(error)
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    progress.note(f"{model}: {reason}")
    return [
        TableRow(
            model=model,
            method=SIZES_ONLY,
            w_bits=w_bits,
            a_bits=a_bits,
            arguments=typed(wanted.arguments),
            note=f"no sizes: {reason}",
        )
        for w_bits, a_bits in wanted.widths
    ]


def table_of_sizes(
    models: Sequence[str],
    wanted: SizesWanted,
    name: str,
    title: str,
    out: Path,
) -> list[TableRow]:
    """Size every network up, write the table after each, print it at the end.

    A name that timm does not have is refused before the first.
    """
    from aocq.zoo.models import published_config

    for model in models:
        published_config(model)
    rows: list[TableRow] = []
    for model in models:
        rows += sizes_or_reason(model, wanted)
        publish_table(name, title, rows, out)
    print_table(rows)
    print(f"table: {out / name}.md", file=sys.stderr)
    return rows


def run_table(
    cells: Sequence[Cell],
    name: str,
    title: str,
    out: Path,
    *,
    skip_impossible: bool = False,
    size_without_weights: bool = False,
) -> list[TableRow]:
    """Run the cells, write the table after every one, print it at the end.

    Parameters
    ----------
    skip_impossible
        see :func:`aocq.jobs.sweep.run_cells`
    size_without_weights
        whether a network whose pretrained weights cannot be fetched has a row of sizes and costs
    """
    from aocq import progress
    from aocq.jobs.sweep import run_cells
    from aocq.records.run import RunResult
    from aocq.zoo.models import WeightsUnavailable
    from reports.rows import FLOAT, TableRow, run_row
    from reports.write import write_report
    from simulator.settings import typed

    if cells[0].request.calibration_folder == cells[0].request.data_folder:
        progress.note("calibrating on images of --data itself (--calib-data keeps the two apart)")
    rows: list[TableRow] = []
    for done, outcome in run_cells(
        cells,
        progress.show,
        progress.note,
        write_report,
        skip_impossible=skip_impossible,
        skip_without_weights=size_without_weights,
    ):
        request = done.request
        if isinstance(outcome, RunResult):
            rows.append(run_row(outcome, done.variant, str(request.out.relative_to(out))))
        elif isinstance(outcome, WeightsUnavailable):
            widths = (request.recipe.weight_bits, request.recipe.activation_bits)
            if not any((r.model, r.w_bits, r.a_bits) == (request.model, *widths) for r in rows):
                wanted = SizesWanted(
                    widths=[widths],
                    profile=request.profile,
                    classes=request.classes,
                    arguments=request.model_arguments,
                    preprocessing=request.preprocessing,
                )
                sizes = sizes_or_reason(request.model, wanted)
                note = f"no run: {outcome}"
                rows += [
                    replace(row, note="; ".join(filter(None, (note, row.note))))
                    for row in sizes
                    if row.method != FLOAT
                ]
        else:
            rows.append(
                TableRow(
                    model=request.model,
                    method=request.method,
                    w_bits=request.recipe.weight_bits,
                    a_bits=request.recipe.activation_bits,
                    variant=done.variant,
                    arguments=typed(request.model_arguments),
                    note=f"no run: {outcome}",
                )
            )
        publish_table(name, title, rows, out)
    print_table(rows)
    print(f"table: {out / name}.md", file=sys.stderr)
    return rows


@contextmanager
def claimed_table(out: Path, name: str) -> Iterator[None]:
    """Hold the sole right to publish the table ``name`` into ``out``.

    Raises
    ------
    InputError
        If another command holds it, or ``out`` cannot be written or holds a run.
    """
    from aocq import progress
    from aocq.records.publishing import claimed, refuse_blocked
    from aocq.records.run_folder import refuse_run_folder

    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_blocked(out, [f"{name}.{ending}" for ending in ("md", "csv", "json")])
        yield


def publish_table(
    name: str,
    title: str,
    rows: Sequence[TableRow],
    out: Path,
    blocks: Sequence[Block] = (),
    figure: Picture | None = None,
) -> None:
    """Let a table take the place of the command's earlier one in ``out``, which is claimed.

    ``blocks`` are those of :func:`reports.sweep_table.write_table`; ``figure`` is the table's own.
    """
    from aocq.records.publishing import publish, staging
    from reports.sweep_table import write_table

    complete = staging(out)
    write_table(name, title, rows, complete, blocks)
    if figure is not None:
        figure.write(complete, name)
    publish(out, name, title)


def exit_if_cells_failed(rows: Sequence[TableRow]) -> None:
    """Say how many cells could not be run, and exit with 3, if any."""
    from reports.rows import FLOAT

    cells = [row for row in rows if row.method != FLOAT]
    failed = sum(row.cycles is None for row in cells)
    if failed:
        print(f"error: {failed} of {len(cells)} cells could not be run, see above", file=sys.stderr)
        raise typer.Exit(3)


def print_table(rows: Sequence[TableRow]) -> None:
    """Print the table on stdout, and below it what must be said of single chips."""
    from reports.alike import different_data
    from reports.chips import CHIP_LEGEND
    from reports.sweep_table import differ_in_profile, in_common, notes_on, said, terminal

    for line in filter(None, (different_data(rows), said(in_common(rows)))):
        print(line)
    print_columns(*terminal(rows))
    if differ_in_profile(rows):
        print(CHIP_LEGEND)
        for note in notes_on(rows):
            print(note)


def print_columns(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table of texts on stdout, no cell cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from simulator.control_characters import escaped

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*(Text(escaped(cell)) for cell in line))
    console = Console()
    # Cut columns say nothing: a narrow terminal wraps lines by itself.
    unlimited = console.options.update(max_width=10_000)
    console.width = max(console.width, console.measure(table, options=unlimited).maximum)
    console.print(table)
