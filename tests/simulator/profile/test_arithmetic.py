# SPDX-License-Identifier: Apache-2.0
"""Tables of storage, accumulation and rescaling: what can be written, what is impossible."""

from __future__ import annotations

import pytest
from plain_profiles import changed, mistakes

from simulator.numerics.accumulator import BiasStage, OverflowPolicy
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import Rounding

# --- activations and weights ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "values", "wrong"),
    [
        ("activation.bits", (3, 8, 16), (2, 17)),
        ("activation.operand_bits", (3, 4, 8, None), (2, 17)),
        ("activation.residual_bits", (8, 16), (7, 17)),
        ("activation.granularity", ("per_tensor", "per_channel"), ("per_row",)),
        ("activation.scale", ("any", "power_of_two"), ("float32",)),
        ("weight.bits", ([8], [2, 8]), ([], [1], [9], 8)),
        ("weight.scale", ("any", "power_of_two"), ("float32",)),
        ("accumulator.bias_bits", (8, 40, 48), (7, 49)),
        ("accumulator.order", ("k_ascending",), ("k_descending",)),
        ("rescale.multiplier_bits", (1, 31), (0, 32)),
        ("rescale.kind", ("fixed_point", "float32", "float64"), ("float16",)),
        (
            "rescale.scale_type",
            ("float64", "float32", "float32_product", "float32_ratio"),
            ("float16",),
        ),
        ("rescale.shift", ([0, 62], [2, 62], [7, 7]), ([0, 63], [-1, 3], [3], [0, 1, 2])),
        ("add.algorithm", ("common_shift", "fixed_20", "shifted_q31", "float32"), ("exact",)),
        ("mean.algorithm", ("folded", "folded_q31", "float32"), ("exact",)),
    ],
)
def test_ranges(path, values, wrong):
    table, key = path.split(".")
    free = {"residual.fused_add": False}
    for value in values:
        section = getattr(changed({path: value, **free}), table)
        assert getattr(section, key) == value
    for value in wrong:
        assert any(line.startswith(path) for line in mistakes({path: value, **free})), value


def test_what_is_not_written_has_the_plain_meaning():
    profile = changed({})
    assert (profile.activation.granularity, profile.activation.scale) == ("per_channel", "any")
    assert profile.accumulator.accumulator().policy is OverflowPolicy.APPLY
    rescale = profile.rescale
    assert (rescale.kind, rescale.derivation, rescale.scale_type) == (
        "fixed_point",
        "normalized",
        "float64",
    )
    assert rescale.shift == [0, 62]
    assert rescale.zero_point_stage is ZeroPointStage.AFTER_ROUND
    assert rescale.left_shift is LeftShift.WIDEN
    assert (profile.add.algorithm, profile.mean.algorithm) == ("common_shift", "folded")
    assert dict(profile.ops) == {}


# --- accumulators ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_policies_reach_the_graph(policy):
    found = changed({"accumulator.policy": policy.value}).accumulator.accumulator()
    assert found.policy is policy


def test_levels_become_an_accumulator():
    levels = [
        {"group": 2, "bits": 16, "overflow": "saturate"},
        {"group": "all", "bits": 32, "overflow": "wrap"},
    ]
    found = changed({"accumulator.levels": levels, "accumulator.bias": "after_last_block"})
    assert str(found.accumulator.accumulator()) == "2:16 saturate, all:32 wrap"
    assert found.accumulator.accumulator().bias is BiasStage.AFTER_LAST_BLOCK


ALL = {"group": "all", "bits": 16, "overflow": "wrap"}
FOUR = {"group": 4, "bits": 16, "overflow": "wrap"}


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ([], "accumulator.levels: list should have at least 1 item"),
        ([FOUR], "exactly the last"),
        ([ALL, FOUR, ALL], "exactly the last"),
        ([FOUR, FOUR | {"group": 6}, ALL], "must be a multiple of 4"),
        ([ALL | {"group": 0}], 'must be "all" or a whole number'),
        ([ALL | {"group": -1}], 'must be "all" or a whole number'),
        ([ALL | {"group": "most"}], 'must be "all" or a whole'),
        ([ALL | {"group": 1.5}], 'must be "all" or a whole number'),
        ([ALL | {"overflow": "saturate_symmetric"}], "accumulator.levels[0].overflow"),
        ([ALL | {"bits": 16.0}], "accumulator.levels[0].bits = 16.0"),
        ([ALL | {"bits": True}], "accumulator.levels[0].bits = True"),
        ([ALL | {"bits": 65}], "accumulator.levels[0].bits = 65"),
    ],
)
def test_impossible_levels_are_refused(levels, problem):
    (found,) = mistakes({"accumulator.levels": levels})
    assert found.startswith("accumulator")
    assert problem in found


# --- rescaling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
def test_every_rounding_and_overflow_can_be_written(rounding, overflow):
    found = changed({"rescale.rounding": rounding.value, "rescale.overflow": overflow.value})
    assert (found.rescale.rounding, found.rescale.overflow) == (rounding, overflow)


@pytest.mark.parametrize(
    ("kind", "arithmetic"),
    [
        ("fixed_point", Arithmetic.FIXED_POINT),
        ("power_of_two", Arithmetic.FIXED_POINT),
        ("float32", Arithmetic.FLOAT32),
        ("float64", Arithmetic.FLOAT64),
    ],
)
def test_kinds_decide_the_arithmetic(kind, arithmetic):
    powers = {"activation.scale": "power_of_two", "weight.scale": "power_of_two"}
    found = changed({"rescale.kind": kind, "residual.fused_add": False, **powers})
    assert found.rescale.arithmetic is arithmetic


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shift": [3, 2]}, "shift = [3, 2]: the smallest comes first"),
        (
            {"double_rounding": "symmetric", "rounding": "half_even"},
            'double_rounding = "symmetric": rounds half_up twice, not half_even; set '
            'rounding = "half_up" or double_rounding = "none"',
        ),
        (
            {"kind": "float32", "overflow": "wrap"},
            'overflow = "wrap": a rescaling in float32 saturates, it has no low bits to keep',
        ),
        (
            {"kind": "float64", "double_rounding": "symmetric"},
            "double_rounding, left_shift: a factor in float64 has no shift",
        ),
        (
            {"kind": "float32", "left_shift": "wrap"},
            "double_rounding, left_shift: a factor in float32 has no shift",
        ),
        (
            {"derivation": "q31", "multiplier_bits": 15},
            'multiplier_bits: derivation = "q31" makes 31',
        ),
        (
            {"derivation": "q15", "multiplier_bits": 31},
            'multiplier_bits: derivation = "q15" makes 15',
        ),
    ],
)
def test_impossible_combinations_are_refused(changes, problem):
    rescale = {f"rescale.{key}": value for key, value in changes.items()}
    assert mistakes(rescale) == [f"rescale: {problem}"]


@pytest.mark.parametrize(("derivation", "bits"), [("q31", 31), ("q15", 15), ("fraction_8", 9)])
def test_derivations_with_their_widths(derivation, bits):
    found = changed({"rescale.derivation": derivation, "rescale.multiplier_bits": bits}).rescale
    assert (found.derivation, found.multiplier_bits) == (derivation, bits)
