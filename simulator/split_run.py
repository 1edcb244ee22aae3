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
from functools import reduce
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from simulator.counts import OpCounts
from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import Op, Reshape
from simulator.graph.shapes import Shape
from simulator.numerics.float_type import Array
from simulator.numerics.interpreter_lock import waiter
from simulator.ops import Kernel, OpResult
from simulator.ops.behaviour import SumCounts
from simulator.split import Cut, Split

# The rows of a result that a worker made, or none from a worker that has failed.
Message = tuple[TensorId, int, Array] | None
NOTHING: Array = np.empty(0, np.int8)
COUNTERS_APART = 16  # int64: no two workers' counters lie in one line of a cache


class _OtherFailed(Exception):
    """Another worker has failed, and tells its caller why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a worker takes an operand from.

    name : the tensor
    join : the dimension, images counted, along which everybody's rows are put together; or none
    part : what is taken of that then; or none, all of it
    """

    name: TensorId
    join: int | None
    part: tuple[slice, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStep:
    """What one worker does at one op.

    sources : of its operands
    shape : that of its rows of a Reshape's result, one extent as -1; none of other ops
    sends : whether others take rows of its result
    counts : whether it counts what happens, and no other worker counts the same
    finished : tensors that no later op takes
    """

    op: Op
    sources: tuple[Source, ...]
    shape: Shape | None
    sends: bool
    counts: bool
    finished: tuple[TensorId, ...]


def local_steps(graph: IntGraph, split: Split, worker: int) -> list[LocalStep]:
    """Return what a worker does, op by op."""
    last_use = {name: op.name for op in graph.ops for name in op.operands}
    steps = []
    for op in graph.ops:
        cuts = split.ops[op.name]
        wanted = zip(op.operands, cuts.operands, strict=True)
        steps.append(
            LocalStep(
                op=op,
                sources=tuple(_source(graph, split, worker, name, cut) for name, cut in wanted),
                shape=_local_shape(graph, cuts.result, op) if isinstance(op, Reshape) else None,
                sends=op.name in split.exchanged,
                counts=cuts.result is not None or worker == 0,
                finished=tuple({name for name in op.operands if last_use[name] == op.name}),
            )
        )
    return steps


def _source(
    graph: IntGraph, split: Split, worker: int, name: TensorId, wanted: Cut | None
) -> Source:
    has = split.of(name)
    join = has.axis + 1 if has is not None and has != wanted else None
    part = None
    if wanted is not None and wanted != has:
        before = wanted.axis + (not graph.is_constant(name))
        part = (*[slice(None)] * before, wanted.rows(worker))
    return Source(name=name, join=join, part=part)


def _local_shape(graph: IntGraph, cut: Cut | None, op: Reshape) -> Shape:
    shape = list(graph.result(op).shape)
    if cut is not None:
        shape[cut.axis] = -1
    return tuple(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The ways between workers: an inbox for each, and how many tensors each has sent."""

    inboxes: Sequence[SimpleQueue[Message]]
    sent: NDArray[np.int64]

    @classmethod
    def between(cls, workers: int) -> Exchange:
        """Return ways between so many."""
        inboxes = [SimpleQueue[Message]() for _ in range(workers)]
        return cls(inboxes=inboxes, sent=np.zeros(workers * COUNTERS_APART, np.int64))

    def send(self, sender: int, message: Message) -> None:
        """Put a message into everybody else's inbox."""
        for number, inbox in enumerate(self.inboxes):
            if number != sender:
                inbox.put(message)
        self.sent[sender * COUNTERS_APART] += 1

    def receive(self, receiver: int, sender: int, count: int) -> Message:
        """Return the next message; it waits for ``count`` messages of ``sender`` first, awake."""
        inbox = self.inboxes[receiver]
        if inbox.empty():
            waiter()(self.sent.ctypes.data + 8 * COUNTERS_APART * sender, count)
        return inbox.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """What one worker holds while images run.

    made : what it has made of each tensor that is still to be used
    received : the rows that all workers made, by tensor and by worker
    whole : tensors that it has put together from them
    counted : what was counted, by op
    heard : how many messages of each worker it has taken
    """

    number: int
    exchange: Exchange
    made: dict[TensorId, Array]
    received: defaultdict[TensorId, dict[int, Array]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    whole: dict[TensorId, Array] = field(default_factory=dict)
    counted: dict[str, OpResult] = field(default_factory=dict)
    heard: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def walk(
        self, kernels: Sequence[Kernel], steps: Sequence[LocalStep], kept: Collection[TensorId]
    ) -> None:
        """Run all ops."""
        try:
            for kernel, step in zip(kernels, steps, strict=True):
                self._run(kernel, step)
                for name in step.finished:
                    if name not in kept:
                        self.made.pop(name, None)
                    self.whole.pop(name, None)
        except BaseException:
            self.exchange.send(self.number, None)
            raise

    def _run(self, kernel: Kernel, step: LocalStep) -> None:
        operands = [
            self.made[source.name]
            if source.join is None and source.part is None
            else self._take(source)
            for source in step.sources
        ]
        name = step.op.name
        if step.shape is None:
            result = kernel(operands)
        else:
            result = OpResult(operands[0].reshape(len(operands[0]), *step.shape))
        self.made[name] = result.codes
        if step.sends:
            self.received[name][self.number] = result.codes
            self.exchange.send(self.number, (name, self.number, result.codes))
        if step.counts and (result.saturated or result.sums):
            self.counted[name] = result._replace(codes=NOTHING)

    def _take(self, source: Source) -> Array:
        codes = self.made[source.name] if source.join is None else self._joined(source)
        return codes if source.part is None else codes[source.part]

    def _joined(self, source: Source) -> Array:
        """Put a tensor together, once everybody's rows of it are here."""
        assert source.join is not None
        name = source.name
        if name not in self.whole:
            parts = self.received[name]
            for sender in range(len(self.exchange.inboxes)):
                while sender not in parts:
                    self._receive(sender)
            del self.received[name]
            in_order = [parts[number] for number in range(len(parts))]
            self.whole[name] = np.concatenate(in_order, axis=source.join)
        return self.whole[name]

    def _receive(self, sender: int) -> None:
        message = self.exchange.receive(self.number, sender, self.heard[sender] + 1)
        if message is None:
            raise _OtherFailed
        name, number, codes = message
        self.heard[number] += 1
        self.received[name][number] = codes


def run_split(
    graph: IntGraph,
    split: Split,
    kernels: Sequence[Kernel],
    steps: Sequence[Sequence[LocalStep]],
    images: Array,
    kept: Collection[TensorId],
    pool: Pool,
) -> tuple[Mapping[TensorId, Array], Mapping[str, OpCounts]]:
    """Run images, each on all workers; return the tensors to keep, and counts by op.

    Parameters
    ----------
    kernels
        of the graph's ops
    steps
        :func:`local_steps` of every worker
    images
        codes [images, ...]
    kept
        names of tensors
    pool
        runs all workers but one, the calling thread, at once: they wait for each other
    """
    exchange = Exchange.between(split.workers)
    held = {**graph.constants, graph.inputs[0]: images}
    workers = [
        _Worker(number=number, exchange=exchange, made=dict(held))
        for number in range(split.workers)
    ]
    futures = [
        pool.submit(worker.walk, kernels, steps[worker.number], kept) for worker in workers[1:]
    ]
    failures: list[BaseException | None] = []
    try:
        workers[0].walk(kernels, steps[0], kept)
    except BaseException as failure:
        failures.append(failure)
    failures += [future.exception() for future in futures]
    _raise_first(failures)
    return (
        {name: _joined(name, split, workers) for name in kept},
        {op.name: _counts(graph, op, len(images), workers) for op in graph.ops},
    )


def _raise_first(failures: Sequence[BaseException | None]) -> None:
    """Raise the failure of a worker that did not just hear of another's."""
    found = [failure for failure in failures if failure is not None]
    for failure in sorted(found, key=lambda failure: isinstance(failure, _OtherFailed)):
        raise failure


def _joined(name: TensorId, split: Split, workers: Sequence[_Worker]) -> Array:
    cut = split.of(name)
    if cut is None:
        return workers[0].made[name]
    return np.concatenate([worker.made[name] for worker in workers], axis=cut.axis + 1)


def _counts(graph: IntGraph, op: Op, images: int, workers: Sequence[_Worker]) -> OpCounts:
    found = [worker.counted[op.name] for worker in workers if op.name in worker.counted]
    sums = [part.sums for part in found if part.sums]
    return OpCounts(
        elements=images * graph.result(op).size,
        saturated=sum(part.saturated for part in found),
        sums=reduce(SumCounts.merged, sums) if sums else None,
        in_order=sum(part.in_order for part in found),
    )
