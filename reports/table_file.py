# SPDX-License-Identifier: Apache-2.0
"""A table that a sweep left behind, ``sweep.json``, as rows again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aocq.records.fields import first_mistake
from reports.rows import SCORES, TableRow
from simulator import strict_json
from simulator.errors import InputError
from simulator.reading import read_text

TABLE_NAME = "sweep.json"
_ROW = TypeAdapter(TableRow)
_NAMES = {field.name for field in fields(TableRow)} - {"judged_by", *SCORES}
# Columns of scores are named after what a table's runs are judged by: ``float_top1``.
_ENGINES = tuple(name.removesuffix("score") for name in SCORES)


def read_table(path: Path) -> list[TableRow]:
    """Return the rows of a table in order, as :func:`reports.sweep_table.write_table` wrote them.

    Scores are left out: a row with a run names the folder whose ``run.json`` has them, and one
    without a run has none.

    Raises
    ------
    InputError
        If the file is no such table.
    """
    try:
        plain = strict_json.loads(read_text(path))
        return [*_rows(plain)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise InputError(f"{path}: not a table of a sweep: {first_mistake(error)}") from error
    except ValueError as error:
        raise InputError(
            f"{path}: not a table of a sweep: {error}; give the command that made it again"
        ) from error


def _rows(plain: Any) -> Iterator[TableRow]:
    if not isinstance(plain, dict) or not isinstance(plain.get("rows"), list):
        raise ValueError("wanted an object with rows")
    for place, row in enumerate(plain["rows"]):
        if not isinstance(row, dict):
            raise ValueError(f"row {place} is no object")
        kept = {name: value for name, value in row.items() if not _is_score(name)}
        unknown = sorted(kept.keys() - _NAMES)
        if unknown:
            raise ValueError(f"row {place} has a column {unknown[0]!r} that is not known")
        # In strict mode an object of a table is read from JSON alone.
        yield _ROW.validate_json(strict_json.dumps(kept), strict=True)


def _is_score(name: str) -> bool:
    return name == "score" or (name not in _NAMES and name.startswith(_ENGINES))
