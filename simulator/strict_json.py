# SPDX-License-Identifier: Apache-2.0
"""JSON as RFC 8259 has it: no NaN, no infinity, no key twice, written and read."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

LARGEST_DIGITS = 40  # of an integer; Python's own limit is 4300, and converting takes its time


def dumps(value: Any, **options: Any) -> str:
    """Return JSON text; ``options`` are those of :func:`json.dumps`.

    Raises
    ------
    ValueError
        If a number is not finite: other readers would refuse the file.
    """
    return json.dumps(value, allow_nan=False, **options)


def loads(text: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises
    ------
    ValueError
        If it is not JSON or not UTF-8, holds a number that is not finite or endless, half a
        character or a key twice, or is nested deeper than Python's stack.
    """
    plain = text.decode() if isinstance(text, bytes) else text
    try:
        found = json.loads(
            plain,
            parse_constant=_not_a_number,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\u" in plain:
        _refuse_half_characters(found)
    return found


def _refuse_half_characters(value: Any) -> None:
    """Refuse halves of a UTF-16 pair, which an escape can name and no file can hold."""
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_half_characters(key)
            _refuse_half_characters(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_half_characters(item)


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:LARGEST_DIGITS]} is no number that a float64 can hold")
    return value


def _integer(text: str) -> int:
    if len(text) > LARGEST_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        known: set[str] = set()
        for name, _ in pairs:
            if name in known:
                raise ValueError(f"key {name!r} twice")
            known.add(name)
    return found
