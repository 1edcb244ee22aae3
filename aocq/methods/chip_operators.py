# SPDX-License-Identifier: Apache-2.0
"""Operators of a chip in place of exact ones, while a method decides.

Fake quantization computes an operator exactly and rounds its result. Some chips approximate:
I-BERT's polynomials, exponentials of whole octaves, roots of whole numbers. What a method decides
behind such an operator, it decides on what the chip computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aocq.capture import FloatGraph, FloatNode
from aocq.methods.quantizers import Quantizer

if TYPE_CHECKING:
    from torch import Tensor

    from aocq.capture.interpreter import OperatorOf

# From the real values of a node's inputs, [images, ...] each, to those of its result's codes.
Operator = Callable[[Sequence["Tensor"]], "Tensor"]
# The chip's operator of a node under given quantizers; None where it is exact but for its rounding.
ChipOperators = Callable[[FloatGraph, FloatNode, Mapping[str, Quantizer]], Operator | None]


def exact_operators(
    graph: FloatGraph, node: FloatNode, quantizers: Mapping[str, Quantizer]
) -> Operator | None:
    """Return None: a chip whose operators differ from exact ones by the rounding of results."""
    del graph, node, quantizers
    return None


def with_those_before(
    operators: ChipOperators, graph: FloatGraph, before: Mapping[str, Quantizer]
) -> ChipOperators:
    """Return the operators of nodes of a part of ``graph``, which read tensors of earlier parts."""

    def of_part(
        part: FloatGraph, node: FloatNode, quantizers: Mapping[str, Quantizer]
    ) -> Operator | None:
        del part
        return operators(graph, node, {**before, **quantizers})

    return of_part


def operator_of(
    graph: FloatGraph, quantizers: Mapping[str, Quantizer], operators: ChipOperators
) -> OperatorOf:
    """Return what the interpreter asks for the operator of each node."""
    return lambda node: operators(graph, node, quantizers)
