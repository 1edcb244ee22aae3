# SPDX-License-Identifier: Apache-2.0
"""Classes of products: those of one class are taken for equally fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatrixProduct, ScaledMatMul

# Images of a worker's task, as the executor hands them out where there are enough.
IMAGES = 8
# Sizes that stand for those near them: of layers, and of attention (tokens and widths of heads).
LAYER_ROWS = (8, 64, 256, 1576)
LAYER_WIDTHS = (64, 192, 384, 768, 1536, 3072)
ATTENTION_SIZES = (16, 32, 49, 64, 197, 577)
NARROW_WEIGHTS, WEIGHTS = 4, 8  # bits
# Above so many bits four products of a weight and a byte do not fit 16 bits (quads of the tile).
WIDEST_NARROW_WEIGHTS = 5


class Kind(StrEnum):
    """What a product is, of what decides how fast its kernels are.

    An op whose sums may overflow is of a narrow kind. ``SUMS`` are products whose op has no form in
    one pass (several registers, numbers that are too wide): its requantization is the same with
    every backend.
    """

    LAYER = "layer"
    ATTENTION = "attention"
    NARROW_LAYER = "layer, narrow accumulator"
    NARROW_ATTENTION = "attention, narrow accumulator"
    LAYER_SUMS = "layer, sums alone"
    ATTENTION_SUMS = "attention, sums alone"

    @property
    def has_weights(self) -> bool:
        """Whether the right operand is constant."""
        return self.value.startswith("layer")

    @property
    def is_narrow(self) -> bool:
        """Whether sums may overflow."""
        return self.value.endswith("narrow accumulator")

    @property
    def is_sums(self) -> bool:
        """Whether the product alone is compared."""
        return self.value.endswith("sums alone")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ProductClass:
    """Products [rows, terms] @ [terms, columns] of one kind.

    Attributes
    ----------
    weight_bits
        4 or 8: whether weights are narrow; 8 of activations
    rows
        of all images of a task in layers, of one matrix in attention
    """

    kind: Kind
    weight_bits: int
    rows: int
    terms: int
    columns: int

    def __str__(self) -> str:
        bits = f", {self.weight_bits}-bit weights" if self.kind.has_weights else ""
        return f"{self.kind}{bits}, {self.rows} x {self.terms} x {self.columns}"

    @property
    def operations(self) -> int:
        """Multiplications and additions of one product."""
        return 2 * self.rows * self.terms * self.columns


def class_of(op: MatrixProduct, graph: IntGraph, *, one_pass: bool) -> ProductClass:
    """Return the class of an op's product.

    Parameters
    ----------
    one_pass
        whether a kernel in vector registers multiplies and requantizes at once
    """
    a, b = graph.tensors[op.a], graph.tensors[op.b]
    weights = graph.is_constant(op.b)
    terms, columns = a.shape[-1], graph.result(op).shape[-1]
    if isinstance(op, ScaledMatMul) and op.block:
        terms = op.block  # one product for each block
    if weights:
        rows = IMAGES * math.prod(a.shape[:-1])
        narrow = b.code_type.bits <= WIDEST_NARROW_WEIGHTS
        return ProductClass(
            kind=_kind(op, graph, weights=True, one_pass=one_pass),
            weight_bits=NARROW_WEIGHTS if narrow else WEIGHTS,
            rows=_nearest(rows, LAYER_ROWS),
            terms=_nearest(terms, LAYER_WIDTHS),
            columns=_nearest(columns, LAYER_WIDTHS),
        )
    return ProductClass(
        kind=_kind(op, graph, weights=False, one_pass=one_pass),
        weight_bits=WEIGHTS,
        rows=_nearest(a.shape[-2], ATTENTION_SIZES),
        terms=_nearest(terms, ATTENTION_SIZES),
        columns=_nearest(columns, ATTENTION_SIZES),
    )


def operations_of_a_task(op: MatrixProduct, graph: IntGraph) -> int:
    """Return the multiplications and additions of an op for all images of a task."""
    return 2 * IMAGES * graph.result(op).size * graph.tensors[op.a].shape[-1]


def _kind(op: MatrixProduct, graph: IntGraph, *, weights: bool, one_pass: bool) -> Kind:
    if not one_pass:
        return Kind.LAYER_SUMS if weights else Kind.ATTENTION_SUMS
    if bounds(graph, op).proven_free:
        return Kind.LAYER if weights else Kind.ATTENTION
    return Kind.NARROW_LAYER if weights else Kind.NARROW_ATTENTION


def _nearest(size: int, sizes: tuple[int, ...]) -> int:
    """Return the size of a list with the least ratio to another."""
    return min(sizes, key=lambda known: abs(math.log(known / size)))


def usual_classes() -> tuple[ProductClass, ...]:
    """Return classes of the products of small and middle vision transformers, Swin's among them."""
    rows, tokens, head = LAYER_ROWS[-1], 197, 64
    layers = [
        (192, 192),
        (192, 768),
        (768, 192),
        (384, 1536),
        (1536, 384),
        (768, 3072),
        (3072, 768),
    ]
    matrices = [(tokens, head, tokens), (tokens, tokens, head), (49, 32, 49), (49, 49, 32)]
    found = [(Kind.LAYER, WEIGHTS, (rows, *size)) for size in layers]
    found += [(Kind.LAYER, WEIGHTS, (LAYER_ROWS[0], 192, 768))]
    found += [(Kind.LAYER, NARROW_WEIGHTS, (rows, *size)) for size in ((192, 768), (768, 192))]
    found += [(Kind.ATTENTION, WEIGHTS, size) for size in matrices]
    found += [(Kind.NARROW_LAYER, WEIGHTS, (rows, *size)) for size in ((192, 768), (768, 192))]
    found += [(Kind.NARROW_ATTENTION, WEIGHTS, size) for size in matrices[:2]]
    found += [(Kind.LAYER_SUMS, WEIGHTS, (rows, 192, 768))]
    return tuple(
        ProductClass(kind=kind, weight_bits=bits, rows=size[0], terms=size[1], columns=size[2])
        for kind, bits, size in found
    )
