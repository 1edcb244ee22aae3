# SPDX-License-Identifier: Apache-2.0
"""Time of the emulator by op: a clock around the kernel of every op, or of a few that have one.

Read once, not in turns: a clock costs a little in ops that only change a shape.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.engines import in_batches
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import SPECS, AnyMatMul, Op, op_name
from simulator.kernel_choice import Step
from simulator.numerics.float_type import Array
from simulator.ops import GroupKernel, OpResult
from simulator.ops.behaviour import InnerResult


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTimes:
    """Seconds of one run.

    Attributes
    ----------
    by_kind
        seconds inside kernels, summed over worker threads, the largest first
    by_op
        the same by op name; the time of a kernel of several ops is its last one's
    wall
        seconds of the run
    share
        of the workers' time (``wall`` times threads) that passed inside kernels; the rest is the
        executor, the interpreter between kernels, and workers without a task
    """

    by_kind: Mapping[str, float]
    by_op: Mapping[str, float]
    wall: float
    share: float


def kind_of(op: Op, graph: IntGraph) -> str:
    """Return what a table calls an op: products by their operands, all that only moves in one."""
    if isinstance(op, AnyMatMul):
        return f"{op_name(op)}, {'weights' if graph.is_constant(op.b) else 'activations'}"
    return "layout" if SPECS[type(op)].moves_codes else op_name(op)


def kind_of_step(step: Step, graph: IntGraph) -> str:
    """Return what a table calls a step: the kinds of its ops, joined, each once."""
    return " + ".join(dict.fromkeys(kind_of(op, graph) for op in step.ops))


def op_times(executor: Executor, codes: Array, batch: int | None = None) -> OpTimes:
    """Run ``codes`` [images, ...] with clocks, after one image without; the executor stays clean.

    All images are one batch, or ``batch`` of them at a time.

    The executor's list of ops and kernels is not public: a test holds this to the plain run.
    """
    executor.run(codes[:1])
    plain = executor._steps
    # One list per step: appending is safe from several threads, adding up is not.
    spent: list[list[float]] = [[] for _ in plain]
    executor._steps = [
        replace(step, kernel=_clocked(step.kernel, times))
        for step, times in zip(plain, spent, strict=True)
    ]
    start = time.perf_counter()
    try:
        for part in in_batches(codes, batch):
            executor.run(part)
    finally:
        executor._steps = plain
    wall = time.perf_counter() - start
    by_op = {op.name: 0.0 for op in executor.graph.ops}
    by_kind: dict[str, float] = {}
    for step, times in zip(plain, spent, strict=True):
        by_op[step.result] = sum(times)
        kind = kind_of_step(step, executor.graph)
        by_kind[kind] = by_kind.get(kind, 0.0) + by_op[step.result]
    ordered = dict(sorted(by_kind.items(), key=lambda item: -item[1]))
    share = sum(by_op.values()) / (wall * executor.threads)
    return OpTimes(by_kind=ordered, by_op=by_op, wall=wall, share=share)


def _clocked(kernel: GroupKernel, times: list[float]) -> GroupKernel:
    def timed(operands: Sequence[Array]) -> tuple[Sequence[InnerResult], OpResult]:
        start = time.perf_counter()
        result = kernel(operands)
        times.append(time.perf_counter() - start)
        return result

    return timed
