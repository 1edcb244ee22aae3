# SPDX-License-Identifier: Apache-2.0
"""Every named algorithm can be written with its constants, and with nobody else's."""

from __future__ import annotations

from typing import get_args

import pytest
from plain_profiles import changed, mistakes

from simulator.numerics.rounding import Rounding
from simulator.profile.algorithms import GeluSection, LayerNormSection, SoftmaxSection

EXP_TABLE = {"algorithm": "exp_table", "table_bits": 30, "reciprocal_bits": 60, "output_bits": 8}
STATISTICS = {
    "algorithm": "isqrt_exact",
    "sqrt_fraction_bits": 16,
    "reciprocal_bits": 60,
    "normalized_fraction_bits": 26,
    "channel_factor": "none",
    "channel_factor_bits": 2,
}
TABLES = {
    "softmax": [
        EXP_TABLE,
        EXP_TABLE | {"normalisation": "division"},
        {"algorithm": "gemmlowp_q5_26", "output_bits": 8},
        {"algorithm": "gemmlowp_q5_26", "output_bits": 16},
        {"algorithm": "lut513_q15", "output_bits": 15},
        {"algorithm": "float32_table", "output_bits": 7, "rounding": "half_away"},
        {"algorithm": "ibert_poly", "output_bits": 8},
        {"algorithm": "shiftmax", "output_bits": 8, "largest_exponent": 15},
        {"algorithm": "ita_shift", "output_bits": 8, "octave_bits": 5, "group": 16},
        {"algorithm": "log2", "output_bits": 8, "code_bits": 4, "largest_exponent": 30},
        {
            "algorithm": "deferred_log2",
            "output_bits": 4,
            "levels_per_octave": 2,
            "reciprocal_bits": 32,
        },
        {"algorithm": "float32", "output_bits": 8},
    ],
    "gelu": [
        {"algorithm": "table_256"},
        {"algorithm": "table_256", "evaluated_in": "float32"},
        {"algorithm": "table_513"},
        {"algorithm": "ibert_poly", "intermediate_bits": 26, "erf_shift": 0},
        {"algorithm": "shift_gelu", "fraction_bits": 23},
        {"algorithm": "float32"},
    ],
    "layernorm": [
        STATISTICS,
        STATISTICS | {"algorithm": "isqrt_newton", "root_steps": 10},
        STATISTICS | {"algorithm": "isqrt_newton", "root_steps": 10, "root_start_bits": 16},
        {"algorithm": "isqrt_bisect"},
        {"algorithm": "graph"},
        {"algorithm": "graph", "part_bits": 16},
        {"algorithm": "float32"},
    ],
}
CASES = [(table, values) for table, all_values in TABLES.items() for values in all_values]


@pytest.mark.parametrize(
    ("table", "section"),
    [("softmax", SoftmaxSection), ("gelu", GeluSection), ("layernorm", LayerNormSection)],
)
def test_no_algorithm_is_left_out_here(table, section):
    members = get_args(get_args(section)[0])
    names = {name for one in members for name in get_args(one.model_fields["algorithm"].annotation)}
    assert {values["algorithm"] for values in TABLES[table]} == names


@pytest.mark.parametrize(("table", "values"), CASES)
def test_tables_are_read_as_they_are_written(table, values):
    found = getattr(changed({table: values}), table).model_dump(mode="json")
    assert values.items() <= found.items()


@pytest.mark.parametrize(("table", "values"), CASES)
def test_keys_of_other_algorithms_are_refused(table, values):
    strange = {"softmax": "fraction_bits", "gelu": "table_bits", "layernorm": "group"}[table]
    assert mistakes({table: values | {strange: 8}}) == [
        f"{table}.{strange}: not a key of this table"
    ]


@pytest.mark.parametrize(("table", "values"), CASES)
def test_constants_without_a_usual_value_are_required(table, values):
    usual = {
        "normalisation",
        "evaluated_in",
        "part_bits",
        "root_steps",
        "root_start_bits",
        "algorithm",
    }
    for key in values.keys() - usual:
        shorter = {name: value for name, value in values.items() if name != key}
        assert mistakes({table: shorter}) == [f"{table}.{key}: missing"]


