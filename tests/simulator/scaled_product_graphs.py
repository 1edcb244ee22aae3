# SPDX-License-Identifier: Apache-2.0
"""Graphs of one ScaledMatMul each: factors, exponents, accumulators, residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from small_graphs import S4, S8, S16, S32, SATURATE, U4, U8, U16, WRAP, Draft, accumulator

from simulator.graph.ops import ScaledMatMul
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import IntType

SPREAD = np.random.default_rng(11)
WEIGHTS = SPREAD.integers(-8, 8, (12, 4)).tolist()  # [K, N]
TRANSPOSED = SPREAD.integers(-128, 128, (4, 12)).tolist()  # [N, K]
BIAS = [-30000, 7, 0, 25600]
U3, U5 = (IntType(bits=bits, signed=False) for bits in (3, 5))
PER_CHANNEL: dict[str, Any] = {"multiplier": (1, 3, 2, 7), "shift": (10, 12, 11, 9)}
# Exponents of blocks of 4 reach 7: sums of blocks have 13 bits, shifted ones 20.
NARROW = {
    "products shifted, saturating": accumulator((0, 14, SATURATE)),
    "products shifted, wrapping": accumulator((0, 13, WRAP)),
    "pairs, then shifted": accumulator((2, 8, SATURATE), (0, 14, SATURATE)),
    "blocks, then shifted": accumulator((4, 8, WRAP), (0, 15, SATURATE)),
    "blocks, then shifted in groups": accumulator((4, 9, SATURATE), (8, 12, WRAP), (0, 15, WRAP)),
    "products, shifted in wider groups": accumulator((6, 12, SATURATE), (0, 14, SATURATE)),
}


def _layer(
    d: Draft,
    *,
    rows: tuple[int, ...] = (3,),
    kind: IntType = S4,
    factor: IntType | None = U8,
    exponent: IntType | None = None,
    block: int = 4,
    weights: Any = WEIGHTS,
    **changes: Any,
) -> None:
    columns = np.shape(weights)[0 if changes.get("transpose_b") else 1]
    terms = np.size(weights) // columns
    d.input("a", (*rows, terms), kind)
    b = d.constant("weights", weights, S4 if np.abs(weights).max() < 9 else S8)
    if factor is not None:
        changes["row_factor"] = d.operand("factor", (*rows, 1), factor)
    if exponent is not None:
        changes["block_exponent"] = d.operand("exponent", (*rows, terms // block), exponent)
        changes["block"] = block
    if changes.pop("onto", False):
        changes["residual"] = d.operand("r", (*rows, columns), S8, 9)
        changes = {"residual_multiplier": (5,), "residual_fraction_bits": 3} | changes
    if "bias" not in changes:
        changes["bias"] = d.constant("bias", BIAS, S32)
    d.op(ScaledMatMul, "y", "a", b, **{"shift": (11,), "zero_point": 3} | changes)


def _attention(
    d: Draft,
    a: tuple[int, ...],
    b: tuple[int, ...],
    *,
    kind: IntType = S4,
    row: IntType | None = U8,
    column: IntType | None = U8,
    block: int = 0,
    **changes: Any,
) -> None:
    d.input("a", a, kind)
    d.operand("b", b, S4)
    columns = b[-2] if changes.get("transpose_b") else b[-1]
    if row is not None:
        changes["row_factor"] = d.operand("row", (*a[:-1], 1), row)
    if column is not None:
        changes["column_factor"] = d.operand("column", (*b[:-2], columns, 1), column)
    if block:
        changes["block_exponent"] = d.operand("exponent", (*a[:-1], a[-1] // block), U3)
        changes["block"] = block
    d.op(ScaledMatMul, "y", "a", "b", **{"shift": (16,), "zero_point": -6} | changes)


def _reported(*levels: Any) -> Accumulator:
    return replace(accumulator(*levels), policy=OverflowPolicy.REPORT)


SCALED_CASES: Mapping[str, Callable[[Draft], None]] = {
    "row factors": _layer,
    "row factors of a vector": lambda d: _layer(d, rows=()),
    "row factors, no bias, per channel": lambda d: _layer(d, bias=None, **PER_CHANNEL),
    "row factors of 16 bits, rows in three dimensions": lambda d: _layer(
        d, rows=(2, 3), factor=U16, shift=(19,), kind=U4
    ),
    "8 bits, transposed": lambda d: _layer(
        d, kind=S8, weights=TRANSPOSED, transpose_b=True, shift=(17,), type=U8, zero_point=99
    ),
    "16 bits": lambda d: _layer(d, kind=S16, shift=(24,), type=S16, zero_point=-77),
    "one term, one column": lambda d: _layer(d, weights=[[-8]], bias=None, shift=(6,)),
    "exponents": lambda d: _layer(d, factor=None, exponent=U3, shift=(8,)),
    "exponents of single terms": lambda d: _layer(
        d, factor=None, exponent=U4, block=1, shift=(15,)
    ),
    "one exponent for each row": lambda d: _layer(
        d, factor=None, exponent=U3, block=12, shift=(8,)
    ),
    "exponents of 5 bits, 8-bit codes, transposed": lambda d: _layer(
        d,
        kind=S8,
        factor=None,
        exponent=U5,
        block=3,
        weights=TRANSPOSED,
        transpose_b=True,
        shift=(38,),
        accumulator=accumulator((0, 64, WRAP)),
    ),
    "exponents and row factors, rows in three dimensions": lambda d: _layer(
        d, rows=(2, 3), exponent=U3, block=6, shift=(16,)
    ),
    "exponents, unsigned codes": lambda d: _layer(
        d, kind=U8, factor=None, exponent=U4, shift=(22,), accumulator=accumulator((0, 48, WRAP))
    ),
    "onto a residual": lambda d: _layer(d, onto=True),
    "onto a residual, exponents, per channel": lambda d: _layer(
        d, onto=True, exponent=U3, residual_multiplier=(8, 3, 0, 11), **PER_CHANNEL
    ),
    "row factors, saturating": lambda d: _layer(d, accumulator=accumulator((0, 8, SATURATE))),
    "row factors, wrapping in pairs": lambda d: _layer(
        d, accumulator=accumulator((2, 8, WRAP), (0, 9, SATURATE))
    ),
    **{
        f"exponents, {levels}": lambda d, levels=levels: _layer(
            d, factor=None, exponent=U3, accumulator=NARROW[levels], shift=(7,)
        )
        for levels in NARROW
    },
    "exponents, overflows reported": lambda d: _layer(
        d, exponent=U3, accumulator=_reported((4, 8, WRAP), (0, 12, SATURATE)), shift=(16,)
    ),
    "scores": lambda d: _attention(d, (2, 3, 5), (2, 4, 5), transpose_b=True),
    "scores of one row": lambda d: _attention(d, (2, 1, 5), (2, 4, 5), transpose_b=True),
    "values with a factor per row": lambda d: _attention(
        d, (2, 3, 5), (2, 5, 4), column=None, kind=U8, **PER_CHANNEL
    ),
    "values with a factor per column": lambda d: _attention(
        d, (2, 2, 3, 5), (2, 2, 5, 4), row=None, shift=(9,), accumulator=accumulator((0, 9, WRAP))
    ),
    "activations, exponents": lambda d: _attention(
        d,
        (2, 3, 6),
        (2, 6, 4),
        block=2,
        shift=(20,),
        accumulator=accumulator((2, 8, SATURATE), (0, 13, WRAP)),
    ),
    "activations, exponents, proven": lambda d: _attention(
        d, (3, 6), (4, 6), block=3, row=None, column=None, transpose_b=True, shift=(7,)
    ),
}
