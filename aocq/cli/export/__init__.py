# SPDX-License-Identifier: Apache-2.0
"""``aocq export``: a graph in the form of another tool, one file per command."""

from __future__ import annotations

from collections.abc import Callable

from aocq.cli.export import rtl

COMMANDS: dict[str, Callable[..., None]] = {
    "rtl": rtl.command,
}
