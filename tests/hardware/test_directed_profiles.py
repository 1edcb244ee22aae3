# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of every shipped profile tell modes and widths apart, and read all entries."""

from __future__ import annotations

import pytest

from simulator.golden.coverage.of_op import unit_coverage
from simulator.golden.directed import stimuli
from simulator.golden.directed.of_profile import units_of_profile
from simulator.profile import load_profile, profile_paths


@pytest.mark.parametrize("name", sorted(profile_paths()))
def test_nothing_stays_open(name: str) -> None:
    units = [*units_of_profile(load_profile(name))]
    assert units
    for unit, base in units:
        coverage = unit_coverage(unit, [made.trial for made in stimuli(base, unit)])
        assert [row.variant for row in coverage.missing] == [], unit
