# SPDX-License-Identifier: Apache-2.0
"""Values of different tables that do not go together."""

from __future__ import annotations

import pytest
from plain_profiles import changed, mistakes

POWERS = {"activation.scale": "power_of_two", "weight.scale": "power_of_two"}
SHIFTS = {"rescale.kind": "power_of_two", "residual.fused_add": False}


@pytest.mark.parametrize(
    "rescale",
    [
        {"kind": "float32"},
        {"kind": "power_of_two"},
        {"zero_point_stage": "before_round"},
        {"left_shift": "wrap", "derivation": "q31"},
    ],
)
def test_sums_onto_the_stream_need_plain_layers(rescale):
    fused = {"residual.fused_add": True, **POWERS}
    general = {f"rescale.{key}": value for key, value in rescale.items()}
    for changes in (general, {"ops.linear.rescale": rescale}):
        assert mistakes({**fused, **changes}) == [
            "residual.fused_add = true: needs layers that are rescaled in fixed point, with the "
            "zero point after rounding and wide left shifts"
        ]
        changed({**fused, **changes, "residual.fused_add": False})
    changed({**fused, "ops.matmul.rescale": rescale})  # of two activations: never onto the stream


@pytest.mark.parametrize("missing", POWERS)
def test_a_chip_that_only_shifts_needs_scales_that_are_powers_of_two(missing):
    changed({**SHIFTS, **POWERS})
    assert mistakes({**SHIFTS, **POWERS, missing: "any"}) == [
        'rescale.kind = "power_of_two" (of linear and matmul): needs '
        'activation.scale = "power_of_two" and weight.scale = "power_of_two"'
    ]


def test_ops_other_than_products_may_shift_on_any_chip():
    changed({"ops.mean.rescale": {"kind": "power_of_two"}})
    (found,) = mistakes({"ops.matmul.rescale": {"kind": "power_of_two"}})
    assert found.startswith('rescale.kind = "power_of_two" (of matmul): needs')


@pytest.mark.parametrize("form", [None, "multiplier", "power_of_two"])
@pytest.mark.parametrize("block", [0, 16])
def test_only_powers_of_two_have_a_trim(form, block):
    steps = {"block": block, **({"row_scale": form} if form else {})}
    changed({"dynamic": {**steps, "block_trim": 0}})
    if block or form == "power_of_two":
        assert changed({"dynamic": {**steps, "block_trim": 7}}).dynamic.block_trim == 7
        return
    (found,) = mistakes({"dynamic": {**steps, "block_trim": 2}})
    assert "block_trim = 2: has no effect without block" in found


@pytest.mark.parametrize("trim", [-1, 8, 1.0])
def test_a_trim_is_0_to_7(trim):
    (found,) = mistakes({"dynamic": {"block": 16, "block_trim": trim}})
    assert "dynamic.block_trim" in found


def test_float32_factors_come_from_float32_scales():
    assert not changed({}).float32_scales
    assert changed({"rescale.scale_type": "float32"}).float32_scales
    assert changed({"ops.mean.rescale": {"scale_type": "float32_ratio"}}).float32_scales
