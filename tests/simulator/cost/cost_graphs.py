# SPDX-License-Identifier: Apache-2.0
"""Small graphs and profiles, built by hand, for the tests of the cost model."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np

from simulator.graph.builder import GraphBuilder
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    SPECS,
    Add,
    Concat,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Op,
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


TYPES = {
    **dict.fromkeys(("multiplier_a", "multiplier_b", "gamma"), S16),
    **dict.fromkeys(("multiplier", "bias", "beta"), S32),  # 4 bytes
    "shift": U6,  # 1 byte
    "table": S8,
}


class Sketch(GraphBuilder):
    """A graph in the making; every method returns the name of the tensor it adds.

    Codes are 8-bit. All constants are filled with ones, which every op accepts.
    """

    def __init__(self) -> None:
        choices = {**FINISH, "accumulator": INT32, "axis": 0}
        super().__init__("sketch", "edge_npu_int8", defaults=choices, types=TYPES)

    def input(self, name: str, *shape: int) -> str:
        return super().input(name, shape, S8)

    def ones(self, name: str, kind: IntType, *shape: int) -> str:
        return name if name in self.tensors else self.constant(name, np.ones(shape), kind)

    def op(self, op_type: type[Op], name: str, /, *operands: str, **given: Any) -> str:
        if not SPECS[op_type].moves_codes:
            given["type"] = S8
        return super().op(op_type, name, *operands, **given)

    def matmul(self, name: str, a: str, b: str, *, bias: str | None = None) -> str:
        return self.op(MatMul, name, a, b, transpose_b=False, bias=bias, multiplier=1, shift=1)

    def linear(self, name: str, a: str, features: int, kind: IntType = S8) -> str:
        weight = self.ones(f"{name}.weight", kind, self.tensors[a].shape[-1], features)
        bias = self.ones(f"{name}.bias", S32, features)
        return self.matmul(name, a, weight, bias=bias)

    def rescale(self, name: str, a: str) -> str:
        return self.op(Rescale, name, a, multiplier=1, shift=1)

    def add(self, name: str, a: str, b: str) -> str:
        return self.op(Add, name, a, b, multiplier_a=1, multiplier_b=1, shift=8)

    def layer_norm(self, name: str, a: str) -> str:
        ones = np.ones(self.tensors[a].shape[-1])
        return self.op(
            LayerNorm,
            name,
            a,
            gamma=ones,
            beta=ones,
            epsilon=1,
            sqrt_fraction_bits=4,
            reciprocal_bits=32,
            normalized_fraction_bits=12,
            shift=16,
        )

    def softmax(self, name: str, a: str) -> str:
        table = self.ones("exponentials", U16, 256)  # every softmax shares it
        return self.op(Softmax, name, a, table=table, reciprocal_bits=24, shift=16)

    def lookup(self, name: str, a: str) -> str:
        return self.op(Lookup, name, a, table=np.ones(256))

    def mean(self, name: str, a: str) -> str:
        return self.op(Mean, name, a, multiplier=1, shift=1)

    def concat(self, name: str, *inputs: str) -> str:
        return self.op(Concat, name, *inputs)

    def slice(self, name: str, a: str, start: int, stop: int, axis: int = 0, step: int = 1) -> str:
        return self.op(Slice, name, a, axis=axis, start=start, stop=stop, step=step)

    def reshape(self, name: str, a: str, *shape: int) -> str:
        return self.op(Reshape, name, a, shape=shape)

    def transpose(self, name: str, a: str, *permutation: int) -> str:
        return self.op(Transpose, name, a, permutation=permutation)

    def graph(self, *outputs: str) -> IntGraph:
        return self.unverified(*outputs)


def transformer(tokens: int = 5, heads: int = 2, width: int = 4, blocks: int = 1) -> IntGraph:
    """Return a small vision transformer that has every kind of op."""
    s = Sketch()
    channels = heads * width
    patches = s.linear("embed", s.input("image", tokens - 1, 12), channels)
    x = s.concat("tokens", s.ones("class_token", S8, 1, channels), patches)
    x = s.add("positions", x, s.ones("position_codes", S8, tokens, channels))
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
