# SPDX-License-Identifier: Apache-2.0
"""Options that judge a run, shared by the commands that can: ``--max-drop`` and its like."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli.groups import OptionGroup
from aocq.cli.options import finite

if TYPE_CHECKING:
    from aocq.records.gates import Gates
    from aocq.records.run import RunResult

# As in aocq.records.gates.RANGES, without its imports: a test holds them equal.
LARGEST_DROP = 100
LARGEST_LATENCY_MS = 1e9


MaxDrop = Annotated[
    float,
    typer.Option(
        "--max-drop",
        min=-LARGEST_DROP,
        max=LARGEST_DROP,
        callback=finite,
        help="gate: integer top-1 at most this many points below float (100: off)",
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        min=0,
        max=100,
        callback=finite,
        help="gate: integer and float agree on at least this percentage of images",
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency-ms",
        min=0,
        max=LARGEST_LATENCY_MS,
        callback=finite,
        help="gate: ESTIMATED latency of one image in milliseconds",
    ),
]
RequireProven = Annotated[
    bool,
    typer.Option(
        "--require-proven",
        help="gate: no input can overflow an accumulator, or a register that the profile states",
    ),
]
# Where no gate is applied unless it is asked for.
OptionalMaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        min=-LARGEST_DROP,
        max=LARGEST_DROP,
        callback=finite,
        help="gate: integer top-1 at most this many points below float",
    ),
]


@dataclass(frozen=True, kw_only=True)
class GateOptions(OptionGroup):
    """Gates of a run that is made."""

    max_drop: MaxDrop = 5.0
    min_agreement: MinAgreement = None
    max_latency_ms: MaxLatency = None
    require_proven: RequireProven = False

    def gates(self) -> Gates:
        """Return the gates."""
        from aocq.records.gates import Gates

        return Gates(
            max_drop=self.max_drop,
            min_agreement=self.min_agreement,
            max_latency_ms=self.max_latency_ms,
            require_proven=self.require_proven,
        )


def exit_if_failed(result: RunResult) -> None:
    """Say which conditions a run does not meet, and exit with 1, if any."""
    for failure in result.verdict.failed:
        print(f"gate failed: {failure}", file=sys.stderr)
    if result.verdict.failed:
        raise typer.Exit(1)
