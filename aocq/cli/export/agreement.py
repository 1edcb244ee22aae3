# SPDX-License-Identifier: Apache-2.0
"""How far another engine's codes agree with the emulator's, on the same inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from aocq.cli.tasks import chosen_task
from simulator.control_characters import escaped

if TYPE_CHECKING:
    from simulator.graph import IntGraph
    from simulator.numerics.float_type import Array

SEED = 0
Run = Callable[["Array"], "Array"]  # codes [images, ...] to the graph's codes of the output


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two engines are compared on.

    ``inputs`` is a file of codes, ``data`` a folder of images, of ``task`` or of the run in
    ``graph``; without either, codes are random, each as likely as any other.
    """

    count: int | None
    inputs: Path | None
    data: Path | None
    task: str | None
    graph: Path

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.count is None and (self.inputs or self.data):
            raise typer.BadParameter("--inputs and --data are for --compare N")
        if self.inputs and self.data:
            raise typer.BadParameter("give either --inputs CODES.npy or --data FOLDER")

    @property
    def source(self) -> str:
        """Where the codes are from, in words."""
        return str(self.inputs or self.data or "random codes")


def print_agreement(
    graph: IntGraph, engine: str, batch: int, comparison: Comparison, run: Run
) -> None:
    """Print shares of codes that are equal, and within one; of classes, of images with the same.

    Parameters
    ----------
    run
        of the other engine, ``batch`` images at a time
    """
    from aocq import progress
    from simulator.executor import Executor

    codes = _codes(graph, comparison)
    whole = len(codes) // batch * batch
    if not whole:
        raise _too_few(len(codes), batch)
    executor = Executor(graph, without_torch=True)
    with progress.show("emulate", whole) as advance:
        ran = executor.run(codes[:whole], on_progress=advance).outputs[graph.outputs[0]]
    parts = []
    with progress.show(engine, whole) as advance:
        for start in range(0, whole, batch):
            parts.append(run(codes[start : start + batch]))
            advance(batch)
    ours, theirs = ran.astype(np.float64), np.concatenate(parts).astype(np.float64)
    apart = np.abs(ours - theirs)
    print(f"{'images':32} {whole} ({escaped(comparison.source)})")
    print(f"{'engine':32} {engine}")
    print(f"{'equal codes':32} {100 * (apart == 0).mean():.2f} %")
    print(f"{'codes that differ by 1 at most':32} {100 * (apart <= 1).mean():.2f} %")
    print(f"{'largest difference':32} {apart.max():g} codes")
    if ours.ndim == 2:  # a value for each class
        same = (ours.argmax(-1) == theirs.argmax(-1)).mean()
        print(f"{'same top-1':32} {100 * same:.2f} %")
    if whole < len(codes):
        print(f"note: {len(codes) - whole} images make no whole batch", file=sys.stderr)


def _codes(graph: IntGraph, comparison: Comparison) -> Array:
    from simulator.codes_file import read_codes
    from simulator.errors import InputError

    tensor, count = graph.tensors[graph.inputs[0]], comparison.count or 1
    if comparison.data is not None:
        return _codes_of_images(graph, comparison.data, comparison, count)
    if comparison.inputs is not None:
        return read_codes(comparison.inputs, tensor, count)
    if tensor.is_float:
        raise InputError(f"input {tensor.name}: holds real values; give --inputs")
    kind = tensor.code_type
    random = np.random.default_rng(SEED)
    found: Array = random.integers(kind.low, kind.high + 1, (count, *tensor.shape))
    return found.astype(kind.dtype)


def _codes_of_images(graph: IntGraph, folder: Path, comparison: Comparison, count: int) -> Array:
    from aocq import progress
    from aocq.data.loader import ImageBatches, evenly
    from aocq.tasks.task import images_of
    from simulator.boundary import quantize
    from simulator.errors import InputError
    from simulator.graph.meta import graph_meta

    meta = graph_meta(graph)
    if meta is None:
        raise InputError(
            f"graph {graph.name}: does not say how images are preprocessed; give --inputs instead"
        )
    task = chosen_task(comparison.task, comparison.graph)
    images = evenly(images_of(task, folder, meta.classes, progress.note), count)
    source = graph.tensors[graph.inputs[0]]
    batches = ImageBatches(images, meta.preprocessing)
    return np.concatenate([quantize(batch.numpy(), source) for batch, _ in batches])


def _too_few(images: int, batch: int) -> Exception:
    from simulator.errors import InputError

    return InputError(f"--compare: {images} images, and the file takes {batch} at a time")
