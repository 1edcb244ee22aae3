# SPDX-License-Identifier: Apache-2.0
"""A few images on several workers at once: each runs all ops on its own rows of every tensor.

:mod:`simulator.split` says on which. Workers meet only where an op takes rows of the others, which
they then send each other as they made them: an array is never written again once it is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np

from simulator.counts import OpCounts
from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import Op, Reshape
from simulator.numerics.float_type import Array
from simulator.ops import Kernel, OpResult
from simulator.split import Cut, Split

# The rows of a result that a worker made, or none from a worker that has failed.
Message = tuple[TensorId, int, Array] | None


class _OtherFailed(Exception):
    """Another worker has failed, and tells its caller why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitStep:
    """An op, its kernel for some rows, and the tensors that no later op takes."""

    op: Op
    kernel: Kernel
    finished: Collection[TensorId]


def split_steps(
    graph: IntGraph,
    split: Split,
    steps: Sequence[tuple[Op, Kernel]],
    finished: Sequence[Collection[TensorId]],
) -> list[SplitStep]:
    """Return the steps of a run, its kernels fitted to ranges of rows.

    Kernels take from their operands how many rows there are; a new shape they cannot take from
    there.
    """
    return [
        SplitStep(
            op=op,
            kernel=_local_reshape(graph, split, op) if isinstance(op, Reshape) else kernel,
            finished=names,
        )
        for (op, kernel), names in zip(steps, finished, strict=True)
    ]


def _local_reshape(graph: IntGraph, split: Split, op: Reshape) -> Kernel:
    cut, shape = split.of(op.name), list(graph.result(op).shape)
    if cut is not None:
        shape[cut.axis] = -1
    return lambda operands: OpResult(operands[0].reshape(len(operands[0]), *shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """What one worker holds while images run.

    made : what it has made of each tensor that is still to be used
    received : the rows that others made, by tensor and by worker
    whole : tensors that it has put together from everybody's rows
    """

    number: int
    split: Split
    inboxes: Sequence[SimpleQueue[Message]]
    made: dict[TensorId, Array]
    received: defaultdict[TensorId, dict[int, Array]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    whole: dict[TensorId, Array] = field(default_factory=dict)

    def take(self, name: TensorId, wanted: Cut | None, *, images: bool) -> Array:
        """Return the rows of a tensor that an op wants; ``images``: its first dimension is that."""
        has = self.split.of(name)
        if has == wanted:
            return self.made[name]
        codes = self.made[name] if has is None else self._exchanged(name, has)
        if wanted is None:
            return codes
        return codes[(slice(None),) * (wanted.axis + images) + (wanted.rows(self.number),)]

    def send(self, name: TensorId, codes: Array) -> None:
        """Give the others what this worker made of a tensor."""
        self.received[name][self.number] = codes
        for number, inbox in enumerate(self.inboxes):
            if number != self.number:
                inbox.put((name, self.number, codes))

    def give_up(self) -> None:
        """Tell the others that nothing more will come."""
        for number, inbox in enumerate(self.inboxes):
            if number != self.number:
                inbox.put(None)

    def forget(self, name: TensorId) -> None:
        """Let go of a tensor's memory."""
        self.made.pop(name, None)
        self.whole.pop(name, None)

    def _exchanged(self, name: TensorId, cut: Cut) -> Array:
        """Put a tensor together, once everybody's rows of it are here."""
        if name not in self.whole:
            parts = self.received[name]
            while len(parts) < self.split.workers:
                message = self.inboxes[self.number].get()
                if message is None:
                    raise _OtherFailed
                sent, sender, codes = message
                self.received[sent][sender] = codes
            del self.received[name]
            in_order = [parts[number] for number in range(self.split.workers)]
            self.whole[name] = np.concatenate(in_order, axis=cut.axis + 1)
        return self.whole[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOutput:
    """Tensors that were asked for, and counts by op, of all workers together."""

    values: Mapping[TensorId, Array]
    counts: Mapping[str, OpCounts]


def run_split(
    graph: IntGraph,
    split: Split,
    steps: Sequence[SplitStep],
    images: Array,
    kept: Collection[TensorId],
    masks: Collection[str],
    pool: Pool,
) -> SplitOutput:
    """Run images, each on all workers.

    Parameters
    ----------
    images
        codes [images, ...]
    kept
        the tensors to return
    masks
        ops whose saturated results are not counted
    pool
        runs at least as many functions at once as there are workers: they wait for each other
    """
    inboxes = [SimpleQueue[Message]() for _ in range(split.workers)]
    workers = [
        _Worker(
            number=number,
            split=split,
            inboxes=inboxes,
            made={**graph.constants, graph.inputs[0]: images},
        )
        for number in range(split.workers)
    ]
    futures = [pool.submit(_walk, graph, worker, steps, masks) for worker in workers]
    failures = [failure for future in futures if (failure := future.exception()) is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, _OtherFailed)):
        raise failure
    counts = [future.result() for future in futures]
    return SplitOutput(
        values={name: _joined(name, split, workers) for name in kept},
        counts={
            op.name: sum((found[op.name] for found in counts if op.name in found), OpCounts())
            for op in graph.ops
        },
    )


def _joined(name: TensorId, split: Split, workers: Sequence[_Worker]) -> Array:
    cut = split.of(name)
    if cut is None:
        return workers[0].made[name]
    return np.concatenate([worker.made[name] for worker in workers], axis=cut.axis + 1)


def _walk(
    graph: IntGraph, worker: _Worker, steps: Sequence[SplitStep], masks: Collection[str]
) -> Mapping[str, OpCounts]:
    """Run all ops on one worker's rows; return the counts of what no other worker counts."""
    counts: dict[str, OpCounts] = {}
    try:
        for step in steps:
            _run_step(graph, worker, step, masks, counts)
    except BaseException:
        worker.give_up()
        raise
    return counts


def _run_step(
    graph: IntGraph,
    worker: _Worker,
    step: SplitStep,
    masks: Collection[str],
    counts: dict[str, OpCounts],
) -> None:
    op = step.op
    cuts = worker.split.ops[op.name]
    result = step.kernel(
        [
            worker.take(name, wanted, images=not graph.is_constant(name))
            for name, wanted in zip(op.operands, cuts.operands, strict=True)
        ]
    )
    worker.made[op.name] = result.codes
    if op.name in worker.split.exchanged:
        worker.send(op.name, result.codes)
    if cuts.result is not None or worker.number == 0:
        counts[op.name] = OpCounts(
            elements=result.codes.size,
            saturated=0 if op.name in masks else result.saturated,
            sums=result.sums,
            in_order=result.in_order,
        )
    for name in step.finished:
        worker.forget(name)
