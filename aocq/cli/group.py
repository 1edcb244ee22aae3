# SPDX-License-Identifier: Apache-2.0
"""The group of all commands, without what typer makes of some errors, and a single command.

typer ends with 1 where a file is cut short (EOFError, which it takes for the end of a dialogue) or
a pipe is closed. 1 is a verdict here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import Any, Literal

from typer.core import TyperCommand, TyperGroup

from aocq.cli.ending import Passing
from simulator.control_characters import escaped

NARROW = 100  # columns: in fewer, panels of rich cut names of options


def markup() -> Literal["rich"] | None:
    """Return how help is set: in panels, or plain where the terminal is too narrow for them."""
    return "rich" if get_terminal_size().columns >= NARROW else None


@contextmanager
def _as_they_are() -> Iterator[None]:
    try:
        yield
    except (EOFError, KeyboardInterrupt, OSError) as error:
        raise Passing(error) from error
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str):  # of wrong usage: it names arguments, which may be files
            with suppress(AttributeError):  # of some, it is no field but made of others
                error.message = escaped(message)  # type: ignore[attr-defined]
        raise


class Command(TyperCommand):
    """typer's command, whose usage line leaves hidden arguments out, as its list of them does."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands behind the command's name in its usage line."""
        shown = (each for each in self.params if not getattr(each, "hidden", False))
        arguments = (piece for each in shown for piece in each.get_usage_pieces(ctx))
        return [*([self.options_metavar] if self.options_metavar else []), *arguments]


class Commands(TyperGroup):
    """typer's group, but for the errors above."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options before the command."""
        with _as_they_are():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the command."""
        with _as_they_are():
            return super().invoke(ctx)
