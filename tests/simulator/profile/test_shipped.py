# SPDX-License-Identifier: Apache-2.0
"""The shipped profiles load, differ, and say of every table how far it can be trusted."""

from __future__ import annotations

import pytest

from simulator.numerics.accumulator import BiasStage, OverflowPolicy
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile import flat_values, load_profile, profile_paths

SHIPPED = sorted(profile_paths())
GENERIC = {"edge_npu_a4", "edge_npu_int8", "narrow_acc_20"}
VENDORS = sorted(set(SHIPPED) - GENERIC)
TABLES = (
    *("activation", "weight", "accumulator", "rescale", "residual", "add", "mean", "softmax"),
    *("gelu", "layernorm", "compute", "memory"),
)


def test_the_shipped_profiles():
    assert set(VENDORS) == {
        *("tflm_cmsis_int8", "litert_ref", "litert_xnnpack", "ort_cpu", "tosa_single"),
        *("tosa_double", "ethos_u55_256", "ethos_u65_512", "ethos_u85_256", "ita_26b"),
        *("gemmini_20b", "esp32_s3_20b", "esp32_p4", "nvdla_small", "vta"),
    }
    assert len({load_profile(name).sha256() for name in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_load(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.accumulator.accumulator().problems() == []
    assert all(":" in profile.source_of(path) for path in flat_values(profile))
    assert load_profile(str(profile_paths()[name])) == profile


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_s_profile_has_a_source_for_every_table(name):
    profile = load_profile(name)
    assert set(TABLES) <= profile.source.keys()
    assert {f"ops.{kind}.rescale" for kind in profile.ops} <= profile.source.keys()


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_s_chip_has_one_scale_for_a_tensor(name):
    profile = load_profile(name)
    assert profile.activation.granularity == "per_tensor"
    assert profile.layernorm.channel_factor == "none"
    assert not profile.residual.fused_add


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_begins_by_saying_what_it_is(name):
    lines = profile_paths()[name].read_text(encoding="utf-8").splitlines()
    comments = lines[: lines.index(f'name = "{name}"')]
    assert all(line.startswith("# ") and len(line) <= 100 for line in comments)
    assert len(comments) >= (1 if name in GENERIC else 3)


LEVELS = {
    "tflm_cmsis_int8": "all:32 wrap",
    "litert_ref": "all:32 wrap",
    "litert_xnnpack": "all:32 wrap",
    "ort_cpu": "all:32 wrap",
    "tosa_single": "all:32 wrap",
    "tosa_double": "all:32 wrap",
    "ethos_u55_256": "all:32 wrap",
    "ethos_u65_512": "all:32 wrap",
    "ethos_u85_256": "all:32 wrap",
    "ita_26b": "64:26 wrap, all:26 wrap",
    "gemmini_20b": "16:20 wrap, all:32 wrap",
    "esp32_s3_20b": "all:20 saturate",
    "esp32_p4": "all:32 saturate",
    "nvdla_small": "8:19 wrap, all:34 saturate",
    "vta": "all:32 wrap",
}
# kind, rounding, double rounding, overflow of layers
RESCALES = {
    "tflm_cmsis_int8": ("fixed_point", "half_up", "symmetric", "saturate"),
    "litert_ref": ("float64", "half_away", "none", "saturate"),
    "litert_xnnpack": ("float32", "half_even", "none", "saturate"),
    "ort_cpu": ("float32", "half_even", "none", "saturate"),
    "tosa_single": ("fixed_point", "half_up", "none", "saturate"),
    "tosa_double": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u55_256": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u65_512": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u85_256": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ita_26b": ("fixed_point", "half_up", "none", "saturate"),
    "gemmini_20b": ("float32", "half_even", "none", "saturate"),
    "esp32_s3_20b": ("power_of_two", "half_up", "none", "saturate"),
    "esp32_p4": ("power_of_two", "half_even", "none", "saturate"),
    "nvdla_small": ("fixed_point", "half_away", "none", "saturate"),
    "vta": ("power_of_two", "floor", "none", "wrap"),
}


@pytest.mark.parametrize("name", VENDORS)
def test_the_arithmetic_of_vendors_chips(name):
    """What the sources of each chip say, written down a second time."""
    profile = load_profile(name)
    assert str(profile.accumulator.accumulator().levels[0]) == LEVELS[name].split(", ")[0]
    assert ", ".join(map(str, profile.accumulator.accumulator().levels)) == LEVELS[name]
    kind, rounding, double, overflow = RESCALES[name]
    found = profile.rescale_of("linear")
    assert (found.kind, found.rounding) == (kind, Rounding(rounding))
    assert (found.double_rounding, found.overflow) == (DoubleRounding(double), Overflow(overflow))


def test_an_overflow_is_an_error_where_the_specification_says_so():
    policies = {name: load_profile(name).accumulator.policy for name in VENDORS}
    errors = {name for name, policy in policies.items() if policy is OverflowPolicy.ERROR}
    assert errors == {"tosa_single", "tosa_double"}


def test_the_values_of_a_generic_profile():
    profile = load_profile("edge_npu_int8")
    (level,) = profile.accumulator.accumulator().levels
    assert (level.group, level.bits, level.overflow) == (0, 32, Overflow.WRAP)
    assert profile.accumulator.accumulator().bias is BiasStage.PRELOAD
    assert profile.rescale.rounding is Rounding.HALF_UP
    assert profile.rescale.overflow is Overflow.SATURATE
    assert profile.compute.engine.kind == "systolic"
    (narrow,) = load_profile("narrow_acc_20").accumulator.accumulator().levels
    assert (narrow.bits, narrow.overflow) == (20, Overflow.SATURATE)


def test_only_what_an_oracle_was_asked_about_is_measured():
    measured = {
        profile.name
        for profile in map(load_profile, SHIPPED)
        if "measured" in map(profile.confidence_of, flat_values(profile))
    }
    oracles = {"tflm_cmsis_int8", "litert_ref", "litert_xnnpack", "ort_cpu"}
    assert measured == oracles | {"tosa_single", "tosa_double"}
