# SPDX-License-Identifier: Apache-2.0
"""The graph of real and integer tensors under construction, for models with float operators.

Real tensors have type f32. Codes that a float operator reads are dequantized once; its result is
quantized where it has a quantizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantizers import DynamicQuantizer, LevelQuantizer
from aocq.methods.scales import Scales, as_scale, compressed
from simulator.errors import InputError
from simulator.graph.graph import Role
from simulator.graph.ops import (
    Dequantize,
    FloatFunction,
    Function,
    Lookup,
    MatMul,
    Op,
    Quantize,
    Requantization,
)
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.profile import OpKind

# The type of the shift behind sums that stay as they are, as wide as any.
NO_SHIFT = IntType(bits=6, signed=False)


@dataclass(slots=True)
class MixedLowering:
    """A graph of real and integer tensors under construction; ``builder`` holds what is done."""

    builder: Builder

    def is_float(self, name: str) -> bool:
        """Whether a node's values are real."""
        return self.builder.tensor(name).is_float

    def add(self, op: Op, shape: tuple[int, ...]) -> None:
        """Add an op whose result is real."""
        self.builder.graph.declare(op.name, shape, FLOAT32)
        self.builder.graph.append(op)

    def parameter(self, node: FloatNode, attribute: str) -> str | None:
        """Add a parameter of the network as a constant; None where the node has none."""
        name = node.attributes[attribute]
        if not name:
            return None
        value = self.builder.model.parameter(name)
        return self.builder.graph.constant(f"{node.name}.{attribute}", value, FLOAT32)

    def scale_constant(self, op_name: str, scales: Scales) -> str:
        """Add a scale as a constant, in the fewest dimensions that broadcast alike."""
        small = compressed(scales)
        while small.ndim > 1 and small.shape[0] == 1:
            small = small[0]
        return self.builder.graph.constant(f"{op_name}.step", small, FLOAT32)

    def real(self, name: str) -> str:
        """Return the name of the tensor that holds a node's real values; dequantize codes once."""
        tensor = self.builder.tensor(name)
        if tensor.is_float:
            return tensor.name
        real = f"{name}.real"
        if real not in self.builder.graph.tensors:
            if tensor.role is Role.CONSTANT:
                centred = (
                    self.builder.graph.constants[tensor.name].astype(np.float64) - tensor.zero_point
                )
                return self.builder.graph.constant(
                    real, centred * self.builder.model.scales(name), FLOAT32
                )
            scale = self.scale_constant(real, self.builder.model.scales(name))
            self.add(Dequantize(name=real, a=tensor.name, step=scale, bias=None), tensor.shape)
        return real

    def float_name(self, node: FloatNode) -> str:
        """Return the name of a node's real result; its codes have the node's own name."""
        quantized = node.name in self.builder.model.activations
        return f"{node.name}.float" if quantized else node.name

    def function(
        self, node: FloatNode, function: Function, *inputs: str, **parameters: Any
    ) -> None:
        """Compute a node in float and quantize its result if it has a quantizer."""
        name = self.float_name(node)
        op = FloatFunction(name=name, function=function, inputs=inputs, **parameters)
        self.add(op, node.shape)
        self.quantize(node)

    def quantize(self, node: FloatNode) -> None:
        """Quantize a node's real result, where it has a quantizer."""
        quantizer = self.builder.model.activations.get(node.name)
        if quantizer is None:
            return
        source = self.float_name(node)
        scales = self.builder.model.scales(node.name)
        if isinstance(quantizer, LogarithmicQuantizer):
            raise InputError(
                f"{node.name}: its codes are logarithms, which products know only in networks "
                "without float operators; quantize every operator, or this one with one scale"
            )
        if isinstance(quantizer, LevelQuantizer):
            self._quantize_to_levels(node, quantizer, source)
            return
        if isinstance(quantizer, DynamicQuantizer):
            raise InputError(
                f"{node.name}: its steps are found as the chip runs, which products know only in "
                "networks without float operators; quantize every operator, or this one statically"
            )
        if quantizer.table_scale:
            raise InputError(
                f"{node.name}: its quantizer has a table's scale (table_scale), and its function "
                "is computed in float here, where other operators are left in float; quantize "
                "every operator, or this one without table_scale"
            )
        scale = self.scale_constant(node.name, scales)
        self.builder.graph.declare(
            node.name, node.shape, quantizer.type, quantizer.zero_point, as_scale(scales)
        )
        self.builder.graph.append(Quantize(name=node.name, a=source, step=scale, thresholds=None))

    def _quantize_to_levels(self, node: FloatNode, quantizer: LevelQuantizer, source: str) -> None:
        """Number the levels in few bits, then look up the wide level of each number."""
        index = f"{node.name}.index"
        borders = np.array(quantizer.thresholds) * quantizer.scale
        thresholds = self.builder.graph.constant(f"{index}.thresholds", borders, FLOAT32)
        self.builder.graph.declare(index, node.shape, IntType(bits=quantizer.bits, signed=False))
        self.builder.graph.append(Quantize(name=index, a=source, step=None, thresholds=thresholds))
        levels = np.array(quantizer.levels)
        unused = np.full((1 << quantizer.bits) - len(levels), levels[-1])
        table = np.concatenate([levels, unused])
        self.builder.graph.declare(node.name, node.shape, quantizer.type, scale=(quantizer.scale,))
        name = self.builder.constant(f"{node.name}.table", table, quantizer.type)
        self.builder.graph.append(Lookup(name=node.name, a=index, table=name))

    def sums(
        self, node: FloatNode, op_kind: OpKind, shape: tuple[int, ...], **operands: Any
    ) -> str:
        """Add an integer product whose sums leave the accumulator as they are."""
        name = f"{node.name}.sums"
        accumulator = self.builder.accumulator(op_kind)
        self.builder.graph.declare(name, shape, accumulator.levels[-1].kind)
        one = IntType(bits=1, signed=False)
        identity = Requantization(
            multiplier=self.builder.constant(f"{name}.multiplier", np.array([1]), one),
            shift=self.builder.constant(f"{name}.shift", np.array([0]), NO_SHIFT),
            rounding=Rounding.HALF_UP,  # of nothing: the shift is 0
            overflow=Overflow.SATURATE,  # the sums fit: their type is that of the register
        )
        self.builder.graph.append(
            MatMul(name=name, accumulator=accumulator, requantize=identity, **operands)
        )
        return name
