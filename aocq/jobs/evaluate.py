# SPDX-License-Identifier: Apache-2.0
"""Float, fake-quantized and integer networks on the same images; resumable.

Every finished batch is one file in the work folder. A killed run resumes with the first batch
without a file; an altered file counts as none. While a batch is computed the next one is decoded;
no more are held.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aocq.capture.parts import in_threads, parts_of
from aocq.data.decoding import bad_image
from aocq.data.loader import Group, ImageBatches
from aocq.jobs.run_images import run_batch
from aocq.methods.chip_operators import ChipOperators, exact_operators
from aocq.methods.fake_quantization import FakeQuantization
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.kept import keep, kept
from aocq.tasks.metrics import Logits
from simulator.counts import OpCounts, summed
from simulator.errors import AccumulatorOverflow, EnvironmentProblem, InputError
from simulator.executor import Executor
from simulator.gemm import Gemm, backend
from simulator.numerics.jit import multiplies_bytes
from simulator.ops.behaviour import SumCounts

ENGINES = ("float", "simulated", "integer")  # keys of records: simulated is fake-quantized


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The logits of three engines on the same images.

    Attributes
    ----------
    logits
        by engine, float64 [images, classes]
    labels
        int64 [images]
    seconds
        by engine, time spent computing (not decoding, nor compiling the emulator's kernels)
    counts
        of the integer engine, by op name
    skipped
        files that could not be decoded
    """

    logits: Mapping[str, Logits]
    labels: NDArray[np.int64]
    seconds: Mapping[str, float]
    counts: Mapping[str, OpCounts]
    skipped: tuple[str, ...]


def evaluate(
    network: nn.Module,
    model: QuantizedModel,
    executor: Executor,
    batches: ImageBatches,
    work: Path,
    on_progress: Callable[[int], None] | None = None,
    operators: ChipOperators = exact_operators,
) -> Evaluation:
    """Run all three engines over ``batches``.

    Parameters
    ----------
    work
        folder for finished batches; it must belong to exactly this network, model, graph and data
    on_progress
        called with the number of images (skipped ones included) done since the last call
    operators
        those of the chip that fake quantization is to have, where they are not exact

    Raises
    ------
    BadImageError
        If an image cannot be decoded and ``batches`` does not skip such.
    InputError
        If no image at all could be decoded.
    """
    fake_quantized = FakeQuantization(model, _product_of_bytes(), operators)
    compiled = False
    for index, group in _open_groups(batches, work, on_progress):
        arrays: dict[str, Any] = {"skipped": np.array([*map(str, group.skipped)], dtype=str)}
        if group.images is not None:
            if not compiled:
                _compile(executor, group.images[:1])
                compiled = True
            arrays |= _run_engines(network, fake_quantized, executor, group.images)
            arrays["labels"] = group.labels.numpy()
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        keep(_batch_path(work, index), buffer.getvalue())
        if on_progress:
            on_progress(len(group.labels) + len(group.skipped))
    return _collect(work, executor, batches)


def _product_of_bytes() -> Gemm | None:
    """Return torch's product of bytes where the CPU has instructions for it and it is exact."""
    if not multiplies_bytes():
        return None
    try:
        return backend("torch")
    except EnvironmentProblem:
        return None


def _compile(executor: Executor, image: Tensor) -> None:
    """Run an image whose time does not count: kernels are compiled at their first call."""
    with suppress(AccumulatorOverflow):  # the run itself will tell
        run_batch(executor, image)


def _batch_path(work: Path, index: int) -> Path:
    return work / f"batch-{index:05d}.npz"


