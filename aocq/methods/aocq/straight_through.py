# SPDX-License-Identifier: Apache-2.0
"""Quantizers with derivatives, for back-propagation through a block.

Rounding has the derivative of the identity (the straight-through estimator, Bengio et al., arXiv
1308.3432), clipping its own, and a uniform quantizer's step that of LSQ (Esser et al., arXiv
1902.08153). Any other quantizer passes derivatives on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.methods.masks import quantizer_of
from aocq.methods.quantizers import ActivationQuantizer, Quantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm


class _Uniform(Function):
    """A uniform quantizer: derivative 1 inside its range and 0 outside; and that of its step.

    Of its own, since autograd would keep and differentiate every step of the rounding.
    """

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        factor: Tensor,
        quantizer: ActivationQuantizer,
        quantized: Tensor | None,
    ) -> Tensor:
        """Quantize ``x``, or those values of it where ``quantized`` is 1 and not 0.

        ``factor`` is the learned one, which ``quantizer`` has in its scale.
        """
        scales = quantizer.scales().to(x)
        codes = quantizer.ratio(x, scales)
        rounded = torch.clamp(codes, *quantizer.span)
        # As floats: comparisons that yield truth values take five times as long.
        passed = torch.eq(codes, rounded, out=torch.empty_like(codes))
        rounded.round_()
        result = rounded * scales
        slope = None
        if context.needs_input_grad[1]:
            slope = rounded.sub_(codes.mul_(passed)).mul_(scales / factor)
        if quantized is not None:
            result = torch.lerp(x, result, quantized)
            passed = passed.sub_(1).mul_(quantized).add_(1)
            slope = None if slope is None else slope.mul_(quantized)
        context.save_for_backward(passed, *(() if slope is None else (slope,)))
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of ``x`` and ``factor``."""
        passed, *slope = context.saved_tensors
        to_factor = torch.dot(gradients[0].flatten(), slope[0].flatten()) if slope else None
        return gradients[0] * passed, to_factor, None, None


class _Identity(Function):
    """Any quantizer, differentiated as the identity."""

    @staticmethod
    def forward(_: Any, x: Tensor, quantizer: Quantizer, quantized: Tensor | None) -> Tensor:
        """Quantize ``x``, as :class:`_Uniform`."""
        return quantizer(x) if quantized is None else torch.lerp(x, quantizer(x), quantized)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the derivative on."""
        return gradients[0], None, None


@dataclass(frozen=True, slots=True)
class Drop:
    """Values that are left in float at random, each one by itself (QDrop, arXiv 2203.05740).

    Attributes
    ----------
    quantized
        1 for a value that is quantized, 0 for others; longer than any tensor, and read from
        any place: drawing as many anew would take as long as the rest
    generator
        draws the places; one for each thread
    """

    quantized: Tensor
    generator: torch.Generator

    def __call__(self, x: Tensor) -> Tensor:
        """Return a choice for a tensor, of its shape."""
        room = self.quantized.numel() - x.numel() + 1
        start = int(torch.randint(room, (), generator=self.generator))
        return self.quantized[start : start + x.numel()].view_as(x)


@dataclass(frozen=True, slots=True)
class StraightThrough:
    """The interpreter's transformation that fake-quantizes every result, with derivatives.

    Attributes
    ----------
    factors
        learned factors on the steps of uniform quantizers, scalars by node name
    drop
        what is left in float; None: nothing
    """

    graph: FloatGraph
    quantizers: Mapping[str, Quantizer]
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    drop: Drop | None = None

    def __call__(self, node: FloatNode, x: Tensor) -> Tensor:
        """Return the result of a node as its quantizer has it."""
        quantizer = quantizer_of(self.graph, self.quantizers, node)
        if quantizer is None:
            return x
        quantized = None if self.drop is None else self.drop(x)
        result: Tensor
        if not isinstance(quantizer, ActivationQuantizer):
            result = _Identity.apply(x, quantizer, quantized)  # type: ignore[no-untyped-call]
            return result
        factor = self.factors.get(node.name)
        if factor is None or node.op is FloatOp.MASK:
            factor = x.new_ones(())
        else:
            quantizer = with_factor(quantizer, float(factor.detach()))
        result = _Uniform.apply(x, factor, quantizer, quantized)  # type: ignore[no-untyped-call]
        return result


def with_factor(
    quantizer: ActivationQuantizer, factor: float, form: ScaleForm = ANY_SCALE
) -> ActivationQuantizer:
    """Return a quantizer whose step, and that of its table, is another."""
    table_scale = quantizer.table_scale
    return replace(
        quantizer,
        scale=form.nearest(quantizer.scale * factor),
        table_scale=form.nearest(table_scale * factor) if table_scale else 0.0,
    )
