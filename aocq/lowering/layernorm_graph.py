# SPDX-License-Identifier: Apache-2.0
"""LayerNorm as a graph of element-wise operators, for chips that have no operator for it.

x → mean → (x - mean)² → mean → 1/√ → (x - mean) · 1/√ → · γ → + β, each with codes of its own. The
ranges of these are not tensors of the network: the calibration observes them beside
(:mod:`aocq.methods.layernorm_parts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder
from aocq.lowering.chip_tables import SAME_SCALE
from aocq.lowering.sums import mean_requantization, on_chip_scales
from aocq.methods.layernorm_parts import PART_BITS, part_name
from simulator.errors import InputError
from simulator.graph.ops import AddShifted, Lookup, Mean, Mul, Op, Rescale, SquaredDifference
from simulator.numerics.common_scale import (
    ADD_LEFT_SHIFT,
    SQUARE_LEFT_SHIFT,
    squared_difference_constants,
    sum_constants,
)
from simulator.numerics.function_tables import rsqrt_table
from simulator.numerics.integer_type import IntType
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile.chip_tables import CodeTable


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor inside LayerNorm: name, type, scale, zero point."""

    name: str
    type: IntType
    scale: float
    zero_point: int

    def holds(self, other: Part) -> bool:
        """Say whether another part's codes are read as this one's."""
        same = math.isclose(self.scale, other.scale, rel_tol=SAME_SCALE)
        return same and (self.type, self.zero_point) == (other.type, other.zero_point)


@dataclass(slots=True)
class LayerNormGraph:
    """The operators of one LayerNorm, added one by one."""

    builder: Builder
    node: FloatNode
    bits: int

    def part(self, part: str) -> Part:
        """Return a part, with the quantizer of its observed range."""
        name = part_name(self.node.name, part)
        quantizer = self.builder.model.layernorm_quantizers.get(name)
        if quantizer is None or quantizer.type.bits != self.bits:
            raise InputError(
                f"{self.node.name}: profile {self.builder.profile.name} computes LayerNorm as a "
                f"graph of {self.bits}-bit operators, whose ranges the model does not have; "
                "quantize for this profile (--profile with its name or file)"
            )
        return Part(name, quantizer.type, quantizer.scale, quantizer.zero_point)

    def source(self) -> Part:
        """Return the tensor that is normalized."""
        (name,) = self.node.inputs
        tensor = self.builder.tensor(name)
        scale = self.builder.scale(name, f"LayerNorm {self.node.name}")
        return Part(tensor.name, tensor.code_type, scale, tensor.zero_point)

    def result(self) -> Part:
        """Return the LayerNorm's own result."""
        name, quantizer = self.node.name, self.builder.quantizer(self.node)
        scale = self.builder.scale(name, f"LayerNorm {name}")
        return Part(name, quantizer.type, scale, quantizer.zero_point)

    def constant(self, part: str, values: NDArray[np.float64]) -> Part:
        """Add γ or β as symmetric codes."""
        name = part_name(self.node.name, part)
        codes_type = IntType(bits=self.bits)
        scale = float(np.float32(np.abs(values).max() / codes_type.high)) or 1.0
        codes = np.clip(np.rint(values / scale), codes_type.low, codes_type.high)
        self.builder.constant(name, codes.astype(np.int64), codes_type, scale=(scale,))
        return Part(name, codes_type, scale, 0)

    def add(self, op_type: type[Op], y: Part, *operands: Part, **fields: Any) -> Part:
        """Append an op that writes ``y``, and return that."""
        names = (operand.name for operand in operands)
        scale = (y.scale,)
        self.builder.graph.op(
            op_type, y.name, *names, type=y.type, zero_point=y.zero_point, scale=scale, **fields
        )
        return y

    def rescaled(self, x: Part, y: Part) -> Part:
        """Append the conversion of ``x`` to the codes of ``y``."""
        requantize = self.builder.requantization(
            y.name, "rescale", np.array([x.scale]), np.array([y.scale])
        )
        return self.add(Rescale, y, x, requantize=requantize)

    def mean(self, x: Part, y: Part) -> Part:
        """Append the mean over channels, of extent 1."""
        channels = self.node.shape[-1]
        requantize = mean_requantization(
            self.builder, y.name, np.array([x.scale]), np.array([y.scale]), channels
        )
        return self.add(
            Mean,
            y,
            x,
            axis=len(self.node.shape) - 1,
            accumulator=self.builder.accumulator("mean"),
            requantize=requantize,
            keep_dimension=True,
        )

    def sum(self, a: Part, b: Part, y: Part, *, subtract: bool = False) -> Part:
        """Append a sum or difference."""
        section = self.builder.profile.rescale_of("add")
        constants = sum_constants(a.scale, b.scale, y.scale, ADD_LEFT_SHIFT[self.bits])
        return self.add(
            AddShifted,
            y,
            a,
            b,
            subtract=subtract,
            **self.rounding(),
            **on_chip_scales(constants, section)._asdict(),
        )

    def squares(self, a: Part, b: Part, y: Part) -> Part:
        """Append the squares of the differences."""
        section = self.builder.profile.rescale_of("add")
        left_shift = SQUARE_LEFT_SHIFT[self.bits]
        constants = squared_difference_constants(a.scale, b.scale, y.scale, left_shift)
        return self.add(
            SquaredDifference,
            y,
            a,
            b,
            **self.rounding(),
            **on_chip_scales(constants, section)._asdict(),
        )

    def inverse_root(self, x: Part, y: Part) -> Part:
        """Append ``1 / √x`` by a table with one entry per code.

        A chip's own table is for codes of one scale, between which and the parts is rescaled.
        """
        own: CodeTable | None = getattr(self.builder.profile.layernorm, "root_table", None)
        if own is not None:
            return self.by_table(x, y, own)
        table = rsqrt_table(x.scale, x.zero_point, y.scale, y.zero_point, bits=self.bits)
        constant = self.builder.constant(f"{y.name}.table", table, y.type)
        return self.add(Lookup, y, x, table=constant)

    def by_table(self, x: Part, y: Part, own: CodeTable) -> Part:
        """Append a function by the chip's own table."""
        read, written = (
            Part(f"{y.name}.table_{end}", IntType(bits=self.bits), scale, zero_point)
            for end, scale, zero_point in (
                ("input", own.input_scale, own.input_zero_point),
                ("output", own.output_scale, own.output_zero_point),
            )
        )
        source = x if read.holds(x) else self.rescaled(x, read)
        result = y if written.holds(y) else written
        constant = self.builder.constant(f"{y.name}.table", np.array(own.entries), y.type)
        self.add(Lookup, result, source, table=constant)
        return y if result is y else self.rescaled(result, y)

    def product(self, a: Part, b: Part, y: Part) -> Part:
        """Append a product."""
        requantize = self.builder.requantization(
            y.name, "mul", np.array([a.scale * b.scale]), np.array([y.scale])
        )
        return self.add(Mul, y, a, b, requantize=requantize)

    def rounding(self) -> dict[str, Any]:
        """Return the rounding of sums and squares: the profile's, where its sums are TFLite's.

        Other sums (XNNPACK's) have no form for differences and squares here: TFLite's own stand for
        them, which round twice.
        """
        rounding, double = Rounding.HALF_UP, DoubleRounding.SYMMETRIC
        if self.builder.profile.add.algorithm == "shifted_q31":
            section = self.builder.profile.rescale_of("add")
            rounding, double = section.rounding, section.double_rounding
        overflow = self.builder.overflow("add")
        return {"rounding": rounding, "double_rounding": double, "overflow": overflow}


