# SPDX-License-Identifier: Apache-2.0
"""A million vectors for each unit of the C model and each of its modes, full of ties.

A case is an op whose one image has at least a million results. Networks' own values hardly ever
are ties; here the factors and operands are chosen so that a large part of what is shifted lies
exactly between two codes, or one unit beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from c_compiler import OpCase
from small_graphs import S4, S8, S16, S32, SATURATE, U8, WRAP, Draft, accumulator, exponentials

from simulator.graph import verify
from simulator.graph.ops import (
    Add,
    LayerNorm,
    Lookup,
    MatMul,
    Rescale,
    Softmax,
    SoftmaxIta,
)
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.numerics.softmax_normalisation import Normalisation

ROWS, CHANNELS = 16384, 64
RESULTS = ROWS * CHANNELS  # of a case, at least
S24 = IntType(bits=24)
ODD = (1, 3, 5, 7)

Cases = Mapping[str, OpCase]


def case_of(build: Callable[[Draft], None], operands: Mapping[str, Array], **modes: Any) -> OpCase:
    """Return the case of a valid graph of one op; ``modes`` are defaults of its fields."""
    d = Draft(modes.get("rounding", Rounding.HALF_UP), modes.get("overflow", Overflow.SATURATE))
    build(d)
    graph = d.graph()
    assert verify(graph) == []
    case = OpCase(graph, {name: codes[None] for name, codes in operands.items()})
    assert graph.result(graph.ops[-1]).size >= RESULTS
    return case


def codes_of(kind: IntType, shape: Sequence[int], seed: int = 0) -> Array:
    """Return codes of a type, both ends included."""
    codes = np.random.default_rng(seed).integers(kind.low, kind.high + 1, tuple(shape))
    codes.reshape(-1)[:2] = kind.low, kind.high
    return codes.astype(kind.dtype)


def factors() -> tuple[list[int], list[int], list[int]]:
    """Return multipliers and shifts of all channels, and the bits that a tie has below the code.

    A multiplier is odd times a power of two: with a large odd one, few sums of 24 bits were ties.
    """
    rng = np.random.default_rng(7)
    zeros = rng.integers(0, 28, CHANNELS)  # trailing zeros of the multiplier, of 31 bits at most
    bits = rng.integers(1, 13, CHANNELS)
    zeros[:8], bits[:8] = range(8), 1  # small shifts
    multipliers = [ODD[index % 4] << int(zero) for index, zero in enumerate(zeros)]
    return multipliers, (zeros + bits).tolist(), bits.tolist()


def ties(bits: Sequence[int], zero_point: int) -> Array:
    """Return codes of 24 bits [rows, channels]: halves of a code, exactly or 1 to 16 beside."""
    rng = np.random.default_rng(11)
    shape = (ROWS, CHANNELS)
    half = 1 << (np.array(bits) - 1)
    beside = rng.choice([0, 0, 0, 0, 1, -1, 2, -2, 7, -16], shape)
    codes = (2 * rng.integers(-60, 60, shape) + 1) * half + beside
    codes[::16] *= rng.integers(1, 40, codes[::16].shape)  # some that do not fit
    codes[:2] = [[S24.low], [S24.high]]
    return np.clip(codes + zero_point, S24.low, S24.high).astype(S24.dtype)


def requantizer(rounding: Rounding, double: DoubleRounding = DoubleRounding.NONE) -> Cases:
    """Every overflow rule, zero-point stage and left shift of one rounding, single or double."""
    multiplier, shift, bits = factors()
    codes = ties(bits, 9)
    found = {}
    for overflow, stage, left in product(Overflow, ZeroPointStage, LeftShift):

        def build(d: Draft, stage: Any = stage, left: Any = left) -> None:
            d.input("a", (ROWS, CHANNELS), S24, 9)
            chosen = {"double_rounding": double, "zero_point_stage": stage, "left_shift": left}
            d.op(Rescale, "y", "a", multiplier=multiplier, shift=shift, zero_point=-3, **chosen)

        name = f"{overflow}, {stage}, {left}"
        found[name] = case_of(build, {"a": codes}, rounding=rounding, overflow=overflow)
    return found


LEVELS = {
    "wraps": accumulator((0, 12, WRAP)),
    "saturates": accumulator((0, 12, SATURATE)),
    "saturates, bias last": accumulator((0, 12, SATURATE), bias_last=True),
    "saturates in 11 bits": accumulator((0, 11, SATURATE)),
    "wraps in 11 bits": accumulator((0, 11, WRAP)),
    "threes saturate": accumulator((3, 10, SATURATE), (0, 12, WRAP)),
    "twos saturate": accumulator((2, 10, SATURATE), (0, 12, WRAP)),
    "threes wrap, bias last": accumulator((3, 10, WRAP), (0, 12, SATURATE), bias_last=True),
    "three levels": accumulator((2, 9, SATURATE), (4, 10, WRAP), (0, 11, SATURATE)),
    "wide enough": accumulator((0, 32, WRAP)),
}


def mac() -> Cases:
    """Sums of 11 products, so that the last groups are short, in each accumulator."""
    rng = np.random.default_rng(3)
    a = codes_of(S4, (ROWS, 11))
    weights = rng.integers(-50, 51, (11, CHANNELS))
    bias = rng.integers(-3000, 3000, CHANNELS)
    found = {}
    for name, levels in LEVELS.items():

        def build(d: Draft, levels: Any = levels) -> None:
            d.input("a", (ROWS, 11), S4)
            d.constant("weights", weights, S8)
            d.constant("bias", bias, S32)
            given = {"bias": "bias", "accumulator": levels, "multiplier": (1,), "shift": (0,)}
            d.op(MatMul, "y", "a", "weights", type=S16, **given)

        found[name] = case_of(build, {"a": a})
    return found


def add(rounding: Rounding) -> Cases:
    """Sums whose fraction is one to three bits, with small and with 31-bit multipliers."""
    operands = {"a": codes_of(S8, (ROWS, CHANNELS)), "b": codes_of(S8, (ROWS, CHANNELS), 1)}
    found = {}
    for overflow, zeros in product(Overflow, (0, 27)):

        def build(d: Draft, zeros: int = zeros) -> None:
            d.input("a", (ROWS, CHANNELS), S8, -17)
            d.op(Rescale, "b", "a", zero_point=40)  # its codes are given, not computed
            pairs = [list(ODD) * 16, [4, 3, 2, 1, 6, 5, 7, 2] * 8]
            a, b = ([one << zeros for one in of_channels] for of_channels in pairs)
            given = {"multiplier_a": a, "multiplier_b": b, "shift": 3 + zeros, "zero_point": 5}
            d.op(Add, "y", "a", "b", **given)

        found[f"{overflow}, << {zeros}"] = case_of(
            build, operands, rounding=rounding, overflow=overflow
        )
    return found


def lookup() -> Cases:
    """Signed and unsigned codes, of all the table's entries."""
    found = {}
    for source, result in product((S8, U8, S4), (S8, U8, S16)):

        def build(d: Draft, source: Any = source, result: Any = result) -> None:
            d.input("a", (ROWS, CHANNELS), source)
            table = codes_of(result, (1 << source.bits,), 5)
            d.op(Lookup, "y", "a", table=table, type=result)

        found[f"{source} to {result}"] = case_of(build, {"a": codes_of(source, (ROWS, CHANNELS))})
    return found


