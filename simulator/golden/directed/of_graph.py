# SPDX-License-Identifier: Apache-2.0
"""The units of a graph: ops of the same kind, modes and widths are one unit."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from simulator.golden.directed import STIMULI
from simulator.golden.manifest import array_names
from simulator.golden.one_op import OneOp, of_op
from simulator.golden.variants.constants import TABLES
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import op_name

# Numbers of a network's scales, which a unit has of its own; other whole numbers are widths.
NUMBERS = frozenset(
    {
        "axis",
        "beta_shift",
        "epsilon",
        "keep_dimension",
        "multiplier",
        "multiplier_a",
        "multiplier_b",
        "name",
        "residual_fraction_bits",
        "shift",
        "shift_a",
        "shift_b",
        "transpose_b",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Ops of one graph that the same hardware computes.

    Attributes
    ----------
    ops
        their names
    base
        one of them, if possible with an odd zero point, at which zero-point stages differ
    """

    name: str
    ops: tuple[str, ...]
    base: OneOp


def units_of_graph(graph: IntGraph) -> Iterator[Unit]:
    """Yield the units of a graph, in the order of their first ops; none of ops without vectors.

    Each table of a network is a unit of its own.
    """
    alike: dict[Hashable, list[Op]] = {}
    for op in graph.ops:
        if type(op) in STIMULI:
            alike.setdefault(_modes(graph, op), []).append(op)
    names: dict[str, int] = {}
    for ops in alike.values():
        kind = op_name(ops[0])
        names[kind] = names.get(kind, 0) + 1
        number = f"_{names[kind]}" if names[kind] > 1 else ""
        odd = [op for op in ops if graph.result(op).zero_point % 2]
        yield Unit(
            name=f"{kind}{number}",
            ops=tuple(op.name for op in ops),
            base=of_op((odd or ops)[0], graph),
        )


def _modes(graph: IntGraph, op: Op) -> Hashable:
    """Return what ops of one unit have in common."""
    tensors = array_names(op)
    own = {op.name, *tensors.values()}
    found: list[Any] = [type(op)]
    for declared in fields(op):
        value = getattr(op, declared.name)
        if declared.name == "requantize":
            found.append(tuple(getattr(value, name) for name in _RULE))
        elif declared.name not in NUMBERS and not (isinstance(value, str) and value in own):
            found.append((declared.name, value))
    for key, name in tensors.items():
        tensor = graph.tensors[name]
        found.append((key, str(tensor.type), graph.is_constant(name)))
        if key in TABLES:
            found.append(graph.constants[name].tobytes())
    return tuple(found)


_RULE = (
    "rounding",
    "overflow",
    "double_rounding",
    "zero_point_stage",
    "left_shift",
    "arithmetic",
)
