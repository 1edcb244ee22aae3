# SPDX-License-Identifier: Apache-2.0
"""``aocq explain``: one image through the float and the integer network of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, requests
from aocq.cli.groups import grouped


@grouped
def command(
    *,
    run: Annotated[Path, typer.Argument(help="run folder, as aocq verify --out wrote it")],
    image: Annotated[Path, typer.Option("--image", help="the image file, of any content")],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", help="checkpoint of the float network (default: the one of the run)"
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calib-data",
            help="the run's folder of calibration images; asked for where its recipe balances "
            "channels on them",
        ),
    ] = None,
    emulation: requests.EmulationOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="the page (default: explain-FOLDER-IMAGE.html in the run's folder)"
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what the float and the integer network make of one image, and where they part.

    Writes one HTML page: classes or boxes of both, the first op whose codes differ from fake
    quantization's, the op at which SQNR falls most, the error of every token behind every block,
    and the tokens where results saturated or sums overflowed.

    Example: aocq explain runs/demo --image runs/demo/data/val/3/0002.png
    """
    from aocq import progress
    from aocq.jobs.explain import explain
    from reports.explanation import facts, html, plain
    from simulator.control_characters import escaped
    from simulator.files import write_text

    # Folders of classes hold files of the same names.
    page = out or run / f"explain-{image.absolute().parent.name}-{image.stem}.html"
    found = explain(
        run,
        image,
        weights=weights,
        calibration=calibration,
        threads=emulation.threads,
        gemm=emulation.gemm,
        progress=progress.show,
    )
    write_text(page, html(found))
    if as_json:
        print(json.dumps(plain(found), indent=2, allow_nan=False))
    else:
        for question, answer in facts(found):
            print(f"{escaped(question)}: {escaped(answer)}")
    print(f"page: {page}", file=sys.stderr)