def softmax(rounding: Rounding) -> Cases:
    """Rows of 16 scores whose exponentials are few bits wide, so that quotients are ties."""
    scores = codes_of(U8, (RESULTS // 16, 16))
    found = {}
    for overflow, normalisation in product(Overflow, Normalisation):

        def build(d: Draft, normalisation: Any = normalisation) -> None:
            d.input("a", scores.shape, U8)
            table = [3, 2, 1, 5] * 64
            given = {"reciprocal_bits": 10, "shift": 2, "normalisation": normalisation}
            d.op(Softmax, "y", "a", table=table, type=S8, zero_point=-90, **given)

        found[f"{overflow}, {normalisation}"] = case_of(
            build, {"a": scores}, rounding=rounding, overflow=overflow
        )

    def build_wide(d: Draft) -> None:
        d.input("a", scores.shape, U8)
        d.op(Softmax, "y", "a", table=exponentials(8, half_life=20))

    found["a table of exponentials"] = case_of(build_wide, {"a": scores}, rounding=rounding)
    return found


def softmax_ita() -> Cases:
    """Groups of every kind, with scores that grow along the row and with any."""
    any_scores = codes_of(S8, (RESULTS // 32, 32))
    growing = np.sort(any_scores, axis=-1)
    found = {}
    for octave_bits, group, grows in product((0, 3, 5), (1, 5, 16, 999), (False, True)):

        def build(d: Draft, octave_bits: int = octave_bits, group: int = group) -> None:
            d.input("a", any_scores.shape, S8)
            d.op(SoftmaxIta, "y", "a", octave_bits=octave_bits, group=group)

        name = f"{octave_bits} octave bits, groups of {group}{', growing' * grows}"
        found[name] = case_of(build, {"a": growing if grows else any_scores})
    return found


def layernorm(rounding: Rounding) -> Cases:
    """Rows of 8 channels, coarse enough for ties; constant rows; Newton's roots."""
    codes = codes_of(S8, (RESULTS // 8, 8))
    codes[::50] = codes[::50, :1]  # zero variance
    small = {"sqrt_fraction_bits": 0, "reciprocal_bits": 16, "normalized_fraction_bits": 3}
    kinds: dict[str, dict[str, Any]] = {
        "coarse": {**small, "shift": 4, "epsilon": 0},
        "newton": {**small, "shift": 4, "epsilon": 0, "root_steps": 2},
        "newton from 2^4": {**small, "shift": 3, "root_steps": 3, "root_start_bits": 4},
        "factors of channels": {
            "channel_multiplier": [1, 2, 3, 255, 1, 0, 7, 1],
            "channel_shift": [0, 1, 2, 0, 3, 0, 0, 4],
        },
    }
    found = {}
    for overflow, (name, fields) in product(Overflow, kinds.items()):

        def build(d: Draft, fields: Any = fields) -> None:
            d.input("a", codes.shape, S8, 3)
            gamma, beta = [5, -6, 7, 40, 1, 9, -33, 8], [8, 4, -4, -8, 0, 12, 99, -100]
            d.op(LayerNorm, "y", "a", gamma=gamma, beta=beta, zero_point=-7, **fields)

        found[f"{overflow}, {name}"] = case_of(
            build, {"a": codes}, rounding=rounding, overflow=overflow
        )
    return found


def _of_roundings(
    unit: Callable[[Rounding], Cases],
) -> Iterator[tuple[str, Callable[[], Cases]]]:
    for rounding in Rounding:
        yield f"{unit.__name__}, {rounding}", lambda rounding=rounding: unit(rounding)


# By unit and rounding; each has all its other modes.
UNITS: Mapping[str, Callable[[], Cases]] = MappingProxyType(
    {
        **dict(_of_roundings(requantizer)),
        **{
            f"requantizer, {double} double": (
                lambda double=double: requantizer(Rounding.HALF_UP, double)
            )
            for double in (DoubleRounding.SYMMETRIC, DoubleRounding.ASYMMETRIC)
        },
        "mac": mac,
        **dict(_of_roundings(add)),
        "lookup": lookup,
        **dict(_of_roundings(softmax)),
        "softmax_ita": softmax_ita,
        **dict(_of_roundings(layernorm)),
    }
)
