# SPDX-License-Identifier: Apache-2.0
"""Element-wise int8 operators of XNNPACK: the cases that are recorded, and ours as lowered.

Inputs are exhaustive, so no record holds them: every pair of codes of ADD and MUL, every code of
QUANTIZE.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from elementwise_operators import OneOp, Quantized, lite_result
from lite_oracle import Engine, Lite
from numpy.typing import NDArray

from aocq.capture import FloatNode, FloatOp
from aocq.lowering import sums
from aocq.lowering.builder import Builder
from aocq.methods.quantizers import ActivationQuantizer
from simulator.graph.ops import Mul, Rescale
from simulator.numerics.integer_type import IntType
from simulator.profile import load_profile

Codes = NDArray[np.int8]
S8 = IntType(bits=8)
CODES: Codes = np.arange(S8.low, S8.high + 1).astype(np.int8)
PROFILE = "litert_xnnpack"
OPERANDS = {"ADD": 2, "MUL": 2, "QUANTIZE": 1}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Scales and zero points of the operands and, last, of the result.

    ``broadcast``: the engine gets one column and one constant row instead of all pairs.
    """

    kind: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    broadcast: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result, with one image in front."""
        return (1, *(len(CODES),) * OPERANDS[self.kind])

    @property
    def operands(self) -> list[Quantized]:
        """Every combination of codes."""
        axes = np.meshgrid(*(CODES,) * OPERANDS[self.kind], indexing="ij")
        return [self._operand(i, codes.reshape(self.shape)) for i, codes in enumerate(axes)]

    @property
    def result(self) -> Quantized:
        """The result, its codes to come."""
        return self._operand(-1, np.zeros(self.shape, np.int8))

    def _operand(self, index: int, codes: Codes, *, constant: bool = False) -> Quantized:
        return Quantized(
            codes=np.ascontiguousarray(codes),
            scale=self.scales[index],
            zero_point=self.zero_points[index],
            constant=constant,
        )

    def run(self, lite: Lite, engine: Engine) -> Codes:
        """Return an engine's codes."""
        operands = self.operands
        if self.broadcast:
            column, row = CODES.reshape(1, -1, 1), CODES.reshape(1, -1)
            operands = [self._operand(0, column), self._operand(1, row, constant=True)]
        return lite_result(lite, engine, self.kind, operands, self.result).astype(np.int8)

    def factors(self, real: type = np.float32) -> NDArray[np.float64]:
        """Each operand's scale, of MUL their product, by the result's: all in one float type."""
        *operands, result = np.array(self.scales, real)
        if self.kind == "MUL":
            operands = [np.prod(operands, dtype=real)]
        return np.array([operand / result for operand in operands]).astype(np.float64)

    def centred(self) -> list[NDArray[np.int64]]:
        """The operands less their zero points."""
        return [operand.codes.astype(np.int64) - operand.zero_point for operand in self.operands]


def case(kind: str, *pairs: tuple[float, int], broadcast: bool = False) -> Case:
    """Return a case of (scale, zero point) per operand and of the result."""
    return Case(
        kind=kind,
        scales=tuple(float(np.float32(scale)) for scale, _ in pairs),
        zero_points=tuple(int(zero_point) for _, zero_point in pairs),
        broadcast=broadcast,
    )