def test_unknown_algorithms_are_answered_with_all():
    (found,) = mistakes({"softmax": {"algorithm": "exact"}})
    assert found.startswith("softmax.algorithm = 'exact': must be one of 'exp_table', ")
    for values in TABLES["softmax"]:
        assert f"'{values['algorithm']}'" in found
    assert mistakes({"gelu": {}}) == ["gelu.algorithm: missing"]


@pytest.mark.parametrize(
    ("table", "changes", "problem"),
    [
        ("softmax", EXP_TABLE | {"output_bits": 2}, "softmax.output_bits = 2"),
        ("softmax", EXP_TABLE | {"output_bits": 17}, "softmax.output_bits = 17"),
        ("softmax", EXP_TABLE | {"normalisation": "none"}, "softmax.normalisation = 'none'"),
        (
            "softmax",
            EXP_TABLE | {"reciprocal_bits": 37},
            "softmax: reciprocal_bits = 37: must be at least table_bits + output_bits = 38",
        ),
        ("softmax", {"algorithm": "gemmlowp_q5_26", "output_bits": 7}, "softmax.output_bits = 7"),
        ("softmax", {"algorithm": "lut513_q15", "output_bits": 16}, "softmax.output_bits = 16"),
        (
            "softmax",
            {"algorithm": "float32_table", "output_bits": 8, "rounding": "TFL"},
            "softmax.rounding = 'TFL'",
        ),
        (
            "softmax",
            {"algorithm": "ita_shift", "output_bits": 7, "octave_bits": 9, "group": 0},
            "softmax.output_bits = 7",
        ),
        (
            "softmax",
            {"algorithm": "log2", "output_bits": 8, "code_bits": 6, "largest_exponent": 30},
            "softmax.code_bits = 6",
        ),
        ("gelu", {"algorithm": "table_256", "evaluated_in": "float16"}, "gelu.evaluated_in"),
        (
            "gelu",
            {"algorithm": "ibert_poly", "intermediate_bits": 33, "erf_shift": 0},
            "gelu.intermediate_bits = 33",
        ),
        ("gelu", {"algorithm": "shift_gelu", "fraction_bits": 25}, "gelu.fraction_bits = 25"),
        (
            "layernorm",
            STATISTICS | {"root_steps": 3},
            'layernorm: root_steps: algorithm = "isqrt_newton" needs 1 or more, others none',
        ),
        (
            "layernorm",
            STATISTICS | {"algorithm": "isqrt_newton"},
            'layernorm: root_steps: algorithm = "isqrt_newton" needs 1 or more, others none',
        ),
        ("layernorm", {"algorithm": "graph", "part_bits": 12}, "layernorm.part_bits = 12"),
        (
            "layernorm",
            {"algorithm": "float32", "part_bits": 8},
            "layernorm.part_bits: not a key of this table",
        ),
    ],
)
def test_constants_out_of_range_are_named(table, changes, problem):
    assert mistakes({table: changes})[0].startswith(problem)


def test_roundings_of_tables_reach_the_profile():
    values = {"algorithm": "float32_table", "output_bits": 8, "rounding": "half_even"}
    assert changed({"softmax": values}).softmax.rounding is Rounding.HALF_EVEN


@pytest.mark.parametrize("algorithm", ["isqrt_bisect", "graph", "float32"])
def test_a_plain_layernorm_has_no_factors(algorithm):
    assert changed({"layernorm": {"algorithm": algorithm}}).layernorm.channel_factor == "none"


def test_a_shifted_sum_has_a_shift_and_others_have_none():
    for shift in (0, 15, 24):
        values = {"algorithm": "shifted_q31", "input_shift": shift}
        assert changed({"add": values}).add.input_shift == shift
    assert changed({"add": {"algorithm": "shifted_q31"}}).add.input_shift == 20
    for shift in (-1, 25):
        (found,) = mistakes({"add": {"algorithm": "shifted_q31", "input_shift": shift}})
        assert found.startswith(f"add.input_shift = {shift}: ")
    assert mistakes({"add": {"algorithm": "common_shift", "input_shift": 20}}) == [
        "add.input_shift: not a key of this table"
    ]
