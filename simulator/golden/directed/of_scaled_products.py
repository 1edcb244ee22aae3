# SPDX-License-Identifier: Apache-2.0
"""The products of a chip whose operands have steps of their own for each row or block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simulator.golden.one_op import OneOp, of_op
from simulator.graph.builder import GraphBuilder
from simulator.graph.ops import ScaledMatMul
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile, OpKind

PRODUCT_BITS = 60  # of a scaled sum times its multiplier
# Magnitudes and exponents of codes of 8 bits, of which codes of 4 bits are made.
FACTOR, EXPONENT = IntType(bits=8, signed=False), IntType(bits=3, signed=False)
BIAS = IntType(bits=24)
LENGTH = 24  # of rows
Build = Callable[[NpuProfile, OpKind], GraphBuilder]


def scaled_products(profile: NpuProfile, builder_of: Build) -> Iterator[tuple[str, OneOp]]:
    """Yield a layer and, with factors of rows, scores; nothing of a chip without such steps."""
    steps = profile.dynamic
    if steps is None:
        return
    kind = IntType(bits=profile.activation.operand_width)
    result = IntType(bits=profile.activation.bits)
    if steps.row_scale == "multiplier":
        yield "scaled_linear", _layer(profile, builder_of, kind, result, block=0)
        yield "scaled_matmul", _scores(profile, builder_of, kind, result)
    block = steps.block or (LENGTH if steps.row_scale == "power_of_two" else 0)
    if block:
        yield "shifted_linear", _layer(profile, builder_of, kind, result, block=block)


def _multiplier(profile: NpuProfile, builder: GraphBuilder, kind: OpKind, sum_bits: int) -> Any:
    """Return a factor that leaves room for scaled sums of so many bits, and keep its width."""
    section = profile.rescale_of(kind)
    bits = 1 if section.kind == "power_of_two" else section.multiplier_bits
    bits = max(min(bits, PRODUCT_BITS - sum_bits), 1)
    builder.types = {**builder.types, "multiplier": IntType(bits=bits, signed=False)}
    shift = min(max(bits - 1 + sum_bits - 8, section.shift[0]), section.shift[1])
    return {"multiplier": [1 << (bits - 1)], "shift": [shift]}


def _layer(
    profile: NpuProfile, builder_of: Build, kind: IntType, result: IntType, *, block: int
) -> OneOp:
    """A layer whose rows have factors, or whose blocks of terms have exponents."""
    width = IntType(bits=min(profile.weight.bits))
    terms = 2 * block or LENGTH
    random = np.random.default_rng(1)
    builder = builder_of(profile, "linear")
    builder.input("a", (3, terms), kind)
    weights = builder.constant("w", random.integers(width.low, width.high, (8, terms)), width)
    given: dict[str, Any]
    if block:
        given = {"block_exponent": builder.declare("exponent", (3, 2), EXPONENT)}
    else:
        given = {"row_factor": builder.declare("factor", (3, 1), FACTOR)}
    largest = terms << (kind.bits + width.bits - 2)
    sum_bits = largest.bit_length() + (EXPONENT.high if block else FACTOR.bits) + 1
    builder.types = {**builder.types, "bias": BIAS}
    builder.op(
        ScaledMatMul, "y", "a", b=weights, bias=random.integers(-500, 500, 8), transpose_b=True,
        block=block, type=result, **given,
        **_multiplier(profile, builder, "linear", sum_bits),
    )  # fmt: skip
    return of_op(builder.ops[-1], builder.unverified())


def _scores(profile: NpuProfile, builder_of: Build, kind: IntType, result: IntType) -> OneOp:
    """A product of two activations, its rows and columns with factors."""
    builder = builder_of(profile, "matmul")
    builder.input("a", (4, 6), kind)
    builder.declare("b", (5, 6), kind)
    builder.declare("row", (4, 1), FACTOR)
    builder.declare("column", (5, 1), FACTOR)
    sum_bits = (6 << (2 * kind.bits - 2)).bit_length() + 2 * FACTOR.bits + 1
    builder.op(
        ScaledMatMul, "y", "a", "b", row_factor="row", column_factor="column", block=0,
        transpose_b=True, type=result, **_multiplier(profile, builder, "matmul", sum_bits),
    )  # fmt: skip
    return of_op(builder.ops[-1], builder.unverified())
