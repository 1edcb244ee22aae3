# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def print_columns(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table of texts on stdout, no cell cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from simulator.control_characters import escaped

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*(Text(escaped(cell)) for cell in line))
    console = Console()
    # Cut columns say nothing: a narrow terminal wraps lines by itself.
    unlimited = console.options.update(max_width=10_000)
    console.width = max(console.width, console.measure(table, options=unlimited).maximum)
    console.print(table)
