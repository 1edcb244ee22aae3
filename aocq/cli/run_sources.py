# SPDX-License-Identifier: Apache-2.0
"""Options that say where the sources of a finished run are now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli.groups import OptionGroup

if TYPE_CHECKING:
    from aocq.search.run_again import Folders

RunFolder = Annotated[
    Path, typer.Argument(help="folder that aocq verify or aocq quantize wrote", show_default=False)
]


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionGroup):
    """The network and the images of a run; by default those of its recorded command line."""

    run_weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", help="checkpoint of the float network (default: the one of the run)"
        ),
    ] = None
    run_data: Annotated[
        Path | None,
        typer.Option("--data", help="folder of images to judge by (default: the one of the run)"),
    ] = None
    run_calibration: Annotated[
        Path | None,
        typer.Option(
            "--calib-data", help="folder of calibration images (default: the one of the run)"
        ),
    ] = None
    run_profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="hardware profile (default: the one of the run)"),
    ] = None

    def folders(self) -> Folders:
        """Return the folders as jobs take them."""
        from aocq.search.run_again import Folders

        return Folders(
            weights=self.run_weights,
            data=self.run_data,
            calibration=self.run_calibration,
            profile=self.run_profile,
        )
