# SPDX-License-Identifier: Apache-2.0
"""The two forms of an op: a reference in plain Python numbers, and a kernel for batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.numerics.accumulator import Event
from simulator.numerics.float_type import Array


class SumCounts(NamedTuple):
    """Overflow of an op's accumulators (see :mod:`simulator.numerics.accumulator`).

    changed : results whose sum is not the exact one
    transient : results of which only a partial sum did not fit its register
    persistent : results of which a completed sum did not fit its register
    least, most : the smallest and the largest exact sum, bias included
    """

    changed: int
    transient: int
    persistent: int
    least: int
    most: int

    @classmethod
    def of(cls, events: NDArray[np.int64], least: int, most: int) -> SumCounts:
        """Return the counts of a kernel: ``events`` int64 [3] changed, transient, persistent."""
        changed, transient, persistent = events.tolist()
        return cls(changed, transient, persistent, least, most)

    def merged(self, other: SumCounts) -> SumCounts:
        """Return the counts of both."""
        return SumCounts(
            changed=self.changed + other.changed,
            transient=self.transient + other.transient,
            persistent=self.persistent + other.persistent,
            least=min(self.least, other.least),
            most=max(self.most, other.most),
        )

    @property
    def overflowed(self) -> int:
        """Results whose accumulator overflowed, in either way."""
        return self.transient + self.persistent


def one_sum(exact: int, event: Event) -> SumCounts:
    """Return the counts of a single sum."""
    return SumCounts(
        changed=int(bool(event & Event.CHANGED)),
        transient=int(bool(event & Event.TRANSIENT)),
        persistent=int(bool(event & Event.PERSISTENT)),
        least=exact,
        most=exact,
    )


class OpResult(NamedTuple):
    """Codes (or float32 values), and how many elements did not fit on the way.

    saturated : results outside the result type before its overflow rule was applied
    sums : what happened in the accumulators; none in ops without
    in_order : sums that the kernel accumulated in order, because they might have overflowed
    """

    codes: Array
    saturated: int = 0
    sums: SumCounts | None = None
    in_order: int = 0

    @property
    def elements(self) -> int:
        """How many results there are."""
        return self.codes.size


class InnerResult(NamedTuple):
    """What a kernel of several ops tells of one whose result it does not write out.

    elements : results computed
    saturated, sums, in_order : see :class:`OpResult`
    """

    elements: int
    saturated: int = 0
    sums: SumCounts | None = None
    in_order: int = 0


Kernel = Callable[[Sequence[Array]], OpResult]
# A kernel of several ops: of all but the last, whose result is written out, only what is counted.
GroupKernel = Callable[[Sequence[Array]], tuple[Sequence[InnerResult], OpResult]]
Reference = Callable[[Any, IntGraph, Sequence[Array]], OpResult]


class Behaviour(NamedTuple):
    """The reference and the kernel of an op.

    reference
        ``reference(op, graph, operands) -> OpResult``: one image, operands without a batch
        dimension, plain Python integers (floats in ops that are declared float). Obvious and
        slow; the meaning of the op.
    build
        ``build(op, graph, gemm) -> kernel``: prepares constants once; the kernel takes activations
        with a leading batch dimension, constants without one, and must equal the reference (float
        values: within two units in the last place).
    """

    reference: Reference
    build: Callable[[Any, IntGraph, Gemm], Kernel]