def layernorm_graph(builder: Builder, node: FloatNode, bits: int) -> None:
    """Add the operators of one LayerNorm.

    ε is less than half a code of the variance in every network we know, and is refused otherwise.

    Raises
    ------
    InputError
        If the model has no ranges for the parts, or ε is not negligible.
    """
    assert bits in PART_BITS
    graph = LayerNormGraph(builder, node, bits)
    x = graph.source()
    if x.type.bits != bits:
        x = graph.rescaled(x, graph.part("input"))
    mean = graph.mean(x, graph.part("mean"))
    squares = graph.squares(x, mean, graph.part("squares"))
    variance = graph.mean(squares, graph.part("variance"))
    if node.attributes["epsilon"] > variance.scale / 2:
        raise InputError(
            f"{node.name}: epsilon {node.attributes['epsilon']:g} is more than half a code of the "
            f"variance ({variance.scale:g}), which this graph leaves out; choose a profile with "
            "another layernorm.algorithm"
        )
    root = graph.inverse_root(variance, graph.part("inverse_root"))
    centred = graph.sum(x, mean, graph.part("centred"), subtract=True)
    _affine(graph, graph.product(centred, root, graph.part("normalized")))


def _affine(graph: LayerNormGraph, normalized: Part) -> None:
    """Append the product with γ, the sum with β, and a conversion to the result's width."""
    gamma, beta = graph.builder.affine_parameters(graph.node)
    scaled = graph.product(normalized, graph.constant("gamma", gamma), graph.part("scaled"))
    offset = graph.constant("beta", beta)
    result = graph.result()
    if result.type.bits == graph.bits:
        graph.sum(scaled, offset, result)
    else:
        graph.rescaled(graph.sum(scaled, offset, graph.part("shifted")), result)
