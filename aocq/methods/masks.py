# SPDX-License-Identifier: Apache-2.0
"""Quantizers of masked attention scores, and how far down their codes must reach.

A mask makes no new values. Where it switches a score off, the chip has the lowest code of the
scores' own type, so that the quantizer of the scores must leave a distance: exp of the lowest code
must be nothing beside exp of a row's largest score, in every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC
from aocq.methods.quantizers import ActivationQuantizer, Quantizer

if TYPE_CHECKING:
    from torch import Tensor

    from aocq.capture.interpreter import Transform

Scores = TypeVar("Scores", "float", "Tensor")


def scores_of(graph: FloatGraph, mask: FloatNode) -> tuple[str, float]:
    """Return the arithmetic node whose scores a mask reads, and the factor of what it reads."""
    node, factor = mask, 1.0
    while node.op not in ARITHMETIC:
        if node.op is FloatOp.SCALE:
            factor *= float(node.attributes["factor"])
        node = graph.node(node.inputs[0])
    return node.name, factor


def quantizer_of(
    graph: FloatGraph, quantizers: Mapping[str, Quantizer], node: FloatNode
) -> Quantizer | None:
    """Return the quantizer of a node's result; None where it has none.

    A mask has the quantizer of its scores: scores that are switched off become the lowest code.
    """
    if node.op is not FloatOp.MASK:
        return quantizers.get(node.name)
    name, factor = scores_of(graph, node)
    quantizer = quantizers.get(name)
    if isinstance(quantizer, ActivationQuantizer) and factor != 1:
        return replace(quantizer, scale=quantizer.scale * factor)
    return quantizer


def quantizing(graph: FloatGraph, quantizers: Mapping[str, Quantizer]) -> Transform:
    """Return the interpreter's transformation that fake-quantizes every result."""

    def fake_quantize(node: FloatNode, x: Tensor) -> Tensor:
        quantizer = quantizer_of(graph, quantizers, node)
        return quantizer(x) if quantizer else x

    return fake_quantize


def lowest_code_wanted(masked: Tensor, factor: float, bits: int) -> Tensor:
    """Return the real value at or below which the lowest code of each row has to be, [..., 1].

    Even if all others in the row are switched off, their probabilities together then are less than
    half of a code of ``bits`` bits: ``max - ln(columns) - (bits + 1) ln 2``.

    Parameters
    ----------
    masked
        a mask's result in the float network, [..., rows, columns]; each row has a score that counts
    factor
        of the scores, see :func:`scores_of`
    """
    largest: Tensor = masked.amax(-1, keepdim=True)
    return lowest_wanted(largest, masked.shape[-1], factor, bits)


def lowest_wanted(largest: Scores, columns: int, factor: float, bits: int) -> Scores:
    """Return the same from the largest score of a row of so many columns, or of many rows."""
    distance = math.log(columns) + (bits + 1) * math.log(2)
    return (largest - distance) / factor
