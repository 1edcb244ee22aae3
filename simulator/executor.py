# SPDX-License-Identifier: Apache-2.0
"""The executor of an IntGraph: batches, threads, taps of any tensor, counts by op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from simulator import compilation
from simulator.boundary import problem_of_codes
from simulator.config import default_threads
from simulator.counts import OpCounts, summed
from simulator.errors import AccumulatorOverflow, InputError
from simulator.gemm import (
    Gemm,
    NumbaGemm,
    backend,
    limit_threads_of_this_thread,
    one_thread_per_worker,
)
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import SPECS, Op
from simulator.kernel_choice import Step, group_steps, single_step
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.float_type import Array
from simulator.ops import BEHAVIOURS, OpResult
from simulator.ops.behaviour import InnerResult, SumCounts
from simulator.product_choice import AUTO, backends_in_use, choose
from simulator.split_run import SharedRun, shared_run
from simulator.taps import no_such_tensor

# Images that one worker takes at a time: enough to feed the matrix product, few enough for caches.
IMAGES_PER_TASK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutput:
    """The results of a run.

    outputs : codes (or float32 values) [images, ...] of every graph output
    taps : the same of every tensor asked for
    counts : per op name
    """

    outputs: Mapping[str, Array]
    taps: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    counts: Mapping[str, OpCounts] = field(default_factory=lambda: MappingProxyType({}))


class Executor:
    """An IntGraph made ready to run: constants prepared, tensors freed after their last use.

    Parameters
    ----------
    graph
        a valid graph
    gemm
        ``auto``: for each product the backend that is fastest for its class
        (:mod:`simulator.product_choice`), or one backend of :mod:`simulator.gemm` for all; every
        backend gives the same integers
    portable
        whether to leave out vector code and run every op by its portable kernel, to compare both;
        products are ``gemm``'s either way
    without_torch
        whether ``auto`` leaves torch alone even where it is faster
    threads
        worker threads; default :func:`simulator.config.default_threads`

    Raises
    ------
    EnvironmentProblem
        If the GEMM backend cannot be used here.
    """

    def __init__(
        self,
        graph: IntGraph,
        *,
        gemm: str = AUTO,
        portable: bool = False,
        without_torch: bool = False,
        threads: int | None = None,
    ) -> None:
        self.graph = graph
        self.threads = threads or default_threads()
        self.choices = choose(graph, gemm, portable=portable, without_torch=without_torch)
        self.backends = backends_in_use(self.choices)
        self._gemms = [backend(name) for name in self.backends]
        self.portable = portable
        self._groups = () if portable else group_steps(graph, self._gemm_of)
        self._single: dict[str, Step] = {}
        self._steps = self._steps_for(graph.outputs)
        self._masks = {op.name for op in graph.ops if SPECS[type(op)].is_mask(graph, op)}
        # Where an overflow ends the run, what it tells of the first images must not depend on how
        # many workers there are: no image is shared then.
        self._may_stop = any(_may_stop(op) for op in graph.ops)
        # Of the steps last asked for. One attribute: other threads may run other steps meanwhile.
        self._shared_run: tuple[Sequence[Step], SharedRun | None] | None = None

    def run(
        self,
        images: Array,
        *,
        taps: Collection[str] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> RunOutput:
        """Run a batch.

        Parameters
        ----------
        images
            codes [images, ...] of the graph's one input, or float32 values where it is real
        taps
            names of tensors to return as well
        on_progress
            called from this thread with the number of images finished since the last call

        Raises
        ------
        InputError
            If the shape, type or range of ``images`` is not the input's, or a tap does not exist.
        """
        self._check(images, taps)
        # The steps of no taps are made beforehand, and a list that others may have put there.
        dissolved = any(op.name in taps for step in self._groups for op in step.ops[:-1])
        steps = self._steps_for({*taps, *self.graph.outputs}) if dissolved else self._steps
        images = np.ascontiguousarray(images)  # as kernels take them
        shared = self._shared(steps) if self.threads > 1 and not self._may_stop else None
        tasks, rest = self._tasks(images, shares=shared is not None)
        parts: list[RunOutput] = []
        with one_thread_per_worker(*self._gemms):
            for task, part in self._run_tasks(tasks, taps, steps):
                parts.append(part)
                if on_progress:
                    on_progress(len(task))
            if shared is not None and len(rest):
                parts.append(self._run_rest(shared, rest, taps))
                if on_progress:
                    on_progress(len(rest))
        return _join(parts)

    def _run_tasks(
        self, tasks: Sequence[Array], taps: Collection[str], steps: Sequence[Step]
    ) -> Iterator[tuple[Array, RunOutput]]:
        """Run tasks side by side, each on one worker; yield their results in order."""
        if not tasks:
            return
        with ThreadPoolExecutor(
            self.threads, initializer=lambda: limit_threads_of_this_thread(*self._gemms)
        ) as pool:
            found = pool.map(lambda task: self._run_task(task, taps, steps), tasks)
            yield from zip(tasks, found, strict=True)

    def _tasks(self, images: Array, *, shares: bool) -> tuple[list[Array], Array]:
        """Return the images of each task of one worker, and those that all workers share.

        Every worker takes as many images; what is left over is shared.
        """
        if self._may_stop:
            size, rest = IMAGES_PER_TASK, 0
        else:
            rest = len(images) % self.threads if shares else 0
            each = -(-(len(images) - rest) // self.threads)
            size = -(-each // -(-each // IMAGES_PER_TASK)) if each else 1
        whole = len(images) - rest
        return [images[i : min(i + size, whole)] for i in range(0, whole, size)], images[whole:]

    def _shared(self, steps: Sequence[Step]) -> SharedRun | None:
        """Return how all workers run the same images, None where no step can be shared."""
        found = self._shared_run
        if found is None or found[0] is not steps:
            found = self._shared_run = (steps, shared_run(self.graph, steps, self.threads))
        return found[1]

    def _run_rest(self, shared: SharedRun, images: Array, taps: Collection[str]) -> RunOutput:
        """Run fewer images than workers, each on all of them."""
        kept = {*taps, *self.graph.outputs}
        values, counts = shared.run(
            images, kept, lambda: limit_threads_of_this_thread(*self._gemms)
        )
        for name in self._masks:
            counts[name] = replace(counts[name], saturated=0)
        return RunOutput(
            outputs={name: values[name] for name in self.graph.outputs},
            taps={name: np.ascontiguousarray(values[name]) for name in taps},
            counts=counts,
        )

    def _gemm_of(self, op: Op) -> Gemm:
        """Return the backend of an op's product; any of one without, which asks for none."""
        choice = self.choices.get(op.name)
        return NumbaGemm() if choice is None else backend(choice.backend)

    def _steps_for(self, kept: Collection[str]) -> list[Step]:
        """Return the steps of a run that writes out the tensors to keep: groups without them."""
        groups = {
            op.name: step
            for step in self._groups
            if not any(op.name in kept for op in step.ops[:-1])
            for op in step.ops
        }
        steps = []
        for op in self.graph.ops:
            group = groups.get(op.name)
            if group is None:
                if op.name not in self._single:
                    self._single[op.name] = single_step(
                        op, self.graph, self._gemm_of(op), portable=self.portable
                    )
                steps.append(self._single[op.name])
            elif op is group.ops[-1]:
                steps.append(group)
        return steps

    def _run_task(self, images: Array, taps: Collection[str], steps: Sequence[Step]) -> RunOutput:
        """Run a few images on the calling thread."""
        graph = self.graph
        kept = {*taps, *graph.outputs}
        last_use = {name: number for number, step in enumerate(steps) for name in step.operands}
        values: dict[str, Array] = {**graph.constants, graph.inputs[0]: images}
        counts = {}
        for number, step in compilation.one_by_one(steps):
            inner, result = step.kernel([values[name] for name in step.operands])
            values[step.result] = result.codes
            results: list[InnerResult | OpResult] = [*inner, result]
            for op, found in zip(step.ops, results, strict=True):
                counts[op.name] = OpCounts(
                    elements=found.elements,
                    saturated=0 if op.name in self._masks else found.saturated,
                    sums=found.sums,
                    in_order=found.in_order,
                )
                _stop_at_errors(op, found.sums)
            for name in step.operands:
                if last_use[name] == number and name not in kept:
                    values.pop(name, None)
        return RunOutput(
            outputs={name: values[name] for name in graph.outputs},
            taps={name: np.ascontiguousarray(values[name]) for name in taps},
            counts=counts,
        )

    def _check(self, images: Array, taps: Collection[str]) -> None:
        activations = {*self.graph.inputs, *(op.name for op in self.graph.ops)}
        for name in taps:
            if name not in activations:
                raise InputError(no_such_tensor(self.graph, name))
        tensor = self.graph.tensors[self.graph.inputs[0]]
        problem = problem_of_codes(images, tensor)
        if problem is not None:
            raise InputError(f"input {tensor.name}: {problem}")


