# SPDX-License-Identifier: Apache-2.0
"""The base of every table of a profile."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Strict

LARGEST_GROUP = 1 << 30  # values that a chip takes at once


class Section(BaseModel):
    """A table of the TOML file: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def sections(base: type[Section] = Section) -> Iterator[type[Section]]:
    """Return every kind of table, those that others are made from included."""
    for section in base.__subclasses__():
        yield section
        yield from sections(section)


# Of an enum's field: its text is taken in strict mode too, for TOML can only hold text.
AS_TEXT = Strict(strict=False)
