# SPDX-License-Identifier: Apache-2.0
"""No option without a target: every value that a key can have is that of a shipped profile.

It is about the tables that change integers, and about words: widths and other numbers are free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, get_args

import pytest

from simulator.numerics.rounding import Rounding
from simulator.profile import NpuProfile, load_profile, profile_paths
from simulator.profile.section import Section

# The key by which all rounding modes go, of whichever table.
ROUNDING = "rounding"
# Rounding modes are rows of one table; these are those of chips that no profile is about.
OF_CHIPS_WITHOUT_A_PROFILE = {
    Rounding.HALF_DOWN.value: "negative_inf of AMD's AI Engine (UG1079), AP_RND_MIN_INF (UG1399)",
    Rounding.TOWARD_ZERO.value: "TRUNCATE of Arm's Ethos-U (Vela), AP_TRN_ZERO (UG1399)",
}
# Of no consequence for integers, or names of other things.
OTHERS = {
    *("name", "title", "format", "ops", "compute", "memory", "energy", "caveats", "source"),
    "registers",
}


def choices(annotation: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every word that a key below ``path`` can have, with the key."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from ((path, member.value) for member in annotation)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        for key, field in annotation.model_fields.items():
            yield from choices(field.annotation, f"{path}.{key}" if path else key)
    else:
        for part in get_args(annotation):
            if isinstance(part, str):
                yield path, part
            else:
                yield from choices(part, path)


def words(values: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every word in the tables of a profile, with its key."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from words(value, f"{path}.{key}" if path else key)
    elif isinstance(values, list):
        for value in values:
            yield from words(value, path)
    elif isinstance(values, str):
        yield path, values


def words_of(profile: NpuProfile) -> Iterator[tuple[str, str]]:
    """Every word of a profile that changes integers, those of single kinds of op included."""
    yield from words(profile.model_dump(mode="json", exclude=OTHERS), "")
    for kind in profile.ops:
        yield from words(profile.rescale_of(kind).model_dump(mode="json"), "rescale")
        yield from words(profile.accumulator_of(kind).model_dump(mode="json"), "accumulator")


def by_key(found: Iterator[tuple[str, str]]) -> dict[str, set[str]]:
    """Words by key; rounding modes are one enumeration wherever they stand."""
    grouped: dict[str, set[str]] = defaultdict(set)
    for path, word in found:
        grouped[ROUNDING if path.endswith(f".{ROUNDING}") else path].add(word)
    return grouped


POSSIBLE = by_key(
    one
    for table, field in NpuProfile.model_fields.items()
    if table not in OTHERS
    for one in choices(field.annotation, table)
)
IN_USE = by_key(one for name in profile_paths() for one in words_of(load_profile(name)))


def test_the_options_are_found_in_all_tables():
    assert {"softmax.algorithm", "gelu.constants", "accumulator.levels.overflow"} < POSSIBLE.keys()
    assert {"add.algorithm", "mean.algorithm", "layernorm.channel_factor"} < POSSIBLE.keys()
    assert POSSIBLE[ROUNDING] == {mode.value for mode in Rounding}
    assert sum(map(len, POSSIBLE.values())) > 60


@pytest.mark.parametrize("key", sorted(POSSIBLE))
def test_every_option_is_that_of_a_shipped_profile(key):
    excused = OF_CHIPS_WITHOUT_A_PROFILE.keys() if key == ROUNDING else set()
    assert POSSIBLE[key] - IN_USE[key] == excused