@contextmanager
def _batch(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open a finished batch.

    Raises
    ------
    InputError
        If its file was changed since it was written.
    """
    content = kept(path)
    if content is None:
        raise InputError(f"{path}: changed while the run used it; give the same command again")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        yield arrays


def _open_groups(
    batches: ImageBatches, work: Path, on_progress: Callable[[int], None] | None
) -> Iterator[tuple[int, Group]]:
    """Decode the batches that are still to do, and yield each with its number."""
    starts = range(0, len(batches.images), batches.batch)
    parts = [batches.images[start : start + batches.batch] for start in starts]
    finished = [kept(_batch_path(work, index)) is not None for index in range(len(parts))]
    # Only the last batch may be short, so that those left over are cut as they were.
    images = [item for part, done in zip(parts, finished, strict=True) if not done for item in part]
    groups = replace(batches, images=images, skipped=[]).groups()
    for index, done in enumerate(finished):
        if not done:
            yield index, next(groups)
        elif on_progress:
            on_progress(len(parts[index]))


def _run_engines(
    network: nn.Module, fake_quantized: FakeQuantization, executor: Executor, images: Tensor
) -> dict[str, Any]:
    """Run one batch through every engine."""
    clock = [time.perf_counter()]
    with torch.inference_mode():
        parts = parts_of(len(images))
        real = torch.cat(in_threads(lambda part: network(images[part]), parts))
    _finite("float", real)
    clock.append(time.perf_counter())
    rounded = fake_quantized.logits(images)
    _finite("fake-quantized", rounded)
    clock.append(time.perf_counter())
    run = run_batch(executor, images)
    integer = run.logits()
    clock.append(time.perf_counter())
    counts = [_as_row(run.output.counts[op.name]) for op in executor.graph.ops]
    return {
        "float": real.double().numpy(),
        "simulated": rounded.double().numpy(),
        "integer": integer,
        "seconds": np.diff(clock),
        "counts": np.array(counts, dtype=np.int64),
    }


def _finite(engine: str, logits: Tensor) -> Tensor:
    """Return logits; refuse infinities and NaN, of which no figure could be made."""
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).flatten(1).any(1).sum())
        raise InputError(
            f"the {engine} network's outputs are not finite on {bad} of {len(logits)} images; "
            "check the checkpoint, and mean and std of --preprocessing"
        )
    return logits


def _as_row(counts: OpCounts) -> list[int]:
    """Return counts as a row of a file: whether there are sums, then theirs."""
    sums = counts.sums or SumCounts(0, 0, 0, 0, 0)
    return [counts.elements, counts.saturated, counts.sums is not None, *sums, counts.in_order]


def _from_row(row: NDArray[np.int64]) -> OpCounts:
    elements, saturated, has_sums, *rest = row.tolist()
    size = len(SumCounts._fields)
    return OpCounts(
        elements=elements,
        saturated=saturated,
        sums=SumCounts(*rest[:size]) if has_sums else None,
        in_order=sum(rest[size:]),  # nothing in files of older runs
    )


def _collect(work: Path, executor: Executor, batches: ImageBatches) -> Evaluation:
    """Join the files of all batches."""
    paths = [_batch_path(work, i) for i in range(-(-len(batches.images) // batches.batch))]
    small, skipped = [], []
    for path in paths:
        with _batch(path) as arrays:
            skipped += [str(name) for name in arrays["skipped"]]
            if "labels" in arrays:
                small.append({key: arrays[key] for key in ("labels", "seconds", "counts")})
    if skipped and not batches.skip_bad:
        raise bad_image(Path(skipped[0]), "an earlier attempt could not")
    if not small:
        raise InputError(f"{skipped[0]} and {len(skipped) - 1} others: no image could be decoded")
    names = [op.name for op in executor.graph.ops]
    rows = (map(_from_row, part["counts"]) for part in small)
    labels = np.concatenate([part["labels"] for part in small])
    seconds = np.sum([part["seconds"] for part in small], axis=0)
    return Evaluation(
        logits={name: _logits(paths, name, len(labels)) for name in ENGINES},
        labels=labels,
        seconds=dict(zip(ENGINES, seconds.tolist(), strict=True)),
        counts=summed(dict(zip(names, row, strict=True)) for row in rows),
        skipped=tuple(skipped),
    )


def _logits(paths: Sequence[Path], engine: str, images: int) -> Logits:
    """Read one engine's logits into one array: they are the bulk, and are never held twice."""
    found: Logits | None = None
    filled = 0
    for path in paths:
        with _batch(path) as arrays:
            if engine in arrays:
                part = arrays[engine]
                if found is None:
                    found = np.empty((images, *part.shape[1:]))
                found[filled : filled + len(part)] = part
                filled += len(part)
    assert found is not None
    return found
