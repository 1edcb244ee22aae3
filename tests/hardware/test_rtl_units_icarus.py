# SPDX-License-Identifier: Apache-2.0
"""Every unit in every mode under Icarus: a file of its own, because workers take files."""

from __future__ import annotations

import pytest
from op_modes import FAMILIES
from unit_modes import check_every_mode


@pytest.mark.parametrize("unit", list(FAMILIES))
def test_every_mode(needs, record_count, tmp_path, unit):
    needs("iverilog")
    check_every_mode(unit, "iverilog", None, tmp_path, record_count)
