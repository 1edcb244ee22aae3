# SPDX-License-Identifier: Apache-2.0
"""Shipped profiles with a few values changed."""

from __future__ import annotations

import tomllib
from typing import Any

from simulator.profile import NpuProfile, profile_paths


def changed(name: str = "edge_npu_int8", **values: Any) -> NpuProfile:
    """Read a shipped profile with values replaced: ``rescale__rounding="floor"``."""
    plain = tomllib.loads(profile_paths()[name].read_text(encoding="utf-8"))
    for path, value in values.items():
        section, _, key = path.partition("__")
        assert key in plain[section], path
        plain[section][key] = value
    return NpuProfile.model_validate(plain)


def with_dynamic_steps(name: str = "edge_npu_int8", **dynamic: Any) -> NpuProfile:
    """Read a shipped profile, and give it rotations and a table ``[dynamic]``."""
    plain = tomllib.loads(profile_paths()[name].read_text(encoding="utf-8"))
    rotating = {"hadamard": {"largest_order": 4096}}
    return NpuProfile.model_validate({**plain, **rotating, "dynamic": dynamic})
