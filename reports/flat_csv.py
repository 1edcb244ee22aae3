# SPDX-License-Identifier: Apache-2.0
"""Nested plain records as CSV: a column for each value, named by the keys on the way to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def flat_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV with full precision; ``{"a": {"b": 1}}`` has the column ``a_b``.

    An empty cell means None, or that a record has no such value. Columns are in the order in which
    the records name them.
    """
    flat = [_flattened(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    # A record that is None stands for all of its values.
    groups = {name for name in names if any(other.startswith(f"{name}_") for other in names)}
    named = [name for name in names if name not in groups or any(row.get(name) for row in flat)]
    text = io.StringIO()
    writer = csv.DictWriter(text, named, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flattened(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= _flattened(value, f"{prefix}{key}_")
        else:
            found[f"{prefix}{key}"] = value
    return found
