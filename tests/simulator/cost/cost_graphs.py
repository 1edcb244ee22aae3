# SPDX-License-Identifier: Apache-2.0
"""Small graphs and profiles, built by hand, for the tests of the cost model."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np

from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.ops import (
    Add,
    Concat,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Op,
    Requantization,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.profile import NpuProfile, profile_paths

S8, U8, U1 = IntType(bits=8), IntType(bits=8, signed=False), IntType(bits=1, signed=False)
S4, S16, S32 = IntType(bits=4), IntType(bits=16), IntType(bits=32)
U6, U16 = IntType(bits=6, signed=False), IntType(bits=16, signed=False)
INT32 = Accumulator(levels=(AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP),))
FINISH: dict[str, Any] = {"rounding": Rounding.HALF_UP, "overflow": Overflow.SATURATE}


class Sketch:
    """A graph in the making; every method returns the name of the tensor it adds.

    Codes are 8-bit. All constants are filled with ones, which every op accepts.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.constants: dict[str, np.ndarray] = {}

    def _tensor(self, name: str, shape: tuple[int, ...], kind: IntType, role: Role) -> str:
        self.tensors[name] = Tensor(name=name, shape=shape, type=kind, role=role)
        return name

    def input(self, name: str, *shape: int) -> str:
        return self._tensor(name, shape, S8, Role.INPUT)

    def constant(self, name: str, kind: IntType, *shape: int) -> str:
        if name not in self.tensors:
            self.constants[name] = np.ones(shape, kind.dtype)
            self._tensor(name, shape, kind, Role.CONSTANT)
        return name

    def add_op(self, op: Op, shape: tuple[int, ...]) -> str:
        self.ops.append(op)
        return self._tensor(op.name, shape, S8, Role.ACTIVATION)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def requantization(self, name: str) -> Requantization:
        multiplier = self.constant(f"{name}.multiplier", S32, 1)  # 4 bytes
        shift = self.constant(f"{name}.shift", U6, 1)  # 1 byte
        return Requantization(multiplier=multiplier, shift=shift, **FINISH)

    def matmul(self, name: str, a: str, b: str, *, bias: str | None = None) -> str:
        requantize = self.requantization(name)
        op = MatMul(
            name=name,
            a=a,
            b=b,
            transpose_b=False,
            bias=bias,
            accumulator=INT32,
            requantize=requantize,
        )
        return self.add_op(op, (*self.shape(a)[:-1], self.shape(b)[-1]))

    def linear(self, name: str, a: str, features: int, kind: IntType = S8) -> str:
        weight = self.constant(f"{name}.weight", kind, self.shape(a)[-1], features)
        bias = self.constant(f"{name}.bias", S32, features)
        return self.matmul(name, a, weight, bias=bias)

    def rescale(self, name: str, a: str) -> str:
        op = Rescale(name=name, a=a, requantize=self.requantization(name))
        return self.add_op(op, self.shape(a))

    def add(self, name: str, a: str, b: str) -> str:
        multipliers = [self.constant(f"{name}.multiplier_{side}", S16, 1) for side in "ab"]
        op = Add(
            name=name,
            a=a,
            b=b,
            multiplier_a=multipliers[0],
            multiplier_b=multipliers[1],
            shift=8,
            **FINISH,
        )
        return self.add_op(op, self.shape(a))

    def layer_norm(self, name: str, a: str) -> str:
        channels = self.shape(a)[-1]
        op = LayerNorm(
            name=name,
            a=a,
            channel_multiplier=None,
            channel_shift=None,
            gamma=self.constant(f"{name}.gamma", S16, channels),
            beta=self.constant(f"{name}.beta", S32, channels),
            epsilon=1,
            sqrt_fraction_bits=4,
            reciprocal_bits=32,
            normalized_fraction_bits=12,
            shift=16,
            **FINISH,
        )
        return self.add_op(op, self.shape(a))

    def softmax(self, name: str, a: str) -> str:
        table = self.constant("exponentials", U16, 256)  # every softmax shares it
        op = Softmax(name=name, a=a, table=table, reciprocal_bits=24, shift=16, **FINISH)
        return self.add_op(op, self.shape(a))

    def lookup(self, name: str, a: str) -> str:
        op = Lookup(name=name, a=a, table=self.constant(f"{name}.table", S8, 256))
        return self.add_op(op, self.shape(a))

    def mean(self, name: str, a: str) -> str:
        op = Mean(name=name, a=a, axis=0, accumulator=INT32, requantize=self.requantization(name))
        return self.add_op(op, self.shape(a)[1:])

    def concat(self, name: str, *inputs: str) -> str:
        rows = sum(self.shape(item)[0] for item in inputs)
        op = Concat(name=name, inputs=inputs, axis=0)
        return self.add_op(op, (rows, *self.shape(inputs[0])[1:]))

    def slice(self, name: str, a: str, start: int, stop: int, axis: int = 0, step: int = 1) -> str:
        shape = list(self.shape(a))
        shape[axis] = len(range(start, stop, step))
        op = Slice(name=name, a=a, axis=axis, start=start, stop=stop, step=step)
        return self.add_op(op, tuple(shape))

    def reshape(self, name: str, a: str, *shape: int) -> str:
        return self.add_op(Reshape(name=name, a=a), shape)

    def transpose(self, name: str, a: str, *permutation: int) -> str:
        shape = tuple(self.shape(a)[axis] for axis in permutation)
        return self.add_op(Transpose(name=name, a=a, permutation=permutation), shape)

    def graph(self, *outputs: str) -> IntGraph:
        inputs = tuple(n for n, tensor in self.tensors.items() if tensor.role is Role.INPUT)
        return IntGraph(
            name="sketch",
            profile="edge_npu_int8",
            inputs=inputs,
            outputs=outputs,
            tensors=self.tensors,
            ops=tuple(self.ops),
            constants=self.constants,
        )


