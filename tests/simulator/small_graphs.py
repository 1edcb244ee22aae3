# SPDX-License-Identifier: Apache-2.0
"""Small integer graphs, written by hand with the builder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.errors import InputError
from simulator.graph import ops
from simulator.graph.builder import GraphBuilder
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.ops import SPECS, Function, Op
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage
from simulator.numerics.float_type import FLOAT32, TensorType
from simulator.numerics.integer_type import IntArray, IntType, Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding

Shape = tuple[int, ...]

S4, S8, S16, S32 = (IntType(bits=bits) for bits in (4, 8, 16, 32))
U4, U8, U16, U31 = (IntType(bits=bits, signed=False) for bits in (4, 8, 16, 31))
S64 = IntType(bits=64)
SHIFT = IntType(bits=6, signed=False)
WRAP, SATURATE = Overflow.WRAP, Overflow.SATURATE


def accumulator(*levels: tuple[int, int, Overflow], bias_last: bool = False) -> Accumulator:
    """Levels as (group, bits, overflow), innermost first."""
    return Accumulator(
        levels=tuple(
            AccumulatorLevel(group=group, bits=bits, overflow=overflow)
            for group, bits, overflow in levels
        ),
        bias=BiasStage.AFTER_LAST_BLOCK if bias_last else BiasStage.PRELOAD,
    )


def first_that_holds(values: Any, *types: IntType) -> IntType:
    """Return the first type that holds all values, or the last."""
    fitting = (kind for kind in types if kind.low <= min(values) and max(values) <= kind.high)
    return next(fitting, types[-1])


INT32 = accumulator((0, 32, WRAP))
TYPES = {
    **dict.fromkeys(("multiplier", "multiplier_a", "multiplier_b", "residual_multiplier"), U31),
    **dict.fromkeys(("exp_table", "reciprocal_table"), S16),
    **dict.fromkeys(("gamma", "weight", "bias"), S32),
    "shift": SHIFT,
    "channel_multiplier": U16,
    "channel_shift": U4,
}
COMMON_SCALE = {
    "factors": ((3, 5), (5, 6), (7, 4)),
    "input_left_shift": 3,
    "double_rounding": DoubleRounding.NONE,
}
LEVELS = (128, 91, 64, 45, 32, 23, 16, 11, 8, 6, 4, 3, 2, 1, 1, 0)  # half octaves of 4 bits
# What drafts leave out, by op: fields, and the type and zero point of the result (else s8 and 0).
DEFAULTS: Mapping[type[Op], Mapping[str, Any]] = MappingProxyType(
    {
        ops.MatMul: {"transpose_b": False, "multiplier": (1,), "shift": (6,)},
        ops.ScaledMatMul: {"transpose_b": False, "block": 0, "multiplier": (1,), "shift": (11,)},
        ops.Rescale: {"multiplier": (1,), "shift": (1,)},
        ops.Add: {"multiplier_a": (3,), "multiplier_b": (5,), "shift": 3},
        ops.LayerNorm: {
            "epsilon": 1,
            "sqrt_fraction_bits": 4,
            "reciprocal_bits": 32,
            "normalized_fraction_bits": 10,
            "shift": 14,
        },
        ops.LayerNormBisection: {"shift": 8},
        ops.Softmax: {"reciprocal_bits": 24, "shift": 16, "type": U8},
        ops.SoftmaxGemmlowp: {
            "input_multiplier": 1717986918,
            "input_left_shift": 22,
            "smallest_difference": -496,
            "type": U8,
        },
        ops.SoftmaxLut513: {"input_multiplier": 1 << 30, "input_left_shift": 3, "type": S16},
        ops.SoftmaxFloatTable: {"type": U8},
        ops.SoftmaxIBert: {
            "coefficient_a": 1,
            "coefficient_b": 27,
            "coefficient_c": 383,
            "log2": 13,
            "zero_point": -128,
        },
        ops.Shiftmax: {"x0": -20, "n": 15, "output_bits": 16, "type": S16},
        ops.SoftmaxIta: {"octave_bits": 5, "group": 16, "largest": 255, "type": U8},
        ops.SoftmaxLog2: {"x0": -14, "b": 54, "c": 1116, "n": 30, "type": U4},
        ops.DeferredSoftmax: {"multiplier": 23, "shift": 8, "type": U4},
        ops.NormalizedMatMul: {
            "levels": LEVELS,
            "transpose_b": False,
            "reciprocal_bits": 20,
            "multiplier": (3,),
            "shift": (22,),
        },
        ops.Mean: {"axis": 0, "multiplier": (1,), "shift": (2,)},
        ops.AddShifted: {"subtract": False, **COMMON_SCALE},
        ops.SquaredDifference: COMMON_SCALE,
        ops.Mul: {"multiplier": (3,), "shift": (8,)},
        ops.InterpolatedLookup: {"fraction_bits": 7, "shift": 7, "type": S16},
        ops.GeluPolynomial: {
            "clip": 50,
            "constant": -2500,
            "one": -2500,
            "negated": False,
            "erf_shift": 0,
            "sum_shift": 0,
            "intermediate_bits": 26,
            "multiplier": (7,),
            "shift": (15,),
        },
        ops.ShiftGelu: {
            "octave": 12,
            "fraction_bits": 23,
            "output_bits": 8,
            "multiplier": (3,),
            "shift": (8,),
        },
        ops.Hadamard: {"multiplier": (1,), "shift": (1,)},
        ops.GroupMaximum: {"type": U16},
        ops.GroupExponent: {"bits": 4, "trim": 0, "type": U4},
        ops.GroupQuantize: {"numerator": 7 << 24, "shift": 24, "type": S4},
        ops.GroupShift: {"type": S4},
        ops.Concat: {"axis": 0},
        ops.Slice: {"axis": 0},
    }
)


class Draft(GraphBuilder):
    """A graph in the making that need not become a valid one.

    What a call leaves out is in ``DEFAULTS``; results and inputs have 8 bits.
    """

    def __init__(
        self, rounding: Rounding = Rounding.HALF_UP, overflow: Overflow = SATURATE
    ) -> None:
        choices = {"rounding": rounding, "overflow": overflow, "accumulator": INT32}
        super().__init__("small", defaults=choices, types=TYPES)

    def input(
        self,
        name: str,
        shape: Shape,
        type: TensorType = S8,
        zero_point: int = 0,
        scale: tuple[float, ...] = (),
    ) -> str:
        return super().input(name, shape, type, zero_point, scale)

    def op(self, op_type: type[Op], name: str, /, *operands: str, **given: Any) -> str:
        """Append an op; ``factors`` at a common scale are three pairs of multiplier and shift."""
        given = {**DEFAULTS.get(op_type, {}), **given}
        if not SPECS[op_type].moves_codes and "result" not in SPECS[op_type].real:
            given = {"type": S8} | given
        if "factors" in given:
            names = ("multiplier_a", "shift_a", "multiplier_b", "shift_b", "multiplier", "shift")
            given |= zip(names, chain(*given.pop("factors")), strict=True)
        if given.get("function") is Function.LINEAR:
            given["shape"] = (*self.shape(operands[0])[:-1], len(given["weight"]))
        if op_type is ops.LayerNorm:
            self.types = TYPES | {"beta": first_that_holds(given["beta"], S32, S64)}
        elif op_type is ops.Softmax:
            self.types = TYPES | {"table": first_that_holds(given["table"], U16, U31)}
        elif op_type is ops.InterpolatedLookup:
            self.types = TYPES | {"table": S16}
        elif op_type is ops.Lookup:
            self.types = TYPES | {"table": given["type"]}
        return super().op(op_type, name, *operands, **given)

    def implied_shape(self, op: Op, declared: Shape = ()) -> Shape:
        """Return the implied shape, or any where operands do not go together: verify says so."""
        try:
            return super().implied_shape(op, declared)
        except InputError:
            return declared or self.shape(op.operands[0])

    def slice(
        self, name: str, a: str, start: int, stop: int, step: int = 1, *, axis: int = 0
    ) -> str:
        return self.op(ops.Slice, name, a, axis=axis, start=start, stop=stop, step=step)

    def reshape(self, name: str, a: str, *shape: int) -> str:
        return self.op(ops.Reshape, name, a, shape=shape)

    def transpose(self, name: str, a: str, *permutation: int) -> str:
        return self.op(ops.Transpose, name, a, permutation=permutation)

    def operand(self, name: str, shape: Shape, type: TensorType = S8, zero_point: int = 0) -> str:
        """Add the input or, as a graph has one only, an activation computed somehow from it."""
        inputs = [n for n, tensor in self.tensors.items() if tensor.role is Role.INPUT]
        if not inputs:
            return self.input(name, shape, type, zero_point)
        (source,) = inputs
        size = int(np.prod(shape))
        row = self.reshape(f"{name}.row", source, self.tensors[source].size)
        one = self.slice(f"{name}.one", row, 0, 1)
        many = self.op(ops.Concat, f"{name}.many", *[one] * size)
        shaped = self.reshape(f"{name}.shaped", many, *shape)
        if type == FLOAT32:
            return self.op(ops.FloatFunction, name, shaped, function=Function.SCALE, factor=0.75)
        return self.op(ops.Rescale, name, shaped, type=type, zero_point=zero_point)

    def shape(self, name: str) -> Shape:
        return self.tensors[name].shape

    def graph(self, *outputs: str, meta: Mapping[str, str] = MappingProxyType({})) -> IntGraph:
        """Return the graph, valid or not; its outputs default to all results that no op reads."""
        return self.unverified(*outputs, meta=meta)


def exponentials(bits: int = 8, largest: int = 1000, half_life: int = 12) -> list[int]:
    """A table for softmax that falls by half every ``half_life`` codes and ends in zeros."""
    return [largest >> (code // half_life) for code in range(1 << bits)]


def encoder_block(seed: int = 1, tokens: int = 5) -> IntGraph:
    """Return a graph like one block of a vision transformer: every type of op occurs."""
    rng = np.random.default_rng(seed)
    heads, width, hidden = 2, 3, 8
    channels = heads * width
    d = Draft()

    def linear(name: str, a: str, features: int, *, kind: IntType = S8, zero_point: int = 0) -> str:
        weight = rng.integers(-8, 8, (features, d.shape(a)[-1]))
        bias = rng.integers(-300, 300, features) - d.tensors[a].zero_point * weight.sum(axis=1)
        return d.op(
            ops.MatMul,
            name,
            a,
            d.constant(f"{name}.weight", weight, S4),
            bias=d.constant(f"{name}.bias", bias, S32),
            transpose_b=True,
            accumulator=accumulator((2, 11, SATURATE), (0, 32, WRAP)),
            multiplier=rng.integers(1 << 14, 1 << 15, features),
            shift=rng.integers(17, 20, features),
            type=kind,
            zero_point=zero_point,
        )

    def norm(name: str, a: str) -> str:
        return d.op(
            ops.LayerNorm,
            name,
            a,
            gamma=rng.integers(-(1 << 10), 1 << 10, channels),
            beta=rng.integers(-(1 << 18), 1 << 18, channels),
            channel_shift=rng.integers(0, 3, channels),
            zero_point=-9,
        )

    x = linear("embed", d.input("image", (tokens - 1, 4), U8, 117), channels, zero_point=7)
    class_token = d.constant("class_token", rng.integers(-128, 128, (1, channels)), S8, 7)
    x = d.op(ops.Concat, "tokens", class_token, x)
    positions = d.constant("positions", rng.integers(-128, 128, (tokens, channels)), S8, -2)
    x = d.op(ops.Add, "embedded", x, positions, type=S16, zero_point=11)
    qkv = linear("qkv", norm("norm1", x), 3 * channels)
    split = d.transpose("split", d.reshape("parts", qkv, tokens, 3, heads, width), 1, 2, 0, 3)
    q, k, v = (
        d.reshape(name, d.slice(f"{name}_part", split, i, i + 1), heads, tokens, width)
        for i, name in enumerate("qkv")
    )
    narrow = accumulator((0, 14, SATURATE))
    scores = d.op(ops.MatMul, "scores", q, k, transpose_b=True, accumulator=narrow, shift=(5,))
    probabilities = d.op(ops.Softmax, "probabilities", scores, table=exponentials())
    mixed = d.op(
        ops.MatMul, "mix", probabilities, v, accumulator=accumulator((0, 14, WRAP)), shift=(8,)
    )
    joined = d.reshape("joined", d.transpose("mixed", mixed, 1, 0, 2), tokens, channels)
    x = d.op(
        ops.Add, "add1", x, linear("project", joined, channels, zero_point=-4), type=S16, shift=2
    )
    inner = linear("fc1", norm("norm2", x), hidden, zero_point=5)
    curve = [max(code - 5, (code - 5) // 8) // 2 for code in range(-128, 128)]
    inner = d.op(ops.Lookup, "gelu", inner, table=curve, zero_point=-3)
    x = d.op(ops.Add, "add2", x, linear("fc2", inner, channels), type=S16, zero_point=-20)
    pooled = d.op(
        ops.Mean, "mean", d.op(ops.Rescale, "final", x, multiplier=(3,), shift=(4,), zero_point=3)
    )
    linear("head", pooled, 4)
    return d.graph()


def random_codes(tensor: Tensor, images: int, seed: int) -> IntArray:
    """Return codes [images, ...] of a tensor: uniform, but every third one at an extreme.

    Of a real tensor, values of a normal distribution, every third one a multiple of 1/4.
    """
    rng = np.random.default_rng(seed)
    shape = (images, *tensor.shape)
    if tensor.is_float:
        values = rng.normal(scale=2, size=shape)
        return np.where(rng.random(shape) < 1 / 3, np.rint(4 * values) / 4, values).astype("f4")
    low, high = tensor.type.low, tensor.type.high
    uniform = rng.integers(low, high, shape, dtype=np.int64, endpoint=True)
    extremes = rng.choice(np.array([low, low + 1, high - 1, high], np.int64), shape)
    return np.where(rng.random(shape) < 1 / 3, extremes, uniform).astype(tensor.type.dtype)


def input_codes(graph: IntGraph, images: int, seed: int = 0) -> IntArray:
    """Return codes for the graph's one input."""
    (name,) = graph.inputs
    return random_codes(graph.tensors[name], images, seed)


def with_op(graph: IntGraph, name: str, /, **changes: Any) -> IntGraph:
    """Return the graph with other fields in one op."""
    changed = (replace(op, **changes) if op.name == name else op for op in graph.ops)
    return replace(graph, ops=tuple(changed))


def with_tensor(graph: IntGraph, name: str, /, **changes: Any) -> IntGraph:
    """Return the graph with another declaration of one tensor."""
    return replace(graph, tensors={**graph.tensors, name: replace(graph.tensors[name], **changes)})


def with_codes(graph: IntGraph, name: str, codes: Any) -> IntGraph:
    """Return the graph with other codes, of any shape and type, in one constant."""
    return replace(graph, constants={**graph.constants, name: np.asarray(codes)})
