# SPDX-License-Identifier: Apache-2.0
"""The proofs of a graph as one JSON value that a reviewer can recompute from the graph's files.

It names every number that a bound is made of: of a layer the worst column's weights, summed by
sign, its bias and the ends of the codes; of a product of two activations the ends of both and, of
rows of probabilities, what they sum up to; of other values the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, accumulator_of
from simulator.graph.ops import AnyMatMul, Mean, NormalizedMatMul
from simulator.graph.ops.row_sums import largest_row_sum, softmax_behind
from simulator.graph.ranges import centred_range, code_range
from simulator.graph.storage import sha256
from simulator.proof.prove import ValueProof, unproven
from simulator.proof.sums import WorstColumn, places_of_level, worst_column

FORMAT = 1


def certificate(graph: IntGraph, proofs: Sequence[ValueProof]) -> dict[str, Any]:
    """Return the certificate: plain values, for canonical JSON."""
    ops = graph.makers
    sums = [found for found in proofs if found.value == "accumulator"]
    others = [found for found in proofs if found.value != "accumulator"]
    return {
        "format": FORMAT,
        "graph": {"name": graph.name, "profile": graph.profile, "sha256": sha256(graph)},
        "values": len(proofs),
        "unproven": [f"{found.op}: {found.place}" for found in unproven(proofs)],
        "accumulators": [{**found.plain(), **_sum(graph, ops[found.op], found)} for found in sums],
        "intermediates": [found.plain() for found in others],
    }


def _sum(graph: IntGraph, op: Op, found: ValueProof) -> dict[str, Any]:
    """Return what the bound of an accumulator's level is made of."""
    level = found.level or 0
    accumulator = accumulator_of(op)
    assert accumulator is not None
    group = accumulator.levels[level].group
    if isinstance(op, Mean):
        terms = graph.tensors[op.a].shape[op.axis]
        return {"terms": min(group, terms) if group else terms, "a": [*centred_range(graph, op.a)]}
    assert isinstance(op, AnyMatMul | NormalizedMatMul)
    terms = graph.tensors[op.a].shape[-1]
    if isinstance(op, NormalizedMatMul):
        return {
            "terms": min(group, terms) if group else terms,
            "levels": [*code_range(graph, op.levels)],
            "b": [*code_range(graph, op.b)],
        }
    made: dict[str, Any] = {
        "terms": min(group, terms) if group else terms,
        "a": [*code_range(graph, op.a)],
    }
    if places := places_of_level(graph, op, level):
        made["left_shift"] = places
    if graph.is_constant(op.b):
        made["weights"] = op.b
        for end, upper in (("worst_low", False), ("worst_high", True)):
            made[end] = _column(worst_column(graph, op, level, upper=upper))
        return made
    made["b"] = [*code_range(graph, op.b)]
    row_sum, softmax = largest_row_sum(graph, op.a), softmax_behind(graph, op.a)
    if row_sum is not None and softmax is not None:
        made |= {"row_sum": row_sum, "row_sum_of": softmax.name}
    return made


def _column(worst: WorstColumn) -> dict[str, int]:
    return {
        "column": worst.column,
        "first_term": worst.start,
        "terms": worst.stop - worst.start,
        "positive": worst.positive,
        "negative": worst.negative,
        "bias": worst.bias,
        "bound": worst.bound,
    }
