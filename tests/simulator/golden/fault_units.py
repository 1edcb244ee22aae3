# SPDX-License-Identifier: Apache-2.0
"""Small ops, the golden folders of each, and the codes of ops that are a little otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from small_graphs import (
    S8,
    S16,
    S32,
    SATURATE,
    WRAP,
    Draft,
    accumulator,
    exponentials,
    input_codes,
)

from simulator.executor import Executor, run_reference
from simulator.golden.record import Recording, record
from simulator.graph import IntGraph
from simulator.graph.ops import (
    Add,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Rescale,
    Softmax,
)
from simulator.numerics.integer_type import IntType

IMAGES = 6
TOKENS, CHANNELS = 8, 8
RNG = np.random.default_rng(11)
WEIGHTS = RNG.integers(-9, 10, (12, CHANNELS))
BIAS = [-300, 7, 90, 256, -41, 12, 333, -128]
NARROW = accumulator((0, 12, SATURATE))


def _linear(**changes: Any) -> Callable[[Draft], None]:
    def build(d: Draft) -> None:
        d.input("a", (TOKENS, 12), S8, -5)
        weights = d.constant("weights", WEIGHTS, S8)
        bias = d.constant("bias", BIAS, S32)
        fields = {"multiplier": (3,), "shift": (7,), "zero_point": 3, "accumulator": NARROW}
        d.op(MatMul, "y", "a", weights, bias=bias, **fields | changes)

    return build


def _onto_a_residual(d: Draft) -> None:
    d.input("a", (TOKENS, 12), S8, -5)
    weights = d.constant("weights", WEIGHTS, S8)
    bias = d.constant("bias", BIAS, S32)
    residual = d.op(Rescale, "r", d.slice("part", "a", 0, CHANNELS, axis=1), zero_point=9)
    given = {"residual_multiplier": (5,), "residual_fraction_bits": 3, "shift": (5,)}
    d.op(MatMul, "y", "a", weights, bias=bias, residual=residual, type=S16, **given)


def _scores(d: Draft) -> None:
    d.input("a", (TOKENS, 12), S8)
    b = d.op(Rescale, "b", "a", multiplier=(5,), shift=(2,))
    d.op(MatMul, "y", "a", b, transpose_b=True, accumulator=accumulator((0, 16, WRAP)), shift=(9,))


def _layer_norm(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8, 3)
    fields = {"sqrt_fraction_bits": 2, "reciprocal_bits": 16, "normalized_fraction_bits": 4}
    gamma, beta = [15, -26, 37, 40, -9, 22, 31, -44], [80, 40, -40, -8, 17, 0, -100, 23]
    d.op(LayerNorm, "y", "a", gamma=gamma, beta=beta, epsilon=3, shift=5, zero_point=-6, **fields)


def _bisection(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8, 3)
    weight, bias = [901, -700, 801, 999, 640, -512, 777, 350], [999, -2000, 300, 0, 5, 77, 900, -1]
    d.op(LayerNormBisection, "y", "a", weight=weight, bias=bias, shift=5)


def _softmax(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8)
    table = exponentials(largest=60, half_life=20)
    d.op(Softmax, "y", "a", table=table, reciprocal_bits=14, shift=6)


def _add(**changes: Any) -> Callable[[Draft], None]:
    def build(d: Draft) -> None:
        d.input("a", (TOKENS, CHANNELS), S8, -17)
        d.op(Rescale, "b", "a", multiplier=(7,), shift=(3,), zero_point=21)
        d.op(Add, "y", "a", "b", **{"zero_point": 5} | changes)

    return build


def _rescale(**changes: Any) -> Callable[[Draft], None]:
    def build(d: Draft) -> None:
        d.input("a", (TOKENS, CHANNELS), S8, -17)
        d.op(Rescale, "y", "a", **{"multiplier": (9,), "shift": (3,), "zero_point": 5} | changes)

    return build


def _wide_rescale(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S16, -17)
    d.op(Rescale, "y", "a", multiplier=(1 << 30,), shift=(33,), zero_point=5, type=S16)


def _mul(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8)
    b = d.op(Rescale, "b", "a", multiplier=(7,), shift=(3,))
    d.op(Mul, "y", "a", b, multiplier=(1 << 30,), shift=(33,), type=S16)


def _mean(d: Draft) -> None:
    d.input("a", (24, CHANNELS), S8, 29)
    narrow = accumulator((0, 11, SATURATE))
    d.op(Mean, "y", "a", multiplier=(3,), shift=(6,), accumulator=narrow)


def _lookup(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8, 1)
    d.op(Lookup, "y", "a", table=[(code * code >> 7) - 60 + code // 3 for code in range(-128, 128)])


def _interpolated(d: Draft) -> None:
    d.input("a", (TOKENS, CHANNELS), S8, 1)
    table = [(i * i * 5) % 97 - 40 for i in range(17)]
    d.op(InterpolatedLookup, "y", "a", table=table, fraction_bits=4, shift=4)


UNITS: Mapping[str, Callable[[Draft], None]] = {
    "MatMul": _linear(),
    "MatMul, 16-bit result": _linear(type=S16),
    "MatMul, 31-bit multiplier": _linear(multiplier=(3 << 29,), shift=(36,)),
    "MatMul onto a residual": _onto_a_residual,
    "MatMul of activations": _scores,
    "LayerNorm": _layer_norm,
    "LayerNormBisection": _bisection,
    "Softmax": _softmax,
    "Add": _add(),
    "Add, wrapping": _add(overflow=WRAP, shift=2),
    "Add, 16-bit result": _add(type=S16, shift=0),
    "Rescale": _rescale(),
    "Rescale, 16-bit result": _rescale(type=S16, shift=(1,)),
    "Rescale, 31-bit multiplier": _wide_rescale,
    "Mul, 31-bit multiplier": _mul,
    "Mean": _mean,
    "Lookup": _lookup,
    "InterpolatedLookup": _interpolated,
}


@dataclass(frozen=True)
class Unit:
    """A graph that ends in the op ``y``, its golden folder, and what it computed."""

    graph: IntGraph
    folder: Path
    codes: np.ndarray

    @property
    def op(self) -> Any:
        return self.graph.ops[-1]

    @property
    def golden(self) -> np.ndarray:
        return np.load(self.folder / "tensors" / "y.npy")

    def ran(self, graph: IntGraph) -> np.ndarray:
        """Codes of another graph on the same images, by the plain-Python reference."""
        return np.stack([run_reference(graph, image)["y"] for image in self.codes])

    def changed(self, **fields: Any) -> np.ndarray:
        """Codes with other fields of the op, or of its requantization."""
        op = self.op
        if hasattr(op, "requantize"):
            rules = {k: v for k, v in fields.items() if hasattr(op.requantize, k)}
            fields = {k: v for k, v in fields.items() if k not in rules}
            fields["requantize"] = replace(op.requantize, **rules)
        changed = replace(op, **fields)
        return self.ran(replace(self.graph, ops=(*self.graph.ops[:-1], changed)))

    def constant(self, field: str, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Codes with another constant of the op."""
        op = self.op
        name = getattr(op, field, None) or getattr(op.requantize, field)
        codes = change(self.graph.constants[name].astype(np.int64))
        return self.ran(replace(self.graph, constants={**self.graph.constants, name: codes}))

    def zero_point(self, tensor: str, value: int) -> np.ndarray:
        """Codes with another zero point of a tensor of the op, the op alone."""
        return self.alone({tensor: {"zero_point": value}})

    def alone(
        self, changes: Mapping[str, Mapping[str, Any]], operands: Mapping[str, Any] = {}
    ) -> np.ndarray:
        """Codes of the op alone with other declarations of tensors, on operands that are right."""
        from simulator.ops import BEHAVIOURS

        tensors = {
            name: replace(tensor, **changes.get(name, {}))
            for name, tensor in self.graph.tensors.items()
        }
        graph = replace(self.graph, tensors=tensors)
        rows = []
        for image in self.codes:
            values = {**run_reference(self.graph, image)}
            values |= {name: change(values[name]) for name, change in operands.items()}
            read = [values[name] for name in self.op.operands]
            rows.append(BEHAVIOURS[type(self.op)].reference(self.op, graph, read).codes)
        return np.stack(rows)

    def unsigned(self, tensor: str) -> np.ndarray:
        """Codes where the bits of an operand are read without their sign."""
        kind = IntType(bits=8, signed=False)
        return self.alone({tensor: {"type": kind}}, {tensor: lambda codes: codes.view(np.uint8)})


def unit(name: str, folder: Path) -> Unit:
    """Record the golden vectors of one op."""
    d = Draft()
    UNITS[name](d)
    graph = d.graph()
    codes = input_codes(graph, IMAGES, 3)
    executor = Executor(graph, gemm="numba", threads=1)
    recording = Recording(graph=graph, ops=(graph.ops[-1],), images=IMAGES, source="a test")
    record(recording, executor, [codes], folder)
    return Unit(graph, folder, codes)
