# SPDX-License-Identifier: Apache-2.0
"""Hypothesis tries the same examples on every run, and a busy machine is not a failing test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same_every_time",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same_every_time")
