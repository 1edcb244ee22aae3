# SPDX-License-Identifier: Apache-2.0
"""Row scales and codes of weights whose sums a narrow register holds.

The sum of a row is at most ``‖codes‖₁`` times the largest input code, and its bias: what fits a
register of that many bits cannot overflow, in any order of summation (A2Q, arXiv 2308.13504, which
trains under this bound on the l1 norm). Few layers of a transformer fit 20 bits so with 8-bit
weights. The other choice is that the sums of the calibration images fit, with some room.

Whatever decides about a layer's integers last has to hold them to the bound: the closed form,
rounding to nearest, and back-propagation, which moves codes, scales, biases and steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode
from aocq.capture.residual_stream import arithmetic_source, factor_between
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight, Quantizer
from aocq.methods.scale_form import ScaleForm
from aocq.recipes.aocq_options import NarrowSums
from simulator.numerics.integer_type import IntType

# How many times the largest sum of the calibration images a register holds.
ROOM = 1.25
# How much larger than by the float weights the norm of codes may become where they are rounded.
SLACK = 1.05


@dataclass(frozen=True, slots=True)
class Register:
    """What a layer's sums are of, and where they have to fit.

    Attributes
    ----------
    bits
        of the register, which is signed
    scale
        of the input's codes
    largest
        magnitude of an input code less the zero point
    """

    bits: int
    scale: float
    largest: int

    @classmethod
    def of(cls, bits: int, quantizer: ActivationQuantizer, factor: float) -> Register:
        """Return the register of a layer that reads codes of a quantizer, times a factor."""
        low, high = quantizer.span
        return cls(bits, quantizer.scale * factor, max(-low, high))

    @property
    def high(self) -> int:
        """The largest sum."""
        return (1 << (self.bits - 1)) - 1


def register_of(
    graph: FloatGraph, node: FloatNode, quantizers: Mapping[str, Quantizer], bits: int | None
) -> Register | None:
    """Return where a layer's sums have to fit; None where they do anyway."""
    source = arithmetic_source(graph, node.inputs[0])
    quantizer = quantizers.get(source.name)
    if bits is None or not isinstance(quantizer, ActivationQuantizer):
        return None
    return Register.of(bits, quantizer, factor_between(graph, source.name, node.inputs[0]))


def smallest_scales(
    register: Register, wanted: NarrowSums, weight: Tensor, bias: Tensor, reach: Tensor
) -> Tensor:
    """Return the smallest scale of each row, [N], at which its sums fit; 0 where any does.

    Parameters
    ----------
    wanted
        ``counted``: sums may overflow; ``observed``: those of the calibration images do not;
        ``proven``: none does
    weight
        in the form that its codes approximate, [N, K]
    bias
        [N]
    reach
        the largest magnitude of each row's results on the calibration images, [N]
    """
    if wanted == "counted":
        return torch.zeros(len(weight), dtype=torch.float64)
    if wanted == "observed":
        return ROOM * reach.double() / (register.scale * register.high)
    products = weight.abs().sum(1) * register.largest * SLACK
    return (products + bias.abs().double() / register.scale) / register.high


def projected(register: Register, codes: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    """Return codes [N, K] whose sums cannot overflow: nearer to 0 in rows that could.

    All codes of a row become smaller by the same share, and are cut off towards 0.
    """
    spent = (bias.abs().double() / (register.scale * scales)).ceil()
    most = ((register.high - spent) / register.largest).floor().clamp_min(0)
    norms = codes.abs().sum(1)
    share = torch.where(norms > most, most / norms.clamp_min(1), 1.0)
    return torch.trunc(codes * share[:, None])


def within(register: Register, weight: QuantizedWeight, bias: Tensor) -> QuantizedWeight:
    """Return a layer's weights with the codes :func:`projected`; ``bias`` [N]."""
    codes = torch.from_numpy(weight.codes.astype(np.float64))
    held = projected(register, codes, torch.from_numpy(weight.scale), bias)
    return replace(weight, codes=held.numpy().astype(np.int8))


def rounded_within(
    register: Register, columns: Tensor, nearest: QuantizedWeight, bias: Tensor, form: ScaleForm
) -> QuantizedWeight:
    """Return ``columns`` [N, K], which were rounded to ``nearest``, with sums that fit.

    At scales that leave room for them, and with codes that are :func:`within`; ``bias`` [N].
    """
    smallest = smallest_scales(register, "proven", columns, bias, bias).numpy()
    if len(nearest.scale) == 1:
        smallest = smallest.max(keepdims=True)
    scales = form.nearest(np.maximum(nearest.scale, smallest))
    held = IntType(bits=nearest.bits)
    codes = np.rint(columns.double().numpy() / scales[:, None]).clip(held.low, held.high)
    return within(register, replace(nearest, codes=codes.astype(np.int8), scale=scales), bias)
