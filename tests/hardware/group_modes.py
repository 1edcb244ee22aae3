# SPDX-License-Identifier: Apache-2.0
"""Rotations and scales of groups in every mode of their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from unit_family import CHANNELS, ENDINGS, S8, U8, Family, codes

from simulator.graph import GraphBuilder, IntGraph
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

BLOCKS = 120  # channels: whole blocks of 1, 8, 24 and 40


def _rotation(order: int, **fields: Any) -> IntGraph:
    builder = GraphBuilder("rotation")
    builder.input("a", (BLOCKS,), S8, zero_point=-9)
    random = np.random.default_rng(55)
    multiplier = np.where(np.arange(BLOCKS) % 4, 8 << np.arange(BLOCKS) % 3, 11)
    multiplier = np.where(np.arange(BLOCKS) % 7, multiplier, random.integers(1, 40, BLOCKS))
    kinds = {"multiplier": (multiplier, IntType(bits=6, signed=False))}
    kinds["shift"] = (5 + np.arange(BLOCKS) % 3, IntType(bits=6, signed=False))
    constants = {
        name: builder.constant(name, values, kind) for name, (values, kind) in kinds.items()
    }
    given = {"type": S8, "zero_point": 3} | fields
    builder.op(Hadamard, "y", "a", order=order, **constants, **given)
    return builder.build()


def _sparse(random: np.random.Generator, images: int) -> Array:
    """Return rows in which most codes are near the zero point: sums meet ties, few are clipped."""
    values = -9 + random.integers(-2, 3, (images, BLOCKS))
    return np.where(random.integers(0, 4, (images, 1)) == 0, codes(random, values.shape), values)


def rotations(order: int, endings: Sequence[tuple[Rounding, Overflow]]) -> Family:
    """Return Hadamard of an order in several modes."""
    graphs = {
        f"{rounding} {overflow}": _rotation(order, rounding=rounding, overflow=overflow)
        for rounding, overflow in endings
    }
    wrong = {"zero_point": (0, ".IN_ZERO_POINT(-9)", ".IN_ZERO_POINT(-8)")}
    if order == 24:
        wrong["sum_too_narrow"] = (0, ".SUM_WIDTH(13)", ".SUM_WIDTH(8)")
    return Family(
        graphs, BLOCKS, lambda random, images: _sparse(random, images).astype(np.int8), wrong
    )


def _groups(source: IntType = S8) -> GraphBuilder:
    builder = GraphBuilder("groups")
    builder.input("a", (CHANNELS,), source, zero_point=5)
    return builder


def _scaled_codes(random: np.random.Generator, images: int) -> Array:
    """Return codes of groups with large and with small magnitudes."""
    reach = 1 << random.integers(0, 8, (images, CHANNELS // 8))
    values = random.integers(-128, 128, (images, CHANNELS))
    return np.clip(5 + values * np.repeat(reach, 8, axis=1) // 128, -128, 127).astype(np.int8)


def scales() -> Family:
    """Return GroupMaximum, and GroupExponent of several widths."""
    graphs = {}
    for bits, trim in ((0, 0), (2, 0), (4, 0), (9, 0), (2, 7), (4, 2), (4, 1)):
        builder = _groups()
        if bits:
            kind = IntType(bits=4, signed=False)
            builder.op(GroupExponent, "y", "a", group=8, bits=bits, trim=trim, type=kind)
        else:
            builder.op(GroupMaximum, "y", "a", group=8, type=U8)
        trimmed = f", trim {trim}" if trim else ""
        graphs[f"exponent for {bits} bits{trimmed}" if bits else "maximum"] = builder.build()
    wrong = {
        "reads_unsigned": (0, ".IN_SIGNED(1)", ".IN_SIGNED(0)"),
        "zero_point": (2, ".IN_ZERO_POINT(5)", ".IN_ZERO_POINT(4)"),
        "not_trimmed": (5, ".TRIM(2)", ".TRIM(0)"),
        "trimmed_less": (6, ".TRIM(1)", ".TRIM(2)"),
    }
    return Family(graphs, CHANNELS // 8, _scaled_codes, wrong)


def by_reciprocals() -> Family:
    """Return GroupQuantize in every mode of codes twice as large as fit, and a little too large."""
    modes = {
        f"{rounding} {overflow}": (7 << 12, rounding, overflow) for rounding, overflow in ENDINGS
    }
    modes["clipped"] = ((7 << 11) * 20 // 17, Rounding.HALF_UP, Overflow.SATURATE)
    graphs = {}
    for name, (numerator, rounding, overflow) in modes.items():
        builder = _groups()
        builder.op(GroupMaximum, "maximum", "a", group=8, type=U8)
        builder.op(
            GroupQuantize, "y", "a", "maximum", group=8, numerator=numerator, shift=11,
            rounding=rounding, overflow=overflow, zero_point=1, type=IntType(bits=4),
        )  # fmt: skip
        graphs[name] = builder.build()
    wrong = {
        "numerator": (0, ".NUMERATOR(28672)", ".NUMERATOR(28671)"),
        "not_clipped": (len(graphs) - 1, ".NUMERATOR(16865)", ".NUMERATOR(14336)"),
        "zero_point": (0, ".A_ZERO_POINT(5)", ".A_ZERO_POINT(6)"),
    }
    return Family(graphs, CHANNELS, _scaled_codes, wrong)


def by_shifts() -> Family:
    """Return GroupShift in every mode."""
    graphs = {}
    for rounding, overflow in ENDINGS:
        builder = _groups()
        kind = IntType(bits=3, signed=False)
        builder.op(GroupExponent, "exponent", "a", group=8, bits=4, trim=0, type=kind)
        builder.op(
            GroupShift, "y", "a", "exponent", group=8, rounding=rounding, overflow=overflow,
            zero_point=-3, type=IntType(bits=4),
        )  # fmt: skip
        graphs[f"{rounding} {overflow}"] = builder.build()
    wrong = {"zero_point": (0, ".A_ZERO_POINT(5)", ".A_ZERO_POINT(4)")}
    return Family(graphs, CHANNELS, _scaled_codes, wrong)