def transformer(tokens: int = 5, heads: int = 2, width: int = 4, blocks: int = 1) -> IntGraph:
    """Return a small vision transformer that has every kind of op."""
    s = Sketch()
    channels = heads * width
    patches = s.linear("embed", s.input("image", tokens - 1, 12), channels)
    x = s.concat("tokens", s.constant("class_token", S8, 1, channels), patches)
    x = s.add("positions", x, s.constant("position_codes", S8, tokens, channels))
    for block in range(blocks):
        x = _block(s, f"block{block}", x, tokens, heads, width)
    pooled = s.reshape("pooled", s.mean("mean", s.rescale("final", x)), 1, channels)
    return s.graph(s.linear("head", pooled, 10))


def _block(s: Sketch, name: str, x: str, tokens: int, heads: int, width: int) -> str:
    channels = heads * width
    qkv = s.linear(f"{name}.qkv", s.layer_norm(f"{name}.norm1", x), 3 * channels)
    split = s.reshape(f"{name}.split", qkv, tokens, 3, heads, width)
    parts = s.transpose(f"{name}.parts", split, 1, 2, 0, 3)
    q, k, v = (
        s.reshape(
            f"{name}.{letter}",
            s.slice(f"{name}.{letter}_part", parts, i, i + 1),
            heads,
            tokens,
            width,
        )
        for i, letter in enumerate("qkv")
    )
    k_columns = s.transpose(f"{name}.k_columns", k, 0, 2, 1)
    scores = s.softmax(f"{name}.softmax", s.matmul(f"{name}.scores", q, k_columns))
    mixed = s.transpose(f"{name}.mixed", s.matmul(f"{name}.mix", scores, v), 1, 0, 2)
    joined = s.reshape(f"{name}.joined", mixed, tokens, channels)
    x = s.add(f"{name}.add1", x, s.linear(f"{name}.project", joined, channels, S4))
    hidden = s.linear(f"{name}.fc1", s.layer_norm(f"{name}.norm2", x), 4 * channels, S4)
    hidden = s.lookup(f"{name}.gelu", hidden)
    return s.add(f"{name}.add2", x, s.linear(f"{name}.fc2", hidden, channels, S4))


def profile_with(**changes: Any) -> NpuProfile:
    """Return the shipped profile ``edge_npu_int8`` with other values.

    A double underscore in a keyword goes one table down: ``memory__sram_bytes=1``.
    """
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    values = tomllib.loads(text)
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = values
        for name in tables:
            table = table[name]
        table[key] = value
    return NpuProfile.model_validate(values)
