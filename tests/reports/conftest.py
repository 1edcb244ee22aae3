# SPDX-License-Identifier: Apache-2.0
"""Runs of a small ViT: as every command makes them today, and as older ones did."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from built_run import Run, build, build_with_costs


@pytest.fixture(scope="session")
def build_run() -> Callable[[int], Run]:
    """Return the builder: an older run of a network with so many blocks."""
    return build


@pytest.fixture(scope="session")
def run() -> Run:
    """An older run of 39 ops."""
    return build(2)


@pytest.fixture(scope="session")
def costed() -> Run:
    """A run of 39 ops with all that a record can hold."""
    return build_with_costs(2)
