# SPDX-License-Identifier: Apache-2.0
"""Keys without an effect are refused, with their place."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from simulator.profile import NpuProfile, profile_paths


def with_override(profile: str, kind: str, **tables: Any) -> NpuProfile:
    plain = tomllib.loads(profile_paths()[profile].read_text(encoding="utf-8"))
    plain["ops"] = {kind: tables}
    plain["source"] = {"default": "assumed"}
    return NpuProfile.model_validate(plain)


@pytest.mark.parametrize(
    ("profile", "kind", "key"),
    [
        ("tflm_cmsis_int8", "softmax", "rounding"),  # gemmlowp's roundings are its own
        ("tflm_cmsis_int8", "add", "multiplier_bits"),
        ("tflm_cmsis_int8", "gelu", "rounding"),
        ("edge_npu_int8", "mul", "rounding"),
        ("edge_npu_int8", "add", "double_rounding"),
        ("ort_cpu", "layernorm", "rounding"),
        ("edge_npu_int8", "softmax", "multiplier_bits"),
    ],
)
def test_an_override_that_nothing_reads_is_refused(profile: str, kind: str, key: str) -> None:
    values = {"rounding": "half_up", "multiplier_bits": 31, "double_rounding": "symmetric"}
    with pytest.raises(ValidationError, match=rf"ops.{kind}.rescale.{key}: has no effect"):
        with_override(profile, kind, rescale={key: values[key]})


def test_an_accumulator_of_an_op_without_one_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"ops.softmax.accumulator: has no effect"):
        with_override("edge_npu_int8", "softmax", accumulator={"bias_bits": 16})
    assert with_override("edge_npu_int8", "mean", accumulator={"bias_bits": 16})


@pytest.mark.parametrize(
    ("profile", "kind", "key"),
    [
        ("edge_npu_int8", "softmax", "rounding"),
        ("edge_npu_int8", "add", "multiplier_bits"),
        ("ita_26b", "gelu", "multiplier_bits"),
        ("tflm_cmsis_int8", "mul", "rounding"),
    ],
)
def test_one_that_is_read_is_accepted(profile: str, kind: str, key: str) -> None:
    values = {"rounding": "half_up", "multiplier_bits": 31 if kind != "gelu" else 8}
    assert with_override(profile, kind, rescale={key: values[key]})


@pytest.mark.parametrize(
    "values",
    [
        {"derivation": "q15", "multiplier_bits": 15},
        {"derivation": "normalized", "multiplier_bits": 31},
        {"kind": "power_of_two"},
    ],
)
def test_a_left_shift_that_wraps_belongs_to_q31(values: dict[str, Any]) -> None:
    plain = tomllib.loads(profile_paths()["tflm_cmsis_int8"].read_text(encoding="utf-8"))
    plain["rescale"] |= values
    if "derivation" not in values:
        plain["rescale"].pop("derivation")
    with pytest.raises(ValidationError, match=r'left_shift = "wrap": belongs to'):
        NpuProfile.model_validate(plain)
