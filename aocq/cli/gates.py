# SPDX-License-Identifier: Apache-2.0
"""Options that judge, shared by the commands that can: ``--max-drop`` and its like, ``--junit``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aocq.cli.groups import OptionGroup
from aocq.cli.options import finite
from simulator.sizes import LARGEST, parse_size

if TYPE_CHECKING:
    from aocq.records.costs import LiftRecord
    from aocq.records.gates import Gates
    from aocq.records.verdict import Verdict
    from simulator.junit import TestCase

# As in aocq.records.gates.RANGES, without its imports: a test holds them equal.
LARGEST_DROP = 100
LARGEST_FIGURE = 1e9  # milliseconds, images per second, millijoules


def size(text: str) -> int:
    """Return the bytes that an option names; a usage error where it is no size."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _at_most(option: str, about: str, most: float = LARGEST_FIGURE, least: float = 0) -> Any:
    return typer.Option(option, min=least, max=most, callback=finite, help=f"gate: {about}")


def _size(option: str, about: str) -> Any:
    text = f"gate: {about}, as 384KiB, 1.5MiB or bytes"
    return typer.Option(option, min=0, max=LARGEST, parser=size, metavar="SIZE", help=text)


MaxLatency = Annotated[
    float | None, _at_most("--max-latency-ms", "ESTIMATED latency of one image in milliseconds")
]
MinFps = Annotated[
    float | None, _at_most("--min-fps", "at least this many images per second, ESTIMATED")
]
MaxSram = Annotated[int | None, _size("--max-sram-bytes", "ESTIMATED peak of activations in SRAM")]
MaxDram = Annotated[int | None, _size("--max-dram-bytes", "ESTIMATED DRAM traffic of one image")]
MaxEnergy = Annotated[
    float | None,
    _at_most(
        "--max-energy-mj",
        "ESTIMATED energy of one image in millijoules; undecided where the profile has no table of "
        "energies",
    ),
]
RequireProven = Annotated[
    bool,
    typer.Option(
        "--require-proven",
        help="gate: no input can overflow an accumulator, or a register that the profile states",
    ),
]
MaxDrop = Annotated[
    float | None,
    _at_most(
        "--max-drop",
        "the integer network's score (top-1, or the task's first one) at most this many points "
        "below float. verify applies 5 where it is left out, by the point estimate; 100: off",
        most=LARGEST_DROP,
        least=-LARGEST_DROP,
    ),
]
MinAgreement = Annotated[
    float | None,
    _at_most(
        "--min-agreement",
        "integer and float agree on at least this percentage of images, or of detections",
        most=100,
    ),
]
NoOverflow = Annotated[
    bool, typer.Option("--no-overflow", help="gate: no accumulator overflowed on any image")
]
Decide = Annotated[
    Literal["interval", "point"] | None,
    typer.Option(
        "--decide",
        help="hold accuracies to their gates by the exact 95 % interval, UNDECIDED where it has "
        "the limit inside, or by the point estimate (default: by the interval, but a gate that "
        "nobody asked for); a score that is no share of images has no interval",
    ),
]
AllowUnplaced = Annotated[
    bool,
    typer.Option(
        "--allow-unplaced",
        help="an op that the profile has no place for (compute.placement) makes the verdict a NO; "
        "without, it is an error",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", help="also write the verdict as JUnit XML, a test case per gate"),
]


@dataclass(frozen=True, kw_only=True)
class CostGateOptions(OptionGroup):
    """Gates that need no images, and the file for their verdict."""

    max_latency_ms: MaxLatency = None
    min_fps: MinFps = None
    max_sram_bytes: MaxSram = None
    max_dram_bytes: MaxDram = None
    max_energy_mj: MaxEnergy = None
    require_proven: RequireProven = False
    allow_unplaced: AllowUnplaced = False
    junit: Junit = None

    def gates(self, **more: Any) -> Gates:
        """Return the gates, and those that ``more`` names."""
        from aocq.records.gates import Gates

        return Gates(
            max_latency_ms=self.max_latency_ms,
            min_fps=self.min_fps,
            max_sram_bytes=self.max_sram_bytes,
            max_dram_bytes=self.max_dram_bytes,
            max_energy_mj=self.max_energy_mj,
            require_proven=self.require_proven,
            allow_unplaced=self.allow_unplaced,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class GateOptions(OptionGroup):
    """All gates."""

    max_drop: MaxDrop = None
    min_agreement: MinAgreement = None
    no_overflow: NoOverflow = False
    decide: Decide = None
    costs: CostGateOptions = field(default_factory=CostGateOptions)

    def gates(self, default_drop: float | None = None) -> Gates:
        """Return the gates; ``default_drop`` is that of a command which judges every run.

        Raises
        ------
        typer.BadParameter
            If ``--decide`` has nothing to decide.
        """
        accuracies = (self.max_drop, self.min_agreement, default_drop)
        if self.decide is not None and accuracies == (None, None, None):
            raise typer.BadParameter(
                "--decide: nothing to decide without --max-drop or --min-agreement"
            )
        return self.costs.gates(
            max_drop=self.max_drop,
            min_agreement=self.min_agreement,
            no_overflow=self.no_overflow,
            decide=self.decide,
            default_drop=default_drop,
        )


def write_junit(path: Path | None, cases: Sequence[TestCase]) -> None:
    """Write test cases as JUnit XML, if a file is asked for."""
    from simulator.files import replace_file
    from simulator.junit import junit_xml

    if path is not None:
        with replace_file(path) as temporary:
            temporary.write_bytes(junit_xml("aocq gates", cases))


def print_gates(
    verdict: Verdict, lifts: Sequence[LiftRecord], clock_mhz: float, latency_ms: float
) -> None:
    """Print a table of the gates on stdout, and of what would lift them, if there are any.

    ``clock_mhz`` and ``latency_ms`` are the chip's, and those of one image without a lift.
    """
    from aocq.cli.console import print_columns
    from reports.gates import GATE_HEAD, gate_rows
    from reports.limits import LIFT_HEAD, lift_rows, unmet_sentence

    lifted = lift_rows(lifts, clock_mhz, latency_ms)
    for head, rows in ((GATE_HEAD, gate_rows(verdict)), (LIFT_HEAD, lifted)):
        if rows:
            print_columns(head, rows)
    unmet = unmet_sentence(verdict, lifts)
    if unmet:
        print(unmet)


def print_reasons(verdict: Verdict, what: str = "") -> None:
    """Say on stderr which gates do not hold, and which are not shown to; ``what`` was judged."""
    from aocq.records.verdict import undecided

    of = f"{what}: " if what else ""
    for kind, reasons in (("failed", verdict.failed), ("undecided", undecided(verdict))):
        for reason in reasons:
            print(f"gate {kind}: {of}{reason}", file=sys.stderr)


def exit_unless_yes(verdict: Verdict) -> None:
    """Say which conditions are not met or not shown to hold, and exit with 1, if any."""
    print_reasons(verdict)
    if not verdict.feasible:
        raise typer.Exit(1)
