# SPDX-License-Identifier: Apache-2.0
"""Parts of the structs in which the C model takes an op's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from simulator.errors import InputError
from simulator.export.c_text import Value, listed
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import op_name
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.rounding import DoubleRounding

MOST_LEVELS = 8  # AOCQ_MOST_LEVELS of aocq_accumulator.h
NO_CODES = "AOCQ_NO_CODES"

# Name of a tensor -> the C expression of the address of its codes.
Place = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the C model.

    Attributes
    ----------
    declarations
        lines before it: static tables of the op
    struct
        type of the op's numbers; none of ops without any
    fields
        those numbers
    function
        what is called with the numbers, the operands and the result
    operands
        tensors in the order of its parameters, None for a null pointer
    counts
        whether it returns how many codes did not fit
    """

    declarations: tuple[str, ...]
    struct: str | None
    fields: Mapping[str, Value]
    function: str
    operands: tuple[str | None, ...]
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """An op in its graph, and where tensors are."""

    graph: IntGraph
    place: Place
    result: Tensor

    @property
    def channels(self) -> int:
        """The last dimension of the result."""
        return self.result.shape[-1]

    @property
    def rows(self) -> int:
        """How many rows of the last dimension the result has."""
        return prod(self.result.shape[:-1])

    def codes(self, name: str | None) -> str:
        """Return the initializer of a tensor, ``AOCQ_NO_CODES`` of none."""
        if name is None:
            return NO_CODES
        return tensor_initializer(self.graph.tensors[name], self.place(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor of one image."""
        return self.graph.tensors[name].shape


def tensor_initializer(tensor: Tensor, place: str) -> str:
    """Return ``AOCQ_CODES(…)`` of a tensor whose codes are at ``place``."""
    kind = tensor.code_type
    numbers = listed((tensor.size, kind.bits, int(kind.signed), tensor.zero_point))[1:-1]
    return f"AOCQ_CODES({place}, {numbers})"


def steps_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many elements apart neighbours along each dimension are, row-major."""
    return tuple(prod(shape[index + 1 :]) for index in range(len(shape)))


def view(shape: tuple[int, ...], steps: tuple[int, ...], start: int = 0) -> dict[str, Value]:
    """Return an ``aocq_view``: a shape, and how far apart its elements lie."""
    return {
        "dimensions": len(shape),
        "shape": listed(shape),
        "step": listed(steps),
        "start": start,
    }


def broadcast(shape: tuple[int, ...], result: tuple[int, ...]) -> dict[str, Value]:
    """Return the view of an operand that repeats along dimensions which it lacks or has once."""
    steps = [
        0 if extent == 1 else step for extent, step in zip(shape, steps_of(shape), strict=True)
    ]
    return view(result, (*[0] * (len(result) - len(shape)), *steps))


def word(kind: str, chosen: str) -> str:
    """Return the C constant of a word of ``graph.json``."""
    return f"AOCQ_{kind}_{chosen.upper()}"


def requantization(site: Site, rule: Requantization) -> dict[str, Value]:
    """Return an ``aocq_requantization``."""
    return {
        "rounding": word("ROUND", rule.rounding),
        "double_rounding": word("DOUBLE", rule.double_rounding),
        "overflow": word("OVERFLOW", rule.overflow),
        "zero_point_stage": word("ZERO_POINT", rule.zero_point_stage),
        "left_shift": word("LEFT_SHIFT", rule.left_shift),
        "multiplier": site.codes(rule.multiplier),
        "shift": site.codes(rule.shift),
    }


def stage(op: Any, double_rounding: DoubleRounding = DoubleRounding.NONE) -> dict[str, Value]:
    """Return the ``aocq_output_stage`` of an op that ends in a shift of its own."""
    return {
        "shift": op.shift,
        "rounding": word("ROUND", op.rounding),
        "double_rounding": word("DOUBLE", double_rounding),
        "overflow": word("OVERFLOW", op.overflow),
    }


def accumulator_struct(op: Op, accumulator: Accumulator) -> tuple[str, dict[str, Value]]:
    """Return the declaration of an accumulator's levels, and the struct that names them."""
    count = len(accumulator.levels)
    if count > MOST_LEVELS:
        raise InputError(
            f"op {op.name} ({op_name(op)}): its accumulator has {count} levels, the C model at "
            f"most {MOST_LEVELS}; choose a profile with fewer"
        )
    levels = ", ".join(
        f"{{{level.group}, {level.bits}, {word('OVERFLOW', level.overflow)}}}"
        for level in accumulator.levels
    )
    fields: dict[str, Value] = {
        "level": "levels",
        "levels": count,
        "bias": word("BIAS", accumulator.bias),
        "exact": int(accumulator.policy is OverflowPolicy.REPORT),
    }
    return f"static const aocq_level levels[] = {{{levels}}};", fields


def pairs(site: Site, a: str, b: str) -> dict[str, Value]:
    """Return the ``aocq_pairs`` of an op of two tensors that may broadcast."""
    return {
        "channels": site.channels,
        "a": broadcast(site.shape(a), site.result.shape),
        "b": broadcast(site.shape(b), site.result.shape),
    }


def numbers_of(op: Op, *names: str) -> dict[str, Value]:
    """Return those of an op's own fields that are plain numbers, under their own names."""
    return {name: int(getattr(op, name)) for name in names}


def rows(site: Site, columns: str) -> dict[str, Value]:
    """Return the number of rows, and under the name ``columns`` their length."""
    return {"rows": site.rows, columns: site.channels}
