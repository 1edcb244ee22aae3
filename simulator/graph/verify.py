# SPDX-License-Identifier: Apache-2.0
"""The rules of a valid IntGraph, as a table. Run after lowering, on every save and every load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulator.graph.graph import IntGraph
from simulator.graph.meta import meta_fits
from simulator.graph.op import Op
from simulator.graph.ops import op_name
from simulator.graph.verify_ops import (
    accumulators_are_sound,
    intermediates_fit,
    layout_keeps_codes,
    numbers_are_possible,
    own_rules_hold,
    requantizations_are_possible,
    shifts_in_range,
    types_go_together,
    vectors_match_channels,
)
from simulator.graph.verify_shapes import operands_have_images, shapes_agree
from simulator.graph.verify_tensors import (
    constants_fit,
    ends_are_named,
    names_are_defined,
    names_are_plain,
    nothing_is_left_over,
    tensors_are_possible,
)

GraphRule = Callable[[IntGraph], Iterator[str]]
OpRule = Callable[[IntGraph, Op], Iterator[str]]


def verify(graph: IntGraph) -> list[str]:
    """Return broken rules as sentences that name the place; empty for a valid graph.

    Rules are layers, and the first layer with a broken one is the last that is looked at: what
    names mean is not asked while there are wrong names, nor what shapes imply of impossible ones.
    """
    return _first_broken(graph, frozenset())


def verify_one_op(graph: IntGraph) -> list[str]:
    """Return the same of an op by itself, all of whose activations are inputs of the graph."""
    return _first_broken(graph, frozenset({ends_are_named}))


def _first_broken(graph: IntGraph, without: frozenset[GraphRule]) -> list[str]:
    for rules in _LAYERS:
        problems = [message for rule in rules if rule not in without for message in rule(graph)]
        if problems:
            return problems
    return []


def _of_ops(*rules: OpRule) -> GraphRule:
    """Return a rule of graphs that asks some rules of every op, and says which op broke one."""

    def rule(graph: IntGraph) -> Iterator[str]:
        for op in graph.ops:
            for of_op in rules:
                for message in of_op(graph, op):
                    yield f"op {op.name} ({op_name(op)}): {message}"

    return rule


_LAYERS: tuple[tuple[GraphRule, ...], ...] = (
    (names_are_plain,),
    (names_are_defined,),
    (ends_are_named, tensors_are_possible),
    (constants_fit, meta_fits),
    (_of_ops(numbers_are_possible, types_go_together, layout_keeps_codes),),
    (_of_ops(shapes_agree, operands_have_images),),
    (_of_ops(vectors_match_channels),),
    (
        _of_ops(
            shifts_in_range,
            accumulators_are_sound,
            requantizations_are_possible,
            own_rules_hold,
        ),
    ),
    (_of_ops(intermediates_fit), nothing_is_left_over),
)
