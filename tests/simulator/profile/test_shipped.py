# SPDX-License-Identifier: Apache-2.0
"""The shipped profiles load, differ, and say of every table how far it can be trusted."""

from __future__ import annotations

from itertools import product

import pytest

from simulator.cost.engine import width_speed
from simulator.numerics.accumulator import BiasStage, OverflowPolicy
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile import flat_values, load_profile, profile_paths

SHIPPED = sorted(profile_paths())
GENERIC = {
    *("edge_npu_a4", "edge_npu_int8", "edge_npu_w4a8", "narrow_acc_20"),
    *("edge_npu_int8_wide", "edge_npu_packed"),
    *("edge_npu_w4a4", "edge_npu_w4a4_dynamic", "edge_npu_w4a4_shifts"),
}
VENDORS = sorted(set(SHIPPED) - GENERIC)
TABLES = (
    *("activation", "weight", "accumulator", "rescale", "residual", "add", "mean", "softmax"),
    *("gelu", "layernorm", "compute", "memory"),
)


def test_the_shipped_profiles():
    assert set(VENDORS) == {
        *("tflm_cmsis_int8", "litert_ref", "litert_xnnpack", "ort_cpu", "tosa_single"),
        *("tosa_double", "ita_26b"),
        *("ethos_u55_128", "ethos_u55_256", "ethos_u65_512", "ethos_u85_256", "ethos_u85_512"),
        *("gemmini_20b", "esp32_s3_20b", "esp32_p4", "nvdla_small", "vta"),
        *("tflm_int16x8", "litert_ruy", "qnnpack", "deeploy_pulp", "vta_tvm"),
        *("ivit_tvm", "fqvit"),
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


@pytest.mark.parametrize("name", sorted(set(VENDORS) - {"fqvit"}))
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
    "ethos_u55_128": "all:32 wrap",
    "ethos_u55_256": "all:32 wrap",
    "ethos_u65_512": "all:32 wrap",
    "ethos_u85_256": "all:32 wrap",
    "ethos_u85_512": "all:32 wrap",
    "ita_26b": "64:26 wrap, all:26 wrap",
    "gemmini_20b": "16:20 wrap, all:32 wrap",
    "esp32_s3_20b": "all:20 saturate",
    "esp32_p4": "all:32 saturate",
    "nvdla_small": "8:19 wrap, all:34 saturate",
    "vta": "all:32 wrap",
    "tflm_int16x8": "all:64 wrap",
    "litert_ruy": "all:32 wrap",
    "qnnpack": "all:32 wrap",
    "deeploy_pulp": "all:32 wrap",
    "vta_tvm": "all:32 wrap",
    "ivit_tvm": "all:32 wrap",
    "fqvit": "all:32 wrap",
}
# kind, rounding, double rounding, overflow of layers
RESCALES = {
    "tflm_cmsis_int8": ("fixed_point", "half_up", "symmetric", "saturate"),
    "litert_ref": ("float64", "half_away", "none", "saturate"),
    "litert_xnnpack": ("float32", "half_even", "none", "saturate"),
    "ort_cpu": ("float32", "half_even", "none", "saturate"),
    "tosa_single": ("fixed_point", "half_up", "none", "saturate"),
    "tosa_double": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u55_128": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u55_256": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u65_512": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u85_256": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ethos_u85_512": ("fixed_point", "half_up", "symmetric", "saturate"),
    "ita_26b": ("fixed_point", "half_up", "none", "saturate"),
    "gemmini_20b": ("float32", "half_even", "none", "saturate"),
    "esp32_s3_20b": ("power_of_two", "half_up", "none", "saturate"),
    "esp32_p4": ("power_of_two", "half_even", "none", "saturate"),
    "nvdla_small": ("fixed_point", "half_away", "none", "saturate"),
    "vta": ("power_of_two", "floor", "none", "wrap"),
    "tflm_int16x8": ("fixed_point", "half_up", "none", "saturate"),
    "litert_ruy": ("fixed_point", "half_up", "asymmetric", "saturate"),
    "qnnpack": ("float32", "half_even", "none", "saturate"),
    "deeploy_pulp": ("fixed_point", "half_up", "none", "saturate"),
    "vta_tvm": ("power_of_two", "half_up", "none", "saturate_symmetric"),
    "ivit_tvm": ("fixed_point", "half_up", "none", "saturate"),
    "fqvit": ("float32", "half_even", "none", "saturate"),
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


# softmax, GELU, LayerNorm
ALGORITHMS = {
    "tflm_int16x8": ("lut513_q15", "table_513", "graph"),
    "litert_ruy": ("float32_table", "table_256", "graph"),
    "qnnpack": ("exp_table", "float32", "float32"),
    "deeploy_pulp": ("ibert_poly", "ibert_poly", "isqrt_bisect"),
    "vta_tvm": ("float32", "float32", "float32"),
    "ivit_tvm": ("shiftmax", "shift_gelu", "isqrt_newton"),
    "fqvit": ("log2", "table_256", "isqrt_exact"),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithms_of_a_target(name):
    profile = load_profile(name)
    found = profile.softmax.algorithm, profile.gelu.algorithm, profile.layernorm.algorithm
    assert found == ALGORITHMS[name]


def test_the_constants_of_published_algorithms():
    ivit, fqvit = load_profile("ivit_tvm"), load_profile("fqvit")
    assert (ivit.softmax.largest_exponent, ivit.gelu.fraction_bits) == (16, 23)
    assert (ivit.layernorm.root_steps, ivit.layernorm.root_start_bits) == (10, 16)
    assert (fqvit.softmax.code_bits, fqvit.softmax.largest_exponent) == (4, 30)
    assert (fqvit.layernorm.channel_factor, fqvit.layernorm.channel_factor_bits) == ("shift", 2)
    division = load_profile("qnnpack").softmax
    assert (division.normalisation, division.table_bits) == ("division", 23)
    assert load_profile("tflm_int16x8").rescale.derivation == "q15"
    bisected = load_profile("deeploy_pulp").rescale_of("layernorm")
    assert (bisected.rounding, bisected.overflow) == (Rounding.FLOOR, Overflow.WRAP)


def test_where_zero_points_are_added_before_rounding():
    before = {
        name
        for name in SHIPPED
        if load_profile(name).rescale.zero_point_stage is ZeroPointStage.BEFORE_ROUND
    }
    assert before == {"fqvit"}


def test_an_overflow_is_an_error_where_the_specification_says_so():
    policies = {name: load_profile(name).accumulator.policy for name in VENDORS}
    errors = {name for name, policy in policies.items() if policy is OverflowPolicy.ERROR}
    assert errors == {"tosa_single", "tosa_double"}
    reported = {name for name, policy in policies.items() if policy is OverflowPolicy.REPORT}
    assert reported == {"fqvit"}  # PyTorch's sums have no register


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
    oracles |= {"tflm_int16x8", "litert_ruy", "qnnpack"}
    assert measured == oracles | {"tosa_single", "tosa_double"}


def test_the_wide_profile_differs_from_the_generic_one_in_widths_and_what_they_take():
    wide, plain = load_profile("edge_npu_int8_wide"), load_profile("edge_npu_int8")
    assert (wide.activation.bits, wide.activation.operand_width) == (8, 8)
    assert (wide.activation.residual_bits, wide.activation.output_bits) == (16, 16)
    assert (wide.softmax.output_bits, plain.softmax.output_bits) == (16, 8)
    assert plain.activation.output_bits is None
    speeds = [width_speed(wide.compute.engine, *bits) for bits in ((8, 4), (8, 8), (16, 8))]
    assert speeds == [1, 1, 0.5]
    for table in ("weight", "accumulator", "rescale", "residual", "gelu", "layernorm", "energy"):
        assert getattr(wide, table) == getattr(plain, table), table


FOUR_BITS = sorted(name for name in SHIPPED if "w4a4" in name)


@pytest.mark.parametrize("name", FOUR_BITS)
def test_an_array_of_4_bit_multipliers_takes_a_pass_for_each_part_of_its_operands(name):
    profile = load_profile(name)
    activation = profile.activation
    assert (activation.operand_width, activation.bits, activation.residual_bits) == (4, 8, 8)
    energies = {(entry.a_bits, entry.b_bits): entry.pj for entry in profile.energy.mac}
    for a_bits, b_bits in product((4, 8, 16), (4, 8)):
        passes = (a_bits // 4) * (b_bits // 4)
        assert width_speed(profile.compute.engine, a_bits, b_bits) == 1 / passes
        assert energies[a_bits, b_bits] == pytest.approx(passes * energies[4, 4])
