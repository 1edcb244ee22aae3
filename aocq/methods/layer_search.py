# SPDX-License-Identifier: Apache-2.0
"""Search for the scales of one linear layer or matrix product, on its float inputs and results.

Every layer is searched by itself: it sees float inputs and is held against its float results, as
if no other layer were quantized. Each candidate costs one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from aocq.methods.objectives import Objective
from aocq.methods.quantizers import LevelQuantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm

# Rows of a layer, and values of a product, at a time: a part of a result stays in the cache while
# it is scored. At least two images; windows count as images, and are many and small.
ROWS = 256
VALUES = 1 << 18
IMAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Candidate scales: ``low, low + (high - low) / count, ...`` times the full range's scale.

    ``high`` itself is never tried, as in the released code of PTQ4ViT and BasePTQ.
    """

    low: float
    high: float
    count: int = 100

    def shares(self) -> Tensor:
        """Return the candidates, float64 [count]."""
        index = torch.arange(self.count, dtype=torch.float64)
        return self.low + index * (self.high - self.low) / self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCandidates:
    """Candidate quantizers of a layer's input: codes of ``low..high``, several scales.

    Attributes
    ----------
    fixed
        real values [R, K] that are added whatever scale is chosen (the other range of a twin
        quantizer)
    """

    scales: tuple[float, ...]
    first: float
    low: int
    high: int
    fixed: Tensor | None = None

    def quantized(self, x: Tensor, scale: float, rows: slice = slice(None)) -> Tensor:
        """Quantize and dequantize some rows of ``x`` [R, K]."""
        rounded = (x[rows] / scale).round_().clamp_(self.low, self.high).mul_(scale)
        return rounded if self.fixed is None else rounded.add_(self.fixed[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearLayer:
    """A linear layer with its float input and result.

    Attributes
    ----------
    x
        inputs, float32 [R, K]
    weight
        float32 [N, K], its rows ordered block by block
    bias
        float32 [N] in the same order
    real
        float results, float32 [R, N], likewise
    gradient
        the same shape, where the objective wants one
    blocks
        how many blocks of equally many rows have a scale of their own
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    real: Tensor
    gradient: Tensor | None
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScales:
    """Result of a search: a scale for each block of rows, float64 [blocks], and one for the input.

    ``rounds`` is the number of rounds run, less than asked for where one had changed nothing.
    """

    weight: Tensor
    input: float | None
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Settings of a search: candidates, objective, rounds, bits.

    ``weight_form`` and ``activation_form`` say which scales there are. ``one_scale`` asks for the
    same scale in all heads of an operand, the best for all of them together.
    """

    grid: Grid
    objective: Objective
    rounds: int
    weight_bits: int
    activation_bits: int
    weight_form: ScaleForm = ANY_SCALE
    activation_form: ScaleForm = ANY_SCALE
    one_scale: bool = False


def full_scale(largest: Tensor, bits: int) -> Tensor:
    """Return the scale at which codes of ``bits`` bits just span ``-largest..largest``, float64."""
    largest = largest.double()
    return torch.where(largest > 0, largest, 1.0) / ((1 << (bits - 1)) - 0.5)


def uniform_candidates(x: Tensor, search: Search) -> InputCandidates:
    """Return the candidates of a symmetric uniform quantizer of ``x``."""
    bits, form = search.activation_bits, search.activation_form
    full = full_scale(x.abs().max(), bits)
    return InputCandidates(
        scales=tuple(map(float, form.candidates(full, search.grid.shares()))),
        first=form.nearest(float(full)),
        low=-(1 << (bits - 1)),
        high=(1 << (bits - 1)) - 1,
    )


def choose(count: int, score: Callable[[int], Tensor]) -> Tensor:
    """Return the candidate of greatest score for each entry, the first of equal ones."""
    return torch.stack([score(index) for index in range(count)]).argmax(dim=0)


def weight_codes(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Return int8 codes of weights [N, K] under scales [blocks] of consecutive rows."""
    rows = scales.repeat_interleave(len(weight) // len(scales))[:, None]
    high = (1 << (bits - 1)) - 1
    return torch.round(weight.double() / rows).clamp_(-high - 1, high).to(torch.int8)


def quantized_weight(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Return weights [N, K] quantized and dequantized under scales [blocks], float32."""
    rows = scales.repeat_interleave(len(weight) // len(scales))[:, None]
    return (weight_codes(weight, scales, bits).double() * rows).float()


def search_linear(
    layer: LinearLayer, inputs: InputCandidates | None, search: Search
) -> LinearScales:
    """Search the scales of weight and input in turn, the other fixed.

    ``inputs`` is None where the input stays in float.
    """
    per_block = layer.weight.reshape(layer.blocks, -1).abs().amax(dim=1)
    full = full_scale(per_block, search.weight_bits)
    candidates = torch.stack(search.weight_form.candidates(full, search.grid.shares()))
    best = LinearScales(weight=full, input=inputs.first if inputs else None, rounds=0)
    for done in range(1, search.rounds + 1):
        before = best
        weight = _best_weight_scales(layer, inputs, best.input, candidates, search)
        scale = best.input
        if inputs:
            scale = _best_input_scale(layer, inputs, weight, search)
        best = LinearScales(weight=weight, input=scale, rounds=done)
        # The next round would search the same weight with the same input: nothing would change.
        if scale == before.input:
            break
    return best


def _best_weight_scales(
    layer: LinearLayer,
    inputs: InputCandidates | None,
    scale: float | None,
    candidates: Tensor,
    search: Search,
) -> Tensor:
    x = layer.x if inputs is None or scale is None else inputs.quantized(layer.x, scale)

    def score(index: int) -> Tensor:
        weight = quantized_weight(layer.weight, candidates[index], search.weight_bits)
        return _score(layer, lambda rows: x[rows], weight, search.objective)

    return _taken(candidates, choose(len(candidates), score))


def _taken(candidates: Tensor, chosen: Tensor) -> Tensor:
    """Return the chosen of the candidates [candidates, entries] for every entry, [entries]."""
    entries = candidates.shape[1]
    return candidates[chosen.expand(entries), torch.arange(entries)]


def _best_input_scale(
    layer: LinearLayer, inputs: InputCandidates, scales: Tensor, search: Search
) -> float:
    weight = quantized_weight(layer.weight, scales, search.weight_bits)
    whole = replace(layer, blocks=1)

    def score(index: int) -> Tensor:
        scale = inputs.scales[index]
        return _score(
            whole, lambda rows: inputs.quantized(layer.x, scale, rows), weight, search.objective
        )

    return inputs.scales[int(choose(len(inputs.scales), score))]


def _score(
    layer: LinearLayer,
    inputs: Callable[[slice], Tensor],
    weight: Tensor,
    objective: Objective,
) -> Tensor:
    """Return the objective summed over rows, [blocks], under quantized inputs and weights."""
    total = torch.zeros(layer.blocks, dtype=torch.float64)
    columns = weight.T
    shape = (-1, layer.blocks, len(weight) // layer.blocks)
    for start in range(0, len(layer.x), ROWS):
        rows = slice(start, start + ROWS)
        approximate = torch.addmm(layer.bias, inputs(rows), columns)
        gradient = layer.gradient[rows].reshape(shape) if layer.gradient is not None else None
        per_row = objective(layer.real[rows].reshape(shape), approximate.reshape(shape), gradient)
        total += per_row.sum(dim=0, dtype=torch.float64)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of two activations: operands, float results, and their gradient.

    Operands are float32 [images, heads, rows, columns], the right one as it is multiplied:
    ``real = a @ b``.

    Attributes
    ----------
    factors
        both operands as multiples of the tensors whose codes they are: those tensors' scales are
        what has a chip's form
    left_bits
        width of the left operand, where it is not that of the search (probabilities)
    """

    a: Tensor
    b: Tensor
    real: Tensor
    gradient: Tensor | None
    factors: tuple[float, float] = (1.0, 1.0)
    left_bits: int | None = None

    def bits(self, side: Literal["a", "b"], search: Search) -> int:
        """Return the width of an operand's codes."""
        own = self.left_bits if side == "a" else None
        return search.activation_bits if own is None else own


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductScales:
    """Result of a search: scales per head, float64 [heads], or levels for the left operand."""

    a: Tensor | LevelQuantizer
    b: Tensor
    rounds: int


def search_product(product: Product, search: Search) -> ProductScales:
    """Search the left operand's scales, then the right one's, one per head."""
    bits_a, bits_b = product.bits("a", search), product.bits("b", search)
    first_b, candidates_b = _head_scales(product, "b", search)
    first_a, candidates_a = _head_scales(product, "a", search)
    best = ProductScales(a=first_a, b=first_b, rounds=0)
    for done in range(1, search.rounds + 1):
        before = best.b
        b = quantize_heads(product.b, best.b, bits_b)
        scales_a = _best_head_scales(replace(product, b=b), "a", candidates_a, search)
        a = quantize_heads(product.a, scales_a, bits_a)
        scales_b = _best_head_scales(replace(product, a=a), "b", candidates_b, search)
        best = ProductScales(a=scales_a, b=scales_b, rounds=done)
        if torch.equal(before, scales_b):
            break
    return best


def search_product_with_levels(
    product: Product, levels: Sequence[LevelQuantizer], search: Search
) -> ProductScales:
    """Search the left operand's levels with the right one in float, then the right one's scales.

    One round is all: the first search does not depend on the second.
    """
    chosen = choose(
        len(levels), lambda i: _score_heads(product, "a", levels[i], search.objective).sum()
    )
    best = levels[int(chosen)]
    _, candidates = _head_scales(product, "b", search)
    scales = _best_head_scales(replace(product, a=best(product.a)), "b", candidates, search)
    return ProductScales(a=best, b=scales, rounds=1)


def quantize_heads(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Quantize and dequantize [images, heads, ...] under one scale per head."""
    scale = scales.to(x)[:, None, None]
    high = (1 << (bits - 1)) - 1
    return torch.round(x / scale).clamp_(-high - 1, high).mul_(scale)


def _head_scales(
    product: Product, side: Literal["a", "b"], search: Search
) -> tuple[Tensor, Tensor]:
    """Return an operand's first scales [heads] and the candidates [candidates, heads]."""
    x, factor = (product.a, product.factors[0]) if side == "a" else (product.b, product.factors[1])
    largest = x.abs().amax(dim=(0, 2, 3))
    if search.one_scale:
        largest = largest.max().expand_as(largest)
    full, form = full_scale(largest, product.bits(side, search)), search.activation_form
    if not form.restricts:
        return full, torch.stack(form.candidates(full, search.grid.shares()))
    own = full / factor
    return form.nearest(own) * factor, torch.stack(
        form.candidates(own, search.grid.shares())
    ) * factor


def _best_head_scales(
    product: Product, side: Literal["a", "b"], candidates: Tensor, search: Search
) -> Tensor:
    bits = product.bits(side, search)

    def score(index: int) -> Tensor:
        scores = _score_heads(
            product,
            side,
            lambda x: quantize_heads(x, candidates[index], bits),
            search.objective,
        )
        return scores.sum() if search.one_scale else scores

    return _taken(candidates, choose(len(candidates), score))


def _score_heads(
    product: Product,
    side: Literal["a", "b"],
    quantize: Callable[[Tensor], Tensor],
    objective: Objective,
) -> Tensor:
    """Return the objective summed over images and rows, [heads], with one operand quantized."""
    total = torch.zeros(product.real.shape[1], dtype=torch.float64)
    each = max(x[0].numel() for x in (product.a, product.b, product.real))
    count = max(IMAGES, VALUES // each)
    for start in range(0, len(product.real), count):
        part = slice(start, start + count)
        a, b = product.a[part], product.b[part]
        approximate = quantize(a) @ b if side == "a" else a @ quantize(b)
        gradient = product.gradient[part] if product.gradient is not None else None
        per_row = objective(product.real[part], approximate, gradient)
        total += per_row.sum(dim=(0, 2), dtype=torch.float64)
    return total
