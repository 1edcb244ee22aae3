# SPDX-License-Identifier: Apache-2.0
"""Profiles as text: a row of the list, a page for a person, values for a program."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.profile import CONFIDENCE, NpuProfile, flat_values

# Tables that do not change an integer, and the file's head.
COST_TABLES = ("compute", "memory", "energy")
CAVEATS = "caveats"
REGISTERS = "registers"  # widths: they decide what is proven, and no integer
HEAD = ("name", "title", "format")
SAME = '"'  # as in the line above
VALUE_WIDTH = 28
NARROWEST_SOURCE = 24
INDENT = " " * 6


def confidence_counts(profile: NpuProfile) -> Counter[str]:
    """Return how many of the values that change integers are known how well."""
    return Counter(
        profile.confidence_of(path)
        for path in flat_values(profile)
        if path.split(".")[0] not in (*COST_TABLES, CAVEATS, REGISTERS, *HEAD)
    )


def list_head(width: int) -> str:
    """Return the head of the list; ``width`` is that of names."""
    return f"{'name':{width}}  {'  '.join(CONFIDENCE)}  title"


def list_row(profile: NpuProfile, width: int) -> str:
    """Return a row of the list."""
    counts = confidence_counts(profile)
    numbers = "  ".join(f"{counts[word] or '-':>{len(word)}}" for word in CONFIDENCE)
    return f"{profile.name:{width}}  {numbers}  {profile.title}"


def as_data(profile: NpuProfile) -> dict[str, Any]:
    """Return every value with its confidence and source, for JSON."""
    return {
        "name": profile.name,
        "title": profile.title,
        "sha256": profile.sha256(),
        "values": {
            path: {
                "value": value,
                "confidence": profile.confidence_of(path),
                "source": profile.source_of(path),
            }
            for path, value in flat_values(profile).items()
        },
    }


def page(profile: NpuProfile, columns: int) -> str:
    """Return a profile for a person, ``columns`` wide: a table of the file is a paragraph."""
    tables: dict[str, dict[str, Any]] = {}
    for path, value in flat_values(profile).items():
        table, _, key = path.partition(".")
        if table not in (*HEAD, CAVEATS, "ops"):
            tables.setdefault(table, {})[key] = value
    arithmetic = {table: tables[table] for table in tables if table not in COST_TABLES}
    costs = {table: tables[table] for table in COST_TABLES if table in tables}
    return "\n".join(
        [
            profile.title,
            f"sha256 {profile.sha256()}",
            *_paragraphs(profile, arithmetic, columns),
            *_exceptions(profile, columns),
            *_paragraphs(profile, costs, columns),
            *_caveats(profile, columns),
        ]
    )


def _caveats(profile: NpuProfile, columns: int) -> Iterator[str]:
    """Yield what a reader must know beside the figures."""
    for caveat in profile.caveats:
        yield ""
        yield from textwrap.wrap(f"{caveat.about}: {caveat.text}", columns)


def _paragraphs(
    profile: NpuProfile, tables: Mapping[str, Mapping[str, Any]], columns: int
) -> Iterator[str]:
    """Yield some tables, the columns of all below each other."""
    key_width = max(len(key) for values in tables.values() for key in values)
    longest = max(len(_written(value)) for values in tables.values() for value in values.values())
    value_width = min(longest, VALUE_WIDTH)
    for table, values in tables.items():
        yield from ("", table)
        above = ""
        for key, value in values.items():
            path = f"{table}.{key}"
            left = f"  {key:{key_width}}  {_written(value):{value_width}}  "
            yield from _with_source(left, profile, path, columns, above)
            yield from _entries(value, columns)
            above = profile.source_of(path)


def _entries(value: Any, columns: int) -> Iterator[str]:
    """Yield what a list of tables holds, but for levels, each below the other."""
    if not _is_list_of_tables(value) or "overflow" in value[0]:
        return
    for number, entry in enumerate(value, start=1):
        stated = (f"{key} {_written(one)}" for key, one in entry.items() if one is not None)
        text = f"{number}. {', '.join(stated)}"
        yield from textwrap.wrap(text, columns, initial_indent=INDENT, subsequent_indent=INDENT)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _written(value: Any) -> str:
    """Return a value as a person writes it; levels as graphs print them, of tables how many."""
    if _is_list_of_tables(value) and "overflow" in value[0]:
        return ", ".join(f"{one['group']}:{one['bits']} {one['overflow']}" for one in value)
    if _is_list_of_tables(value):
        return f"{len(value)}, below"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_source(
    left: str, profile: NpuProfile, path: str, columns: int, above: str = ""
) -> list[str]:
    """Return the lines of one value: confidence and source to its right, wrapped.

    Where a source has no room there, it stands below.
    """
    source = profile.source_of(path)
    word, _, text = (part.strip() for part in source.partition(":"))
    left += f"{word:{max(map(len, CONFIDENCE))}}  "
    if source == above:
        text = SAME
    width = columns - len(left)
    if width < NARROWEST_SOURCE and text != SAME:
        below = textwrap.wrap(text, columns, initial_indent=INDENT, subsequent_indent=INDENT)
        return [left.rstrip(), *below]
    first, *rest = textwrap.wrap(text, max(width, 1)) or [""]
    return [(left + first).rstrip(), *(" " * len(left) + line for line in rest)]


def _exceptions(profile: NpuProfile, columns: int) -> Iterator[str]:
    """Yield what is other for one kind of op than for all, with where that is from."""
    for kind in profile.ops:
        tables = (
            ("rescale", profile.rescale, profile.rescale_of(kind)),
            ("accumulator", profile.accumulator, profile.accumulator_of(kind)),
        )
        for table, general, own in tables:
            plain, changed = general.model_dump(mode="json"), own.model_dump(mode="json")
            keys = [key for key in changed if changed[key] != plain[key]]
            if not keys:
                continue
            yield ""
            for key in keys:
                yield (
                    f"{kind}: {table}.{key} = {_written(changed[key])} "
                    f"(instead of {_written(plain[key])})"
                )
            yield from _with_source("  ", profile, f"ops.{kind}.{table}.{keys[0]}", columns)
