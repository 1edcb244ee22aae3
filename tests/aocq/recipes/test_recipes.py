# SPDX-License-Identifier: Apache-2.0
"""What recipes and limits can be, and when a chip allows what was decided for another."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from asked import asked

from aocq.recipes.aocq_options import PRESETS, AocqOptions
from aocq.recipes.fields import field_specs
from aocq.recipes.limits import ANY_CHIP, ChipLimits, exceeded, limits_of
from aocq.recipes.methods import METHOD_SPECS, calibration_images, leaves_floats
from aocq.recipes.recipe import Recipe
from simulator.profile import load_profile, profile_paths


@pytest.mark.parametrize(
    "values",
    [
        *({"weight_bits": bits} for bits in (0, 1, 9)),
        *({"activation_bits": bits} for bits in (0, 2, 17)),
        *(
            {"vector_bits": 2},
            {"vector_bits": 17},
            {"output_bits": 7},
            {"end_bits": 2},
            {"end_bits": 9},
        ),
        *({"softmax_bits": 0}, {"residual_bits": 64}, {"channel_factor_bits": 1}, {"seed": -1}),
        *({"weight_range": "max"}, {"layernorm_part_bits": 4}, {"zero_point": None}),
        {"aocq": {"norm_exponent": float("nan")}},
        *({"aocq": {"row_clipping": share}} for share in (0.5, 1.01, float("nan"))),
        *({"block_trim": -1}, {"block_trim": 8}),
    ],
    ids=str,
)
def test_recipes_and_limits_have_ranges(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^\w+ = .*: wanted "):
        asked(**values)


@pytest.mark.parametrize("cls", [Recipe, AocqOptions, ChipLimits])
def test_defaults_are_possible_values(cls: type) -> None:
    for spec in field_specs(cls).values():
        assert spec.problem(spec.default) is None


# Lowering sees for itself whether biases fit, and makes parts of LayerNorm of what was observed;
# probabilities, and what no product reads, are compared with the recipe. What softmax approximates
# and narrow sums are reasons for a choice, no bounds on it.
WITHOUT_A_RULE = {
    *("bias_bits", "layernorm_part_bits", "softmax_bits", "vector_bits"),
    *("approximate_probabilities", "octave_codes", "sum_bits"),
}
# The least that a chip can allow.
STRICT = ChipLimits(
    residual_bits=3,
    output_bits=None,
    weight_granularity="per_tensor",
    weight_scale="power_of_two",
    activation_granularity="per_tensor",
    activation_scale="power_of_two",
    float32_scales=True,
    zero_point="symmetric",
    channel_factor="none",
    channel_factor_bits=2,
    hadamard_order=0,
    row_scale="none",
    block=0,
    block_trim=0,
)


@pytest.mark.parametrize("name", [field.name for field in fields(ChipLimits)])
def test_every_limit_is_compared(name: str) -> None:
    model = replace(
        ANY_CHIP,
        fused_add=True,
        channel_factor_bits=16,
        hadamard_order=64,
        row_scale="multiplier",
        block=64,
        block_trim=2,
        output_bits=16,
        softmax_levels_per_octave=2,
    )
    chip = replace(model, **{name: getattr(STRICT, name)})
    assert len(exceeded(model, chip)) == (name not in WITHOUT_A_RULE)


@pytest.mark.parametrize("name", profile_paths())
def test_a_chip_allows_what_was_decided_for_it_and_the_strictest_for_all(name: str) -> None:
    limits = limits_of(load_profile(name), Recipe())
    assert exceeded(limits, limits) == []
    assert exceeded(STRICT, limits) == []


@pytest.mark.parametrize(
    ("steps", "fits"),
    [
        ({}, True),
        ({"row_scale": "multiplier"}, True),
        ({"row_scale": "power_of_two"}, False),
        ({"block": 32}, False),
    ],
    ids=str,
)
def test_only_powers_of_two_are_of_a_trim(steps: dict[str, Any], fits: bool) -> None:
    """Found without a trim, they are not what a chip with one finds."""
    model = replace(ANY_CHIP, **steps)
    chip = replace(ANY_CHIP, row_scale="multiplier", block=32, block_trim=2)
    wanted = "dynamic.block_trim = 2, the model's powers of two are found with 0"
    assert exceeded(model, chip) == ([] if fits else [wanted])


def test_images_are_as_published_or_the_presets() -> None:
    assert {name: calibration_images(name, "fast") for name in METHOD_SPECS} == {
        "base_ptq": 64,
        "base_ptq_paper": 32,
        "ptq4vit_paper": 32,
        "ptq4vit_released": 32,
        "fq_vit": 1000,
        "aocq": 64,
    }
    assert [calibration_images("aocq", name) for name in PRESETS] == [64, 250, 1024]


def test_floats_are_left_by_some_methods_unless_integers_are_asked_for() -> None:
    assert [name for name in METHOD_SPECS if leaves_floats(name, "declared")] == [
        "base_ptq_paper",
        "ptq4vit_paper",
        "ptq4vit_released",
        "fq_vit",
    ]
    assert not any(leaves_floats(name, "integer") for name in METHOD_SPECS)
