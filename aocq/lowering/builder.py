# SPDX-License-Identifier: Apache-2.0
"""The IntGraph under construction, with what rules need of model and profile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode
from aocq.lowering.factors import Real, fixed_point, ratio
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import DynamicQuantizer, StaticQuantizer
from aocq.methods.scales import Scales, as_scale, compressed
from simulator.errors import InputError
from simulator.graph.builder import GraphBuilder, narrowest
from simulator.graph.graph import Tensor
from simulator.graph.ops import Requantization
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_type import FLOAT32, FLOAT64
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import Rounding
from simulator.profile import NpuProfile, OpKind, RescaleSection
from simulator.profile.effects import SUMMING

# Widths of sums that are requantized without an accumulator: products of two codes, or less.
SHORT_SUMS = 34


def shift_type(section: RescaleSection) -> IntType:
    """Return the type of a chip's shifts: as wide as its largest one."""
    return IntType(bits=max(section.shift[1].bit_length(), 1), signed=False)


def along_channels(name: str, scales: Scales) -> Scales:
    """Return the scales of tensor ``name``, [C] or [1], as a requantization applies them.

    Raises
    ------
    InputError
        If scales differ along another dimension than the last.
    """
    if math.prod(scales.shape[:-1]) > 1:
        raise InputError(
            f"{name}: its scales differ along dimension "
            f"{next(axis for axis, extent in enumerate(scales.shape) if extent > 1)} (by head), "
            "and a chip's integer requantization tells channels apart only; quantize it with one "
            'scale, or one per channel (methods with float operators: float_ops = "integer")'
        )
    return scales.reshape(-1)


