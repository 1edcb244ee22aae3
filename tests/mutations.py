# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile variants of files, the same ones for the same seed.

Every mutant comes with words that say what was done, so that a failing one can be made again.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

# What a value of a file is replaced with: other types, ends of ranges, what parsers stumble over.
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf")),
    *(2**31, 2**62, 2**63, 2**64, 10**30, -(2**63)),
    *("", "x", "0", "\x00", "\x1b[2J", "../../escaped", "/tmp/escaped", "a" * 300, "é", "\ud800"),
    *([], {}, [[]], [0], [1] * 33, {"a": 1}, [None], ["x"]),
)


def json_mutants(document: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """Yield ``count`` variants of a parsed JSON document, each changed in one place.

    They share what is not on the way to that place.

    A value becomes a hostile one or its neighbour, is removed, doubled, or put under another key.
    """
    chance = random.Random(seed)
    places = list(_places(document, ()))
    for _ in range(count):
        place = chance.choice(places)
        changed, holder = _copied(document, place)
        done = _change(chance, holder, place[-1])
        yield f"{'.'.join(map(str, place))}: {done}", changed


def _places(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*place, key)
        yield from _places(value[key], (*place, key))


def _copied(document: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a document of its own on the way to a place, and what holds the place."""
    changed = holder = copy.copy(document)
    for key in place[:-1]:
        holder[key] = copy.copy(holder[key])
        holder = holder[key]
    return changed, holder


def _change(chance: random.Random, holder: Any, key: Any) -> str:
    value = holder[key]
    kind = chance.choice(("replace", "replace", "replace", "near", "remove", "double", "rename"))
    if kind == "near" and isinstance(value, (int, float)) and not isinstance(value, bool):
        holder[key] = value + chance.choice((-1, 1, value, -2 * value))
        return f"is now {holder[key]!r}"
    if kind == "remove":
        del holder[key]
        return "removed"
    if kind == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
        return "doubled"
    if kind == "rename" and isinstance(holder, dict):
        other = chance.choice(("", "x", str(key) + "_", *map(str, holder)))
        holder[other] = holder.pop(key)
        return f"put under {other!r}"
    holder[key] = copy.deepcopy(chance.choice(HOSTILE))
    return f"is now {holder[key]!r}"[:80]


def byte_mutants(content: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` variants of a file's bytes: bits flipped, cut, doubled, filled, inserted."""
    chance = random.Random(seed)
    size = len(content)
    for _ in range(count):
        at, length = chance.randrange(size), chance.choice((1, 2, 8, 64, size))
        kind = chance.choice(("flip", "flip", "cut", "drop", "zero", "ones", "insert", "append"))
        changed = bytearray(content)
        if kind == "flip":
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del changed[at:]
        elif kind == "drop":
            del changed[at : at + length]
        elif kind in {"zero", "ones"}:
            changed[at : at + length] = bytes([255 * (kind == "ones")]) * min(length, size - at)
        elif kind == "insert":
            changed[at:at] = chance.randbytes(min(length, 64))
        else:
            changed += content[: min(length, size)]
        yield f"{kind} at {at}, {length} bytes", bytes(changed)


def text_mutants(text: str, seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield ``count`` variants of a text file: lines removed, doubled, swapped, values replaced."""
    chance = random.Random(seed)
    lines = text.splitlines()
    for _ in range(count):
        changed, at = list(lines), chance.randrange(len(lines))
        kind = chance.choice(("remove", "double", "swap", "value", "value", "value", "cell"))
        if kind == "remove":
            del changed[at]
        elif kind == "double":
            changed.insert(at, changed[at])
        elif kind == "swap":
            other = chance.randrange(len(lines))
            changed[at], changed[other] = changed[other], changed[at]
        else:
            separator = "=" if kind == "value" and "=" in changed[at] else ","
            cells = changed[at].split(separator)
            cells[chance.randrange(len(cells))] = f" {_written(chance.choice(HOSTILE))}"
            changed[at] = separator.join(cells)
        yield (
            f"line {at + 1}: {kind}: {changed[at][:60] if at < len(changed) else ''}",
            ("\n".join(changed) + "\n"),
        )


def _written(value: Any) -> str:
    return json.dumps(value)
