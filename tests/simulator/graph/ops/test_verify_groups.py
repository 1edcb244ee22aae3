# SPDX-License-Identifier: Apache-2.0
"""What rotations and scales of groups refuse."""

from __future__ import annotations

import pytest
from small_graphs import S4, S8, S16, U4, U8, U16, Draft

from simulator.graph import verify
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.numerics.integer_type import IntType

S17, U5 = IntType(bits=17), IntType(bits=5, signed=False)
U2, U7 = IntType(bits=2, signed=False), IntType(bits=7, signed=False)


def of_one(op, shape=(3, 24), kind=S8, zero_point=0, **given):
    draft = Draft()
    draft.input("a", shape, kind, zero_point)
    draft.op(op, "y", "a", **given)
    return draft.graph()


def of_two(op, shape=(3, 4), scales=U4, scales_zero_point=0, constant=False, **given):
    draft = Draft()
    draft.input("a", (3, 24), S8)
    if constant:
        draft.constant("s", [[1] * 4] * 3, scales)
    else:
        draft.operand("s", shape, scales, scales_zero_point)
    draft.op(op, "y", "a", "s", group=6, **given)
    return draft.graph()


VALID = [
    of_one(Hadamard, order=24),
    of_one(Hadamard, order=1),
    of_one(Hadamard, (24,), order=8),
    of_one(GroupMaximum, group=24, type=U8),
    of_one(GroupMaximum, kind=S4, group=6, type=U4),
    of_one(GroupMaximum, kind=U8, zero_point=128, group=1, type=U8),
    of_one(GroupExponent, group=8, bits=2, type=IntType(bits=3, signed=False)),
    of_one(GroupExponent, kind=S16, group=8, bits=2, type=U4),
    of_two(GroupQuantize, numerator=1, shift=0),
    of_two(GroupQuantize, scales=U16, numerator=32767 << 40, shift=40, type=S16),
    of_one(GroupExponent, kind=S16, group=8, bits=16, trim=7, type=U4),
    of_two(GroupShift, scales=U5, zero_point=-3),
    of_two(GroupShift, scales=U5, type=S16, zero_point=-32768),
]


@pytest.mark.parametrize("graph", VALID, ids=lambda graph: type(graph.ops[-1]).__name__)
def test_the_ends_of_what_is_allowed(graph):
    assert verify(graph) == []


ORDER = "must be 2^k, 12 · 2^k or 20 · 2^k, at most 8192"
REFUSED = [
    (of_one(Hadamard, order=6), f"Hadamard order 6: {ORDER}"),
    (of_one(Hadamard, (3, 16384), order=16384), f"Hadamard order 16384: {ORDER}"),
    (of_one(Hadamard, order=16), "order 16 does not divide 24 channels"),
    (of_one(Hadamard, order=0), f"Hadamard order 0: {ORDER}"),
    (of_one(Hadamard, kind=S17, order=8), "operand a has more than 16 bits"),
    (of_one(GroupMaximum, group=5), "groups of 5 of 24 channels: must divide them"),
    (of_one(GroupMaximum, group=0), "groups of 0 of 24 channels: must divide them"),
    (of_one(GroupMaximum, kind=S17, group=6), "operand a has more than 16 bits"),
    (of_one(GroupMaximum, group=6, type=S16), "y is s16 with zero point 0, wanted an unsigned"),
    (of_one(GroupMaximum, group=6, type=U7), "result is u7, and may be 128"),
    (of_one(GroupExponent, group=6, bits=1), "bits 1: must be 2..16"),
    (of_one(GroupExponent, group=6, type=U8), "wanted an unsigned type of at most 5 bits"),
    (of_one(GroupExponent, group=6, type=U2), "result is u2, and may be 5"),
    (of_two(GroupQuantize, (3, 3)), "s has shape (3, 3), wanted (3, 4)"),
    (of_two(GroupQuantize, scales=S8), "s is s8 with zero point 0, wanted an unsigned type"),
    (of_two(GroupQuantize, scales_zero_point=2), "s is u4 with zero point 2, wanted an unsigned"),
    (of_two(GroupQuantize, constant=True), "operand s is a constant"),
    (of_two(GroupQuantize, numerator=0), "numerator 0: must be 1..4611686018427387903"),
    (of_two(GroupQuantize, numerator=1 << 62), "numerator 4611686018427387904: must be 1..46"),
    (of_two(GroupQuantize, numerator=(1 << 62) - 1), "an intermediate may need"),
    (of_one(GroupExponent, group=6, trim=-1), "trim -1: must be 0..7"),
    (of_one(GroupExponent, group=6, trim=8), "trim 8: must be 0..7"),
    (of_one(GroupExponent, group=6, bits=2, trim=1, type=U2), "result is u2, and may be 6"),
    (of_two(GroupQuantize, type=S17), "result has more than 16 bits"),
    (of_two(GroupQuantize, shift=63), "shift 63: must be 0..62"),
    (of_two(GroupShift, scales=IntType(bits=6, signed=False)), "of at most 5 bits without one"),
    (of_two(GroupShift, (3, 4, 1)), "s has shape (3, 4, 1), wanted (3, 4)"),
    (of_two(GroupShift, type=S17), "result has more than 16 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_what_is_refused(graph, problem):
    found = verify(graph)
    assert any(problem in line and "op y (" in line for line in found), found
