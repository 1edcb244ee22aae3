# SPDX-License-Identifier: Apache-2.0
"""What `golden check` says of each kind of fault: the table of docs/golden_check.md.

``python tests/simulator/golden/confusion.py`` measures it and writes it into the page.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[3])]

from dump_faults import FAULTS, UNITS, Unit, cells, dump_folder, dumps, manifest, unit

from simulator.golden.check.check import check_dump
from simulator.golden.check.verdict import ArrayVerdict
from simulator.golden.dump.folder import find_dump

PAGE = Path(__file__).parents[3] / "docs" / "golden_check.md"
BEGIN, END = "<!-- measured: confusion -->\n", "<!-- end of what is measured -->\n"


@dataclass(frozen=True)
class Cell:
    """How the dumps of one kind of fault in one op were diagnosed.

    Attributes
    ----------
    unequal
        whether every dump differs from the golden codes
    named
        whether a pattern of the right kind was named each time
    kinds
        kinds of patterns that were named, the right one or not
    most
        the largest number of patterns that one dump was named with
    """

    unequal: bool
    named: bool
    kinds: frozenset[str]
    most: int


class Recorded:
    """Golden folders of the units, each recorded when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._of = cache(self._record)

    def unit(self, name: str) -> Unit:
        return self._of(name)

    def _record(self, name: str) -> Unit:
        folder = self.folder / f"golden{[*UNITS].index(name)}"
        folder.mkdir()
        return unit(name, folder)

    def judged(self, name: str, codes: np.ndarray) -> ArrayVerdict:
        """The verdict on a dump of the unit's result."""
        dump = dump_folder(self.folder / "dump")
        np.save(dump / "y.npy", codes)
        of = self.unit(name)
        (verdict,) = check_dump(of.folder, find_dump(manifest(of), dump)).arrays
        return verdict


def measured(recorded: Recorded) -> dict[tuple[str, str], Cell]:
    """Diagnose every fault in every op that has it."""
    found = {}
    for kind, name in cells():
        wanted, of = FAULTS[kind][0], recorded.unit(name)
        verdicts = [recorded.judged(name, codes) for codes in dumps(kind, of, name)]
        patterns = [{finding.kind for finding in verdict.findings} for verdict in verdicts]
        found[kind, name] = Cell(
            unequal=all(verdict.diagnosed for verdict in verdicts),
            named=all(wanted & kinds for kinds in patterns),
            kinds=frozenset().union(*patterns),
            most=max(len(verdict.findings) for verdict in verdicts),
        )
    return found


def named_kinds(found: Mapping[tuple[str, str], Cell]) -> list[str]:
    """The kinds of faults that are named in every op that was tried."""
    return [
        kind
        for kind, (_, units) in FAULTS.items()
        if all(found[kind, name].named and found[kind, name].unequal for name in units)
    ]


def table(found: Mapping[tuple[str, str], Cell]) -> str:
    """The table as Markdown, and what it sums up to."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[tuple[str, str], Cell]) -> Iterator[str]:
    yield "| fault | in | named | as | beside it, making the same values |"
    yield "|---|---|---|---|---|"
    for kind, (wanted, units) in FAULTS.items():
        of = [found[kind, name] for name in units]
        kinds = frozenset().union(*(cell.kinds for cell in of))
        named = sum(cell.named for cell in of)
        yield (
            f"| {kind} | {'; '.join(units)} | {named} of {len(of)} | "
            f"{', '.join(sorted(wanted & kinds))} | {', '.join(sorted(kinds - wanted))} |"
        )
    yield ""
    yield f"{len(named_kinds(found))} of {len(FAULTS)} kinds are named in all ops tried."


def with_table(page: str, text: str) -> str:
    """The page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> None:
    """Write the table into the page."""
    with tempfile.TemporaryDirectory() as folder:
        text = table(measured(Recorded(Path(folder))))
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), text), "utf-8")
    print(text)


if __name__ == "__main__":
    main()
