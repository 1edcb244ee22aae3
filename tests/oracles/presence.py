# SPDX-License-Identifier: Apache-2.0
"""What becomes of a test whose oracle is missing."""

from __future__ import annotations

import environments
import pytest


def need(oracle: str) -> None:
    """Skip the test if an oracle is missing, or fail it where oracles are required."""
    reason = environments.MISSING[oracle]()
    if reason is None:
        return
    if environments.required():
        pytest.fail(f"{environments.REQUIRED_VARIABLE} is set, but {reason}", pytrace=False)
    pytest.skip(reason)
