# SPDX-License-Identifier: Apache-2.0
"""LayerNorm on a chip without one: a graph of its element-wise operators, as converters write it.

x → mean → (x - mean)² → mean → 1/√ → (x - mean) · 1/√ → · γ → + β, each with codes of its own. The
ranges of these are not tensors of the network: the calibration observes them beside
(:mod:`aocq.methods.layernorm_parts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder
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


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor on the way: its name, what a code is worth, its zero point."""

    name: str
    scale: float
    zero_point: int


@dataclass(slots=True)
class LayerNormGraph:
    """The operators of one LayerNorm, added one by one."""

    builder: Builder
    node: FloatNode
    bits: int

    def declare(self, part: str, shape: tuple[int, ...]) -> Part:
        """Declare the result of a part by its observed range."""
        name = part_name(self.node.name, part)
        quantizer = self.builder.model.parts.get(name)
        if quantizer is None or quantizer.type.bits != self.bits:
            raise InputError(
                f"{self.node.name}: profile {self.builder.profile.name} computes LayerNorm as a "
                f"graph of {self.bits}-bit operators, whose ranges the model does not have; "
                "quantize for this profile (--profile with its name or file)"
            )
        self.builder.declare(name, shape, quantizer.type, (quantizer.scale,), quantizer.zero_point)
        return Part(name, quantizer.scale, quantizer.zero_point)

    def existing(self, name: str) -> Part:
        """Return a tensor of the network as a part."""
        tensor = self.builder.tensor(name)
        step = self.builder.step(name, f"LayerNorm {self.node.name}")
        return Part(tensor.name, step, tensor.zero_point)

    def add(self, op: Op) -> None:
        """Append an op."""
        self.builder.ops.append(op)

    def constant(self, part: str, values: NDArray[np.float64]) -> Part:
        """Add γ or β as symmetric codes."""
        name = part_name(self.node.name, part)
        kind = IntType(bits=self.bits)
        scale = float(np.float32(np.abs(values).max() / kind.high)) or 1.0
        codes = np.clip(np.rint(values / scale), kind.low, kind.high).astype(np.int64)
        self.builder.constant(name, codes, kind, (scale,))
        return Part(name, scale, 0)

    def converted(self, x: Part, part: str, shape: tuple[int, ...]) -> Part:
        """Return ``x`` in codes of the parts' width."""
        y = self.declare(part, shape)
        self.rescaled(x, y.name, y.scale)
        return y

    def rescaled(self, x: Part, name: str, scale: float) -> None:
        """Append the conversion of ``x`` to the scale of the tensor ``name``."""
        requantize = self.builder.requantization(
            name, "rescale", np.array([x.scale]), np.array([scale])
        )
        self.add(Rescale(name=name, a=x.name, requantize=requantize))

    def mean(self, x: Part, part: str, shape: tuple[int, ...]) -> Part:
        """Return the mean over channels, of extent 1."""
        y = self.declare(part, (*shape[:-1], 1))
        requantize = mean_requantization(
            self.builder, y.name, np.array([x.scale]), np.array([y.scale]), shape[-1]
        )
        accumulator = self.builder.accumulator("mean")
        axis = len(shape) - 1
        self.add(
            Mean(
                name=y.name,
                a=x.name,
                axis=axis,
                accumulator=accumulator,
                requantize=requantize,
                keep_dimension=True,
            )
        )
        return y

    def sum(self, a: Part, b: Part, y: Part, *, subtract: bool = False) -> Part:
        """Append a sum or difference into the declared ``y``."""
        section = self.builder.profile.rescale_of("add")
        constants = on_chip_scales(
            sum_constants(a.scale, b.scale, y.scale, ADD_LEFT_SHIFT[self.bits]), section
        )
        rounding, double = self.rounding()
        self.add(
            AddShifted(
                name=y.name,
                a=a.name,
                b=b.name,
                subtract=subtract,
                rounding=rounding,
                double_rounding=double,
                overflow=self.builder.overflow("add"),
                **constants._asdict(),
            )
        )
        return y

    def squares(self, a: Part, b: Part, part: str, shape: tuple[int, ...]) -> Part:
        """Return the squares of the differences."""
        y = self.declare(part, shape)
        section = self.builder.profile.rescale_of("add")
        constants = on_chip_scales(
            squared_difference_constants(a.scale, b.scale, y.scale, SQUARE_LEFT_SHIFT[self.bits]),
            section,
        )
        rounding, double = self.rounding()
        self.add(
            SquaredDifference(
                name=y.name,
                a=a.name,
                b=b.name,
                rounding=rounding,
                double_rounding=double,
                overflow=self.builder.overflow("add"),
                **constants._asdict(),
            )
        )
        return y

    def inverse_root(self, x: Part, part: str, shape: tuple[int, ...]) -> Part:
        """Return ``1 / √x`` by a table with one entry per code."""
        y = self.declare(part, (*shape[:-1], 1))
        kind = IntType(bits=self.bits)
        table = rsqrt_table(x.scale, x.zero_point, y.scale, y.zero_point, bits=self.bits)
        constant = self.builder.constant(f"{y.name}.table", table, kind)
        self.add(Lookup(name=y.name, a=x.name, table=constant))
        return y

    def product(self, a: Part, b: Part, y: Part) -> Part:
        """Append a product into the declared ``y``."""
        requantize = self.builder.requantization(
            y.name, "mul", np.array([a.scale * b.scale]), np.array([y.scale])
        )
        self.add(Mul(name=y.name, a=a.name, b=b.name, requantize=requantize))
        return y

    def rounding(self) -> tuple[Rounding, DoubleRounding]:
        """Return how sums and squares round: as the profile's sums, where they are TFLite's too.

        Other sums (XNNPACK's) have no form for differences and squares here: TFLite's own stand for
        them, which round twice.
        """
        if self.builder.profile.add.algorithm != "shifted_q31":
            return Rounding.HALF_UP, DoubleRounding.SYMMETRIC
        section = self.builder.profile.rescale_of("add")
        return section.rounding, section.double_rounding


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
    shape = node.shape
    x = graph.existing(node.inputs[0])
    if builder.tensor(node.inputs[0]).code_type.bits != bits:
        x = graph.converted(x, "input", shape)
    mean = graph.mean(x, "mean", shape)
    squares = graph.squares(x, mean, "squares", shape)
    variance = graph.mean(squares, "variance", shape)
    if node.attributes["epsilon"] > variance.scale / 2:
        raise InputError(
            f"{node.name}: epsilon {node.attributes['epsilon']:g} is more than half a code of the "
            f"variance ({variance.scale:g}), which this graph leaves out; choose a profile with "
            "another layernorm.algorithm"
        )
    root = graph.inverse_root(variance, "inverse_root", shape)
    centred = graph.sum(x, mean, graph.declare("centred", shape), subtract=True)
    normalized = graph.product(centred, root, graph.declare("normalized", shape))
    _affine(graph, normalized)


def _affine(graph: LayerNormGraph, normalized: Part) -> None:
    """Times γ, plus β; converted to the result's width where that is another."""
    builder, node, shape = graph.builder, graph.node, graph.node.shape
    gamma, beta = builder.affine_parameters(node)
    scaled = graph.product(
        normalized, graph.constant("gamma", gamma), graph.declare("scaled", shape)
    )
    offset = graph.constant("beta", beta)
    result = builder.result(node)
    if result.code_type.bits == graph.bits:
        graph.sum(scaled, offset, graph.existing(node.name))
        return
    total = graph.sum(scaled, offset, graph.declare("shifted", shape))
    graph.rescaled(total, result.name, builder.step(node.name, f"LayerNorm {node.name}"))
