# SPDX-License-Identifier: Apache-2.0
"""The report of a run as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.markdown import markdown
from reports.page import html
from simulator.files import write_text

PAGE_NAME = "report.html"
MARKDOWN_NAME = "report.md"


def write_report(result: RunResult, rows: Sequence[LayerRow], folder: Path) -> Path:
    """Write ``report.md`` and then ``report.html`` into ``folder``; return the page's path.

    Raises
    ------
    InputError
        If the folder cannot be written. Files that were there stay as they were.
    """
    # Both texts first: a run that cannot be drawn must not leave half a report.
    page, text = html(result, rows), markdown(result, rows)
    write_text(folder / MARKDOWN_NAME, text)
    path = folder / PAGE_NAME
    write_text(path, page)
    return path
