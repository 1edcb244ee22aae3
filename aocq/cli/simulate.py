# SPDX-License-Identifier: Apache-2.0
"""``aocq simulate``: run an integer graph on images or on codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options, requests
from aocq.cli.console import print_columns
from aocq.cli.groups import OptionGroup, grouped
from aocq.cli.simulate_op import path_of, print_result, simulate_op
from aocq.cli.tasks import chosen_task

if TYPE_CHECKING:
    from aocq.tasks.task import Dataset, Task
    from simulator.counts import OpCounts
    from simulator.executor import Executor, RunOutput
    from simulator.graph import IntGraph

OPS_SHOWN = 10  # as text; the JSON has all
LABELS = {"walked": "accumulated_in_order"}  # as text, where it is not the key of the JSON


@dataclass(frozen=True, kw_only=True)
class ImageOptions(OptionGroup):
    """The images that a graph is run on, and what it does with them."""

    data: Annotated[
        Path | None, typer.Option("--data", help="folder of images, as the task has them")
    ] = None
    task: options.TaskOfRun = None
    limit: options.Limit = None
    skip_bad_images: options.SkipBadImages = False


@grouped
def command(
    *,
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
    images: ImageOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--inputs",
            help=".npy of input codes [images, channels, height, width]; with --op of its operand, "
            "or NAME=FILE for each of several: a=x.npy",
        ),
    ] = None,
    op: Annotated[
        str | None,
        typer.Option("--op", help="run this op alone, on operands of your own (--inputs)"),
    ] = None,
    emulation: requests.EmulationOptions,
    taps: Annotated[
        list[str] | None,
        typer.Option(
            "--tap",
            help="also write this tensor's codes; may be repeated, or be a pattern in quotes: "
            "'blocks.0.*'",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="folder for codes, TENSOR.BATCH.npy: always of the output, and of each --tap; "
            "with --data in batches of 32 images; with --op golden vectors of the op",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run the integers of a graph bit-accurately and print accuracy, overflow, saturation.

    Overflow is persistent where a completed sum did not fit its register, transient where only a
    partial sum did not; changed counts sums that are not the exact ones. Headroom: register bits
    that no completed sum used. Ops whose accumulators overflowed are listed, or those with least
    headroom. Exit code 1 if the profile's accumulator.policy was "error" and a sum overflowed.

    Names of tensors are those that `aocq inspect` prints. With --inputs only numpy and numba are
    needed: torch is neither imported nor, with --gemm auto, used for matrix products.
    """
    data, limit = images.data, images.limit
    if (data is None) == (not inputs):
        raise typer.BadParameter("give either --data FOLDER or --inputs CODES.npy")
    if op is not None:
        _one_op(graph, op, inputs or (), limit, taps, out, as_json=as_json)
        return
    if len(inputs or ()) > 1:
        raise typer.BadParameter("a graph has one input; several --inputs go with --op")
    if taps and out is None:
        raise typer.BadParameter("--tap writes codes: name a folder for them with --out")

    from simulator.executor import Executor
    from simulator.graph import load
    from simulator.taps import tensors_named

    loaded = load(graph)
    tapped = tensors_named(loaded, taps or ())
    # A wrong folder is told before torch is imported.
    judged = None if data is None else _judged_images(loaded, chosen_task(images.task, graph), data)
    codes = None if not inputs else path_of(inputs[0])
    executor = Executor(
        loaded,
        gemm=emulation.gemm,
        without_torch=codes is not None,
        threads=emulation.threads,
    )
    with _published(out, executor, codes or data, limit, tapped) as place:
        if judged is not None:
            result = _simulate_images(executor, judged, images, tapped, place)
        else:
            assert codes is not None  # one of both is given
            result = _simulate_codes(executor, codes, limit, tapped, place)
        written = len([*place.glob("*.npy")]) if place else 0
    if out is not None:
        print(f"codes: {out}, {written} files: TENSOR.BATCH.npy", file=sys.stderr)
    about = _about(loaded, data, codes)
    result = {**about, **result}
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    per_op = result.pop("per_op")
    for key, text in _as_text(about).items():
        del result[key]
        if text:
            print(f"{key:20} {text}")
    for key, value in result.items():
        print(f"{LABELS.get(key, key):20} {value}")
    _print_accumulators(per_op)


