# SPDX-License-Identifier: Apache-2.0
"""A few images on several workers at once: each runs all ops on its own rows of every tensor.

:mod:`simulator.split` says on which. Workers meet only where an op takes rows of the others, which
they then send each other as they made them: an array is never written again once it is made.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from simulator import compilation
from simulator.counts import OpCounts
from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import SPECS, Op, Reshape
from simulator.kernel_choice import Step
from simulator.numerics.float_type import Array
from simulator.numerics.interpreter_lock import waiter
from simulator.ops import GroupKernel, OpResult
from simulator.ops.behaviour import SumCounts
from simulator.split import Cut, Cuts, Split, split_of

# The rows of a result that a worker made, or none from a worker that has failed.
Message = tuple[TensorId, int, Array] | None
# Elements, saturated, sums, in order: as in InnerResult.
Counted = tuple[int, int, SumCounts | None, int]
COUNTERS_APART = 16  # int64: no two workers' counters lie in one line of a cache
LONGEST_SLEEP = 0.1  # seconds between two looks whether all workers have ended


class _OtherFailed(Exception):
    """Another worker has failed, and tells its caller why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a worker takes an operand from.

    name : the tensor
    join : the dimension, images counted, along which everybody's rows are put together; or none
    part : what is taken of that then; or none, all of it
    as_made : whether it is what the worker made, neither put together nor a part
    """

    name: TensorId
    join: int | None
    part: tuple[slice, ...] | None
    as_made: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStep:
    """What one worker does at one step.

    ops, kernel : the step's
    sources : of its operands
    result : the tensor that it writes out
    sends : whether others take rows of it
    counts : whether something may happen that this worker counts, and no other counts the same
    finished : tensors that no later step takes
    """

    ops: tuple[Op, ...]
    kernel: GroupKernel
    sources: tuple[Source, ...]
    result: TensorId
    sends: bool
    counts: bool
    finished: tuple[TensorId, ...]


def local_steps(
    graph: IntGraph, split: Split, steps: Sequence[Step], worker: int
) -> list[LocalStep]:
    """Return what a worker does, step by step."""
    last_use = {name: step.result for step in steps for name in step.operands}
    local = []
    for step in steps:
        cuts = split.steps[step.result]
        wanted = zip(step.operands, cuts.operands, strict=True)
        local.append(
            LocalStep(
                ops=step.ops,
                kernel=local_kernel(graph, cuts, step),
                sources=tuple(_source(graph, split, worker, name, cut) for name, cut in wanted),
                result=step.result,
                sends=step.result in split.exchanged,
                counts=not all(SPECS[type(op)].moves_codes for op in step.ops)
                and (cuts.result is not None or worker == 0),
                finished=tuple(
                    {
                        name
                        for name in step.operands
                        if last_use[name] == step.result and not graph.is_constant(name)
                    }
                ),
            )
        )
    return local


def _source(
    graph: IntGraph, split: Split, worker: int, name: TensorId, wanted: Cut | None
) -> Source:
    has = split.of(name)
    join = has.axis + 1 if has is not None and has != wanted else None
    part = None
    if wanted is not None and wanted != has:
        before = wanted.axis + (not graph.is_constant(name))
        part = (*[slice(None)] * before, wanted.rows(worker))
    return Source(name=name, join=join, part=part, as_made=has == wanted)


def local_kernel(graph: IntGraph, cuts: Cuts, step: Step) -> GroupKernel:
    """Return a step's kernel for ranges of rows.

    Kernels take from their operands how many rows there are; a new shape they cannot take from
    there.
    """
    if cuts.result is None or not isinstance(step.ops[-1], Reshape):
        return step.kernel
    shape = list(graph.tensors[step.result].shape)
    shape[cuts.result.axis] = -1
    return lambda operands: ((), OpResult(operands[0].reshape(len(operands[0]), *shape)))


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
    counted : what it counted, step by step, an entry for each op
    heard : how many messages of each worker it has taken
    """

    number: int
    exchange: Exchange
    made: dict[TensorId, Array]
    received: defaultdict[TensorId, dict[int, Array]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    whole: dict[TensorId, Array] = field(default_factory=dict)
    counted: dict[str, Counted] = field(default_factory=dict)
    heard: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def walk(self, steps: Sequence[LocalStep], kept: Collection[TensorId]) -> None:
        """Run all steps.

        While one worker is here, the others cannot be: every microsecond counts for all of them.
        """
        made, counted = self.made, self.counted
        for _, step in compilation.one_by_one(steps):
            operands = [
                made[source.name] if source.as_made else self._take(source)
                for source in step.sources
            ]
            inner, result = step.kernel(operands)
            made[step.result] = result.codes
            if step.sends:
                self.received[step.result][self.number] = result.codes
                self.exchange.send(self.number, (step.result, self.number, result.codes))
            if step.counts:
                counted[step.result] = (result.codes.size, *result[1:])
                for op, found in zip(step.ops, inner, strict=False):  # all but the last
                    counted[op.name] = found
            for name in step.finished:
                if name not in kept:
                    made.pop(name, None)
                self.whole.pop(name, None)

    def give_up(self) -> None:
        """Tell the others that nothing more will come."""
        self.exchange.send(self.number, None)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Endings:
    """How workers ended.

    found : each one's failure, or None
    news : one for each of them, to wait for
    """

    found: list[BaseException | None] = field(default_factory=list)
    news: SimpleQueue[None] = field(default_factory=SimpleQueue)

    def note(self, failure: BaseException | None) -> None:
        """Say that a worker has ended."""
        self.found.append(failure)
        self.news.put(None)

    def of_all(self, count: int) -> list[BaseException | None]:
        """Wait for all workers, through an interrupt from the keyboard too, which is then another.

        An interrupt may come when news were just taken: so they are not what is counted, and not
        waited for without end.
        """
        interrupts: list[BaseException | None] = []
        while len(self.found) < count:
            try:
                self.news.get(timeout=LONGEST_SLEEP)
            except Empty:
                continue
            except KeyboardInterrupt as interrupt:
                interrupts.append(interrupt)
        return [*interrupts, *self.found]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """The steps of a graph, prepared for images that so many workers share.

    nothing : by number of images, the counts where nothing happened
    """

    graph: IntGraph
    split: Split
    local: Sequence[Sequence[LocalStep]]
    nothing: dict[int, Mapping[str, OpCounts]] = field(default_factory=dict)

    def run(
        self, images: Array, kept: Collection[TensorId], begin: Callable[[], object]
    ) -> tuple[Mapping[TensorId, Array], dict[str, OpCounts]]:
        """Run images, each on all workers; return the tensors to keep, and counts by op.

        The calling thread is one of the workers.

        Parameters
        ----------
        images
            codes [images, ...]
        kept
            names of tensors that steps write out
        begin
            called first in the thread of every worker
        """
        exchange = Exchange.between(self.split.workers)
        held = {**self.graph.constants, self.graph.inputs[0]: images}
        workers = [
            _Worker(number=number, exchange=exchange, made=dict(held))
            for number in range(self.split.workers)
        ]
        endings = _Endings()

        def work(worker: _Worker) -> None:
            try:
                begin()
                worker.walk(self.local[worker.number], kept)
            except BaseException as failure:
                worker.give_up()
                endings.note(failure)
            else:
                endings.note(None)

        try:
            for worker in workers[1:]:
                try:
                    # Not by threading: its start() waits for the thread; this one has work to do.
                    start_new_thread(work, (worker,))
                except RuntimeError as failure:  # no thread more
                    worker.give_up()
                    endings.note(failure)
            work(workers[0])
        except KeyboardInterrupt:  # outside of what work() guards
            workers[0].give_up()
            raise
        _raise_first(endings.of_all(len(workers)))
        return (
            {name: _joined(name, self.split, workers) for name in kept},
            self._counts(len(images), workers),
        )

    def _counts(self, images: int, workers: Sequence[_Worker]) -> dict[str, OpCounts]:
        """Return what all workers counted together."""
        if images not in self.nothing:
            self.nothing[images] = {
                op.name: OpCounts(elements=images * self.graph.result(op).size)
                for op in self.graph.ops
            }
        counts = dict(self.nothing[images])
        first, *others = [worker.counted for worker in workers]  # the first counts all that occurs
        for name, found in first.items():
            elements, saturated, sums, in_order = reduce(
                _both, [other[name] for other in others if name in other], found
            )
            counts[name] = OpCounts(
                elements=elements, saturated=saturated, sums=sums, in_order=in_order
            )
        return counts


def shared_run(graph: IntGraph, steps: Sequence[Step], workers: int) -> SharedRun | None:
    """Return a graph's steps for images that workers share, None where they can share none."""
    split = split_of(graph, steps, workers)
    if all(cuts.result is None for cuts in split.steps.values()):
        return None
    local = [local_steps(graph, split, steps, worker) for worker in range(workers)]
    return SharedRun(graph=graph, split=split, local=local)


def _both(one: Counted, other: Counted) -> Counted:
    sums = one[2].merged(other[2]) if one[2] and other[2] else None
    return one[0] + other[0], one[1] + other[1], sums, one[3] + other[3]


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
