# SPDX-License-Identifier: Apache-2.0
"""Rates of products: an op of a class, run on one core by one backend after the other.

What is timed is the whole op as the executor runs it, product, requantization and the way between
them. Portable requantization is no faster than that of vector code: a backend whose product alone,
with our requantization added, is too slow to win needs no more, and its kernels are not compiled.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.gemm import Gemm, limit_threads_of_this_thread, one_thread_per_worker
from simulator.graph.builder import GraphBuilder
from simulator.graph.graph import IntGraph, Role
from simulator.graph.ops import MatMul
from simulator.kernel_choice import kernel_of
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import IntArray, IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.product_choice.classes import NARROW_WEIGHTS, WEIGHTS, ProductClass

TURNS = 5  # of every backend, one after the other; their median counts
TURN_SECONDS = 1e-3  # a turn repeats short ops
MOST_OPERATIONS = 1 << 29  # of a timed op: larger ones are timed with fewer rows
FEWEST_ROWS = 96
MATRICES = 12  # of an attention that is timed, as of a few images
# How much faster than our tiles another has to be: rates are not known more exactly, and what
# libraries leave behind (copies, sums in 32 bits) costs other ops their caches.
MARGIN = 1.1
HOPELESS = 4.0  # times as slow as the fastest: one turn is enough
NARROW_BITS = 20
CODES = 40  # standard deviation of results
S8 = IntType(bits=8)
Job = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a backend is for a class.

    Attributes
    ----------
    gops
        10^9 multiplications and additions per second and core
    at_most
        whether that is a bound: the product alone was timed, and the time that the rest takes with
        the backend to beat was added
    """

    gops: float
    at_most: bool = False


def measure(which: ProductClass, gemms: Sequence[Gemm]) -> Mapping[str, Rate]:
    """Time an op of a class by backends of different names; the first is the one to beat."""
    trial = Trial.of(which)
    with one_thread_per_worker(*gemms):
        for gemm in gemms:
            limit_threads_of_this_thread(gemm)
        if which.kind.is_sums:
            jobs = {gemm.name: trial.product(gemm) for gemm in gemms}
            return {name: Rate(gops=trial.gops(s)) for name, s in _medians(jobs).items()}
        return _rates_of_ops(trial, gemms)


def _rates_of_ops(trial: Trial, gemms: Sequence[Gemm]) -> Mapping[str, Rate]:
    """Time whole ops, and of backends that their product rules out no more than that."""
    first, *others = gemms
    products = {f"product of {gemm.name}": trial.product(gemm) for gemm in gemms}
    found = _medians({first.name: trial.op(first), **products})
    rest = max(0.0, found[first.name] - found[f"product of {first.name}"])
    bounds = {gemm.name: found[f"product of {gemm.name}"] + rest for gemm in others}
    enough = found[first.name] / MARGIN
    ops = {gemm.name: trial.op(gemm) for gemm in others if bounds[gemm.name] < enough}
    whole = _medians({first.name: trial.op(first), **ops}) if ops else found
    rates = {first.name: Rate(gops=trial.gops(whole[first.name]))}
    for name, bound in bounds.items():
        seconds = whole[name] if name in ops else bound
        rates[name] = Rate(gops=trial.gops(seconds), at_most=name not in ops)
    return rates


def _medians(jobs: Mapping[str, Job]) -> Mapping[str, float]:
    """Return seconds of the processor per job: medians over turns, after a warm first time.

    The processor's time of this thread: others on the machine disturb it less than the clock. A job
    that is hopeless beside the first has one turn.
    """
    repeats = {}
    found: dict[str, list[float]] = {}
    for name, job in jobs.items():
        job()  # compiles, loads, fills caches
        once = _seconds(job, 1)
        repeats[name] = max(1, round(TURN_SECONDS / max(once, 1e-7)))
        found[name] = [once]
    bound = HOPELESS * next(iter(found.values()))[0]
    running = [name for name in jobs if found[name][0] <= bound]
    turns: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(TURNS):
        for name in running:
            turns[name].append(_seconds(jobs[name], repeats[name]))
    return {name: statistics.median(turns.get(name) or found[name]) for name in jobs}