def _one_op(
    graph: Path,
    op: str,
    inputs: Sequence[str],
    limit: int | None,
    taps: Sequence[str] | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run one op of a graph on operands of the user's own."""
    from simulator.graph import load

    if taps or not inputs:
        raise typer.BadParameter("--op takes --inputs, and neither --data nor --tap")
    print_result(simulate_op(load(graph), op, inputs, limit, out), as_json=as_json)


def _about(graph: IntGraph, data: Path | None, inputs: Path | None) -> dict[str, Any]:
    """Return network, profile and input; None where a graph made by hand does not say it."""
    from simulator.graph.meta import graph_meta

    meta = graph_meta(graph)
    return {
        "network": graph.name,
        "model_arguments": None if meta is None else dict(meta.model_arguments),
        "profile": graph.profile,
        "data": None if data is None else str(data),
        "inputs": None if inputs is None else str(inputs),
        "classes": None if meta is None else meta.classes,
    }


def _as_text(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the same as text for a terminal; empty for None."""
    from simulator.control_characters import escaped
    from simulator.settings import typed

    told = {**about, "model_arguments": typed(about["model_arguments"] or {})}
    return {key: "" if value is None else escaped(str(value)) for key, value in told.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _JudgedImages:
    """A folder's images, how they become pixels, and the task that judges what comes of them."""

    task: Task
    dataset: Dataset
    preprocessing: Mapping[str, Any]


def _judged_images(graph: IntGraph, task: Task, data: Path) -> _JudgedImages:
    """Return a folder's images for a graph whose output the task can read."""
    from aocq import progress
    from simulator.errors import InputError
    from simulator.graph.meta import graph_meta

    meta = graph_meta(graph)
    if meta is None:
        raise InputError(
            f"graph {graph.name}: does not say how images are preprocessed; give --inputs instead"
        )
    target = graph.tensors[graph.outputs[0]]
    if target.shape[-1:] != (meta.classes,):
        raise InputError(
            f"graph {graph.name}: output {target.name} has shape {target.shape}, but the network "
            f"has {meta.classes} classes, so there is no accuracy; give --inputs instead"
        )
    task.check(f"graph {graph.name}", target.shape, meta.preprocessing)
    dataset = task.read(data, meta.classes, progress.note)
    return _JudgedImages(task=task, dataset=dataset, preprocessing=meta.preprocessing)


@contextmanager
def _published(
    out: Path | None, executor: Executor, source: Path | None, limit: int | None, taps: list[str]
) -> Iterator[Path | None]:
    """Yield a folder for codes, which replace those of an earlier run once all are written.

    Yield None, and write nothing, where ``out`` is None.

    Raises
    ------
    InputError
        If another command writes into ``out``, or it holds a run or files that no command named.
    """
    if out is None:
        yield None
        return

    from aocq import progress
    from aocq.records.manifest import refuse_foreign
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from simulator.graph import sha256

    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_foreign(out)
        yield staging(out)
        name = source.name if source is not None else ""
        what = f"graph {sha256(executor.graph)}, {name}, limit {limit}, taps {', '.join(taps)}"
        publish(out, "simulate", what)


def _simulate_codes(
    executor: Executor, path: Path, limit: int | None, taps: list[str], out: Path | None
) -> dict[str, Any]:
    from aocq import progress
    from simulator.codes_file import read_codes

    graph = executor.graph
    codes = read_codes(path, graph.tensors[graph.inputs[0]], limit)
    with progress.show("simulate", len(codes)) as advance:
        output = executor.run(codes, taps=taps, on_progress=advance)
    _write(output, 0, out)
    return _counts(executor, [output.counts], len(codes))


def _simulate_images(
    executor: Executor,
    judged: _JudgedImages,
    asked: ImageOptions,
    taps: list[str],
    out: Path | None,
) -> dict[str, Any]:
    import numpy as np

    from aocq import progress
    from aocq.data.loader import ImageBatches, evenly
    from aocq.jobs.run_images import run_images
    from simulator.errors import InputError

    images = evenly(judged.dataset.images, asked.limit)
    judged.task.check_images(judged.dataset, images)
    batches = ImageBatches(images, judged.preprocessing, skip_bad=asked.skip_bad_images)
    counts, logits, labels = [], [], []  # not the outputs: with taps they would fill the memory
    with progress.show("simulate", len(batches.images)) as advance:
        runs = run_images(executor, batches, taps=taps, on_progress=advance)
        for index, (_, numbers, run) in enumerate(runs):
            _write(run.output, index, out)
            counts.append(run.output.counts)
            logits.append(run.logits())
            labels.append(numbers)
    if not counts:
        raise InputError(f"{images[0].path.parent.parent}: none of the images can be decoded")
    for path in batches.skipped:
        print(f"skipped: {path} cannot be decoded", file=sys.stderr)
    outputs, truth = np.concatenate(logits), np.concatenate(labels)
    _, height, width = judged.preprocessing["input_size"]
    scores = judged.task.judge_one(outputs, truth, judged.dataset, (height, width))
    return {
        **{key: round(score, 4) for key, score in scores.items()},
        **_counts(executor, counts, len(truth)),
        "skipped_images": len(batches.skipped),
    }


def _write(output: RunOutput, index: int, out: Path | None) -> None:
    """Write outputs and taps of one batch as ``NAME.BATCH.npy``."""
    import numpy as np

    from simulator.codes_file import codes_path
    from simulator.files import replace_file

    if out is None:
        return
    for name, codes in {**output.outputs, **output.taps}.items():
        with replace_file(codes_path(out, name, index)) as temporary, temporary.open("wb") as file:
            np.save(file, codes)


def _counts(
    executor: Executor, counts: Sequence[Mapping[str, OpCounts]], images: int
) -> dict[str, Any]:
    """Return the counts summed over all ops, and for each op with an accumulator."""
    from simulator.counts import summed, sums_of
    from simulator.graph import sha256

    graph, totals = executor.graph, summed(counts)
    per_op: list[dict[str, Any]] = [
        {"op": op.name, "outputs": totals[op.name].elements, **sums_of(op, totals[op.name])}
        for op in graph.ops
        if totals[op.name].sums is not None
    ]
    return {
        "images": images,
        "graph_sha256": sha256(graph),
        "gemm_backend": ", ".join(executor.backends),
        "walked": sum(count.in_order for count in totals.values()),
        "overflowed": sum(count.overflowed for count in totals.values()),
        **{
            key: sum(entry[key] for entry in per_op)
            for key in ("persistent", "transient", "changed")
        },
        "least_headroom_bits": min((entry["headroom_bits"] for entry in per_op), default=None),
        "saturated": sum(count.saturated for count in totals.values()),
        "per_op": per_op,
    }


def _print_accumulators(per_op: list[dict[str, Any]]) -> None:
    """Print the ops that overflowed most; without any, those with the least headroom."""
    events = [entry for entry in per_op if entry["persistent"] or entry["transient"]]
    shown = sorted(
        events or per_op,
        key=lambda entry: (-entry["persistent"] - entry["transient"], entry["headroom_bits"]),
    )[:OPS_SHOWN]
    if not shown:
        return
    print(f"\n{'accumulators that overflowed' if events else 'accumulators with least headroom'}:")
    print_columns(
        ["op", "outputs", "persistent", "transient", "changed", "bits needed", "headroom"],
        [[str(value) for value in entry.values()] for entry in shown],
    )
    if len(events) > len(shown):
        print(f"and {len(events) - len(shown)} more (--json has all)")
