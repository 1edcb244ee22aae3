# SPDX-License-Identifier: Apache-2.0
"""Makes this folder's ``small_graphs`` importable from the rooms below it."""

from __future__ import annotations

import pytest
from small_graphs import encoder_block

from simulator.graph import IntGraph


@pytest.fixture(scope="session")
def block() -> IntGraph:
    """A graph like one encoder block; graphs are never changed, so all tests share it."""
    return encoder_block()
