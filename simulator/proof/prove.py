# SPDX-License-Identifier: Apache-2.0
"""Each value inside each op: its bound, the width it needs, its register, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from simulator.graph.bounds import intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId, accumulator_of
from simulator.graph.ops import op_name
from simulator.graph.ranges import Intermediate, Interval, holds, signed_bits
from simulator.proof.registers import Register, StatedBy, Widths, check_widths, register_of

NO_WIDTHS: Widths = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueProof:
    """One value inside one op, held against its register.

    Attributes
    ----------
    op, kind
        the op's name, and what reports call its kind
    value
        the intermediate's name
    level
        of an accumulator with several levels, counted from the innermost; else None
    interval
        smallest and largest value of any input
    register
        the register that it has
    """

    op: TensorId
    kind: str
    value: str
    level: int | None
    interval: Interval
    register: Register

    @property
    def needed_bits(self) -> int:
        """Bits that the value needs in a register of this one's kind, signed or unsigned."""
        low, high = self.interval
        if self.register.kind.signed or low < 0:
            return signed_bits(low, high)
        return max(high.bit_length(), 1)

    @property
    def slack(self) -> int:
        """Bits of the register that no value uses; below 0 where it is too narrow."""
        return self.register.kind.bits - self.needed_bits

    @property
    def proven(self) -> bool:
        """No input whatever can make a value that the register does not hold."""
        return holds(self.register.kind, self.interval)

    @property
    def stated(self) -> bool:
        """A chip's register, not the emulator's 64 bits."""
        return self.register.stated_by is not StatedBy.EMULATOR

    @property
    def place(self) -> str:
        """The value's name, and the level where there are several."""
        return self.value if self.level is None else f"{self.value} level {self.level}"

    def plain(self) -> dict[str, Any]:
        """Return what JSON knows of it."""
        return {
            "op": self.op,
            "kind": self.kind,
            "value": self.value,
            "level": self.level,
            "low": self.interval[0],
            "high": self.interval[1],
            "needed_bits": self.needed_bits,
            "register": str(self.register.kind),
            "stated_by": str(self.register.stated_by),
            "slack_bits": self.slack,
            "proven": self.proven,
        }


def prove(graph: IntGraph, widths: Widths = NO_WIDTHS) -> tuple[ValueProof, ...]:
    """Return every value of every op, in order of computation.

    Parameters
    ----------
    widths
        registers that a profile states, by kind of op and value

    Raises
    ------
    InputError
        If widths are stated of values that ops of the graph do not have.
    """
    check_widths(graph, widths)
    return tuple(found for op in graph.ops for found in _of_op(graph, op, widths))


def unproven(proofs: Sequence[ValueProof]) -> list[ValueProof]:
    """Return the values that some input may drive out of their registers."""
    return [found for found in proofs if not found.proven]


def _of_op(graph: IntGraph, op: Op, widths: Widths) -> Iterator[ValueProof]:
    kind = op_name(op)
    for found in intermediates(graph, op):
        parts = _registers(found, op) or [
            (None, found.interval, register_of(found, widths.get(kind, {})))
        ]
        for level, interval, register in parts:
            yield ValueProof(
                op=op.name,
                kind=kind,
                value=found.name,
                level=level,
                interval=interval,
                register=register,
            )


def _registers(found: Intermediate, op: Op) -> list[tuple[int | None, Interval, Register]]:
    """Return the levels of a sum in an accumulator."""
    several = len(found.levels) > 1
    assert not found.levels or accumulator_of(op) is not None
    return [
        (
            index if several else None,
            level.interval,
            Register(kind=level.register, stated_by=StatedBy.GRAPH),
        )
        for index, level in enumerate(found.levels)
    ]
