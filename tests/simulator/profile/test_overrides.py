# SPDX-License-Identifier: Apache-2.0
"""Kinds of ops that rescale or add up otherwise than the rest of the chip."""

from __future__ import annotations

from typing import get_args

import pytest
from plain_profiles import changed, mistakes

from simulator.numerics.accumulator import BiasStage
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile import OpKind, load_profile

KINDS = get_args(OpKind)
# Of the generic profile; its GELU is a table, and it has no products of elements.
ROUNDING = [kind for kind in KINDS if kind not in {"gelu", "mul"}]
LEVELS = [
    {"group": 4, "bits": 12, "overflow": "saturate"},
    {"group": "all", "bits": 24, "overflow": "wrap"},
]


@pytest.mark.parametrize("kind", ROUNDING)
def test_only_the_named_keys_of_the_named_kind_change(kind):
    profile = changed({f"ops.{kind}.rescale": {"rounding": "floor"}})
    assert profile.rescale_of(kind).rounding is Rounding.FLOOR
    found = profile.rescale_of(kind).model_copy(update={"rounding": Rounding.HALF_UP})
    assert found == profile.rescale
    assert all(profile.rescale_of(other) is profile.rescale for other in KINDS if other != kind)
    assert profile.accumulator_of(kind) is profile.accumulator


def test_accumulators_can_differ():
    profile = changed({"ops.matmul.accumulator": {"levels": LEVELS, "bias": "after_last_block"}})
    found = profile.accumulator_of("matmul")
    assert str(found.accumulator()) == "4:12 saturate, all:24 wrap"
    assert found.bias is BiasStage.AFTER_LAST_BLOCK
    assert found.bias_bits == profile.accumulator.bias_bits
    assert str(profile.accumulator_of("linear").accumulator()) == "all:32 wrap"


def test_an_override_counts_for_the_profile_s_identity():
    plain = changed({})
    own = changed({"ops.mean.rescale": {"rounding": "floor"}})
    other = changed({"ops.add.rescale": {"rounding": "floor"}})
    assert len({one.sha256() for one in (plain, own, other)}) == 3


def test_a_vendor_s_word_replaces_both_keys_of_the_chip_s():
    """SINGLE_ROUND says that nothing is rounded twice, whatever the rest of the chip does."""
    profile = changed({"rescale.rounding": "TFL", "ops.mean.rescale": {"rounding": "SINGLE_ROUND"}})
    assert profile.rescale.double_rounding is DoubleRounding.SYMMETRIC
    assert profile.rescale_of("mean").double_rounding is DoubleRounding.NONE


def test_litert_has_another_rule_for_layers_than_for_products():
    profile = load_profile("litert_ref")
    layer, product = profile.rescale_of("linear"), profile.rescale_of("matmul")
    assert (layer.kind, layer.rounding) == ("float64", Rounding.HALF_AWAY)
    assert (product.kind, product.double_rounding) == ("fixed_point", DoubleRounding.SYMMETRIC)
    assert product.rounding is profile.rescale.rounding


def test_all_mistakes_are_named_with_their_paths():
    found = mistakes(
        {
            "ops.linear.rescale": {"kind": "float16", "roundin": "floor"},
            "ops.matmul": {"rescale": {"overflow": "clipp"}, "accumulator": {"bias_bits": 4}},
        }
    )
    paths = [
        "ops.linear.rescale.kind = 'float16': input should be",
        "ops.linear.rescale.roundin: unknown key (did you mean rounding?)",
        "ops.matmul.rescale.overflow = 'clipp': input should be",
        "ops.matmul.accumulator.bias_bits = 4: input should be",
    ]
    assert len(found) == len(paths)
    assert all(line.startswith(path) for line, path in zip(found, paths, strict=True))


def test_what_the_chip_s_table_makes_impossible_is_refused():
    double = {"rescale.rounding": "TFL", "ops.linear.rescale": {"rounding": "half_away"}}
    assert mistakes(double) == [
        'ops.linear.rescale: double_rounding = "symmetric": rounds half_up twice, not half_away; '
        'set rounding = "half_up" or double_rounding = "none"'
    ]
    nested = {"ops.linear.accumulator": {"levels": LEVELS[:1]}}
    assert mistakes(nested) == [
        'ops.linear.accumulator: levels: exactly the last (outermost) level has group "all"'
    ]


def test_unknown_kinds_and_tables_are_refused():
    found = mistakes({"ops.linear": {"resale": {}}, "ops.conv": {}})
    assert found[0] == "ops.linear.resale: unknown key (did you mean rescale?)"
    assert found[1].startswith("ops.conv: no such table: input should be 'linear', 'matmul'")
    assert mistakes({"ops.linear": 3}) == ["ops.linear: must be a table"]
    assert mistakes({"ops.linear.rescale": 3}) == ["ops.linear.rescale: must be a table"]


def test_an_override_has_a_source():
    path = "ops.linear.rescale"
    sources = {"default": "assumed", path: "doc: a"}
    profile = changed({path: {"rounding": "floor"}, "source": sources})
    assert profile.source_of("ops.linear.rescale.rounding") == "doc: a"
    assert mistakes({"source": sources}) == ["source: no such value: ops.linear.rescale"]


def test_a_table_with_changes_is_made_once_and_anew_for_a_copy_with_other_tables():
    profile = changed({"ops.add.rescale": {"rounding": "floor"}})
    found = profile.rescale_of("add")
    assert profile.rescale_of("add") is found
    wrapping = profile.rescale.model_copy(update={"overflow": Overflow.WRAP})
    other = profile.model_copy(update={"rescale": wrapping})
    assert (other.rescale_of("add").overflow, found.overflow) == (Overflow.WRAP, Overflow.SATURATE)
    assert profile.rescale_of("add") == found