def _seconds(job: Job, repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        job()
    return (time.thread_time() - start) / repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An op of a class with operands: ``left`` and, in attention, ``right`` matrices."""

    graph: IntGraph
    left: IntArray
    right: IntArray | None
    operations: int

    @classmethod
    def of(cls, which: ProductClass) -> Trial:
        """Draw operands, normally distributed: few sums leave a narrow register, as in networks."""
        random = np.random.default_rng(0)
        sizes = (which.rows, which.terms, which.columns)
        rows, terms, columns = sizes
        if not which.kind.has_weights:
            left = _codes(random, (1, MATRICES, rows, terms), S8)
            right = _codes(random, (1, MATRICES, terms, columns), S8)
            graph = _attention(which, left.shape[1:], right.shape[1:])
            return cls(graph=graph, left=left, right=right, operations=MATRICES * which.operations)
        rows = min(rows, max(FEWEST_ROWS, MOST_OPERATIONS // (2 * terms * columns)))
        left = _codes(random, (1, rows, terms), S8)
        kind = IntType(bits=which.weight_bits)
        weights = _codes(random, (columns, terms), kind)
        graph = _layer(which, left.shape[1:], weights, kind)
        return cls(graph=graph, left=left, right=None, operations=2 * rows * terms * columns)

    @property
    def matmul(self) -> MatMul:
        """The op."""
        (op,) = self.graph.ops
        assert isinstance(op, MatMul)
        return op

    def op(self, gemm: Gemm) -> Job:
        """Return the op as the executor runs it."""
        kernel = kernel_of(self.matmul, self.graph, gemm)
        right = self.graph.constants[self.matmul.b] if self.right is None else self.right
        return lambda: kernel([self.left, right])

    def product(self, gemm: Gemm) -> Job:
        """Return the product alone; activations are prepared again and again."""
        if self.right is None:
            multiply = gemm.prepare(self.graph.constants[self.matmul.b].T)
            return lambda: multiply(self.left[0])
        pairs = [*zip(self.left[0], self.right[0], strict=True)]

        def products() -> None:
            for left, right in pairs:
                gemm.prepare(right)(left)

        return products

    def gops(self, seconds: float) -> float:
        """Return a rate."""
        return self.operations / seconds / 1e9


def spread_of(bits: int) -> int:
    """Return the standard deviation of operands of so many bits."""
    return 30 if bits > NARROW_WEIGHTS else 3


def _codes(random: np.random.Generator, shape: tuple[int, ...], kind: IntType) -> IntArray:
    drawn = np.rint(random.normal(0, spread_of(kind.bits), shape)).clip(kind.low, kind.high)
    codes: IntArray = drawn.astype(kind.dtype)
    return codes


def _builder(which: ProductClass) -> GraphBuilder:
    """Return an empty graph of a chip with a narrow register or a wide one."""
    level = (
        AccumulatorLevel(group=0, bits=NARROW_BITS, overflow=Overflow.SATURATE)
        if which.kind.is_narrow
        else AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP)
    )
    chip = {
        "accumulator": Accumulator(levels=(level,)),
        "rounding": Rounding.HALF_UP,
        "overflow": Overflow.SATURATE,
    }
    types = {"bias": IntType(bits=32), "multiplier": IntType(bits=31, signed=False)}
    return GraphBuilder("trial", defaults=chip, types=types)


def _multipliers(count: int) -> list[int]:
    """Return multipliers of 31 bits, as profiles have them; none equals the next."""
    return [(1 << 30) + 12345 * i for i in range(count)]


def _shift(which: ProductClass) -> list[int]:
    """Return the shift that makes codes of sums of normally distributed products."""
    deviation = spread_of(WEIGHTS) * spread_of(which.weight_bits) * math.sqrt(which.terms)
    return [30 + max(0, round(math.log2(deviation / CODES)))]


def _layer(
    which: ProductClass, rows: tuple[int, ...], weights: IntArray, kind: IntType
) -> IntGraph:
    builder = _builder(which)
    builder.input("a", rows, S8, zero_point=-3)
    b = builder.constant("b", weights, kind)
    builder.op(
        MatMul,
        "product",
        "a",
        b=b,
        transpose_b=True,
        bias=[100] * len(weights),
        type=S8,
        multiplier=_multipliers(len(weights)),
        shift=_shift(which),
    )
    return builder.unverified()


def _attention(which: ProductClass, left: tuple[int, ...], right: tuple[int, ...]) -> IntGraph:
    builder = _builder(which)
    builder.input("a", left, S8)
    builder.declare("b", right, S8, role=Role.INPUT)
    builder.op(
        MatMul,
        "product",
        "a",
        "b",
        transpose_b=False,
        bias=None,
        type=S8,
        multiplier=_multipliers(1),
        shift=_shift(which),
    )
    return builder.unverified()