def _may_stop(op: Op) -> bool:
    """Tell whether the op's policy does not tolerate a changed sum."""
    accumulator = accumulator_of(op)
    return accumulator is not None and accumulator.policy is OverflowPolicy.ERROR


def _stop_at_errors(op: Op, sums: SumCounts | None) -> None:
    """Raise AccumulatorOverflow where the op's policy does not tolerate a changed sum."""
    if sums is not None and sums.changed and _may_stop(op):
        raise AccumulatorOverflow(
            f"op {op.name}: {sums.changed} sums overflowed the accumulator ({accumulator_of(op)}), "
            f"the exact ones span {sums.least} to {sums.most}; widen it, or set accumulator.policy "
            'to "apply" or "report" in the profile'
        )


def _join(parts: Sequence[RunOutput]) -> RunOutput:
    first = parts[0]
    if len(parts) == 1:
        return first
    return RunOutput(
        outputs={
            name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs
        },
        taps={name: np.concatenate([part.taps[name] for part in parts]) for name in first.taps},
        counts=summed(part.counts for part in parts),
    )


def run_reference(graph: IntGraph, image: Array) -> Mapping[str, Array]:
    """Run one image by the plain-Python references; return the codes of every tensor.

    The public reference run, the meaning of a graph: whoever checks the emulator, an engine or a
    chip compares with it. Slow: seconds for a nano network, hours for a real one.
    """
    values: dict[str, Array] = {**graph.constants, graph.inputs[0]: image}
    for op in graph.ops:
        operands = [values[name] for name in op.operands]
        values[op.name] = BEHAVIOURS[type(op)].reference(op, graph, operands).codes
    return MappingProxyType(values)
