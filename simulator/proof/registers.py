# SPDX-License-Identifier: Apache-2.0
"""The registers of the values inside an op: stated by the graph, by a profile, or the emulator's.

An accumulator's levels are stated by the graph, and so is the register of an algorithm that has a
width of its own (ITA's sum of exponentials). For any other value a profile may state one in its
table ``[registers]``. Where nobody does, the value lies in the emulator's 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from simulator.errors import InputError
from simulator.graph.bounds import intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.ops import op_name
from simulator.graph.ranges import Intermediate
from simulator.numerics.integer_type import IntType

ACCUMULATOR = "accumulator"
EMULATOR = IntType(bits=64)
# By kind of op, as reports call it, and by name of the value: {"softmax": {"sum": u19}}.
Widths = Mapping[str, Mapping[str, IntType]]


class StatedBy(StrEnum):
    """Who says how wide a register is."""

    GRAPH = "graph"
    PROFILE = "profile"
    EMULATOR = "emulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The type of a register, and who states it."""

    kind: IntType
    stated_by: StatedBy


def register_of(found: Intermediate, widths: Mapping[str, IntType]) -> Register:
    """Return the register of a value; ``widths`` are what a profile states of its kind of op."""
    if found.register is not None:  # the op wraps or saturates there, whatever a profile says
        return Register(kind=found.register, stated_by=StatedBy.GRAPH)
    if found.name in widths:
        return Register(kind=widths[found.name], stated_by=StatedBy.PROFILE)
    return Register(kind=EMULATOR, stated_by=StatedBy.EMULATOR)


def check_widths(graph: IntGraph, widths: Widths) -> None:
    """Refuse widths of values that the graph's ops do not have.

    Kinds of ops that the graph has none of are passed over: a profile is for any network.

    Raises
    ------
    InputError
        If an op of the graph has no such value, or its width is a matter of the accumulator.
    """
    names: dict[str, dict[str, None]] = {}
    for op in graph.ops:
        kind = op_name(op)
        if kind in widths:
            names.setdefault(kind, {}).update(
                dict.fromkeys(found.name for found in intermediates(graph, op))
            )
    for kind, known in names.items():
        for name in widths[kind]:
            if name == ACCUMULATOR:
                raise InputError(
                    f"registers.{kind}.{name}: accumulators have their widths in "
                    "[accumulator]; remove it here"
                )
            if name not in known:
                raise InputError(
                    f"registers.{kind}.{name}: ops of this kind have no such value; they have "
                    f"{', '.join(each for each in known if each != ACCUMULATOR) or 'none'}"
                )
