# SPDX-License-Identifier: Apache-2.0
"""The units in C against the emulator: a million vectors full of ties for every mode."""

from __future__ import annotations

import shutil
from itertools import combinations

import numpy as np
import pytest
from c_compiler import HEADERS, StoppedByCheck, mismatches, record_vectors, run_ops
from one_op_graphs import kernels_of
from unit_vectors import RESULTS, UNITS

from simulator.numerics.rounding import Rounding


def emulated(case):
    """Return what the emulator computes: the codes of all its kernels, which are equal."""
    op = case.graph.ops[-1]
    operands = [
        case.graph.constants[name] if case.graph.is_constant(name) else case.operands[name]
        for name in op.operands
    ]
    first, *others = (kernel(operands) for kernel in kernels_of(case.graph))
    assert all(np.array_equal(first.codes, other.codes) for other in others)
    return first


@pytest.mark.parametrize("unit", UNITS)
def test_unit_in_c_equals_the_emulator(needs, request, tmp_path, unit):
    needs("cc")
    cases = UNITS[unit]()
    found = run_ops(list(cases.values()), tmp_path)
    wanted = [emulated(case) for case in cases.values()]
    wrong = {
        name: mismatches(in_c.codes, emulator.codes)
        for name, in_c, emulator in zip(cases, found, wanted, strict=True)
    }
    record_vectors(request, unit, sum(one.codes.size for one in found), sum(wrong.values()))
    assert all(one.codes.size >= RESULTS for one in found)
    assert not any(wrong.values()), wrong
    assert [one.saturated for one in found] == [one.saturated for one in wanted]


# --- the vectors, and the comparison: each must notice what is swapped ----------------------------


@pytest.mark.parametrize("unit", ["requantizer", "add", "layernorm", "softmax"])
def test_the_vectors_tell_any_two_roundings_apart(unit):
    codes = {}
    for rounding in Rounding:
        cases = UNITS[f"{unit}, {rounding}"]()
        codes[rounding] = emulated(next(iter(cases.values()))).codes
    if unit == "softmax":  # it rounds no negative value
        assert np.array_equal(codes.pop(Rounding.TOWARD_ZERO), codes[Rounding.FLOOR])
        assert np.array_equal(codes.pop(Rounding.HALF_AWAY), codes[Rounding.HALF_UP])
    for one, other in combinations(codes.values(), 2):
        assert mismatches(one, other) > RESULTS // 1000


# Where what is added before the rounding is a whole number, it may as well be added behind it.
INVARIANT = {Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_DOWN}


@pytest.mark.parametrize("rounding", Rounding)
def test_the_vectors_tell_the_other_modes_of_a_requantizer_apart(rounding):
    codes = {
        name: emulated(case).codes for name, case in UNITS[f"requantizer, {rounding}"]().items()
    }
    for one, other in combinations(codes, 2):
        words = [set(name.split(", ")) for name in (one, other)]
        if rounding in INVARIANT and words[0] ^ words[1] == {"before_round", "after_round"}:
            assert np.array_equal(codes[one], codes[other])
        else:
            assert mismatches(codes[one], codes[other]) > 0, (one, other)


def test_the_vectors_tell_any_two_accumulators_apart():
    codes = {name: emulated(case).codes for name, case in UNITS["mac"]().items()}
    for one, other in combinations(codes, 2):
        assert mismatches(codes[one], codes[other]) > RESULTS // 1000, (one, other)


