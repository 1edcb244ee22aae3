# SPDX-License-Identifier: Apache-2.0
"""A shipped profile with some values replaced, as the loader sees it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from simulator.profile import NpuProfile, profile_paths
from simulator.profile.problems import problems

NEIGHBOUR = "edge_npu_int8"


def plain(name: str = NEIGHBOUR) -> dict[str, Any]:
    """Read a shipped profile's file."""
    return tomllib.loads(profile_paths()[name].read_text(encoding="utf-8"))


def changed(changes: dict[str, Any], name: str = NEIGHBOUR) -> NpuProfile:
    """Return a profile with other values at dotted paths; a table is replaced as a whole."""
    values = plain(name)
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = value
    return NpuProfile.model_validate(values)


def mistakes(changes: dict[str, Any], name: str = NEIGHBOUR) -> list[str]:
    """Return what is wrong with such a profile, a line for each mistake."""
    with pytest.raises(ValidationError) as caught:
        changed(changes, name)
    return problems(caught.value)
