# SPDX-License-Identifier: Apache-2.0
"""The commands, one file each. Heavy imports stay inside them, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    export,
    figures,
    golden,
    inspect,
    lower,
    models,
    profiles,
    prove,
    quantize,
    report,
    simulate,
    table2,
    targets,
    verify,
)
from aocq.cli.checks import checked_first
from aocq.cli.group import Commands
from aocq.cli.interruption import RESUMES

app = typer.Typer(
    name="aocq",
    cls=Commands,
    help="Quantize a timm vision transformer, emulate it bit-accurately for an edge NPU, and "
    "report accuracy, memory and estimated cycles. Start with: aocq demo",
    epilog="Exit codes: 0 fine, 1 the verdict is NO or UNDECIDED, 2 usage, 3 bad input, "
    "4 environment, 70 a mistake of aocq's own, 130 interrupted, 141 the output's pipe was closed.",
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


COMMANDS: dict[str, Callable[..., None]] = {
    "verify": verify.command,
    "demo": demo.command,
    "quantize": quantize.command,
    "lower": lower.command,
    "simulate": simulate.command,
    "cost": cost.command,
    "inspect": inspect.command,
    "prove": prove.command,
    "report": report.command,
    "table2": table2.command,
    "ablate": ablate.command,
    "targets": targets.command,
    "accumulators": accumulators.command,
    "compare": compare.command,
    "figures": figures.command,
    "models": models.command,
    "doctor": doctor.command,
}


def _group(name: str, commands: Mapping[str, Callable[..., None]], about: str) -> typer.Typer:
    """Return the commands ``aocq NAME COMMAND`` as one group."""
    group = typer.Typer(name=name, help=about, no_args_is_help=True)
    group.callback()(lambda: None)
    for command, function in commands.items():
        group.command(command)(checked_first(f"{name}.{command}", function))
    return group


def resumes_after(words: Sequence[str]) -> bool:
    """Return whether the command that a command line names goes on where it was interrupted."""
    command = COMMANDS.get(words[0]) if words else None
    return getattr(command, RESUMES, False)


for name, command in COMMANDS.items():
    app.command(name)(checked_first(name, command))
app.add_typer(profiles.app, name="profiles")
app.add_typer(
    _group(
        "golden",
        golden.COMMANDS,
        "Golden vectors for RTL, firmware and simulators: record, directed, check.",
    )
)
app.add_typer(_group("export", export.COMMANDS, "A graph in the form of another tool."))
