# SPDX-License-Identifier: Apache-2.0
"""The processor's name, as the system has it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

# What decides how fast integers are multiplied, of all that /proc/cpuinfo lists.
FLAGS = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


@cache
def _facts() -> Mapping[str, str]:
    """Return what /proc/cpuinfo says of the first core; nothing on other systems."""
    facts: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return MappingProxyType(facts)


def processor_model() -> str:
    """Return the processor's name, family and model."""
    facts = _facts()
    name = facts.get("model name") or platform.processor() or platform.machine()
    numbers = [
        f"{key} {facts[of]}"
        for key, of in (("family", "cpu family"), ("model", "model"))
        if of in facts
    ]
    return ", ".join([name, *numbers])


def processor_flags() -> tuple[str, ...]:
    """Return which of :data:`FLAGS` the processor has."""
    facts = _facts()
    flags = facts.get("flags", facts.get("Features", "")).split()
    return tuple(flag for flag in FLAGS if flag in flags)
