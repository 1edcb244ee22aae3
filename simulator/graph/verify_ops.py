# SPDX-License-Identifier: Apache-2.0
"""The rules that hold for every op, by what its specification says of it: layers for ``verify``.

Each yields messages; ``verify`` says which op they are about.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.graph.bounds import bounds
from simulator.graph.canonical import impossible_numbers, plain
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, accumulator_of
from simulator.graph.ops import SPECS
from simulator.graph.parameters import ends
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_type import FLOAT32, FLOAT64, FloatType
from simulator.numerics.rescaling import Arithmetic


def numbers_are_possible(_: IntGraph, op: Op) -> Iterator[str]:
    """Files hold numbers of 64 bits."""
    yield from impossible_numbers(plain(op))


def types_go_together(graph: IntGraph, op: Op) -> Iterator[str]:
    """Integers where an op computes with integers, real values where it computes in float."""
    yield from _factors_have_their_type(graph, op)
    spec = SPECS[type(op)]
    if spec.moves_codes:
        return  # it moves anything, and keeps its type
    # Factors of sums are checked with the requantization that they belong to.
    factors = {found.multiplier for found in op.requantizations}
    tensors = [
        *(("operand", name) for name in op.operands),
        *(("constant", name) for name in op.constants if name not in factors),
        ("result", op.name),
    ]
    for what, name in tensors:
        tensor, real = graph.tensors[name], what in spec.real
        if tensor.is_float != real:
            words = "real values (f32)" if real else "integers"
            yield f"{what} {name} is {tensor.type}, wanted {words}"


def _factors_have_their_type(graph: IntGraph, op: Op) -> Iterator[str]:
    """A requantization in float has factors of that type and no shift, others are integers."""
    for found in op.requantizations:
        kind = graph.tensors[found.multiplier].type
        if found.arithmetic is Arithmetic.FIXED_POINT:
            if isinstance(kind, FloatType):
                yield f"multiplier {found.multiplier} is {kind}, wanted integers"
            if found.shift is None:
                yield "a requantization in fixed point needs a shift"
            continue
        wanted = {Arithmetic.FLOAT32: FLOAT32, Arithmetic.FLOAT64: FLOAT64}[found.arithmetic]
        if kind != wanted:
            yield f"multiplier {found.multiplier} is {kind}, wanted {wanted}"
        if found.shift is not None:
            yield f"a requantization in {found.arithmetic} has no shift"


def layout_keeps_codes(graph: IntGraph, op: Op) -> Iterator[str]:
    """Moved codes mean what they meant."""
    if not SPECS[type(op)].moves_codes:
        return
    result = graph.result(op)
    for name in op.operands:
        operand = graph.tensors[name]
        if (operand.type, operand.zero_point) != (result.type, result.zero_point):
            yield f"moves codes of {name} ({operand.type}) into {result.type}"


def vectors_match_channels(graph: IntGraph, op: Op) -> Iterator[str]:
    """Constants have one element, or one for each channel of the result."""
    spec = SPECS[type(op)]
    channels = graph.result(op).shape[-1] if graph.result(op).shape else 1
    own = {getattr(op, field) for field in spec.own_shapes}
    for name in op.constants:
        length = graph.tensors[name].shape
        if name not in own and length not in {(1,), (channels,)}:
            yield f"constant {name} has shape {length}, wanted ({channels},)"
    for field in spec.per_channel:
        vector = getattr(op, field)
        if vector is not None and graph.tensors[vector].shape != (channels,):
            yield f"{field} {vector} has shape {graph.tensors[vector].shape}, wanted ({channels},)"


def shifts_in_range(graph: IntGraph, op: Op) -> Iterator[str]:
    """Shifts leave something of 64 bits, multipliers are not negative."""
    spec = SPECS[type(op)]
    shifts = [getattr(op, field) for field in spec.shifts]
    shifts += [found.shift for found in op.requantizations]
    multipliers = [getattr(op, field) for field in spec.multipliers]
    multipliers += [found.multiplier for found in op.requantizations]
    if any(graph.constants[name].min() < 0 for name in multipliers if name is not None):
        yield "a multiplier is negative"
    values: set[int] = set()
    for shift in shifts:
        if shift is not None:
            values |= {shift} if isinstance(shift, int) else ends(graph, shift)
    for value in sorted(values):
        if not 0 <= value <= LARGEST_SHIFT:
            yield f"shift {value}: must be 0..{LARGEST_SHIFT}"


def accumulators_are_sound(graph: IntGraph, op: Op) -> Iterator[str]:
    """Registers exist, and wide operands do not pass 64 bits before any register sees them."""
    accumulator, widest = accumulator_of(op), SPECS[type(op)].widest_operand
    if accumulator is None or widest is None:
        return
    yield from accumulator.problems()
    for name in op.operands:
        if graph.tensors[name].code_type.bits > widest:
            yield f"operand {name} has more than {widest} bits"


def requantizations_are_possible(_: IntGraph, op: Op) -> Iterator[str]:
    """The choices of a requantization go together."""
    for found in op.requantizations:
        yield from found.problems()


def own_rules_hold(graph: IntGraph, op: Op) -> Iterator[str]:
    """Parameters and constants are what the op's formula allows."""
    yield from SPECS[type(op)].rules(graph, op)


def intermediates_fit(graph: IntGraph, op: Op) -> Iterator[str]:
    """No input can make an intermediate that 64 bits do not hold."""
    widest = bounds(graph, op).widest_bits
    if widest > 64:
        yield (
            f"an intermediate may need {widest} bits, the emulator has 64; use a narrower "
            "multiplier or fewer fraction bits"
        )
