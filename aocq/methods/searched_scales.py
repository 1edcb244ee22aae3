# SPDX-License-Identifier: Apache-2.0
"""Scales and levels of tensors, put together from the searches of the layers that read them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods.layer_search import full_scale
from aocq.methods.layer_values import values_at
from aocq.methods.operands import Operand
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Quantizer
from aocq.methods.scale_form import activation_form
from aocq.methods.tensor_widths import operand_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType


@dataclass(slots=True)
class _AlongAxis:
    """Scales of one tensor by index of ``axis``, 0 where no search has found one."""

    axis: int
    scales: Tensor


@dataclass(slots=True)
class SearchedScales:
    """The scales and levels found so far, by tensor.

    Attributes
    ----------
    images
        those of the searches: tensors that no search reaches have the scale of their range on them
    """

    graph: FloatGraph
    images: Tensor
    recipe: Recipe
    limits: ChipLimits
    found: dict[str, _AlongAxis] = field(default_factory=dict)
    levels: dict[str, LevelQuantizer] = field(default_factory=dict)
    _widths: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Note the widths of all tensors that products read."""
        self._widths = operand_widths(self.graph, self.recipe, self.limits)

    def bits(self, name: str) -> int:
        """Return the width of the codes of a tensor that a product reads."""
        return self._widths[name]

    def note_heads(self, operand: Operand, scales: Tensor) -> None:
        """Note the scales of an operand's heads, [heads], for the tensor that it is a view of."""
        source = self.graph.node(operand.source)
        along = torch.zeros(source.shape[operand.axis], dtype=torch.float64)
        if len(operand.heads) != len(scales):
            scales = scales.max().expand(len(operand.heads))
        for head, scale in zip(operand.heads, scales / operand.factor, strict=True):
            along[list(head)] = scale
        self.note(operand.source, operand.axis, along)

    def note(self, name: str, axis: int, scales: Tensor) -> None:
        """Note scales along an axis of a tensor, float64; of several readers' the largest count."""
        known = self.found.get(name)
        if known and known.axis != axis:
            scales = torch.cat([scales, known.scales]).max().expand(len(scales))
        elif known:
            scales = torch.maximum(known.scales, scales)
        self.found[name] = _AlongAxis(axis=axis, scales=scales)

    def note_levels(self, name: str, levels: LevelQuantizer) -> None:
        """Note levels of a tensor; of several readers' the ones that reach furthest count."""
        known = self.levels.get(name)
        if known is None or _reach(levels) > _reach(known):
            self.levels[name] = levels

    def quantizers(self) -> dict[str, Quantizer]:
        """Return the quantizer of every tensor that a product reads, but the image."""
        quantizers: dict[str, Quantizer] = {}
        for name, known in self.found.items():
            if name in self.levels:
                continue
            scales = known.scales
            if not bool((scales > 0).all()):
                scales = torch.where(scales > 0, scales, self._observed_scales(name, known.axis))
            scales = activation_form(self.limits).nearest(scales)
            if self.limits.activation_granularity == "per_tensor":
                scales = scales.max().expand_as(scales)
            smallest = float(scales.min())
            alike = bool((scales == scales[0]).all())
            quantizers[name] = ActivationQuantizer(
                type=IntType(bits=self.bits(name)),
                scale=smallest,
                zero_point=0,
                alpha=() if alike else tuple((scales / smallest).tolist()),
                axis=-1 if alike else known.axis,
            )
        return {**quantizers, **self.levels}

    def _observed_scales(self, name: str, axis: int) -> Tensor:
        """Return scales for indices that no product reads (Q and K before a normalization)."""
        largest = (
            values_at(self.graph, self.images, [name])[name]
            .abs()
            .movedim(axis, -1)
            .flatten(0, -2)
            .amax(dim=0)
        )
        return full_scale(largest, self.bits(name))


def _reach(levels: LevelQuantizer) -> float:
    return levels.levels[-1] * levels.scale
