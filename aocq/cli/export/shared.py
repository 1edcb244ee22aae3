# SPDX-License-Identifier: Apache-2.0
"""What the commands that export a graph have in common: options, files, optional packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

EXTRA = "interchange"
MOST_AT_ONCE = 1024

Graph = Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="of estimated figures, where no run is beside the graph (default: the graph's own)",
    ),
]
Batch = Annotated[
    int,
    typer.Option("--batch", min=1, max=MOST_AT_ONCE, help="images that the file takes at a time"),
]
Compare = Annotated[
    int | None,
    typer.Option(
        "--compare",
        min=1,
        max=10**6,
        help="run the file on so many images and print how far its codes agree with the emulator's",
    ),
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        help="with --compare: .npy of input codes [images, ...] (default: random codes)",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="with --compare: folder of images, as the task has them; needs torch"
    ),
]


@contextmanager
def needs(package: str) -> Iterator[None]:
    """Turn a missing package into an error that says how to get it.

    Raises
    ------
    EnvironmentProblem
        If the block imports a package that is not there.
    """
    from simulator.errors import EnvironmentProblem

    try:
        yield
    except ImportError as error:
        raise EnvironmentProblem(
            f"{package} is not installed ({error}): pip install 'aocq[{EXTRA}]'"
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    from simulator.files import replace_file

    with replace_file(path) as temporary:
        temporary.write_bytes(content)
