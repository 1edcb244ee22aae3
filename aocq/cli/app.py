# SPDX-License-Identifier: Apache-2.0
"""The commands, one file each. Heavy imports stay inside them, so that ``--help`` is quick.

A command line that names a command has that one loaded alone: describing the options of all of them
takes longer than to tell most mistakes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

import aocq
from aocq.cli.checks import checked_first
from aocq.cli.group import Command, Commands, markup
from aocq.cli.interruption import RESUMES


class CommandsOf(Mapping[str, Callable[..., None]]):
    """Commands by name, each the ``command`` of a module that is imported when it is asked for.

    Parameters
    ----------
    package
        with a module for every command
    names
        of commands, in the order of their list; modules have an underscore for a hyphen
    """

    def __init__(self, package: str, names: Sequence[str]) -> None:
        self._package, self._names = package, tuple(names)

    def __getitem__(self, name: str) -> Callable[..., None]:
        if name not in self._names:
            raise KeyError(name)
        module = import_module(f"{self._package}.{name.replace('-', '_')}")
        command: Callable[..., None] = module.command
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


COMMANDS = CommandsOf(
    "aocq.cli",
    (
        *("verify", "demo", "quantize", "lower", "simulate", "cost", "inspect", "prove", "report"),
        *("sweep", "table2", "ablate", "targets", "accumulators", "compare", "front", "figures"),
        *("sensitivity", "search"),
        *("explain", "models", "doctor"),
    ),
)
# By the name of the group, what its commands are about.
GROUPS: Mapping[str, tuple[str, CommandsOf]] = {
    "golden": (
        "Golden vectors for RTL, firmware and simulators: record, directed, check.",
        CommandsOf("aocq.cli.golden", ("record", "directed", "coverage", "check", "show")),
    ),
    "export": (
        "A graph in the form of another tool.",
        CommandsOf("aocq.cli.export", ("rtl", "c", "onnx", "tflite", "model-explorer")),
    ),
}
PROFILES = "profiles"


def app() -> None:
    """Run the command that ``sys.argv`` asks for."""
    app_of(sys.argv[1:])()


def app_of(words: Sequence[str] = ()) -> typer.Typer:
    """Return the application with the command that a command line begins with, or with all."""
    first = words[0] if words else ""
    known = first in {*COMMANDS, *GROUPS, PROFILES}
    made = typer.Typer(
        name="aocq",
        cls=Commands,
        help="Quantize a timm vision transformer, emulate it bit-accurately for an edge NPU, and "
        "report accuracy, memory and estimated cycles. Start with: aocq demo",
        epilog="Exit codes: 0 fine, 1 the verdict is NO or UNDECIDED, 2 usage, 3 bad input, "
        "4 environment, 70 a mistake of aocq's own, 130 interrupted, 141 the output's pipe was "
        "closed.",
        no_args_is_help=True,
        rich_markup_mode=markup(),
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(options)
    for name in COMMANDS:
        if not known or name == first:
            made.command(name, cls=Command)(checked_first(name, COMMANDS[name]))
    if not known or first == PROFILES:
        made.add_typer(import_module("aocq.cli.profiles").app, name=PROFILES)
    for name, (about, commands) in GROUPS.items():
        if not known or name == first:
            made.add_typer(_group(name, commands, about))
    return made


def print_version(wanted: bool) -> None:
    """Print the version on stdout and end, if asked for."""
    if wanted:
        print(f"aocq {aocq.__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="print the version and end"
        ),
    ] = False,
) -> None:
    """Options of the command line itself."""


def _group(name: str, commands: Mapping[str, Callable[..., None]], about: str) -> typer.Typer:
    """Return the commands ``aocq NAME COMMAND`` as one group."""
    group = typer.Typer(name=name, help=about, no_args_is_help=True, rich_markup_mode=markup())
    group.callback()(lambda: None)
    for command, function in commands.items():
        group.command(command)(checked_first(f"{name}.{command}", function))
    return group


def resumes_after(words: Sequence[str]) -> bool:
    """Return whether the command that a command line names goes on where it was interrupted."""
    command = COMMANDS.get(words[0]) if words else None
    return getattr(command, RESUMES, False)
