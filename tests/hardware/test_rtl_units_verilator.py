# SPDX-License-Identifier: Apache-2.0
"""Every unit in every mode under Verilator: a file of its own, because workers take files."""

from __future__ import annotations

import pytest
from op_modes import FAMILIES
from unit_modes import check_every_mode


@pytest.mark.parametrize("unit", list(FAMILIES))
def test_every_mode(needs, verilator_runtime, record_count, tmp_path, unit):
    needs("verilator")
    check_every_mode(unit, "verilator", verilator_runtime, tmp_path, record_count)
