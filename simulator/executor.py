# SPDX-License-Identifier: Apache-2.0
"""The executor of an IntGraph: batches, threads, taps of any tensor, counts by op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from simulator import compilation
from simulator.boundary import problem_of_codes
from simulator.config import default_threads
from simulator.counts import OpCounts, summed
from simulator.errors import AccumulatorOverflow, InputError
from simulator.gemm import Gemm, backend, limit_threads_of_this_thread, one_thread_per_worker
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import SPECS, Op
from simulator.kernel_choice import kernel_of
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.float_type import Array
from simulator.ops import BEHAVIOURS, Kernel
from simulator.ops.behaviour import SumCounts
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
        ``auto`` or a backend of :mod:`simulator.gemm`; every backend gives the same integers
    portable
        whether to leave out vector code and run every op by its portable kernel, to compare both;
        products are ``gemm``'s either way
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
        gemm: str = "auto",
        portable: bool = False,
        threads: int | None = None,
    ) -> None:
        self.graph = graph
        self.gemm: Gemm = backend(gemm)
        self.threads = threads or default_threads()
        self._steps: list[tuple[Op, Kernel]] = [
            (op, kernel_of(op, graph, self.gemm, portable=portable)) for op in graph.ops
        ]
        self._masks = {op.name for op in graph.ops if SPECS[type(op)].is_mask(graph, op)}
        self._last_use = {name: step for step, op in enumerate(graph.ops) for name in op.operands}

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
        images = np.ascontiguousarray(images)  # as kernels take them
        size = IMAGES_PER_TASK
        if not any(_may_stop(op) for op in self.graph.ops):
            # Few images are spread over all workers; but where an overflow ends the run, what it
            # tells of the first ones must not depend on how many workers there are.
            size = min(size, -(-len(images) // self.threads))
        tasks = [images[i : i + size] for i in range(0, len(images), size)]
        parts: list[RunOutput] = []
        with (
            one_thread_per_worker(self.gemm),
            ThreadPoolExecutor(
                self.threads, initializer=limit_threads_of_this_thread, initargs=(self.gemm,)
            ) as pool,
        ):
            for task, part in zip(
                tasks, pool.map(lambda task: self._run_task(task, taps), tasks), strict=True
            ):
                parts.append(part)
                if on_progress:
                    on_progress(len(task))
        return _join(parts)

    def _run_task(self, images: Array, taps: Collection[str]) -> RunOutput:
        """Run a few images on the calling thread."""
        graph = self.graph
        kept = {*taps, *graph.outputs}
        values: dict[str, Array] = {**graph.constants, graph.inputs[0]: images}
        counts = {}
        for step, (op, kernel) in enumerate(self._steps):
            compilation.at(step + 1, len(self._steps))
            result = kernel([values[name] for name in op.operands])
            values[op.name] = result.codes
            counts[op.name] = OpCounts(
                elements=result.codes.size,
                saturated=0 if op.name in self._masks else result.saturated,
                sums=result.sums,
                in_order=result.in_order,
            )
            _stop_at_errors(op, result.sums)
            for name in op.operands:
                if self._last_use[name] == step and name not in kept:
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
