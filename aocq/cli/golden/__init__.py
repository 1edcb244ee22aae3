# SPDX-License-Identifier: Apache-2.0
"""``aocq golden``: golden vectors of a graph, one file per command."""

from __future__ import annotations

from collections.abc import Callable

from aocq.cli.golden import check, coverage, directed, record, show

COMMANDS: dict[str, Callable[..., None]] = {
    "record": record.command,
    "directed": directed.command,
    "coverage": coverage.command,
    "check": check.command,
    "show": show.command,
}
