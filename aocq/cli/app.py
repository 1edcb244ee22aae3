# SPDX-License-Identifier: Apache-2.0
"""The commands, one file each. Heavy imports stay inside them, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

import aocq
from aocq.cli import (
    ablate,
    accumulators,
    compare,
    cost,
    demo,
    doctor,
    figures,
    inspect,
    lower,
    models,
    profiles,
    quantize,
    report,
    simulate,
    table2,
    targets,
    verify,
)
from aocq.cli.group import Commands

app = typer.Typer(
    name="aocq",
    cls=Commands,
    help="Quantize a timm vision transformer, emulate it bit-accurately for an edge NPU, and "
    "report accuracy, memory and estimated cycles. Start with: aocq demo",
    epilog="Exit codes: 0 fine, 1 a gate failed, 2 usage, 3 bad input, 4 environment, "
    "70 a mistake of aocq's own, 130 interrupted, 141 the output's pipe was closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Print the version on stdout and end, if asked for."""
    if wanted:
        print(f"aocq {aocq.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="print the version and end"
        ),
    ] = False,
) -> None:
    """Options of the command line itself."""


app.command("verify")(verify.command)
app.command("demo")(demo.command)
app.command("quantize")(quantize.command)
app.command("lower")(lower.command)
app.command("simulate")(simulate.command)
app.command("cost")(cost.command)
app.command("inspect")(inspect.command)
app.command("report")(report.command)
app.command("table2")(table2.command)
app.command("ablate")(ablate.command)
app.command("targets")(targets.command)
app.command("accumulators")(accumulators.command)
app.command("compare")(compare.command)
app.command("figures")(figures.command)
app.command("models")(models.command)
app.command("doctor")(doctor.command)
app.add_typer(profiles.app, name="profiles")
