# SPDX-License-Identifier: Apache-2.0
"""Graphs of one op in every mode of its unit, and operands with many ties and ends of types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from group_modes import by_reciprocals, by_shifts, rotations, scales
from unit_family import CHANNELS, ENDINGS, FEW_ENDINGS, S8, U8, Family, codes

from simulator.export.rtl.bench import Part
from simulator.graph import GraphBuilder, IntGraph
from simulator.graph.ops import (
    Add,
    DeferredSoftmax,
    LayerNorm,
    Lookup,
    MatMul,
    NormalizedMatMul,
    Slice,
    Softmax,
    SoftmaxIta,
)
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_constants import levels_of_octaves
from simulator.numerics.softmax_normalisation import Normalisation

U4 = IntType(bits=4, signed=False)


def _levels(*levels: tuple[int, int, Overflow], last: bool = False) -> Accumulator:
    return Accumulator(
        levels=tuple(
            AccumulatorLevel(group=group, bits=bits, overflow=overflow)
            for group, bits, overflow in levels
        ),
        bias=BiasStage.AFTER_LAST_BLOCK if last else BiasStage.PRELOAD,
    )


CLIP, WRAP = Overflow.SATURATE, Overflow.WRAP
ACCUMULATORS = (
    _levels((0, 32, WRAP)),
    _levels((0, 16, WRAP)),
    _levels((0, 16, CLIP)),
    _levels((0, 16, CLIP), last=True),
    _levels((0, 12, CLIP)),
    _levels((0, 15, CLIP)),
    _levels((4, 16, CLIP), (0, 17, WRAP)),
    _levels((4, 15, WRAP), (0, 17, CLIP), last=True),
    _levels((1, 15, CLIP), (0, 17, CLIP)),
    _levels((1, 14, CLIP), (2, 15, WRAP), (4, 16, CLIP), (0, 18, CLIP)),
)


def _product(
    accumulator: Accumulator, a: IntType, b: IntType, terms: int, columns: int
) -> IntGraph:
    random = np.random.default_rng(51)
    builder = GraphBuilder(
        "sums", defaults={"rounding": Rounding.FLOOR, "overflow": Overflow.SATURATE}
    )
    builder.input("a", (1, terms), a)
    builder.op(
        MatMul,
        "y",
        "a",
        b=builder.constant("b", codes(random, (columns, terms), b), b),
        bias=builder.constant("bias", random.integers(-20_000, 20_000, columns), IntType(bits=32)),
        transpose_b=True,
        accumulator=accumulator,
        multiplier=1,
        shift=0,
        type=IntType(bits=32),
    )
    return builder.build()


def sums(a: IntType = S8, b: IntType = S8) -> Family:
    """Return accumulators of every kind."""
    terms, columns = 6, 250
    return Family(
        {str(one) + f" {one.bias}": _product(one, a, b, terms, columns) for one in ACCUMULATORS},
        columns,
        lambda random, images: codes(random, (images, 1, terms), a),
        {
            "one_bit_less": (2, ".ACCUMULATOR_BITS(16)", ".ACCUMULATOR_BITS(15)"),
            "wraps_instead": (2, ".ACCUMULATOR_OVERFLOW(0)", ".ACCUMULATOR_OVERFLOW(2)"),
            "bias_last": (2, ".BIAS_STAGE(0)", ".BIAS_STAGE(1)"),
            "other_group": (6, ".INNER_GROUPS(4)", ".INNER_GROUPS(3)"),
        },
        part=Part.SUMS,
    )


def additions() -> Family:
    """Return Add in every mode: multipliers of halves and quarters, which meet ties, and others."""
    shift = 9
    random = np.random.default_rng(52)
    ties = [256, 128, 384, 512, 64, 640]
    multipliers = [
        [
            ties[c % 6] if c % 4 else int(random.integers(1, 700))
            for c in range(start, CHANNELS + start)
        ]
        for start in (0, 3)
    ]
    graphs = {}
    for rounding, overflow in ENDINGS:
        builder = GraphBuilder("sum", defaults={"rounding": rounding, "overflow": overflow})
        x = builder.input("x", (2 * CHANNELS,), S8, zero_point=-5)
        parts = [
            builder.op(Slice, name, x, axis=0, start=start, stop=start + CHANNELS)
            for start, name in ((0, "a"), (CHANNELS, "b"))
        ]
        builder.op(
            Add, "y", *parts, multiplier_a=multipliers[0], multiplier_b=multipliers[1],
            shift=shift, type=S8, zero_point=7,
        )  # fmt: skip
        graphs[f"{rounding} {overflow}"] = builder.build()
    return Family(
        graphs,
        CHANNELS,
        lambda random, images: codes(random, (images, 2 * CHANNELS)),
        {
            "too_narrow": (0, ".SCALED_WIDTH(64)", ".SCALED_WIDTH(16)"),
            "zero_point": (0, ".A_ZERO_POINT(-5)", ".A_ZERO_POINT(-4)"),
        },
    )


def lookups(bits: int) -> Family:
    """Return Lookup with results of ``bits`` bits."""
    builder = GraphBuilder("table")
    builder.input("a", (CHANNELS,), S8)
    kind = IntType(bits=bits)
    table = codes(np.random.default_rng(53), (256,), kind)
    builder.op(Lookup, "y", "a", table=builder.constant("table", table, kind), type=kind)
    return Family(
        {f"{bits} bits": builder.build()},
        CHANNELS,
        lambda random, images: codes(random, (images, CHANNELS)),
        {"reads_unsigned": (0, ".IN_SIGNED(1)", ".IN_SIGNED(0)")},
    )


def _scores(random: np.random.Generator, images: int) -> Array:
    """Return rows of scores: random, equal ones, one-hot ones, close ones, quotients at ties."""
    kind = random.integers(0, 5, (images, 1))
    values = random.integers(-128, 128, (images, CHANNELS))
    level = random.integers(-128, 128, (images, 1))
    values = np.where(kind == 1, level, values)
    hot = np.arange(CHANNELS) == random.integers(0, CHANNELS, (images, 1))
    values = np.where(kind == 2, np.where(hot, 127, -128), values)
    close = np.clip(level - random.integers(0, 8, (images, CHANNELS)), -128, 127)
    values = np.where(kind == 3, close, values)
    # Exponentials of 5, 3 and 1 that sum up to 64; the others are far away.
    fives, threes = random.integers(1, 5, (images, 1)), random.integers(1, 9, (images, 1))
    ones, place = 64 - 5 * fives - 3 * threes, np.arange(CHANNELS)
    sums_of_64 = np.where(place < fives + threes + ones, 98, -100)
    sums_of_64 = np.where(place < fives + threes, 99, sums_of_64)
    sums_of_64 = np.where(place < fives, 100, sums_of_64)
    return np.where(kind == 4, sums_of_64, values).astype(np.int8)


def _softmax(**fields: Any) -> IntGraph:
    builder = GraphBuilder("row")
    builder.input("a", (CHANNELS,), S8)
    table = [5120, 3072, 1024, *(1 << max(9 - distance, 0) for distance in range(40)), *[0] * 213]
    kind = IntType(bits=13, signed=False)
    builder.op(Softmax, "y", "a", table=builder.constant("table", table, kind), **fields)
    return builder.build()


def softmaxes(normalisation: Normalisation) -> Family:
    """Return Softmax in every mode of a normalisation; nothing that it rounds is negative."""
    fields = {"reciprocal_bits": 20, "shift": 15, "normalisation": normalisation}
    division = normalisation is Normalisation.DIVISION
    # So few bits, and a zero point at their end, that every overflow rule has work.
    graphs = {
        f"{rounding} {overflow}": _softmax(
            rounding=rounding, overflow=overflow, type=IntType(bits=4), zero_point=-8, **fields
        )
        for rounding, overflow in (FEW_ENDINGS if division else ENDINGS)
    }
    wrong = {"sum_too_narrow": (0, ".TABLE_BITS(13)", ".SUM_WIDTH(14),\n      .TABLE_BITS(13)")}
    return Family(
        graphs,
        CHANNELS,
        _scores,
        wrong,
        lambda mode: mode.replace("toward_zero", "floor").replace("half_away", "half_up"),
    )


def ita() -> Family:
    """Return SoftmaxIta with several octaves, groups and largest codes."""
    graphs = {}
    for octave_bits, group, largest in [(0, 16, 255), (5, 16, 255), (5, 64, 255), (3, 24, 127)]:
        builder = GraphBuilder("row")
        builder.input("a", (CHANNELS,), S8)
        builder.op(
            SoftmaxIta, "y", "a", octave_bits=octave_bits, group=group, largest=largest, type=U8
        )
        graphs[f"octave {octave_bits} group {group} largest {largest}"] = builder.build()
    wrong = {
        "group": (1, ".GROUP(16)", ".GROUP(17)"),
        "sum_too_narrow": (2, ".GROUP(64)", ".GROUP(64),\n      .SUM_WIDTH(11)"),
    }
    return Family(graphs, CHANNELS, _scores, wrong)


def deferred() -> Family:
    """Return DeferredSoftmax with several factors and widths of codes."""
    graphs = {}
    for multiplier, shift, bits in [(1131746993, 33, 4), (23, 8, 3), (1, 0, 8), (7, 3, 5)]:
        builder = GraphBuilder("row")
        builder.input("a", (CHANNELS,), S8)
        kind = IntType(bits=bits, signed=False)
        builder.op(DeferredSoftmax, "y", "a", multiplier=multiplier, shift=shift, type=kind)
        graphs[f"multiplier {multiplier} shift {shift} bits {bits}"] = builder.build()
    wrong = {
        "multiplier": (1, ".MULTIPLIER(23)", ".MULTIPLIER(24)"),
        "scaled_too_narrow": (0, ".SHIFT(33)", ".SCALED_WIDTH(37),\n      .SHIFT(33)"),
    }
    return Family(graphs, CHANNELS, _scores, wrong)


def _normalized(levels: Accumulator, **fields: Any) -> IntGraph:
    """Values are looked up by 4-bit codes of the same input, so that both ends are there."""
    terms, columns = 6, 50
    builder = GraphBuilder("sums", defaults={"accumulator": levels})
    x = builder.input("x", (1 + columns, terms), U4)
    a = builder.op(Slice, "a", x, axis=0, start=0, stop=1)
    rows = builder.op(Slice, "rows", x, axis=0, start=1, stop=1 + columns)
    values = [-128, -127, -100, -64, -32, -7, -3, -1, 0, 1, 2, 5, 33, 64, 126, 127]
    b = builder.op(Lookup, "b", rows, table=builder.constant("values", values, S8), type=S8)
    worth = builder.constant("levels", levels_of_octaves(4, 2), U8)
    builder.op(NormalizedMatMul, "y", a, b, levels=worth, transpose_b=True, **fields)
    return builder.build()


def normalized() -> Family:
    """Return NormalizedMatMul: ties by a reciprocal of few bits, several accumulators and ends."""
    fields = {"reciprocal_bits": 12, "multiplier": 3, "shift": 13, "type": IntType(bits=7)}
    modes = [
        (_levels((0, 32, WRAP)), Rounding.HALF_EVEN, CLIP, 0),
        (_levels((0, 32, WRAP)), Rounding.HALF_UP, Overflow.SATURATE_SYMMETRIC, 12),
        (_levels((0, 14, CLIP)), Rounding.HALF_AWAY, WRAP, 0),
        (_levels((2, 14, CLIP), (0, 15, WRAP)), Rounding.FLOOR, CLIP, -5),
    ]
    graphs = {
        f"{levels} {rounding} {overflow}": _normalized(
            levels, rounding=rounding, overflow=overflow, zero_point=zero_point, **fields
        )
        for levels, rounding, overflow, zero_point in modes
    }
    wrong = {
        "sum_too_narrow": (0, ".SUM_WIDTH(10)", ".SUM_WIDTH(9)"),
        "one_bit_less": (2, ".ACCUMULATOR_BITS(14)", ".ACCUMULATOR_BITS(13)"),
        "reciprocal_bits": (1, ".RECIPROCAL_BITS(12)", ".RECIPROCAL_BITS(11)"),
    }
    return Family(graphs, 50, _codes_of_levels, wrong)


def normalized_by_wide_reciprocals() -> Family:
    """Return NormalizedMatMul as a network has it."""
    levels, fields = _levels((0, 32, WRAP)), {"multiplier": 2872034, "shift": 53, "zero_point": 12}
    plain = {"rounding": Rounding.HALF_UP, "overflow": CLIP, "type": S8, "reciprocal_bits": 32}
    wrong = {"too_narrow": (0, ".NORMALIZED_WIDTH(41)", ".NORMALIZED_WIDTH(38)")}
    return Family({"32 bits": _normalized(levels, **plain, **fields)}, 50, _codes_of_levels, wrong)


def _codes_of_levels(random: np.random.Generator, images: int) -> Array:
    """Return a row of codes, and rows of which values are looked up."""
    return codes(random, (images, 51, 6), U4)


def _layernorm(**fields: Any) -> IntGraph:
    random = np.random.default_rng(54)
    builder = GraphBuilder("row")
    builder.input("a", (CHANNELS,), S8, zero_point=3)
    # Whole and half codes for most channels, so that results are at ties.
    gamma = np.where(np.arange(CHANNELS) % 4, 1 << 9, random.integers(-3000, 3000, CHANNELS))
    beta = np.where(np.arange(CHANNELS) % 4 == 1, 1 << 9, random.integers(-9000, 9000, CHANNELS))
    constants = {"gamma": gamma, "beta": beta}
    given = {
        name: builder.constant(name, values, IntType(bits=16)) for name, values in constants.items()
    }
    builder.op(
        LayerNorm, "y", "a", **given, epsilon=77, sqrt_fraction_bits=4, reciprocal_bits=40,
        normalized_fraction_bits=4, shift=10, beta_shift=0, type=IntType(bits=6), zero_point=2,
        **fields,
    )  # fmt: skip
    return builder.build()


def layernorms() -> Family:
    """Return LayerNorm in every mode, and with Newton's root and factors per channel."""
    none = {"channel_multiplier": None, "channel_shift": None}
    graphs = {
        f"{rounding} {overflow}": _layernorm(rounding=rounding, overflow=overflow, **none)
        for rounding, overflow in FEW_ENDINGS
    }
    plain = {"rounding": Rounding.HALF_AWAY, "overflow": Overflow.SATURATE}
    for steps, start in ((1, 0), (5, 16)):
        name = f"half_away saturate, {steps} Newton steps from {start or 'half'}"
        graphs[name] = _layernorm(**plain, **none, root_steps=steps, root_start_bits=start)
    wrong = {
        "root_too_narrow": (0, ".SHIFT(10)", ".SHIFT(10),\n      .ROOT_WIDTH(12)"),
        "epsilon": (0, ".EPSILON(77)", ".EPSILON(0)"),
    }
    return Family(graphs, CHANNELS, _rows, wrong)


