# SPDX-License-Identifier: Apache-2.0
"""Errors of a profile, in one line per mistake: its path in the file, and the rule it breaks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError

from simulator.profile.section import sections

# pydantic's last place of a key of a table that may not be there.
_KEY = "[key]"
LONGEST_SHOWN = 80


def problems(error: ValidationError, place: str = "") -> list[str]:
    """Return one line per mistake: ``path = value: what must hold``.

    ``place`` is the path of the table that was looked at, nothing for the whole file. A message of
    several lines, which is that of tables checked together, is as many mistakes.
    """
    return [line for item in error.errors() for line in _problem(item, place).splitlines()]


def named(key: str) -> str:
    """Return a key as a message can show it: a strange one in quotes, its beginning only."""
    shown = shortened(key)
    return shown if shown and shown.isprintable() else repr(shown)


@cache
def _known_keys() -> frozenset[str]:
    return frozenset(key for section in sections() for key in section.model_fields)


@cache
def _union_tags() -> frozenset[str]:
    """Return what tells the members of unions apart: it is no part of a path in the file."""
    return frozenset(
        value
        for section in sections()
        for field in ("kind", "algorithm")
        if field in section.model_fields
        for value in get_args(section.model_fields[field].annotation)
    )


def path_of(item: Mapping[str, Any], place: str = "") -> str:
    """Return where one mistake of a profile is, as its file writes the path."""
    path = place
    for part in _location(item):
        key = named(str(part))
        path += f"[{part}]" if isinstance(part, int) else f".{key}" if path else key
    return path


def _location(item: Mapping[str, Any]) -> list[str | int]:
    return [part for part in item["loc"] if part not in {*_union_tags(), _KEY}]


def _problem(item: Mapping[str, Any], place: str) -> str:
    location, path = _location(item), path_of(item, place)
    if item["type"] == "extra_forbidden":
        return f"{path}: {_unknown(str(location[-1]))}"
    if item["type"] == "missing":
        return f"{path}: missing"
    if item["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return _no_such_member(item["ctx"], path)
    if item["type"] in {"model_type", "dict_type"}:
        return f"{path}: must be a table"
    message = item["msg"]
    if item["type"] == "value_error":
        message = message.removeprefix("Value error, ")
    else:
        message = message[0].lower() + message[1:]
    if _KEY in item["loc"]:
        return f"{path}: no such table: {message}"
    value = item["input"]
    shown = f" = {shortened(repr(value))}" if path and not isinstance(value, (dict, list)) else ""
    return f"{path}{shown}: {message}" if path else message


def shortened(text: str) -> str:
    """Return a text as a message can show it: its beginning only, where it is long."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _unknown(key: str) -> str:
    if key in _known_keys():
        return "not a key of this table"
    near = difflib.get_close_matches(key, _known_keys(), n=1)
    return "unknown key" + (f" (did you mean {near[0]}?)" if near else "")


def _no_such_member(context: Mapping[str, Any], path: str) -> str:
    """Say what a table's ``kind`` or ``algorithm`` must be."""
    key = f"{path}.{context['discriminator'].strip(chr(39))}"
    if "tag" not in context:
        return f"{key}: missing"
    return f"{key} = {shortened(repr(context['tag']))}: must be one of {context['expected_tags']}"
