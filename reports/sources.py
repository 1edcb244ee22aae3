# SPDX-License-Identifier: Apache-2.0
"""How far the values that a run rests on can be trusted: what was measured, read, stated, assumed.

The words are those of profiles (``docs/profiles.md``): the first of every source, before its colon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from aocq.records.run import RunResult

DEFAULT = "every other value"
STANDING: Mapping[str, str] = MappingProxyType(
    {
        "measured": "measured against another implementation",
        "source": "read in the implementation or its tools",
        "doc": "documented",
        "assumed": "assumed",
    }
)
# What a figure rests on most, by dotted path of the profile.
_RESTS_ON = (
    ("integers: accumulators", "accumulator"),
    ("integers: rescaling and rounding", "rescale"),
    ("integers: softmax", "softmax"),
    ("integers: LayerNorm", "layernorm"),
    ("integers: GELU", "gelu"),
    ("latency: clock", "compute.clock_mhz"),
    ("latency: MAC array", "compute.engine"),
    ("latency: vector unit", "compute.vector"),
    ("latency: host", "compute.host"),
    ("latency: DRAM port", "memory.dram_bytes_per_cycle"),
    ("SRAM", "memory.sram_bytes"),
    ("energy", "energy"),
)


def sources(result: RunResult) -> list[tuple[str, list[str]]]:
    """Return the profile's values grouped by where they come from: (source, values) pairs."""
    grouped: dict[str, list[str]] = {}
    order = list(STANDING)
    items = sorted(
        result.profile.sources.items(),
        key=lambda item: (
            item[0] == "default",
            order.index(standing(item[1])) if standing(item[1]) in order else len(order),
        ),
    )
    for value, source in items:
        grouped.setdefault(source, []).append(DEFAULT if value == "default" else value)
    return list(grouped.items())


def standing(source: str) -> str:
    """Return the first word of a source: ``assumed``."""
    return source.partition(":")[0].strip()


def source_of(path: str, found: Mapping[str, str]) -> str:
    """Return the source of a value by its dotted path: the longest entry that it begins with."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        if (entry := ".".join(parts[:length])) in found:
            return found[entry]
    return found.get("default", "")


def rests_on(result: RunResult) -> list[tuple[str, str, str]]:
    """Return what the figures rest on: (what, how it is known, the source's text) rows.

    Accuracy and overflow are counted by the emulator, on integers that are the chip's as far as the
    profile's arithmetic is.
    """
    found = result.profile.sources
    rows = []
    for what, path in _RESTS_ON:
        if what == "energy" and result.energy_record is None:
            continue
        if what == "latency: host" and not result.cycles.host:
            continue
        text = source_of(path, found)
        word, _, rest = text.partition(":")
        rows.append((what, STANDING.get(word.strip(), word.strip()), rest.strip()))
    return rows


def assumed_sentence(result: RunResult) -> str:
    """Return how many of the profile's entries are known how well, and what is assumed."""
    rows = rests_on(result)
    counted = Counter(known for _, known, _ in rows)
    said = [f"{number} {known}" for known in STANDING.values() if (number := counted[known])]
    named = [what for what, known, _ in rows if known == STANDING["assumed"]]
    if not rows:
        return "The record does not say."
    of = f"Of {len(rows)} things that the figures rest on: {', '.join(said)}."
    return f"{of} Assumed: {'; '.join(named)}." if named else of
