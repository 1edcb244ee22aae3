# SPDX-License-Identifier: Apache-2.0
"""The specification of an op: all that is known of it but how an engine computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.parameters import first_has_images
from simulator.graph.ranges import Intermediate
from simulator.graph.shapes import Shape

Rule = Callable[[IntGraph, Any], Iterator[str]]


def no_intermediates(_: IntGraph, __: Op) -> Iterator[Intermediate]:
    """Yield nothing: the op moves or looks up codes, or computes in float."""
    return iter(())


def no_rules(_: IntGraph, __: Op) -> Iterator[str]:
    """Yield nothing: any values of the op's fields are possible."""
    return iter(())


def result_size(graph: IntGraph, op: Op) -> int:
    """Return the number of elements of an op's result."""
    return graph.result(op).size


def operand_size(graph: IntGraph, op: Op) -> int:
    """Return the number of elements of an op's first operand."""
    return graph.tensors[op.operands[0]].size


def no_products(_: IntGraph, __: Op) -> int:
    """Return 0: the op is no matrix product, or has no factors that inputs decide."""
    return 0


def never(_: IntGraph, __: Op) -> bool:
    """Return False."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSpec:
    """The row of one op in :data:`simulator.graph.ops.SPECS`; functions take ``(graph, op)``.

    Attributes
    ----------
    op
        the dataclass of its fields, whose docstring is its formula
    name
        what messages, text, tables and reports call it; a function of the op where a field decides
    shape
        ``shape(op, shapes, declared)``: the result's shape, see
        :func:`simulator.graph.verify_shapes.result_shape`
    intermediates
        every value inside it that hardware holds in a register, in order of computation, with
        bounds that no input exceeds, for an op that keeps its rules; ``rounded`` is the last one
        before ``fit``
    text
        its operands and parameters on one line, without its name
    rate
        the rate of :class:`simulator.profile.CyclesPerElement` that it costs in the vector unit;
        None of products, which the MAC engine computes
    rules
        messages for parameters and constants that its formula does not allow
    batch
        messages for operands that should have a batch dimension, or should have none
    moves_codes
        whether its result holds the operands' codes: type and zero point are the same
    real
        which tensors hold real values: any of ``operand``, ``constant`` and ``result``
    shifts
        fields, or constants, that must lie in 0..62
    multipliers
        fields of constants that must not be negative, beside those of requantizations
    per_channel
        fields of constants that must be vectors [C], C being the last dimension of the result
    own_shapes
        fields of constants whose shapes are a matter of ``rules``; others are [1] or [C]
    widest_operand
        most bits of an operand of its sums; None where it has no accumulator
    macs
        multiply-accumulate operations for one image
    scalings
        multiplications of sums of a product by factors that inputs decide, which the vector unit
        makes as the sums leave the MAC array
    elements
        elements for which the vector unit takes time
    is_view
        whether the result lies in its operand's memory, so that no code has to move
    is_mask
        whether it only switches scores off (docs/decisions/0020)
    """

    op: type[Op]
    name: str | Callable[[Any], str]
    shape: Callable[[Any, Sequence[Shape], Shape], Shape]
    intermediates: Callable[[IntGraph, Any], Iterator[Intermediate]]
    text: Callable[[IntGraph, Any], str]
    rate: str | None
    rules: Rule = no_rules
    batch: Rule = first_has_images
    moves_codes: bool = False
    real: frozenset[str] = frozenset()
    shifts: tuple[str, ...] = ()
    multipliers: tuple[str, ...] = ()
    per_channel: tuple[str, ...] = ()
    own_shapes: tuple[str, ...] = ()
    widest_operand: int | None = None
    macs: Callable[[IntGraph, Any], int] = no_products
    scalings: Callable[[IntGraph, Any], int] = no_products
    elements: Callable[[IntGraph, Any], int] = result_size
    is_view: Callable[[IntGraph, Any], bool] = never
    is_mask: Callable[[IntGraph, Any], bool] = never
