# SPDX-License-Identifier: Apache-2.0
"""Columns of network and data: those in which rows of a table differ, and values common to all.

A column is shown where rows differ in it; a common value is said once, above the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.format import MISSING, count
from reports.rows import TableRow

DIFFERENT_DATA = (
    "These runs were judged on different images: their accuracies cannot be compared with each "
    "other."
)
# Of the network; of the images that a run was judged on. In the order of the columns.
NETWORK_COLUMNS = ("built with",)
DATA_COLUMNS = ("data", "classes", "images")


def apart(rows: Sequence[TableRow], columns: Sequence[str]) -> list[str]:
    """Return those of :data:`NETWORK_COLUMNS` or :data:`DATA_COLUMNS` in which rows differ."""
    return [name for name in columns if len(_values(rows, name)) > 1]


def alike(rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the values of network and data that all rows have in common, by column."""
    found = {}
    for name in (*NETWORK_COLUMNS, *DATA_COLUMNS):
        values = _values(rows, name)
        if len(values) == 1 and not values & {"", MISSING}:
            found[name] = values.pop()
    return found


def cells(row: TableRow, rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the cells of these columns, for a row among others.

    Data of one name that are not the same images have the start of their digest beside it.
    """
    digests = {other.data_digest for other in rows if other.data == row.data and _ran(other)}
    digest = f" {row.data_digest[:8]}" if len(digests) > 1 else ""
    return {
        "built with": row.arguments,
        "data": f"{row.data}{digest}" or MISSING,
        "classes": MISSING if row.classes is None else count(row.classes),
        "images": MISSING if row.images is None else count(row.images),
    }


def different_data(rows: Sequence[TableRow]) -> str:
    """Return the warning above a table of runs on different images; empty above any other."""
    digests = {row.data_digest for row in rows if _ran(row) and row.data_digest}
    return DIFFERENT_DATA if len(digests) > 1 else ""


def _ran(row: TableRow) -> bool:
    return row.images is not None


def _values(rows: Sequence[TableRow], name: str) -> set[str]:
    """Return the values of a column; columns of data have those of rows of runs only."""
    those = rows if name in NETWORK_COLUMNS else [row for row in rows if _ran(row)]
    return {cells(row, rows)[name] for row in those}
