# SPDX-License-Identifier: Apache-2.0
"""Graphs of one op each, for every type of op, and the comparison of kernel and reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from elementwise_graphs import ELEMENTWISE_CASES
from scaled_product_graphs import SCALED_CASES
from simd_graphs import IN_REGISTERS, SIMD_CASES
from small_graphs import (
    S4,
    S8,
    S16,
    S32,
    SATURATE,
    U4,
    U8,
    U16,
    WRAP,
    Draft,
    accumulator,
    exponentials,
    random_codes,
)

from simulator.gemm import backend
from simulator.graph import IntGraph
from simulator.graph.ops import (
    Add,
    Concat,
    DeferredSoftmax,
    Dequantize,
    FloatFunction,
    Function,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    L2Norm,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    NormalizedMatMul,
    Op,
    Quantize,
    Rescale,
    Reshape,
    ScaledMatMul,
    Shiftmax,
    Slice,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    Transpose,
)
from simulator.kernel_choice import kernel_of
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntArray, IntType
from simulator.numerics.softmax_constants import float_table, lut513_tables
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops import BEHAVIOURS, Kernel, OpResult
from simulator.ops.behaviour import SumCounts

IMAGES = 3
CLIPPING = (7 << 24) * 20 // 17  # a code of 7 is worth 0.85 of a group's largest magnitude
SPREAD = np.random.default_rng(5)
WEIGHTS = SPREAD.integers(-9, 10, (7, 4)).tolist()  # [K, N]
WEIGHTS_4 = SPREAD.integers(-8, 8, (4, 7)).tolist()  # [N, K]
BIAS = [-300, 7, 0, 256]
ODD_WEIGHTS = SPREAD.integers(-128, 128, (7, 4)).tolist()
CODES = SPREAD.integers(-128, 128, (5, 4)).tolist()
PER_CHANNEL: dict[str, Any] = {"multiplier": (1, 3, 2, 7), "shift": (4, 6, 5, 0)}
WIDE_RESULT: dict[str, Any] = {"multiplier": (9, 30, 11, 70), "shift": (4, 6, 5, 0)}
LINEAR_LEVELS = {
    "wrap at 10 bits": accumulator((0, 10, WRAP)),
    "saturate at 10 bits": accumulator((0, 10, SATURATE)),
    "saturate, bias last": accumulator((0, 10, SATURATE), bias_last=True),
    "pairs in 9 bits": accumulator((2, 9, SATURATE), (0, 32, WRAP)),
    "pairs wrap in 9 bits, bias last": accumulator((2, 9, WRAP), (0, 10, SATURATE), bias_last=True),
    "three levels": accumulator((1, 8, SATURATE), (3, 9, WRAP), (0, 10, SATURATE)),
}


def _linear(d: Draft, **changes: Any) -> None:
    d.input("a", (3, 7), S8, -5)
    weights = d.constant("weights", changes.pop("weights", WEIGHTS), S8)
    if "bias" not in changes:
        changes["bias"] = d.constant("bias", BIAS, S32)
    d.op(MatMul, "y", "a", weights, **{"shift": (5,), "zero_point": 3} | changes)


def _four_bit_linear(d: Draft) -> None:
    d.input("a", (2, 3, 7), U8, 131)
    d.constant("weights", WEIGHTS_4, S4)
    bias = d.constant("bias", BIAS, S32)
    d.op(
        MatMul,
        "y",
        "a",
        "weights",
        bias=bias,
        transpose_b=True,
        type=U8,
        zero_point=99,
        **PER_CHANNEL,
    )


def _linear_of_a_vector(d: Draft) -> None:
    d.input("a", (7,))
    d.constant("weights", WEIGHTS, S8)
    d.op(MatMul, "y", "a", "weights", shift=(4,))


def _wide_linear(d: Draft) -> None:
    d.input("a", (2, 7), S16)
    d.constant("weights", [[code * 200 for code in row] for row in WEIGHTS], S16)
    d.op(MatMul, "y", "a", "weights", multiplier=(3,), shift=(20,), type=S16, zero_point=-77)


def _onto_a_residual(d: Draft, wide: IntType = S8, **changes: Any) -> None:
    d.input("a", (3, 7), S8, -5)
    weights = d.constant("weights", WEIGHTS, S8)
    bias = d.constant("bias", BIAS, S32)
    residual = d.operand("r", (3, 4), wide, 9)
    fields = {"residual_multiplier": (5,), "residual_fraction_bits": 3, "shift": (5,)}
    d.op(
        MatMul,
        "y",
        "a",
        weights,
        bias=bias,
        residual=residual,
        **{"zero_point": 3} | fields | changes,
    )


def _attention(
    d: Draft, a: tuple[int, ...], b: tuple[int, ...], kind: Any = S8, **changes: Any
) -> None:
    d.input("a", a, kind)
    d.operand("b", b, S16 if kind == S16 else S8)
    d.op(MatMul, "y", "a", "b", **{"shift": (8,), "zero_point": -6} | changes)


def _normalized(
    d: Draft, a: tuple[int, ...], b: tuple[int, ...], kind: Any = U4, **changes: Any
) -> None:
    d.input("a", a, kind)
    d.operand("b", b, changes.pop("kind_b", S8))
    d.op(NormalizedMatMul, "y", "a", "b", **changes)


def _add(d: Draft, kind_b: Any = S8, **changes: Any) -> None:
    d.input("a", (3, 4), S8, -17)
    d.operand("b", (3, 4), kind_b, kind_b.high // 3)
    d.op(Add, "y", "a", "b", **{"zero_point": 5} | changes)


def _add_constant(d: Draft, codes: Sequence[Any], shape: tuple[int, ...]) -> None:
    d.input("a", shape, S8, 9)
    d.constant("b", codes, S8, -40)
    d.op(Add, "y", "a", "b", multiplier_a=(1, 2, 3, 4), multiplier_b=(7,), zero_point=-11)


def _masked(d: Draft) -> None:
    """The lowest code where b is -1, a where it is 0."""
    d.input("a", (3, 2, 2, 4), S8, 9)
    off = [[[-1, 0, 0, -1], [0, -1, 0, 0]], [[0, 0, 0, 0], [-1, -1, -1, 0]], [[0, 0, 0, -1]] * 2]
    d.constant("b", [[windows] for windows in off], IntType(bits=1))
    d.op(Add, "y", "a", "b", multiplier_a=(1,), multiplier_b=(255,), shift=0, zero_point=9)


def _twice_the_same(d: Draft) -> None:
    d.input("a", (3, 4), U8, 200)
    d.op(Add, "y", "a", "a", multiplier_a=(3,), multiplier_b=(4, 3, 2, 1), shift=2)


def _layer_norm(d: Draft, source: Any = S8, **changes: Any) -> None:
    d.input("a", (4, 6), source, source.low + 97)
    gamma = [1 << 15, -(1 << 14), 3 << 12, 0, 77777, -(1 << 15)]
    beta = [0, 3 << 18, -(5 << 18), 1 << 19, 123456, -1]
    d.op(
        LayerNorm,
        "y",
        "a",
        **{"gamma": gamma, "beta": beta, "shift": 19, "zero_point": 8} | changes,
    )


def _coarse_layer_norm(d: Draft, **changes: Any) -> None:
    d.input("a", (6, 4), S8, 3)
    d.op(
        LayerNorm,
        "y",
        "a",
        gamma=[5, -6, 7, 40],
        beta=[8, 4, -4, -8],
        epsilon=0,
        sqrt_fraction_bits=0,
        reciprocal_bits=16,
        normalized_fraction_bits=3,
        shift=4,
        **changes,
    )


def _l2_norm(d: Draft, source: Any = S8, shape: Sequence[int] = (3, 2, 5), **changes: Any) -> None:
    d.input("a", tuple(shape), source, source.low + 97)
    given = {
        "gain": [166666],
        "epsilon": 0,
        "sqrt_fraction_bits": 8,
        "reciprocal_bits": 40,
        "normalized_fraction_bits": 16,
        "shift": 25,
        "zero_point": 8,
    }
    d.op(L2Norm, "y", "a", **given | changes)


def _softmax(d: Draft, source: Any = S8, **changes: Any) -> None:
    d.input("a", (4, 5), source)
    table = changes.pop("table", exponentials(source.bits, half_life=20))
    d.op(Softmax, "y", "a", table=table, **changes)


def _lookup(d: Draft, source: Any, result: Any) -> None:
    d.input("a", (2, 3), source, 1)
    table = np.random.default_rng(3).integers(result.low, result.high, 1 << source.bits)
    d.op(Lookup, "y", "a", table=table, type=result, zero_point=2)


def _rescale(d: Draft, source: Any, **changes: Any) -> None:
    d.input("a", (3, 2, 4), source, (source.low + 2 * source.high) // 3)
    d.op(Rescale, "y", "a", **{"zero_point": 2} | changes)


def _hadamard(d: Draft, order: int, source: Any = S8, blocks: int = 1, **changes: Any) -> None:
    d.input("a", (2, 3, order * blocks), source, (source.low + 2 * source.high) // 3)
    d.op(Hadamard, "y", "a", **{"order": order, "zero_point": 2} | changes)


def _scales(op: type[Op], d: Draft, source: Any = S8, group: int = 4, **changes: Any) -> None:
    d.input("a", (2, 3, 3 * group), source, (source.low + 2 * source.high) // 3)
    d.op(op, "y", "a", group=group, **changes)


def _by_group(
    op: type[Op], d: Draft, source: Any = S8, scales: Any = U8, group: int = 5, **changes: Any
) -> None:
    d.input("a", (2, 3, 4 * group), source, (source.low + 2 * source.high) // 3)
    d.operand("scales", (2, 3, 4), scales)
    d.op(op, "y", "a", "scales", group=group, **changes)


def _mean(d: Draft, shape: tuple[int, ...] = (6, 4), **changes: Any) -> None:
    d.input("a", shape, S8, 29)
    d.op(Mean, "y", "a", **{"zero_point": -3} | changes)


def _move(op_type: type[Op], source: tuple[int, ...], **given: Any) -> Build:
    def build(d: Draft) -> None:
        d.input("a", source, S8, 4)
        d.op(op_type, "y", "a", **given)

    return build


def _concat(d: Draft, axis: int, *, constants: Mapping[int, Sequence[Any]] = {}) -> None:
    names = []
    for index in range(3):
        if index in constants:
            names.append(d.constant(f"part{index}", constants[index], S8, 7))
        else:
            names.append(d.operand(f"part{index}", (2, 3), S8, 7))
    d.op(Concat, "y", *names, axis=axis)


def _quantize(d: Draft, shape: tuple[int, ...] = (2, 3, 4), **changes: Any) -> None:
    d.input("a", shape, FLOAT32)
    d.op(Quantize, "y", "a", **changes)


def _dequantize(d: Draft, source: Any, shape: tuple[int, ...] = (2, 3, 4), **changes: Any) -> None:
    d.input("a", shape, source, source.low + 97)
    d.op(Dequantize, "y", "a", **changes)


def _float(
    d: Draft, function: Function, *others: tuple[int, ...], shape: Any = (2, 3, 4), **fields: Any
) -> None:
    d.input("a", shape, FLOAT32)
    names = [d.operand(f"b{index}", other, FLOAT32) for index, other in enumerate(others)]
    d.op(FloatFunction, "y", "a", *names, function=function, **fields)


def _float_add_constant(d: Draft, values: Any) -> None:
    d.input("a", (2, 3, 4), FLOAT32)
    d.op(FloatFunction, "y", "a", d.constant("b", values, FLOAT32), function=Function.ADD)


def _scores(op_type: type[Op], source: Any = S8, shape: Any = (3, 40), **changes: Any) -> Build:
    def build(d: Draft) -> None:
        d.input("a", shape, source, source.high // 3)
        d.op(op_type, "y", "a", **changes)

    return build


Build = Callable[[Draft], None]
U3 = IntType(bits=3, signed=False)
DIVISION = {"normalisation": Normalisation.DIVISION}
LUT513 = dict(zip(("exp_table", "reciprocal_table"), lut513_tables(), strict=True))
STEEP_LUT513 = LUT513 | {"exp_table": [0] * 511 + [1, 2]}
PER_HEAD = [[[0.25]], [[0.03]]]
ONE_SIGN = np.linspace(0.1, 3, 24).reshape(6, 4)
CASES: Mapping[type[Op], Mapping[str, Build]] = {
    **ELEMENTWISE_CASES,
    ScaledMatMul: SCALED_CASES,
    MatMul: {
        "weights": _linear,
        "large weights": lambda d: _linear(d, weights=ODD_WEIGHTS, shift=(10,)),
        "4-bit weights, transposed, per channel": _four_bit_linear,
        "to 16 bits, per channel": lambda d: _linear(d, type=S16, zero_point=-2000, **WIDE_RESULT),
        "no bias": lambda d: _linear(d, bias=None),
        "of a vector": _linear_of_a_vector,
        "onto a residual": _onto_a_residual,
        "onto a residual, per channel": lambda d: _onto_a_residual(
            d,
            multiplier=(1, 3, 2, 7),
            shift=(4, 6, 5, 3),
            residual_multiplier=(8, 3, 0, 11),
        ),
        "onto 16 bits, saturating": lambda d: _onto_a_residual(
            d,
            S16,
            type=S16,
            accumulator=accumulator((0, 10, SATURATE)),
            residual_multiplier=(3, 1, 4, 2),
            residual_fraction_bits=5,
        ),
        "16 bits": _wide_linear,
        "bias last, proven": lambda d: _linear(
            d, accumulator=accumulator((0, 32, WRAP), bias_last=True)
        ),
        **{
            levels: lambda d, levels=levels: _linear(d, accumulator=LINEAR_LEVELS[levels])
            for levels in LINEAR_LEVELS
        },
        "activations": lambda d: _attention(d, (3, 5), (5, 4)),
        "activations, transposed": lambda d: _attention(
            d, (2, 3, 5), (2, 4, 5), transpose_b=True, **PER_CHANNEL
        ),
        "probabilities": lambda d: _attention(d, (2, 2, 3, 5), (2, 2, 5, 4), U8),
        "activations, saturating": lambda d: _attention(
            d, (2, 3, 5), (2, 5, 4), accumulator=accumulator((0, 15, SATURATE))
        ),
        "activations, wrapping": lambda d: _attention(
            d, (2, 3, 5), (2, 4, 5), transpose_b=True, accumulator=accumulator((0, 15, WRAP))
        ),
        "activations, two levels": lambda d: _attention(
            d, (2, 3, 5), (2, 5, 4), U8, accumulator=accumulator((2, 15, SATURATE), (0, 16, WRAP))
        ),
        "16-bit activations": lambda d: _attention(
            d, (2, 3, 5), (2, 5, 4), S16, accumulator=accumulator((0, 40, WRAP)), shift=(26,)
        ),
        IN_REGISTERS: SIMD_CASES[MatMul],
    },
    Rescale: {
        "8 bits": lambda d: _rescale(d, S8),
        "unsigned to signed": lambda d: _rescale(d, U8, shift=(2,), multiplier=(3,)),
        "16 bits, per channel": lambda d: _rescale(
            d, S16, multiplier=(1, 3, 5, 1), shift=(8, 9, 12, 1)
        ),
        "to 4 bits": lambda d: _rescale(d, S8, shift=(4,), type=S4),
        "to unsigned": lambda d: _rescale(d, S8, shift=(0, 1, 2, 3), type=U8, zero_point=100),
        "to 16 bits": lambda d: _rescale(d, U8, multiplier=(513,), type=S16),
        "31-bit multipliers": lambda d: _rescale(
            d,
            IntType(bits=31),
            multiplier=((1 << 31) - 1, 1 << 30, 12345, 0),
            shift=(55, 54, 38, 62),
        ),
    },
    Add: {
        "signed": _add,
        "with unsigned": lambda d: _add(d, U8, shift=4),
        "with 16 bits": lambda d: _add(d, S16, multiplier_a=(512,), multiplier_b=(3,), shift=9),
        "per channel": lambda d: _add(d, multiplier_a=(1, 2, 3, 4), multiplier_b=(4, 3, 2, 8)),
        "no shift": lambda d: _add(d, multiplier_a=(1,), multiplier_b=(1,), shift=0),
        "constant vector": lambda d: _add_constant(d, CODES[0], (2, 5, 4)),
        "constant matrix": lambda d: _add_constant(d, CODES, (2, 5, 4)),
        "constant for every middle": lambda d: _add_constant(
            d, [[row] for row in CODES], (5, 3, 4)
        ),
        "constant for every middle and front": lambda d: _add_constant(
            d, [[row] for row in CODES], (2, 5, 3, 4)
        ),
        "mask of a bit": _masked,
        "constant of the same shape": lambda d: _add_constant(d, CODES, (5, 4)),
        "with itself": _twice_the_same,
        "to 16 bits": lambda d: _add(d, type=S16, shift=1),
        IN_REGISTERS: SIMD_CASES[Add],
    },
    L2Norm: {
        "8 bits": _l2_norm,
        "a gain for each head": lambda d: _l2_norm(d, gain=[90000, 3, 70001]),
        "a gain for each head, of windows": lambda d: _l2_norm(
            d, shape=(2, 3, 2, 4), gain=[90000, 3, 70001]
        ),
        "rows without heads": lambda d: _l2_norm(d, shape=(4, 6)),
        "one row": lambda d: _l2_norm(d, shape=(6,)),
        "16 bits": lambda d: _l2_norm(d, S16, sqrt_fraction_bits=4, shape=(2, 3, 6)),
        "unsigned, to unsigned": lambda d: _l2_norm(d, U8, type=U8, zero_point=128),
        "a least length": lambda d: _l2_norm(d, epsilon=30000),
        "coarse": lambda d: _l2_norm(
            d,
            gain=[5, 40, 3],
            sqrt_fraction_bits=0,
            reciprocal_bits=16,
            normalized_fraction_bits=3,
            shift=2,
        ),
    },
    Hadamard: {
        "order 4": lambda d: _hadamard(d, 4),
        "order 1": lambda d: _hadamard(d, 1, blocks=5),
        "order 12, to 16 bits": lambda d: _hadamard(d, 12, type=S16, shift=(0,)),
        "order 20, unsigned": lambda d: _hadamard(d, 20, U8, shift=(4,)),
        "blocks of 8, per channel": lambda d: _hadamard(
            d, 8, blocks=2, multiplier=range(1, 17), shift=[3, 5] * 8
        ),
        "order 64, to 4 bits": lambda d: _hadamard(d, 64, type=S4, shift=(7,)),
        "order 192, 16 bits": lambda d: _hadamard(d, 192, S16, multiplier=(3,), shift=(14,)),
        "order 40, 4 bits": lambda d: _hadamard(d, 40, S4, blocks=2, type=S8),
    },
    GroupMaximum: {
        "8 bits": partial(_scales, GroupMaximum),
        "4 bits": partial(_scales, GroupMaximum, source=S4, type=U4),
        "16 bits, groups of one": partial(_scales, GroupMaximum, source=S16, group=1),
        "unsigned, long groups": partial(_scales, GroupMaximum, source=U8, group=67, type=U8),
    },
    GroupExponent: {
        "8 bits": partial(_scales, GroupExponent),
        "16 bits": partial(_scales, GroupExponent, source=S16, group=3),
        "unsigned, for 2 bits": partial(_scales, GroupExponent, source=U8, group=33, bits=2),
        "nothing to shift": partial(_scales, GroupExponent, source=S4, bits=6),
        "trimmed": partial(_scales, GroupExponent, trim=2),
        "trimmed by half": partial(_scales, GroupExponent, source=U8, group=3, trim=1),
        "16 bits, trimmed least": partial(_scales, GroupExponent, source=S16, group=3, trim=7),
        "16 bits, for 2 bits": partial(
            _scales, GroupExponent, source=S16, bits=2, type=IntType(bits=5, signed=False)
        ),
    },
    GroupQuantize: {
        "8 bits": partial(_by_group, GroupQuantize),
        "16 bits": partial(
            *(_by_group, GroupQuantize),
            **{"source": S16, "scales": U16, "group": 33},
            **{"numerator": 127 << 24, "shift": 23, "type": S8},
        ),
        "coarse reciprocal": partial(
            _by_group, GroupQuantize, scales=U4, numerator=7 << 3, shift=3, zero_point=2
        ),
        "no fraction bits": partial(
            _by_group, GroupQuantize, source=U8, scales=U4, numerator=7, shift=1, type=U4
        ),
        "clipped": partial(_by_group, GroupQuantize, numerator=CLIPPING),
        "16 bits, clipped": partial(
            *(_by_group, GroupQuantize),
            **{"source": S16, "scales": U16, "group": 33, "numerator": CLIPPING},
        ),
        "clipped, wrapping": partial(
            _by_group, GroupQuantize, numerator=CLIPPING, zero_point=-3, overflow=WRAP
        ),
    },
    GroupShift: {
        "8 bits": partial(_by_group, GroupShift, scales=U4),
        "16 bits, to 8": partial(
            _by_group,
            GroupShift,
            source=S16,
            scales=IntType(bits=5, signed=False),
            group=33,
            type=S8,
        ),
        "unsigned, groups of one": partial(
            _by_group, GroupShift, source=U8, scales=IntType(bits=3, signed=False), group=1
        ),
        "few places": partial(
            _by_group, GroupShift, scales=IntType(bits=2, signed=False), type=U8, zero_point=100
        ),
    },
    LayerNorm: {
        "8 bits": _layer_norm,
        "β with fewer fraction bits": lambda d: _layer_norm(
            d, beta=[0, 24, -39, 64, 15, -1], beta_shift=14
        ),
        "16 bits, β with fewer fraction bits": lambda d: _layer_norm(
            d, S16, beta=[0, 3, -5, 7, 1, -1], beta_shift=17, sqrt_fraction_bits=4
        ),
        "shifted channels": lambda d: _layer_norm(d, channel_shift=[0, 3, 1, 0, 5, 2]),
        "multiplied channels": lambda d: _layer_norm(
            d, channel_multiplier=[255, 1, 7, 100, 3, 2], epsilon=1 << 16
        ),
        "multiplied and shifted channels": lambda d: _layer_norm(
            d, U8, channel_multiplier=[1, 31, 0, 5, 3, 2], channel_shift=[5, 0, 2, 1, 4, 3]
        ),
        "16 bits, multiplied channels": lambda d: _layer_norm(
            d, S16, channel_multiplier=[1, 2, 3, 255, 254, 128], sqrt_fraction_bits=4
        ),
        "coarse, multiplied channels": lambda d: _coarse_layer_norm(
            d, channel_multiplier=[2, 1, 1, 3]
        ),
        "16 bits": lambda d: _layer_norm(d, S16, sqrt_fraction_bits=8, reciprocal_bits=40),
        "unsigned, to unsigned": lambda d: _layer_norm(d, U8, type=U8, zero_point=128),
        "coarse": _coarse_layer_norm,
        "large epsilon": lambda d: _layer_norm(d, epsilon=1 << 20),
        "ten Newton steps from 2^16": lambda d: _layer_norm(d, root_steps=10, root_start_bits=16),
        "one Newton step": lambda d: _layer_norm(d, root_steps=1),
        "Newton of a wide root": lambda d: _layer_norm(
            d, S16, sqrt_fraction_bits=8, reciprocal_bits=40, root_steps=3
        ),
        IN_REGISTERS: SIMD_CASES[LayerNorm],
    },
    Softmax: {
        "8 bits": _softmax,
        "unsigned": lambda d: _softmax(d, U8, zero_point=3, shift=17),
        "4 bits": lambda d: _softmax(d, S4, table=exponentials(4, half_life=2)),
        "steep": lambda d: _softmax(d, table=[9] + [0] * 255),
        "flat": lambda d: _softmax(d, table=[1] * 256, reciprocal_bits=12, shift=3),
        "too large": lambda d: _softmax(d, shift=15),
        "to signed": lambda d: _softmax(d, type=S8, zero_point=-128),
        "many ties": lambda d: _softmax(
            d, zero_point=1, table=[3, 2, 1, 5] * 64, reciprocal_bits=9, shift=1
        ),
        "shift 0": lambda d: _softmax(
            d, U8, table=[3] * 100 + [1] * 156, reciprocal_bits=6, shift=0
        ),
        "division": lambda d: _softmax(d, **DIVISION),
        "division, to signed": lambda d: _softmax(d, type=S8, zero_point=-128, **DIVISION),
        "division, many ties": lambda d: _softmax(
            d, U8, table=[3, 2, 1, 5] * 64, reciprocal_bits=9, shift=2, **DIVISION
        ),
        "division without fraction bits": lambda d: _softmax(
            d, table=[5, 3, 2, 0] * 64, reciprocal_bits=7, shift=7, **DIVISION
        ),
        IN_REGISTERS: SIMD_CASES[Softmax],
    },
    SoftmaxGemmlowp: {
        "8 bits": _scores(SoftmaxGemmlowp),
        "as TFLite": _scores(SoftmaxGemmlowp, type=S8, zero_point=-128),
        "unsigned, flat": _scores(SoftmaxGemmlowp, U8, input_left_shift=17),
        "steep": _scores(SoftmaxGemmlowp, input_left_shift=26, smallest_difference=-31),
        "nothing below the largest": _scores(SoftmaxGemmlowp, smallest_difference=0),
        "to 16 bits": _scores(SoftmaxGemmlowp, type=S16, zero_point=-(1 << 15)),
        "4 bits": _scores(SoftmaxGemmlowp, S4, (2, 3, 7), type=U4, zero_point=2),
        "16-bit scores": _scores(
            SoftmaxGemmlowp, S16, input_left_shift=14, smallest_difference=-126976
        ),
        "one score": _scores(SoftmaxGemmlowp, shape=(3, 1)),
    },
    SoftmaxLut513: {
        "16 bits": _scores(SoftmaxLut513, S16, **LUT513),
        "flat": _scores(SoftmaxLut513, S16, input_left_shift=-4, **LUT513),
        "steep": _scores(SoftmaxLut513, S16, input_left_shift=15, **LUT513),
        "8 bits": _scores(SoftmaxLut513, input_left_shift=9, type=U16, zero_point=5, **LUT513),
        "hardly any exponentials": _scores(
            SoftmaxLut513, S8, (3, 2), input_left_shift=8, **STEEP_LUT513
        ),
        "one score": _scores(SoftmaxLut513, S16, (2, 1), **LUT513),
    },
    SoftmaxFloatTable: {
        "8 bits": _scores(SoftmaxFloatTable, table=float_table(0.05)),
        "as LiteRT": _scores(SoftmaxFloatTable, table=float_table(0.1), type=S8, zero_point=-128),
        "powers of two": _scores(
            SoftmaxFloatTable, U8, (5, 16), table=[0.5 ** (i // 32) for i in range(256)]
        ),
        "steep": _scores(SoftmaxFloatTable, table=[1] + [0] * 255),
        "16-bit scores": _scores(SoftmaxFloatTable, S16, table=float_table(1e-4, bits=16)),
        "to 16 bits": _scores(SoftmaxFloatTable, table=float_table(0.03), type=U16),
    },
    SoftmaxIBert: {
        "8 bits": _scores(SoftmaxIBert),
        "unsigned": _scores(SoftmaxIBert, U8, type=U8, zero_point=3),
        "more than 31 octaves": _scores(
            SoftmaxIBert, log2=2, coefficient_a=3, coefficient_b=4, coefficient_c=8
        ),
        "16 bits": _scores(
            SoftmaxIBert,
            S16,
            coefficient_b=2706,
            coefficient_c=3838214,
            log2=1386,
            type=U16,
            zero_point=0,
        ),
        "flat": _scores(SoftmaxIBert, log2=1000, coefficient_b=900, type=U8, zero_point=0),
    },
    Shiftmax: {
        "8 bits": _scores(Shiftmax),
        "unsigned, to 8 bits": _scores(Shiftmax, U8, output_bits=8, type=U8, zero_point=9),
        "small octaves": _scores(Shiftmax, x0=-1, n=30),
        "a large sum": _scores(Shiftmax, x0=-(1 << 15), n=15),
        "16 bits": _scores(Shiftmax, S16, x0=-3000),
        "no octave": _scores(Shiftmax, n=0),
    },
    SoftmaxIta: {
        "8 bits": _scores(SoftmaxIta),
        "unsigned, short groups": _scores(SoftmaxIta, U8, group=3),
        "one by one": _scores(SoftmaxIta, group=1, octave_bits=3),
        "all at once, to signed": _scores(SoftmaxIta, group=999, type=S8, zero_point=-128),
        "octaves of one code": _scores(SoftmaxIta, octave_bits=0),
        "signed": _scores(SoftmaxIta, largest=127, type=S8),
        "16 bits": _scores(SoftmaxIta, S16, octave_bits=12, largest=60000, type=U16),
    },
    SoftmaxLog2: {
        "4 bits": _scores(SoftmaxLog2),
        "5 bits": _scores(SoftmaxLog2, U8, type=IntType(bits=5, signed=False)),
        "few octaves": _scores(SoftmaxLog2, n=4, type=U8),
        "coarse": _scores(SoftmaxLog2, x0=-1, b=1, c=1, n=3),
        "exponentials of 0": _scores(SoftmaxLog2, x0=-5, b=9, c=3, n=2, type=U8),
        "16 bits": _scores(SoftmaxLog2, S16, x0=-1000, b=3900, c=5800000, n=24, type=U8),
    },
    DeferredSoftmax: {
        "half octaves": _scores(DeferredSoftmax),
        "unsigned, octaves of 3 bits": _scores(DeferredSoftmax, U8, type=U3),
        "scores of 4 bits": _scores(DeferredSoftmax, S4, multiplier=1000),
        "no shift": _scores(DeferredSoftmax, type=U8, multiplier=1, shift=0),
        "all alike": _scores(DeferredSoftmax, multiplier=0),
        "16 bits": _scores(
            DeferredSoftmax, S16, type=U8, multiplier=(1 << 31) - 1, shift=40, shape=(2, 3, 17)
        ),
        "one score": _scores(DeferredSoftmax, shape=(3, 1)),
    },
    NormalizedMatMul: {
        "half octaves": lambda d: _normalized(d, (2, 3, 5), (2, 5, 4)),
        "transposed, per channel": lambda d: _normalized(
            d,
            (2, 2, 3, 7),
            (2, 2, 4, 7),
            transpose_b=True,
            multiplier=(1, 3, 2, 7),
            shift=(18, 21, 23, 20),
            zero_point=-6,
        ),
        "matrices": lambda d: _normalized(d, (3, 9), (9, 4), kind_b=S4, shift=(18,)),
        "levels of 0": lambda d: _normalized(
            d, (4, 2), (2, 3), U3, levels=[255, 1, 0, 0, 0, 0, 0, 0]
        ),
        "many ties": lambda d: _normalized(
            d,
            (9, 2),
            (2, 8),
            U3,
            levels=[4, 2, 1, 1, 0, 0, 0, 0],
            reciprocal_bits=4,
            multiplier=(1,),
            shift=(4,),
        ),
        "one code": lambda d: _normalized(d, (3, 1), (1, 1)),
        "8-bit codes, to 16 bits": lambda d: _normalized(
            d,
            (2, 3, 17),
            (2, 17, 3),
            U8,
            levels=[255 - code for code in range(256)],
            type=S16,
            multiplier=(300,),
            shift=(32,),
            reciprocal_bits=30,
            zero_point=-77,
        ),
        "to unsigned": lambda d: _normalized(
            d, (2, 3, 5), (2, 5, 4), type=U8, zero_point=100, shift=(21,), multiplier=(5,)
        ),
        "saturating": lambda d: _normalized(
            d, (2, 3, 11), (2, 11, 4), accumulator=accumulator((0, 15, SATURATE))
        ),
        "wrapping": lambda d: _normalized(
            d, (2, 3, 11), (2, 4, 11), transpose_b=True, accumulator=accumulator((0, 14, WRAP))
        ),
        "two levels": lambda d: _normalized(
            d, (2, 3, 11), (2, 11, 4), accumulator=accumulator((2, 15, SATURATE), (0, 16, WRAP))
        ),
        "16-bit values": lambda d: _normalized(
            d, (2, 3, 5), (2, 5, 4), kind_b=S16, type=S16, accumulator=accumulator((0, 40, WRAP))
        ),
    },
    Lookup: {
        "signed": lambda d: _lookup(d, S8, S8),
        "signed to unsigned": lambda d: _lookup(d, S8, U8),
        "unsigned to 16 bits": lambda d: _lookup(d, U8, S16),
        "4 bits": lambda d: _lookup(d, S4, S8),
        "unsigned 4 bits": lambda d: _lookup(d, U4, U16),
        IN_REGISTERS: SIMD_CASES[Lookup],
    },
    Mean: {
        "over rows": _mean,
        "over columns": lambda d: _mean(
            d, (2, 5, 4), axis=1, multiplier=(1, 3, 5, 1), shift=(3, 4, 5, 0)
        ),
        "over heads": lambda d: _mean(d, (3, 2, 4)),
        "over channels": lambda d: _mean(d, (3, 2, 5), axis=2),
        "over channels, kept": lambda d: _mean(d, (3, 2, 5), axis=2, keep_dimension=True),
        "over rows, kept": lambda d: _mean(
            d, (5, 4), keep_dimension=True, multiplier=(1, 3, 5, 1), shift=(3, 4, 5, 0)
        ),
        "of a vector, kept": lambda d: _mean(
            d, (9,), keep_dimension=True, accumulator=accumulator((0, 9, SATURATE))
        ),
        "saturating": lambda d: _mean(d, accumulator=accumulator((0, 8, SATURATE))),
        "wrapping": lambda d: _mean(
            d, accumulator=accumulator((0, 9, WRAP)), axis=1, shape=(2, 9, 3)
        ),
        "two levels": lambda d: _mean(d, accumulator=accumulator((2, 8, WRAP), (0, 9, SATURATE))),
    },
    Concat: {
        "rows": lambda d: _concat(d, 0),
        "columns": lambda d: _concat(d, 1),
        "constant first": lambda d: _concat(d, 0, constants={0: [[1, -128, 127]]}),
        "constant columns last": lambda d: _concat(d, 1, constants={1: [[1], [2]], 2: [[3], [4]]}),
    },
    Slice: {
        "rows": _move(Slice, (4, 3), start=1, stop=3),
        "columns": _move(Slice, (2, 5, 4), axis=2, start=0, stop=1),
        "middle": _move(Slice, (2, 5, 4), axis=1, start=3, stop=5),
        "every second row": _move(Slice, (5, 3), start=1, stop=5, step=2),
        "every third, the last one apart": _move(Slice, (2, 8, 3), axis=1, start=1, stop=8, step=3),
    },
    Reshape: {
        "split": _move(Reshape, (3, 8), shape=(3, 2, 4)),
        "join": _move(Reshape, (2, 3, 4), shape=(24,)),
    },
    Transpose: {
        "matrix": _move(Transpose, (3, 5), permutation=(1, 0)),
        "heads": _move(Transpose, (5, 3, 2, 4), permutation=(1, 2, 0, 3)),
        "cycle": _move(Transpose, (2, 3, 4), permutation=(2, 0, 1)),
    },
    Quantize: {
        "one step, many ties": lambda d: _quantize(d, step=[0.5], zero_point=-7),
        "per channel": lambda d: _quantize(d, step=[0.5, 0.1, 0.25, 0.01], type=S4),
        "per head": lambda d: _quantize(d, step=PER_HEAD, type=U8, zero_point=128),
        "per head and channel": lambda d: _quantize(
            d, step=np.linspace(0.01, 1, 8).reshape(2, 1, 4)
        ),
        "per row": lambda d: _quantize(d, step=[[0.5], [0.3], [0.1]]),
        "of a vector": lambda d: _quantize(d, (4,), step=[0.5, 0.1, 0.25, 0.01]),
        "to 16 bits": lambda d: _quantize(d, step=[1e-4], type=S16, zero_point=300),
        "thresholds": lambda d: _quantize(d, thresholds=[-1.5, -0.25, 0, 0.25, 2], type=U4),
        "one threshold": lambda d: _quantize(d, thresholds=[0.25], type=S4),
        "as many thresholds as possible": lambda d: _quantize(
            d, thresholds=np.linspace(-2, 2, 15).tolist(), type=S4
        ),
    },
    Dequantize: {
        "one step": lambda d: _dequantize(d, S8, step=[0.1]),
        "sums with a bias": lambda d: _dequantize(
            d, S32, step=[1e-6, 2e-6, 3e-7, 1.5e-5], bias=[0.1, -7, 0, 1e3]
        ),
        "one step and a bias": lambda d: _dequantize(d, S32, step=[3e-9], bias=[0.1, -7, 0, 1e3]),
        "per head": lambda d: _dequantize(d, U8, step=PER_HEAD),
        "wide": lambda d: _dequantize(d, IntType(bits=60), step=[1e-15]),
    },
    FloatFunction: {
        "add": lambda d: _float(d, Function.ADD, (2, 3, 4)),
        "add a constant vector": lambda d: _float_add_constant(d, [1, -2, 0.1, 1e-9]),
        "add a constant": lambda d: _float_add_constant(d, np.linspace(-1, 1, 12).reshape(3, 4)),
        "layernorm": lambda d: _float(
            d,
            Function.LAYERNORM,
            shape=(4, 6),
            weight=[1, -2, 0.5, 0, 3, 1e-3],
            bias=[0, 1, -1, 0.25, 0, 9],
            epsilon=1e-6,
        ),
        "l2norm": lambda d: _float(d, Function.L2NORM, epsilon=1e-12),
        "l2norm with a gain": lambda d: _float(
            d, Function.L2NORM, weight=np.array([1.5]), epsilon=2.0
        ),
        "l2norm with a gain for each head": lambda d: _float(
            d,
            Function.L2NORM,
            shape=(2, 3, 4),
            weight=np.array([1.5, 0.25]).reshape(2, 1, 1),
            epsilon=1e-12,
        ),
        "layernorm, plain": lambda d: _float(d, Function.LAYERNORM, epsilon=1e-5),
        "softmax": lambda d: _float(d, Function.SOFTMAX),
        "gelu": lambda d: _float(d, Function.GELU),
        "gelu_tanh": lambda d: _float(d, Function.GELU_TANH),
        "relu": lambda d: _float(d, Function.RELU),
        "silu": lambda d: _float(d, Function.SILU),
        "hardswish": lambda d: _float(d, Function.HARDSWISH),
        "mean of rows": lambda d: _float(d, Function.MEAN, axis=1),
        "mean of heads": lambda d: _float(d, Function.MEAN, axis=0),
        "scale": lambda d: _float(d, Function.SCALE, factor=0.1),
        "linear": lambda d: _float(d, Function.LINEAR, weight=ONE_SIGN, bias=[1, 2, 3, 4, 5, 6]),
        "linear of a vector": lambda d: _float(d, Function.LINEAR, shape=(4,), weight=ONE_SIGN),
        "matmul": lambda d: _float(d, Function.MATMUL, (2, 4, 5)),
        "matmul, transposed": lambda d: _float(d, Function.MATMUL, (2, 5, 4), transpose_b=True),
        "matmul of matrices": lambda d: _float(d, Function.MATMUL, (4, 2), shape=(3, 4)),
    },
}


def operands_with_images(graph: IntGraph) -> list[str]:
    """Return the names of the last op's operands that are not constants, each once."""
    return [n for n in dict.fromkeys(graph.ops[-1].operands) if not graph.is_constant(n)]