SUMS = [
    # Powers of two: sums end on ties.
    case("ADD", (0.25, 0), (0.25, 0), (0.5, 0)),
    case("ADD", (0.25, 3), (0.125, -7), (1.0, 5)),
    case("ADD", (0.031, -128), (0.0077, 127), (0.029, -3)),
    case("ADD", (0.031, -128), (0.0077, 127), (0.029, -3), broadcast=True),
    # b's factor lies between two multipliers, and for a code of -128 the choice decides a tie.
    case("ADD", (0.5, 1), (8193 / (1 << 22), 0), (0.5, 0)),
    # The same where only the float32 quotient does.
    case("ADD", (0.01, 1), (float(np.float32(0.01)) * 8193 / (1 << 21), 0), (0.01, 0)),
    # The larger factor is the float32 below 2: its multiplier is 2^21.
    case("ADD", (0.12, 20), (np.nextafter(np.float32(2), np.float32(0)), -5), (1.0, 11)),
    case("ADD", (0.0124, 12), (0.94, 3), (0.6, 0)),
    case("ADD", (0.0021, -100), (0.0021, 90), (0.0353, -20)),
]
PRODUCTS = [
    # The factor is the float32 above 1/6: three times it rounds to 1/2 in float32.
    case("MUL", (0.5, 3), (0.25, -7), (0.75, 5)),
    case("MUL", (0.25, 0), (0.125, 0), (4.0, 0)),
    case("MUL", (0.0173, -128), (0.0041, 127), (0.013, -7)),
    case("MUL", (0.031, 12), (0.027, 0), (0.11, 100), broadcast=True),
    # Scales whose product and quotient in float32 are not the rounded real factor, which shows.
    case("MUL", (0.0253, 3), (0.02, 42), (0.1288, -10)),
]


def conversions() -> list[Case]:
    """256 pairs of scales; factors from 2^-8 to 2^7, which is as far as XNNPACK goes."""
    random = np.random.default_rng(71)
    exponents = [random.uniform(-8, -4, 64), random.uniform(-4, 2, 112), random.uniform(2, 7, 16)]
    # Half way between two multipliers (beside other scales in float32 only), and whole ones.
    halves = (random.integers(1, 512, 32) + 0.5) / 256
    powers = 2.0 ** np.repeat(np.arange(-8, 8), 2)
    factors = np.concatenate([2.0 ** np.concatenate(exponents), halves, powers])
    drawn = np.concatenate([random.uniform(0.003, 0.3, 208), np.full(48, 0.125)])
    scales = drawn.astype(np.float32).tolist()
    zeros = random.integers(S8.low, S8.high + 1, (256, 2))
    return [
        case("QUANTIZE", (factor * scale, zero_x), (scale, zero_y))
        for factor, scale, (zero_x, zero_y) in zip(factors, scales, zeros, strict=True)
    ]


def lowered(by: Case) -> Codes:
    """Return the codes of the op that the profile's lowering makes."""
    *names, result = [*(f"x{i}" for i in range(OPERANDS[by.kind])), "y"]
    quantizers = {
        name: ActivationQuantizer(type=S8, scale=scale, zero_point=zero_point)
        for name, scale, zero_point in zip([*names, result], by.scales, by.zero_points, strict=True)
    }
    # What the lowering of one op reads of a quantized model.
    model: Any = SimpleNamespace(
        graph=SimpleNamespace(name="one"),
        activations=quantizers,
        fused_layers={},
        scales=lambda name: quantizers[name].scales().numpy(),
    )
    builder = Builder(model, load_profile(PROFILE))
    for name in names:
        builder.graph.declare(name, by.shape[1:], S8, quantizers[name].zero_point)
    *scales, scale = (builder.channel_scales(name) for name in quantizers)
    if by.kind == "ADD":
        node = FloatNode(
            name=result, op=FloatOp.ADD, inputs=tuple(names), attributes={}, shape=by.shape[1:]
        )
        sums.add(builder, node)
        (op,) = builder.graph.ops
    elif by.kind == "MUL":
        requantize = builder.requantization(result, "mul", scales[0] * scales[1], scale)
        op = Mul(name=result, a=names[0], b=names[1], requantize=requantize)
    else:
        requantize = builder.requantization(result, "rescale", scales[0], scale)
        op = Rescale(name=result, a=names[0], requantize=requantize)
    one = OneOp(by.operands, by.result)
    made = builder.graph
    one.tensors |= {name: made.tensors[name] for name in made.constants}
    one.constants |= made.constants
    return one.run_as_it_is(op).astype(np.int8)