@dataclass
class Builder:
    """The IntGraph under construction, for one model and one profile."""

    model: QuantizedModel
    profile: NpuProfile
    graph: GraphBuilder = field(init=False)
    # Tensors of nodes without an op of their own: a factor changes the scale of the same codes.
    aliases: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = GraphBuilder(self.model.graph.name, self.profile.name)

    def accumulator(self, op_kind: OpKind) -> Accumulator:
        """Return the profile's accumulator of one kind of op."""
        return self.profile.accumulator_of(op_kind).accumulator()

    def rounding(self, op_kind: OpKind) -> Rounding:
        """Return the profile's rounding in one kind of op."""
        return self.profile.rescale_of(op_kind).rounding

    def overflow(self, op_kind: OpKind) -> Overflow:
        """Return the profile's overflow mode in one kind of op."""
        return self.profile.rescale_of(op_kind).overflow

    @cached_property
    def fused_layers(self) -> Mapping[str, FloatNode]:
        """Layers without a tensor of their own, see :attr:`QuantizedModel.fused_layers`."""
        return self.model.fused_layers

    def tensor(self, node_name: str) -> Tensor:
        """Return the tensor of a node's codes, with the node's scale."""
        return self.aliases.get(node_name) or self.graph.tensors[node_name]

    def quantizer(self, node: FloatNode) -> StaticQuantizer:
        """Return the quantizer of an arithmetic node whose steps do not depend on the image."""
        quantizer = self.model.activations[node.name]
        assert not isinstance(quantizer, DynamicQuantizer), node.name  # of operands only: verified
        return quantizer

    def result(self, node: FloatNode) -> Tensor:
        """Declare the result of an arithmetic node's op, with the node's quantizer."""
        quantizer = self.quantizer(node)
        scale = as_scale(self.model.scales(node.name))
        self.graph.declare(node.name, node.shape, quantizer.type, quantizer.zero_point, scale)
        return self.graph.tensors[node.name]

    def like(self, node: FloatNode, source: Tensor) -> None:
        """Declare the tensor of a layout op: codes of ``source`` in another shape."""
        scale = () if source.is_float else as_scale(self.model.scales(node.name))
        self.graph.declare(node.name, node.shape, source.type, source.zero_point, scale)

    def zeros(self, name: str, shape: tuple[int, ...], source: Tensor) -> str:
        """Add a constant of zeros that can stand beside ``source``, and return its name."""
        if source.is_float:
            return self.graph.constant(name, np.zeros(shape), FLOAT32)
        codes = np.full(shape, source.zero_point)
        scale = source.scale if len(source.scale) == 1 else ()
        return self.constant(name, codes, source.code_type, source.zero_point, scale)

    def channel_scales(self, name: str) -> Scales:
        """Return the scales of a node's codes, [C] or [1].

        Raises
        ------
        InputError
            If they differ along another dimension than the last.
        """
        return along_channels(name, self.model.scales(name))

    def scale(self, name: str, reader: str) -> float:
        """Return the one scale of a node's codes.

        Raises
        ------
        InputError
            If they have several, so that ``reader`` (what reads or makes the codes) cannot work.
        """
        scales = compressed(self.model.scales(name))
        if scales.size > 1:
            raise InputError(
                f"{name}: {reader} has one scale, and the tensor's scales differ by channel or "
                "head; quantize it with one scale"
            )
        return float(scales.reshape(-1)[0])

    def affine_parameters(self, node: FloatNode) -> tuple[Real, Real]:
        """Return a LayerNorm's γ and β, float64 [C]; 1 and 0 where it has none."""
        weight, bias = node.attributes["weight"], node.attributes["bias"]
        channels = node.shape[-1]
        gamma = self.model.parameter(weight) if weight else np.ones(channels)
        beta = self.model.parameter(bias) if bias else np.zeros(channels)
        return gamma, beta

    def constant(
        self,
        name: str,
        codes: NDArray[Any],
        int_type: IntType,
        zero_point: int = 0,
        scale: tuple[float, ...] = (),
    ) -> str:
        """Add a constant that a chip must hold, and return its name.

        ``codes`` are whole numbers of any type, float64 where they may pass 64 bits.

        Raises
        ------
        InputError
            If a code does not fit ``int_type``.
        """
        if codes.size and not (
            int_type.low <= int(codes.min()) and int(codes.max()) <= int_type.high
        ):
            raise InputError(
                f"{name}: needs {narrowest(codes, signed=int_type.signed).bits} bits, profile "
                f"{self.profile.name} has {int_type.bits}; choose a profile with wider constants"
            )
        return self.graph.constant(name, codes, int_type, zero_point, scale)

    def multiplier(self, name: str, value: int, section: RescaleSection) -> str:
        """Add one multiplier in as few bits as it needs, of those that the chip has."""
        codes = np.array([value], object)
        bits = min(narrowest(codes, signed=False).bits, section.multiplier_bits)
        return self.constant(name, codes, IntType(bits=bits, signed=False))

    def requantization(
        self,
        node_name: str,
        op_kind: OpKind,
        sums: Scales,
        scales: Scales,
        largest_shift: int = LARGEST_SHIFT,
        most_bits: int = LARGEST_SHIFT,
    ) -> Requantization:
        """Add the factors of a requantization: one for all channels, or one each.

        Parameters
        ----------
        op_kind
            of the op: its own table of the profile counts
        sums, scales
            scales of the sums and of the result, [C] or [1]
        most_bits
            of multipliers, where there is room for fewer than the chip's have
        """
        section = self.profile.rescale_of(op_kind)
        if section.multiplier_bits > most_bits and section.derivation == "normalized":
            section = section.model_copy(update={"multiplier_bits": most_bits})
        factors = ratio(sums, scales, section)
        multiplier, shift = f"{node_name}.multiplier", None
        if section.arithmetic is Arithmetic.FIXED_POINT:
            sum_bits = (
                self.accumulator(op_kind).levels[-1].bits if op_kind in SUMMING else SHORT_SUMS
            )
            fixed = fixed_point(factors, section, largest_shift, sum_bits)
            width = IntType(bits=section.multiplier_bits, signed=False)
            if section.kind == "power_of_two":  # 1, or a shift to the left: no multiplier
                width = narrowest(fixed.multipliers, signed=False)
            self.constant(multiplier, fixed.multipliers, width)
            shift = self.constant(f"{node_name}.shift", fixed.shifts, shift_type(section))
        else:
            types = {Arithmetic.FLOAT32: FLOAT32, Arithmetic.FLOAT64: FLOAT64}
            self.graph.constant(multiplier, factors, types[section.arithmetic])
        return Requantization.by(section.rule, multiplier=multiplier, shift=shift)
