# SPDX-License-Identifier: Apache-2.0
"""``aocq verify``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli import gates, options, recipes, requests
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.records.run import RunResult


@resuming
@grouped
def command(
    *,
    data: options.Data,
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.LEFT_OUT,
    recipe: recipes.RecipeOptions,
    model: requests.ModelOptions,
    run: requests.RunOptions,
    judging: gates.GateOptions,
    out: options.Out = Path("runs/verify"),
    as_json: options.Json = False,
) -> None:
    """Quantize, lower, emulate, cost and report one network on one profile.

    Writes run.json, layers.csv, report.html, report.md, the quantized model and the integer graph
    into --out. An interrupted run goes on where it stopped when the same command is given again.
    A finished run in --out that answers the same request is not made again: it is judged by the
    gates that are given now. Exit code 1 where the verdict is NO or UNDECIDED.

    Example: aocq verify deit_tiny_patch16_224 --data imagenet/val --calib-data imagenet/train
    --w-bits 8 --profile edge_npu_int8 --out runs/deit --max-drop 1

    Example: aocq verify deit_tiny_patch16_224 --data imagenet/val --recipe recipe.toml
    """
    from aocq import progress
    from aocq.records.gates import DEFAULT_MAX_DROP
    from aocq.records.publishing import claimed

    with claimed(out, progress.note):
        request = run.request(
            model.request(),
            data,
            profile=profile,
            method=method,
            recipe=recipe.recipe(method, run.calibrating.preset),
            out=out,
            gates=judging.gates(default_drop=DEFAULT_MAX_DROP),
        )
        run_and_report(request, as_json=as_json, junit=judging.costs.junit)


def run_and_report(request: VerifyRequest, *, as_json: bool, junit: Path | None = None) -> None:
    """Do the job and its report in a claimed folder, print the summary, exit with 1 on no yes."""
    from aocq import progress
    from aocq.jobs import verify as pipeline
    from aocq.records.verdict_junit import gate_cases
    from reports.tables import ENOUGH_AGREEMENT, judged_group, mismatch_sentence
    from reports.write import PAGE_NAME, write_report

    result, rows = pipeline.verify(request, progress.show, progress.note, draw=write_report)
    if request.calibration.folder == request.evaluation.folder:
        print(
            "note: calibrated on images of --data itself; scales have seen what they are judged "
            "on (--calib-data FOLDER keeps the two apart)",
            file=sys.stderr,
        )
    if as_json:
        print(result.to_json(), end="")
    else:
        print_summary(result)
        gates.print_gates(result.verdict, result.lifts, result.profile.clock_mhz, result.latency_ms)
    for path in result.accuracy.skipped_images:
        print(f"skipped: {path} cannot be decoded", file=sys.stderr)
    if result.accuracy.agreement.integer_simulated < ENOUGH_AGREEMENT:
        print(f"note: {mismatch_sentence(result, rows)}", file=sys.stderr)
    print(f"report: {request.out / PAGE_NAME}", file=sys.stderr)
    gates.write_junit(junit, gate_cases(result.verdict, judged_group(result)))
    gates.exit_unless_yes(result.verdict)


def print_summary(result: RunResult) -> None:
    """Print the short table of a run on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from reports.tables import summary_rows
    from simulator.control_characters import escaped

    table = Table(show_header=False, box=None, pad_edge=False)
    for label, value in summary_rows(result):
        table.add_row(Text(label, style="dim"), Text(escaped(value)))
    Console().print(table)
