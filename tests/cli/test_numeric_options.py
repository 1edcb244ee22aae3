# SPDX-License-Identifier: Apache-2.0
"""Numbers on the command line: each has two bounds, and what is no number is a usage error."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import typer

from aocq.cli import profiles
from aocq.cli.app import COMMANDS, app_of
from aocq.cli.options import finite

# No option takes one of these: what is not finite, negative, too long for any memory, no digit.
NEVER = ("nan", "inf", "-inf", "1e999", str(10**30), "9" * 5000, "²", "٣٫٥", "", "0x10", "1,5")


GROUP: Any = typer.main.get_command(app_of())
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **COMMANDS,
    **{f"profiles {c.name}": c.callback for c in profiles.app.registered_commands if c.callback},
}


def numbers() -> Iterator[tuple[str, str, Any]]:
    """Yield command, name and typer's description of every numeric option."""
    for command, function in FUNCTIONS.items():
        for name, found in inspect.signature(function, eval_str=True).parameters.items():
            kind, *rest = get_args(found.annotation) or (found.annotation,)
            if {int, float} & {kind, *get_args(kind)}:
                yield command, name, rest[0]


FOUND = [*numbers()]


def test_every_numeric_option_has_both_bounds() -> None:
    assert len(FOUND) >= 50
    without = {(command, name) for command, name, o in FOUND if o.min is None or o.max is None}
    assert not without
    assert all(math.isfinite(o.min) and math.isfinite(o.max) and o.min < o.max for *_, o in FOUND)


@pytest.mark.parametrize("command", sorted({command for command, *_ in FOUND}))
def test_what_is_out_of_bounds_is_a_usage_error_that_names_the_option(command: str) -> None:
    parameters = GROUP.commands[command].params
    written = {parameter.name: parameter.opts[0] for parameter in parameters}
    needed = []
    for parameter in parameters:
        if parameter.required:
            option = parameter.param_type_name == "option"
            needed += [parameter.opts[0], "x"] if option else ["x"]
    for name, option in ((n, o) for c, n, o in FOUND if c == command):
        # Options that commands share are tried with every text in the first of these.
        first = command == next(c for c, n, _ in FOUND if n == name)
        beyond = (str(math.ceil(option.max) + 1), str(math.floor(option.min) - 1))
        for text in (*NEVER, *beyond) if first else ("nan", *beyond):
            # The group as it is built once, and its error before rich frames it.
            with pytest.raises(typer.BadParameter) as caught:
                GROUP.main([command, *needed, f"{written[name]}={text}"], standalone_mode=False)
            assert caught.value.exit_code == 2
            message = caught.value.format_message()
            assert f"'{written[name]}'" in message, (name, text, message)


def test_nan_is_beyond_no_bound_and_refused_all_the_same() -> None:
    assert finite(None) is None
    assert finite(0.5) == 0.5
    with pytest.raises(typer.BadParameter):
        finite(math.nan)


def test_the_largest_seed_is_one_of_torch() -> None:
    import torch

    from aocq.recipes.recipe import LARGEST_SEED

    torch.Generator().manual_seed(LARGEST_SEED)
