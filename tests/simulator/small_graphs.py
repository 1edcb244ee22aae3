# SPDX-License-Identifier: Apache-2.0
"""Small integer graphs, built by hand from the dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    Function,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Normalisation,
    Op,
    Quantize,
    Requantization,
    Rescale,
    Reshape,
    ShiftGelu,
    Shiftmax,
    Slice,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)
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


def narrowest(values: Sequence[int], *kinds: IntType) -> IntType:
    """Return the first type that holds all values, or the last."""
    fitting = (kind for kind in kinds if kind.low <= min(values) and max(values) <= kind.high)
    return next(fitting, kinds[-1])


INT32 = accumulator((0, 32, WRAP))


@dataclass
class Draft:
    """A graph in the making: every method adds one tensor and returns its name.

    Ops round and overflow by ``rounding`` and ``overflow``.
    """

    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = SATURATE
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, IntArray] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def declare(
        self,
        name: str,
        shape: Shape,
        kind: TensorType = S8,
        zero_point: int = 0,
        *,
        scale: tuple[float, ...] = (),
        role: Role = Role.ACTIVATION,
    ) -> str:
        self.tensors[name] = Tensor(
            name=name, shape=shape, type=kind, role=role, zero_point=zero_point, scale=scale
        )
        return name

    def input(self, name: str, shape: Shape, kind: TensorType = S8, zero_point: int = 0) -> str:
        return self.declare(name, shape, kind, zero_point, role=Role.INPUT)

    def operand(self, name: str, shape: Shape, kind: TensorType = S8, zero_point: int = 0) -> str:
        """Add the input or, as a graph has one only, an activation computed somehow from it."""
        inputs = [n for n, tensor in self.tensors.items() if tensor.role is Role.INPUT]
        if not inputs:
            return self.input(name, shape, kind, zero_point)
        (source,) = inputs
        size = int(np.prod(shape))
        row = self.reshape(f"{name}.row", source, self.tensors[source].size)
        one = self.slice(f"{name}.one", row, 0, 1)
        many = self.concat(f"{name}.many", *[one] * size)
        shaped = self.reshape(f"{name}.shaped", many, *shape)
        if kind == FLOAT32:
            return self.float_function(name, Function.SCALE, shaped, factor=0.75)
        return self.rescale(name, shaped, kind=kind, zero_point=zero_point)

    def constant(
        self, name: str, codes: Sequence[Any] | IntArray, kind: IntType, zero_point: int = 0
    ) -> str:
        wide = np.array(codes, dtype=object)
        assert all(kind.low <= code <= kind.high for code in wide.ravel()), name
        self.constants[name] = wide.astype(kind.dtype)
        return self.declare(name, wide.shape, kind, zero_point, role=Role.CONSTANT)

    def real(self, name: str, values: Any) -> str:
        """Add a constant of real values."""
        self.constants[name] = np.asarray(values, np.float32)
        return self.declare(name, self.constants[name].shape, FLOAT32, role=Role.CONSTANT)

    def shape(self, name: str) -> Shape:
        return self.tensors[name].shape

    def _result(self, op: Op, shape: Shape, kind: TensorType, zero_point: int) -> str:
        self.ops.append(op)
        return self.declare(op.name, shape, kind, zero_point)

    def _requantization(
        self, name: str, multiplier: Sequence[int], shift: Sequence[int]
    ) -> Requantization:
        return Requantization(
            multiplier=self.constant(f"{name}.multiplier", multiplier, U31),
            shift=self.constant(f"{name}.shift", shift, SHIFT),
            rounding=self.rounding,
            overflow=self.overflow,
        )

    def matmul(
        self,
        name: str,
        a: str,
        b: str,
        *,
        bias: str | None = None,
        transpose_b: bool = False,
        levels: Accumulator = INT32,
        multiplier: Sequence[int] = (1,),
        shift: Sequence[int] = (6,),
        kind: IntType = S8,
        zero_point: int = 0,
        residual: str | None = None,
        residual_multiplier: Sequence[int] | None = None,
        residual_fraction_bits: int = 0,
    ) -> str:
        op = MatMul(
            name=name,
            a=a,
            b=b,
            transpose_b=transpose_b,
            bias=bias,
            accumulator=levels,
            requantize=self._requantization(name, multiplier, shift),
            residual=residual,
            residual_multiplier=(
                self.constant(f"{name}.residual_multiplier", residual_multiplier, U31)
                if residual_multiplier
                else None
            ),
            residual_fraction_bits=residual_fraction_bits,
        )
        columns = self.shape(b)[-2 if transpose_b else -1]
        return self._result(op, (*self.shape(a)[:-1], columns), kind, zero_point)

    def rescale(
        self,
        name: str,
        a: str,
        *,
        multiplier: Sequence[int] = (1,),
        shift: Sequence[int] = (1,),
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = Rescale(name=name, a=a, requantize=self._requantization(name, multiplier, shift))
        return self._result(op, self.shape(a), kind, zero_point)

    def add(
        self,
        name: str,
        a: str,
        b: str,
        *,
        multiplier_a: Sequence[int] = (3,),
        multiplier_b: Sequence[int] = (5,),
        shift: int = 3,
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = Add(
            name=name,
            a=a,
            b=b,
            multiplier_a=self.constant(f"{name}.multiplier_a", multiplier_a, U31),
            multiplier_b=self.constant(f"{name}.multiplier_b", multiplier_b, U31),
            shift=shift,
            rounding=self.rounding,
            overflow=self.overflow,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def layer_norm(
        self,
        name: str,
        a: str,
        *,
        gamma: Sequence[int],
        beta: Sequence[int],
        channel_multiplier: Sequence[int] | None = None,
        channel_shift: Sequence[int] | None = None,
        epsilon: int = 1,
        sqrt_fraction_bits: int = 4,
        reciprocal_bits: int = 32,
        normalized_fraction_bits: int = 10,
        shift: int = 14,
        root_steps: int = 0,
        root_start_bits: int = 0,
        beta_shift: int = 0,
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        shifts = None
        if channel_shift is not None:
            shifts = self.constant(f"{name}.channel_shift", channel_shift, U4)
        multipliers = None
        if channel_multiplier is not None:
            multipliers = self.constant(f"{name}.channel_multiplier", channel_multiplier, U16)
        op = LayerNorm(
            name=name,
            a=a,
            channel_multiplier=multipliers,
            channel_shift=shifts,
            gamma=self.constant(f"{name}.gamma", gamma, S32),
            beta=self.constant(f"{name}.beta", beta, narrowest(beta, S32, S64)),
            epsilon=epsilon,
            sqrt_fraction_bits=sqrt_fraction_bits,
            reciprocal_bits=reciprocal_bits,
            normalized_fraction_bits=normalized_fraction_bits,
            shift=shift,
            rounding=self.rounding,
            overflow=self.overflow,
            root_steps=root_steps,
            root_start_bits=root_start_bits,
            beta_shift=beta_shift,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax(
        self,
        name: str,
        a: str,
        *,
        table: Sequence[int],
        reciprocal_bits: int = 24,
        shift: int = 16,
        kind: IntType = U8,
        zero_point: int = 0,
        normalisation: Normalisation = Normalisation.RECIPROCAL,
    ) -> str:
        op = Softmax(
            name=name,
            a=a,
            table=self.constant(f"{name}.table", table, narrowest(table, U16, U31)),
            reciprocal_bits=reciprocal_bits,
            shift=shift,
            rounding=self.rounding,
            overflow=self.overflow,
            normalisation=normalisation,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_gemmlowp(
        self,
        name: str,
        a: str,
        *,
        input_multiplier: int = 1717986918,
        input_left_shift: int = 22,
        smallest_difference: int = -496,
        kind: IntType = U8,
        zero_point: int = 0,
    ) -> str:
        op = SoftmaxGemmlowp(
            name=name,
            a=a,
            input_multiplier=input_multiplier,
            input_left_shift=input_left_shift,
            smallest_difference=smallest_difference,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_lut513(
        self,
        name: str,
        a: str,
        *,
        exp_table: Sequence[int] | IntArray,
        reciprocal_table: Sequence[int] | IntArray,
        input_multiplier: int = 1 << 30,
        input_left_shift: int = 3,
        kind: IntType = S16,
        zero_point: int = 0,
    ) -> str:
        op = SoftmaxLut513(
            name=name,
            a=a,
            input_multiplier=input_multiplier,
            input_left_shift=input_left_shift,
            exp_table=self.constant(f"{name}.exp_table", exp_table, S16),
            reciprocal_table=self.constant(f"{name}.reciprocal_table", reciprocal_table, S16),
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_float_table(
        self, name: str, a: str, *, table: Any, kind: IntType = U8, zero_point: int = 0
    ) -> str:
        op = SoftmaxFloatTable(
            name=name, a=a, table=self.real(f"{name}.table", table), rounding=self.rounding
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_ibert(
        self,
        name: str,
        a: str,
        *,
        coefficient_a: int = 1,
        coefficient_b: int = 27,
        coefficient_c: int = 383,
        log2: int = 13,
        kind: IntType = S8,
        zero_point: int = -128,
    ) -> str:
        op = SoftmaxIBert(
            name=name,
            a=a,
            coefficient_a=coefficient_a,
            coefficient_b=coefficient_b,
            coefficient_c=coefficient_c,
            log2=log2,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def shiftmax(
        self,
        name: str,
        a: str,
        *,
        x0: int = -20,
        n: int = 15,
        output_bits: int = 16,
        kind: IntType = S16,
        zero_point: int = 0,
    ) -> str:
        op = Shiftmax(name=name, a=a, x0=x0, n=n, output_bits=output_bits)
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_ita(
        self,
        name: str,
        a: str,
        *,
        octave_bits: int = 5,
        group: int = 16,
        largest: int = 255,
        kind: IntType = U8,
        zero_point: int = 0,
    ) -> str:
        op = SoftmaxIta(name=name, a=a, octave_bits=octave_bits, group=group, largest=largest)
        return self._result(op, self.shape(a), kind, zero_point)

    def softmax_log2(
        self,
        name: str,
        a: str,
        *,
        x0: int = -14,
        b: int = 54,
        c: int = 1116,
        n: int = 30,
        kind: IntType = U4,
        zero_point: int = 0,
    ) -> str:
        op = SoftmaxLog2(name=name, a=a, x0=x0, b=b, c=c, n=n)
        return self._result(op, self.shape(a), kind, zero_point)

    def lookup(
        self, name: str, a: str, *, table: Sequence[int], kind: IntType = S8, zero_point: int = 0
    ) -> str:
        op = Lookup(name=name, a=a, table=self.constant(f"{name}.table", table, kind))
        return self._result(op, self.shape(a), kind, zero_point)

    def mean(
        self,
        name: str,
        a: str,
        *,
        axis: int = 0,
        levels: Accumulator = INT32,
        multiplier: Sequence[int] = (1,),
        shift: Sequence[int] = (2,),
        keep_dimension: bool = False,
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = Mean(
            name=name,
            a=a,
            axis=axis,
            accumulator=levels,
            requantize=self._requantization(name, multiplier, shift),
            keep_dimension=keep_dimension,
        )
        shape = self.shape(a)
        kept = (1,) if keep_dimension else ()
        return self._result(op, (*shape[:axis], *kept, *shape[axis + 1 :]), kind, zero_point)

    def _joined(self, a: str, b: str) -> Shape:
        """Shape of an op of two tensors whose last dimensions may be broadcast."""
        return (*self.shape(a)[:-1], max(self.shape(a)[-1], self.shape(b)[-1]))

    def _common_scale(
        self,
        op_type: type[Op],
        name: str,
        a: str,
        b: str,
        *,
        factors: Sequence[tuple[int, int]] = ((3, 5), (5, 6), (7, 4)),
        input_left_shift: int = 3,
        double_rounding: DoubleRounding = DoubleRounding.NONE,
        kind: IntType = S8,
        zero_point: int = 0,
        **fields: Any,
    ) -> str:
        """Add an op with factors (multiplier, shift) of a, of b and of the result."""
        (multiplier_a, shift_a), (multiplier_b, shift_b), (multiplier, shift) = factors
        op = op_type(
            name=name,
            a=a,
            b=b,
            input_left_shift=input_left_shift,
            multiplier_a=multiplier_a,
            shift_a=shift_a,
            multiplier_b=multiplier_b,
            shift_b=shift_b,
            multiplier=multiplier,
            shift=shift,
            rounding=self.rounding,
            double_rounding=double_rounding,
            overflow=self.overflow,
            **fields,
        )
        return self._result(op, self._joined(a, b), kind, zero_point)

    def add_shifted(
        self, name: str, a: str, b: str, *, subtract: bool = False, **fields: Any
    ) -> str:
        return self._common_scale(AddShifted, name, a, b, subtract=subtract, **fields)

    def squared_difference(self, name: str, a: str, b: str, **fields: Any) -> str:
        return self._common_scale(SquaredDifference, name, a, b, **fields)

    def mul(
        self,
        name: str,
        a: str,
        b: str,
        *,
        multiplier: Sequence[int] = (3,),
        shift: Sequence[int] = (8,),
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = Mul(name=name, a=a, b=b, requantize=self._requantization(name, multiplier, shift))
        return self._result(op, self._joined(a, b), kind, zero_point)

    def interpolated_lookup(
        self,
        name: str,
        a: str,
        *,
        table: Sequence[int],
        table_type: IntType = S16,
        fraction_bits: int = 7,
        shift: int = 7,
        kind: IntType = S16,
        zero_point: int = 0,
    ) -> str:
        op = InterpolatedLookup(
            name=name,
            a=a,
            table=self.constant(f"{name}.table", table, table_type),
            fraction_bits=fraction_bits,
            shift=shift,
            rounding=self.rounding,
            overflow=self.overflow,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def gelu_polynomial(
        self,
        name: str,
        a: str,
        *,
        clip: int = 50,
        constant: int = -2500,
        one: int = -2500,
        negated: bool = False,
        erf_shift: int = 0,
        sum_shift: int = 0,
        clip_low: int | None = None,
        intermediate_bits: int = 26,
        multiplier: Sequence[int] = (7,),
        shift: Sequence[int] = (15,),
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = GeluPolynomial(
            name=name,
            a=a,
            clip=clip,
            constant=constant,
            one=one,
            negated=negated,
            erf_shift=erf_shift,
            sum_shift=sum_shift,
            clip_low=clip_low,
            intermediate_bits=intermediate_bits,
            requantize=self._requantization(name, multiplier, shift),
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def shift_gelu(
        self,
        name: str,
        a: str,
        *,
        octave: int = 12,
        fraction_bits: int = 23,
        output_bits: int = 8,
        multiplier: Sequence[int] = (3,),
        shift: Sequence[int] = (8,),
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = ShiftGelu(
            name=name,
            a=a,
            octave=octave,
            fraction_bits=fraction_bits,
            output_bits=output_bits,
            requantize=self._requantization(name, multiplier, shift),
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def layer_norm_bisection(
        self,
        name: str,
        a: str,
        *,
        weight: Sequence[int],
        bias: Sequence[int],
        shift: int = 8,
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = LayerNormBisection(
            name=name,
            a=a,
            weight=self.constant(f"{name}.weight", weight, S32),
            bias=self.constant(f"{name}.bias", bias, S32),
            shift=shift,
            rounding=self.rounding,
            overflow=self.overflow,
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def quantize(
        self,
        name: str,
        a: str,
        *,
        step: Any = None,
        thresholds: Sequence[float] | None = None,
        kind: IntType = S8,
        zero_point: int = 0,
    ) -> str:
        op = Quantize(
            name=name,
            a=a,
            step=None if step is None else self.real(f"{name}.step", step),
            thresholds=thresholds and self.real(f"{name}.thresholds", thresholds),
        )
        return self._result(op, self.shape(a), kind, zero_point)

    def dequantize(
        self, name: str, a: str, *, step: Any, bias: Sequence[float] | None = None
    ) -> str:
        op = Dequantize(
            name=name,
            a=a,
            step=self.real(f"{name}.step", step),
            bias=bias and self.real(f"{name}.bias", bias),
        )
        return self._result(op, self.shape(a), FLOAT32, 0)

    def float_function(
        self,
        name: str,
        function: Function,
        *inputs: str,
        weight: Any = None,
        bias: Any = None,
        **fields: Any,
    ) -> str:
        op = FloatFunction(
            name=name,
            function=function,
            inputs=inputs,
            weight=None if weight is None else self.real(f"{name}.weight", weight),
            bias=None if bias is None else self.real(f"{name}.bias", bias),
            **fields,
        )
        shape = self.shape(inputs[0])
        if function is Function.MEAN:
            shape = shape[: op.axis] + shape[op.axis + 1 :]
        elif function is Function.LINEAR:
            shape = (*shape[:-1], len(weight))
        elif function is Function.MATMUL:
            shape = (*shape[:-1], self.shape(inputs[1])[-2 if op.transpose_b else -1])
        return self._result(op, shape, FLOAT32, 0)

    def _moved(self, op: Op, source: str, shape: Shape) -> str:
        tensor = self.tensors[source]
        return self._result(op, shape, tensor.type, tensor.zero_point)

    def concat(self, name: str, *inputs: str, axis: int = 0) -> str:
        shape = list(self.shape(inputs[0]))
        shape[axis] = sum(self.shape(part)[axis] for part in inputs)
        return self._moved(Concat(name=name, inputs=inputs, axis=axis), inputs[0], tuple(shape))

    def slice(
        self, name: str, a: str, start: int, stop: int, step: int = 1, *, axis: int = 0
    ) -> str:
        shape = list(self.shape(a))
        shape[axis] = len(range(start, stop, step)) if step > 0 else stop - start
        op = Slice(name=name, a=a, axis=axis, start=start, stop=stop, step=step)
        return self._moved(op, a, tuple(shape))

    def reshape(self, name: str, a: str, *shape: int) -> str:
        return self._moved(Reshape(name=name, a=a), a, shape)

    def transpose(self, name: str, a: str, *permutation: int) -> str:
        shape = tuple(self.shape(a)[axis] for axis in permutation)
        return self._moved(Transpose(name=name, a=a, permutation=permutation), a, shape)

    def graph(self, *outputs: str, meta: Mapping[str, str] = MappingProxyType({})) -> IntGraph:
        """Return the graph; its outputs default to all results that no op reads."""
        read = {name for op in self.ops for name in op.operands}
        last = tuple(op.name for op in self.ops if op.name not in read)
        return IntGraph(
            name="small",
            profile="by_hand",
            inputs=tuple(n for n, tensor in self.tensors.items() if tensor.role is Role.INPUT),
            outputs=outputs or last,
            tensors=self.tensors,
            ops=tuple(self.ops),
            constants=self.constants,
            meta=meta,
        )


def exponentials(bits: int = 8, largest: int = 1000, half_life: int = 12) -> list[int]:
    """A table for softmax that falls by half every ``half_life`` codes and ends in zeros."""
    return [largest >> (code // half_life) for code in range(1 << bits)]


def encoder_block(seed: int = 1) -> IntGraph:
    """Return a graph like one block of a vision transformer: every type of op occurs."""
    rng = np.random.default_rng(seed)
    tokens, heads, width, hidden = 5, 2, 3, 8
    channels = heads * width
    d = Draft()

    def linear(name: str, a: str, features: int, *, kind: IntType = S8, zero_point: int = 0) -> str:
        weight = rng.integers(-8, 8, (features, d.shape(a)[-1]))
        bias = rng.integers(-300, 300, features) - d.tensors[a].zero_point * weight.sum(axis=1)
        return d.matmul(
            name,
            a,
            d.constant(f"{name}.weight", weight, S4),
            bias=d.constant(f"{name}.bias", bias, S32),
            transpose_b=True,
            levels=accumulator((2, 11, SATURATE), (0, 32, WRAP)),
            multiplier=rng.integers(1 << 14, 1 << 15, features),
            shift=rng.integers(17, 20, features),
            kind=kind,
            zero_point=zero_point,
        )

    def norm(name: str, a: str) -> str:
        return d.layer_norm(
            name,
            a,
            gamma=rng.integers(-(1 << 10), 1 << 10, channels),
            beta=rng.integers(-(1 << 18), 1 << 18, channels),
            channel_shift=rng.integers(0, 3, channels),
            zero_point=-9,
        )

    x = linear("embed", d.input("image", (tokens - 1, 4), U8, 117), channels, zero_point=7)
    class_token = d.constant("class_token", rng.integers(-128, 128, (1, channels)), S8, 7)
    x = d.concat("tokens", class_token, x)
    positions = d.constant("positions", rng.integers(-128, 128, (tokens, channels)), S8, -2)
    x = d.add("embedded", x, positions, kind=S16, zero_point=11)
    qkv = linear("qkv", norm("norm1", x), 3 * channels)
    split = d.transpose("split", d.reshape("parts", qkv, tokens, 3, heads, width), 1, 2, 0, 3)
    q, k, v = (
        d.reshape(name, d.slice(f"{name}_part", split, i, i + 1), heads, tokens, width)
        for i, name in enumerate("qkv")
    )
    narrow = accumulator((0, 14, SATURATE))
    scores = d.matmul("scores", q, k, transpose_b=True, levels=narrow, shift=(5,))
    probabilities = d.softmax("probabilities", scores, table=exponentials())
    mixed = d.matmul("mix", probabilities, v, levels=accumulator((0, 14, WRAP)), shift=(8,))
    joined = d.reshape("joined", d.transpose("mixed", mixed, 1, 0, 2), tokens, channels)
    x = d.add("add1", x, linear("project", joined, channels, zero_point=-4), kind=S16, shift=2)
    inner = linear("fc1", norm("norm2", x), hidden, zero_point=5)
    curve = [max(code - 5, (code - 5) // 8) // 2 for code in range(-128, 128)]
    inner = d.lookup("gelu", inner, table=curve, zero_point=-3)
    x = d.add("add2", x, linear("fc2", inner, channels), kind=S16, zero_point=-20)
    pooled = d.mean("mean", d.rescale("final", x, multiplier=(3,), shift=(4,), zero_point=3))
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
    ops = tuple(replace(op, **changes) if op.name == name else op for op in graph.ops)
    return replace(graph, ops=ops)


def with_tensor(graph: IntGraph, name: str, /, **changes: Any) -> IntGraph:
    """Return the graph with another declaration of one tensor."""
    return replace(graph, tensors={**graph.tensors, name: replace(graph.tensors[name], **changes)})


def with_codes(graph: IntGraph, name: str, codes: Any) -> IntGraph:
    """Return the graph with other codes, of any shape and type, in one constant."""
    return replace(graph, constants={**graph.constants, name: np.asarray(codes)})
