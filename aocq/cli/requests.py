# SPDX-License-Identifier: Apache-2.0
"""From a command's options to the request of a run: the one place where it is made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli import options, recipes

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.methods import Recipe
    from aocq.records.gates import Gates


def make_request(
    *,
    model: str,
    data: Path,
    profile: str,
    method: str,
    recipe: Recipe,
    out: Path,
    weights: Path | None = None,
    classes: int | None = None,
    calibration: Path | None = None,
    calibration_images: int | None = None,
    preset: recipes.Preset = recipes.Preset.DEFAULT,
    limit: int | None = None,
    batch: int = 32,
    skip_bad_images: bool = False,
    device: recipes.Device = recipes.Device.CPU,
    threads: int | None = None,
    gemm: str = "auto",
    gates: Gates | None = None,
    quantized: Path | None = None,
    model_kwargs: Sequence[str] | None = None,
    preprocessing: Sequence[str] | None = None,
) -> VerifyRequest:
    """Return the request of a run that this process's command line asks for.

    Parameters
    ----------
    calibration
        folder of calibration images; None: those of ``data``
    calibration_images
        None: as many as the method was published with, or the preset's number
    gates
        None: the run is not judged
    quantized
        folder of quantized models that several requests share; None: the run has its own
    model_kwargs, preprocessing
        ``KEY=VALUE``, see :mod:`aocq.zoo.options`
    """
    from aocq.jobs.request import VerifyRequest
    from aocq.records.gates import Gates

    return VerifyRequest(
        model=model,
        weights=weights,
        classes=classes,
        profile=profile,
        method=method,
        recipe=recipe,
        calibration_folder=calibration or data,
        calibration_images=recipes.calibration_count(calibration_images, preset, method),
        data_folder=data,
        limit=limit,
        batch=batch,
        skip_bad_images=skip_bad_images,
        threads=threads,
        gemm=gemm,
        gates=gates or Gates(max_drop=None),
        out=out,
        command=("aocq", *sys.argv[1:]),
        device=device.value,
        quantized=quantized,
        model_arguments=options.settings(model_kwargs, "--model-kwargs"),
        preprocessing=options.settings(preprocessing, "--preprocessing"),
    )
