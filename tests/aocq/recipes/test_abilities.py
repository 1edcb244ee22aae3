# SPDX-License-Identifier: Apache-2.0
"""A chip's abilities that nothing uses are told, and with what option they would be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aocq.recipes.abilities import unused_abilities
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from simulator.profile import load_profile

ABLE = ChipLimits(hadamard_order=64, row_scale="multiplier", block=32)
PLAIN = Recipe()
PLAIN = replace(PLAIN, aocq=replace(PLAIN.aocq, hadamard="none", row_steps="none"))
ALL = replace(PLAIN, aocq=replace(PLAIN.aocq, hadamard="all", row_steps="all", block_steps=True))


def test_each_ability_is_told_with_its_option() -> None:
    found = unused_abilities("aocq", PLAIN, ABLE)
    assert [text.split("is not used: ")[1] for text in found] == [
        f"{option} asks for it" for option in ("--hadamard", "--row-steps", "--block-steps")
    ]
    assert unused_abilities("aocq", ALL, ABLE) == []


def test_a_method_that_knows_no_chip_uses_none_whatever_is_asked() -> None:
    found = unused_abilities("fq_vit", ALL, ABLE)
    assert len(found) == 3
    assert all(text.endswith("which method fq_vit does not use") for text in found)


@pytest.mark.parametrize(
    ("chip", "told"),
    [("edge_npu_int8", 0), ("edge_npu_w4a8", 1), ("edge_npu_w4a4_dynamic", 3)],
)
def test_shipped_chips(chip: str, told: int) -> None:
    limits = limits_of(load_profile(chip), PLAIN)
    assert len(unused_abilities("aocq", PLAIN, limits)) == told
