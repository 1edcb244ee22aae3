# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of products with factors of rows and columns, and exponents of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.directed.factors import Factors, factors
from simulator.golden.directed.making import (
    Changes,
    Stimulus,
    every_code,
    kind_of,
    remade,
    stimulus,
)
from simulator.golden.directed.products import SUMS, TIES
from simulator.golden.directed.sequences import (
    coarse_factors,
    columns_of,
    sequences,
    term_count,
)
from simulator.golden.one_op import OneOp
from simulator.graph.ops import ScaledMatMul
from simulator.numerics.integer_type import IntArray

FRACTION_BITS = 2  # of a residual's multiplier
BLOCKS = 8  # of rows that overflow no register
RANDOM = 4  # choices of factors and exponents beside the neutral and the largest ones


@dataclass(frozen=True, slots=True)
class _Product:
    """Rows [R, K] times columns [K, N], with a factor for each column."""

    left: IntArray
    right: IntArray
    factors: Factors


def scaled_matmul(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a ScaledMatMul: ties by single terms, sums that overflow."""
    op = base.op
    assert isinstance(op, ScaledMatMul)
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = max(-a.low, a.high) * max(-b.low, b.high)
    weights = [1, b.high, b.low] + ([-1] if b.signed else [])
    single = _one_term_a_block(op, every_code(a, 512), weights)
    yield from _vectors(base, f"{name}.ties", TIES, single, factors(base), largest)
    count = term_count(op.accumulator, largest << _largest_exponent(base), biased=False)
    count = count or max(16, BLOCKS * op.block)
    count += -count % (op.block or 1)
    groups = [level.group for level in op.accumulator.levels if level.group]
    many = sequences(count, a.low, a.high, groups), np.array(columns_of(count, b.low, b.high)).T
    chosen = coarse_factors(base, count * largest, largest)
    register = op.accumulator.levels[-1].kind.high
    bound = min(count * largest << _largest_exponent(base), register + 1)
    yield from _vectors(base, f"{name}.sums", SUMS, many, chosen, bound)


def _largest_exponent(base: OneOp) -> int:
    """Return the most places that a block is shifted, 0 without exponents."""
    has_exponents = getattr(base.op, "block_exponent", None) is not None
    return kind_of(base, "block_exponent").high if has_exponents else 0


def _one_term_a_block(
    op: ScaledMatMul, codes: IntArray, weights: list[int]
) -> tuple[IntArray, IntArray]:
    """Return rows of one code each, in one of two blocks, and columns of equal weights."""
    block = op.block or 1
    rows = np.zeros((len(codes), 2 * block), np.int64)
    rows[np.arange(len(codes)), np.arange(len(codes)) % 2 * block] = codes
    return rows, np.tile(weights, (2 * block, 1))


def _vectors(
    base: OneOp,
    name: str,
    about: str,
    matrices: tuple[IntArray, IntArray],
    chosen: Factors,
    largest_sum: int,
) -> Iterator[Stimulus]:
    """Yield products of every column at every factor; each row at several factors of its own.

    Nothing where factors of rows and columns leave no room in 64 bits.
    """
    op: Any = base.op
    assert chosen.shift is not None
    scales = [key for key in ("row_factor", "column_factor") if getattr(op, key) is not None]
    bound = largest_sum << (_largest_exponent(base) if about == TIES else 0)
    bound *= prod(kind_of(base, key).high for key in scales)
    fits = [
        bound * multiplier + (1 << shift) < 1 << 61 and (op.residual is None or 2 <= shift <= 40)
        for multiplier, shift in zip(chosen.multiplier.tolist(), chosen.shift.tolist(), strict=True)
    ]
    chosen = chosen.chosen(np.flatnonzero(fits))
    if not chosen.count:
        return
    left, right = matrices
    made = _Product(
        np.repeat(left, 2 + RANDOM, axis=0),
        np.repeat(right, chosen.count, axis=1),
        chosen.each(right.shape[1]),
    )
    yield _one_product(base, name, about, made)


def _one_product(base: OneOp, name: str, about: str, made: _Product) -> Stimulus:
    """Return a product of two matrices: with weights, each row is a case of its own."""
    op: Any = base.op
    layer = base.graph.is_constant(op.b)
    rows, columns = len(made.left), made.right.shape[1]
    right: NDArray[Any] = made.right.T if op.transpose_b else made.right
    shapes: dict[str, tuple[int, ...]] = {"a": (1 if layer else rows, made.left.shape[1])}
    constants = dict(made.factors.constants)
    codes: dict[str, Any] = {"a": made.left}
    fields: dict[str, Any] = {}
    if layer:
        constants["b"] = right
    else:
        shapes["b"], codes["b"] = right.shape, right
    if op.bias is not None:
        constants["bias"] = np.resize([0, 1, -1], columns)
    extents = {
        "row_factor": (rows, 1),
        "column_factor": (columns, 1),
        "block_exponent": (rows, made.left.shape[1] // op.block if op.block else 0),
    }
    for key, extent in extents.items():
        if getattr(op, key) is not None:
            codes[key] = _scales(base, key, extent)
            shapes[key] = (1, extent[1]) if layer else extent
    if op.residual is not None:
        kind = kind_of(base, "residual")
        shapes["residual"] = (1, columns)
        fields["residual_fraction_bits"] = FRACTION_BITS
        constants["residual_multiplier"] = np.resize([1, 2, 3, 4, 7], columns)
        random = np.random.default_rng(5)
        codes["residual"] = random.integers(kind.low, kind.high, (rows, columns), endpoint=True)
    one = remade(base, name, Changes(shapes=shapes, constants=constants, fields=fields))
    return stimulus(one, about, **codes)


def _scales(base: OneOp, key: str, shape: tuple[int, int]) -> IntArray:
    """Return factors or exponents: neutral ones, the largest ones, then some at random, in turn."""
    high, neutral = kind_of(base, key).high, 0 if key == "block_exponent" else 1
    found = np.random.default_rng(9).integers(0, high, shape, endpoint=True)
    found[:: 2 + RANDOM] = neutral
    found[1 :: 2 + RANDOM] = high
    return found
