# SPDX-License-Identifier: Apache-2.0
"""The runs of ``aocq sweep`` by a pool, and its table, published as they end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli.tables import claimed_table, publish_table, say

if TYPE_CHECKING:
    from aocq.sweeps.designs import Design
    from aocq.sweeps.pool import Pool
    from aocq.sweeps.pruned import Pruning
    from aocq.sweeps.runs import Ended, Planned
    from reports.rows import TableRow

NAME = "sweep"
SHARE_OF_TABLES = 0.01  # of a sweep's time, what may go into tables that are not the last


def estimate_all(
    title: str, designs: Sequence[Design], workers: int, out: Path, *, retry_failed: bool
) -> list[TableRow]:
    """Estimate designs by worker processes, and return the rows in the plan's order."""
    from aocq import progress
    from aocq.sweeps.cost_only import cost_blocks, estimated
    from aocq.sweeps.local_pool import LocalPool

    blocks = cost_blocks(designs, out)
    tables = Tables(title, designs, (), out)
    with LocalPool(max(1, min(workers, len(blocks))), progress.note) as pool:
        every = estimated(designs, blocks, pool, say, progress.note, retry_failed=retry_failed)
        for found in every:
            tables.rows.update(found)
    return tables.publish()


def run_sweep(
    title: str,
    runs: Sequence[Planned],
    pool: AbstractContextManager[Pool],
    out: Path,
    *,
    pruning: Pruning | None,
    retry_failed: bool,
) -> list[TableRow]:
    """Run what is planned by a pool, and return the rows in the plan's order.

    With ``pruning``, the promising designs once more, on more images.
    """
    from aocq import progress
    from aocq.sweeps.runs import planned_runs, run_all

    tables = Tables(title, [run.design for run in runs], runs, out)
    few: dict[int, Ended] = {}
    with pool as opened:
        for ended in run_all(runs, opened, say, progress.note, retry_failed=retry_failed):
            few[ended.place] = ended
            tables.add(ended.place, ended.row)
        if pruning is not None:
            designs = [run.design for run in runs]
            kept = tables.pruned(designs, few, pruning)
            many = planned_runs([design for _, design in kept])
            tables.runs = [*runs, *many]
            for ended in run_all(many, opened, say, progress.note, retry_failed=retry_failed):
                tables.add(kept[ended.place][0], ended.row)
    return tables.publish()


class Tables:
    """Rows by their places in the plan, and the table of them, published when it is worth its time.

    Attributes
    ----------
    rows
        those that are there
    runs
        whose times are published with the table
    """

    def __init__(
        self, title: str, designs: Sequence[Design], runs: Sequence[Planned], out: Path
    ) -> None:
        from reports.sweep_table import several_chips

        self.rows: dict[int, TableRow] = {}
        self.runs = runs
        self._title, self._out = title, out
        # Of the plan: the first rows may all be of one chip.
        self._chips = several_chips(design.variant for design in designs)
        self._took, self._last = 0.0, time.monotonic()

    def add(self, place: int, row: TableRow) -> None:
        """Add a row; publish the table if the last one took little of the time since."""
        self.rows[place] = row
        if time.monotonic() - self._last > self._took / SHARE_OF_TABLES:
            self.publish()

    def pruned(
        self, designs: Sequence[Design], few: Mapping[int, Ended], pruning: Pruning
    ) -> list[tuple[int, Design]]:
        """Return the designs that go on to more images; the rows of others say why they do not."""
        from aocq.sweeps.pruned import promising_designs, pruned_row

        kept, decisions = promising_designs(designs, few, pruning)
        for place, decision in decisions.items():
            if not decision.kept:
                self.rows[place] = pruned_row(few[place].row, decision)
        say(f"{len(kept)} of {len(designs)} designs go on to {pruning.images} images")
        return kept

    def publish(self) -> list[TableRow]:
        """Publish the table of the rows that are there, and return them in the plan's order."""
        from aocq import progress
        from aocq.records.lease import leased
        from aocq.sweeps.table import times_csv

        start = time.monotonic()
        rows = [row for _, row in sorted(self.rows.items())]
        texts: Mapping[str, str] = {
            "times.csv": times_csv((run.design, run.unit) for run in self.runs)
        }
        # Another command may be at the same plan, here or elsewhere.
        with (
            leased(self._out / f".{NAME}.lease", progress.note),
            claimed_table(self._out, NAME),
        ):
            publish_table(NAME, self._title, rows, self._out, texts=texts, chips=self._chips)
        self._last = time.monotonic()
        self._took = self._last - start
        return rows
