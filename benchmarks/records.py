# SPDX-License-Identifier: Apache-2.0
"""Records of a benchmark: rows as JSON and as a Markdown table, each with the machine it ran on.

No row holds a path or a time of day: files of two machines, or of two versions, can be compared.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.config import default_threads
from simulator.files import write_text
from simulator.processor import processor_flags, processor_model

Row = Mapping[str, Any]
DEFAULT_FOLDER = Path(__file__).parent / "results"
PACKAGES = ("numpy", "numba", "torch", "timm")


def cpu_model() -> str:
    """Return the processor's name, family and model, and what multiplies integers quickly."""
    return ", ".join([processor_model(), " ".join(processor_flags())])


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return what every row says about where it was measured."""
    return {"cpu": cpu_model(), "cores": default_threads(), "versions": versions()}


def write(
    folder: Path, name: str, title: str, rows: Sequence[Row], columns: Mapping[str, str]
) -> str:
    """Write ``NAME.json`` and ``NAME.md`` and return the Markdown.

    Parameters
    ----------
    title
        a sentence above the table
    rows
        what was measured; each gets the facts of :func:`machine`, but where it has its own
    columns
        which keys of the rows the table shows, and their headings

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    where = machine()
    full = [{**where, **row} for row in rows]
    write_text(folder / f"{name}.json", json.dumps(full, indent=1, allow_nan=False) + "\n")
    text = markdown(title, full, columns)
    write_text(folder / f"{name}.md", text)
    return text


def markdown(title: str, rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Return a table: numbers to the right, four significant digits, a dash where there is none."""
    numeric = {
        key: all(isinstance(row.get(key), (int, float, type(None))) for row in rows)
        for key in columns
    }
    lines = [
        "| " + " | ".join(columns.values()) + " |",
        "|" + "|".join("---:" if numeric[key] else "---" for key in columns) + "|",
        *("| " + " | ".join(_cell(row.get(key)) for key in columns) + " |" for row in rows),
    ]
    found = {**rows[0]["versions"]} if rows else {}
    packages = ", ".join(f"{package} {version}" for package, version in found.items())
    under = f"{rows[0]['cpu']}; {rows[0]['cores']} cores; {packages}." if rows else ""
    return "\n".join([title, "", *lines, "", under]) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