NUMERICS, REQUANTIZE, ACCUMULATOR = "aocq_numerics.h", "aocq_requantize.h", "aocq_accumulator.h"
SOFTMAX, NORMALIZATION, ELEMENTWISE = (
    "aocq_softmax.h",
    "aocq_normalization.h",
    "aocq_elementwise.h",
)
# What is wrong, in which header, and the unit whose vectors must notice it.
MISTAKES = {
    "half_up as half_away": (
        NUMERICS,
        "if (rounding == AOCQ_ROUND_HALF_UP)\n        return 1;",
        "if (rounding == AOCQ_ROUND_HALF_UP)\n        return !negative;",
        "requantizer, half_up",
    ),
    "half_down as half_up": (
        NUMERICS,
        "rounding == AOCQ_ROUND_HALF_EVEN ? odd : 0",
        "rounding == AOCQ_ROUND_HALF_EVEN ? odd : 1",
        "requantizer, half_down",
    ),
    "half_away as half_up": (NUMERICS, "return !negative;", "return 1;", "add, half_away"),
    "half_even to odd": (NUMERICS, "? odd : 0", "? !odd : 0", "layernorm, half_even"),
    "toward_zero as floor": (NUMERICS, "return negative;", "return 0;", "add, toward_zero"),
    "ties only, no nearest": (NUMERICS, "return rest > to_upper;", "return 0;", "add, half_up"),
    "symmetric as asymmetric": (
        NUMERICS,
        "AOCQ_DOUBLE_SYMMETRIC ? AOCQ_ROUND_HALF_AWAY",
        "AOCQ_DOUBLE_SYMMETRIC ? AOCQ_ROUND_HALF_UP",
        "requantizer, symmetric double",
    ),
    "double as single": (
        NUMERICS,
        "|| shift <= 31",
        "|| shift <= 62",
        "requantizer, asymmetric double",
    ),
    "symmetric saturation to the lowest": (
        NUMERICS,
        "low = -high;",
        "low = -high - 1;",
        "requantizer, half_up",
    ),
    "saturation that wraps": (
        NUMERICS,
        "if (overflow == AOCQ_OVERFLOW_WRAP)",
        "if (overflow != AOCQ_OVERFLOW_SATURATE_SYMMETRIC)",
        "requantizer, half_up",
    ),
    "a bit less of what wraps": (
        NUMERICS,
        "above_low &= ((uint64_t)1 << bits) - 1;",
        "above_low &= ((uint64_t)1 << (bits - 1)) - 1;",
        "add, floor",
    ),
    "zero point behind the rounding": (
        REQUANTIZE,
        "rule->zero_point_stage == AOCQ_ZERO_POINT_BEFORE_ROUND",
        "0",
        "requantizer, half_even",
    ),
    "left shift in 33 bits": (
        REQUANTIZE,
        "<< (31 - shift), 32, 1)",
        "<< (31 - shift), 33, 1)",
        "requantizer, floor",
    ),
    "a wider accumulator": (
        ACCUMULATOR,
        "64 : acc->level[level].bits;",
        "64 : acc->level[level].bits + 1;",
        "mac",
    ),
    "an accumulator that saturates where it wraps": (
        ACCUMULATOR,
        "if (acc->exact || acc->level[level].overflow == AOCQ_OVERFLOW_WRAP)",
        "if (acc->exact)",
        "mac",
    ),
    "groups of one product more": (
        ACCUMULATOR,
        "held->products[level] < acc->level[level].group",
        "held->products[level] <= acc->level[level].group",
        "mac",
    ),
    "a bias that always comes first": (
        ACCUMULATOR,
        "if (acc->bias == AOCQ_BIAS_PRELOAD)",
        "if (acc->bias != 2)",
        "mac",
    ),
    "one factor for both operands": (
        ELEMENTWISE,
        "aocq_of_channel(&op->multiplier_b, c)",
        "aocq_of_channel(&op->multiplier_a, c)",
        "add, half_up",
    ),
    "a table from another lowest code": (
        "aocq_functions.h",
        "const int64_t low = aocq_lowest(a->bits, a->is_signed);\n    size_t index;\n    for",
        "const int64_t low = aocq_lowest(a->bits, 0);\n    size_t index;\n    for",
        "lookup",
    ),
    "a reciprocal rounded down": (SOFTMAX, "+ sum / 2)", "+ 0)", "softmax, half_up"),
    "octaves rounded down": (
        SOFTMAX,
        "octave_bits, AOCQ_ROUND_HALF_UP)",
        "octave_bits, AOCQ_ROUND_FLOOR)",
        "softmax_ita",
    ),
    "a sum that keeps its maximum": (
        SOFTMAX,
        "*sum >>= aocq_ita_octaves(largest - before, op->octave_bits);",
        "(void)before;",
        "softmax_ita",
    ),
    "a root that is one too small": (
        NORMALIZATION,
        "if (rest >= root + bit)",
        "if (rest > root + bit)",
        "layernorm, half_up",
    ),
    "a Newton step less": (
        NORMALIZATION,
        "for (step = 0; step < steps; step++)",
        "for (step = 1; step < steps; step++)",
        "layernorm, half_up",
    ),
    "a row of equal codes divides by 0": (
        NORMALIZATION,
        "/ aocq_max(root, 1);",
        "/ root;",
        "layernorm, half_up",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_headers_is_noticed(needs, tmp_path, mistake):
    needs("cc")
    header, right, wrong, unit = MISTAKES[mistake]
    changed = tmp_path / "headers"
    shutil.copytree(HEADERS, changed)
    text = (changed / header).read_text("utf-8")
    assert text.count(right) == 1
    (changed / header).write_text(text.replace(right, wrong), "utf-8")
    cases = UNITS[unit]()
    try:
        found = run_ops(list(cases.values()), tmp_path / "ops", headers=changed)
    except StoppedByCheck:
        return
    assert any(
        mismatches(in_c.codes, emulated(case).codes)
        for in_c, case in zip(found, cases.values(), strict=True)
    )