def operands_for(graph: IntGraph, images: int = IMAGES, seed: int = 0) -> dict[str, IntArray]:
    """Return random codes [images, ...] for every operand of the last op that has images."""
    found = {}
    for index, name in enumerate(operands_with_images(graph)):
        codes = random_codes(graph.tensors[name], images, seed + 1000 * index)
        rows = codes.reshape(images, -1, codes.shape[-1])
        tensor = graph.tensors[name]
        rows[0, -1] = 3 if tensor.is_float else tensor.type.high  # one constant row
        found[name] = codes
    return found


def results(
    graph: IntGraph, operands: Mapping[str, IntArray], gemm: str = "numba"
) -> tuple[list[OpResult], OpResult]:
    """Run the graph's last op on ``operands`` [images, ...] by every kernel and by reference."""
    batches = [
        graph.constants[name] if graph.is_constant(name) else operands[name]
        for name in graph.ops[-1].operands
    ]
    kernels = [kernel(batches) for kernel in kernels_of(graph, gemm)]
    return kernels, reference_result(graph, operands)


def reference_result(graph: IntGraph, operands: Mapping[str, IntArray]) -> OpResult:
    """Run the graph's last op on ``operands`` [images, ...] by reference, image by image."""
    op = graph.ops[-1]
    images = len(next(iter(operands.values())))
    singles = [
        BEHAVIOURS[type(op)].reference(
            op,
            graph,
            [
                graph.constants[name] if graph.is_constant(name) else operands[name][image]
                for name in op.operands
            ],
        )
        for image in range(images)
    ]
    sums = [single.sums for single in singles if single.sums is not None]
    return OpResult(
        np.stack([single.codes for single in singles]),
        sum(single.saturated for single in singles),
        reduce(SumCounts.merged, sums) if sums else None,
    )


