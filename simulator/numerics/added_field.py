# SPDX-License-Identifier: Apache-2.0
"""Fields that an op, or a part of one, got after graphs had already been saved without them."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any

_MARK = "left out of files at its default"


def added(default: Any) -> Any:
    """Declare a dataclass field that files leave out while it has its default.

    So graphs from before the field existed keep their hashes, and files without it still load.
    """
    return field(default=default, metadata={_MARK: True})


def is_left_out(declared: Field[Any], value: object) -> bool:
    """Return true if files leave the field out when it has this value."""
    return _MARK in declared.metadata and value == declared.default
