# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from simd_cases import restart_random


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Every test begins with the same numbers, whichever run before it."""
    restart_random()
