# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class RangeSearch(StrEnum):
    """How a range becomes a scale."""

    MINMAX = "minmax"
    MSE = "mse"


Model = Annotated[
    str, typer.Argument(help="timm model name, e.g. deit_tiny_patch16_224 (see: aocq models)")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile", "-p", help="hardware profile: a name (see: aocq profiles list) or a TOML file"
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="checkpoint with timm's keys, .safetensors or .pth; code in it is never run. "
        "Without it timm fetches its pretrained weights",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option("--num-classes", min=1, help="class count, where it is not the model's default"),
]
Method = Annotated[str, typer.Option("--method", help="quantization method")]
WeightBits = Annotated[int, typer.Option("--w-bits", min=2, max=8, help="bits of the weights")]
ActivationBits = Annotated[
    int, typer.Option("--a-bits", min=8, max=8, help="bits of the activations")
]
ActivationRange = Annotated[
    RangeSearch,
    typer.Option("--activation-range", help="activation scales: observed range or least error"),
]
WeightRange = Annotated[
    RangeSearch,
    typer.Option("--weight-range", help="weight scales: largest weight or least error"),
]
CalibrationData = Annotated[
    Path,
    typer.Option("--calib-data", help="folder of calibration images, one subfolder per class"),
]
CalibrationImages = Annotated[
    int, typer.Option("--calib", min=1, help="how many calibration images to use")
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="folder of images to evaluate, one subfolder per class, named by WordNet id, class "
        "name or class number",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="evaluate this many images, evenly chosen")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="images per batch")]
SkipBadImages = Annotated[
    bool,
    typer.Option("--skip-bad-images", help="leave undecodable images out, counted and named"),
]
Seed = Annotated[int, typer.Option("--seed", help="seed of whatever a method draws at random")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="worker threads of the emulator (default: all cores)"),
]
Gemm = Annotated[
    str,
    typer.Option("--gemm", help="matrix product: auto, torch, blas or numba; all give equal bits"),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="folder for the results")]
Json = Annotated[
    bool, typer.Option("--json", help="print the result as JSON on stdout instead of a table")
]