def _rows(random: np.random.Generator, images: int) -> Array:
    """Return rows of random codes, constant rows, rows of nearly equal codes."""
    kind = random.integers(0, 4, (images, 1))
    values = random.integers(-128, 128, (images, CHANNELS))
    level = random.integers(-126, 126, (images, 1))
    close = level + random.integers(-1, 2, (images, CHANNELS))
    values = np.where(kind == 1, close, np.where(kind == 2, np.minimum(close, level), values))
    constant = random.integers(0, 16, (images, 1)) == 0
    return np.where(constant, level, values).astype(np.int8)


FAMILIES: Mapping[str, Callable[[], Family]] = MappingProxyType(
    {
        "mac": sums,
        "add": additions,
        "lookup": lambda: lookups(8),
        "lookup, wide": lambda: lookups(16),
        "softmax_exp_table, reciprocal": lambda: softmaxes(Normalisation.RECIPROCAL),
        "softmax_exp_table, division": lambda: softmaxes(Normalisation.DIVISION),
        "softmax_ita": ita,
        "deferred_softmax": deferred,
        "normalized_mac": normalized,
        "normalized_mac, 32 bits": normalized_by_wide_reciprocals,
        "layernorm": layernorms,
        "hadamard, order 24": lambda: rotations(24, FEW_ENDINGS),
        **{
            f"hadamard, order {order}": lambda order=order: rotations(order, FEW_ENDINGS[:2])
            for order in (1, 8, 40)
        },
        "group_scale": scales,
        "group_quantize": by_reciprocals,
        "group_shift": by_shifts,
    }
)