def kernels_of(graph: IntGraph, gemm: str = "numba") -> list[Kernel]:
    """Return the portable kernel of the graph's last op, and the SIMD one where it has one."""
    op = graph.ops[-1]
    portable, chosen = (
        kernel_of(op, graph, backend(gemm), portable=portable) for portable in (True, False)
    )
    return [portable] if chosen.__module__ == portable.__module__ else [portable, chosen]


def assert_kernel_equals_reference(
    graph: IntGraph, operands: Mapping[str, IntArray], gemm: str = "numba"
) -> OpResult:
    """Compare codes, their type and shape, and both counts; return the reference's."""
    before = {name: codes.copy() for name, codes in operands.items()}
    kernels, reference = results(graph, operands, gemm)
    result = graph.result(graph.ops[-1])
    for kernel in kernels:
        assert kernel.codes.shape == reference.codes.shape
        assert kernel.codes.shape[1:] == result.shape
        assert kernel.codes.dtype == reference.codes.dtype == result.type.dtype
        if result.is_float:
            assert np.isfinite(reference.codes).all()
            np.testing.assert_array_max_ulp(kernel.codes, reference.codes, maxulp=2)
        else:
            assert kernel.codes.tolist() == reference.codes.tolist()
        assert (kernel.saturated, kernel.sums) == (reference.saturated, reference.sums)
    for name, codes in operands.items():
        assert np.array_equal(codes, before[name]), f"operand {name} was changed"
    return reference
