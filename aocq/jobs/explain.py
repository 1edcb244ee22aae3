# SPDX-License-Identifier: Apache-2.0
"""One image through the float, the fake-quantized and the integer network of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from aocq.capture import run as run_float
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import BadImageError, ImageBatches
from aocq.jobs.explanation_record import ENGINES, OpFigures, Outputs, explanation
from aocq.jobs.mismatches import mismatches_per_image
from aocq.jobs.op_sqnr import sqnr_per_op
from aocq.jobs.opened_run import OpenedRun, open_run
from aocq.jobs.run_images import IntegerRun, run_batch
from aocq.methods.fake_quantization import FakeQuantization
from aocq.progress import Progress
from aocq.records.explanation import Explanation
from aocq.records.run_folder import load_record
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph.meta import GraphMeta
from simulator.taps import activations

STEPS = 4  # of the progress bar


def explain(
    folder: Path,
    image: Path,
    *,
    weights: Path | None,
    calibration: Path | None,
    threads: int | None,
    gemm: str,
    progress: Progress,
) -> Explanation:
    """Return what the networks of a run make of one image.

    Parameters
    ----------
    folder
        of a run that ``aocq verify`` made
    weights, calibration
        see :func:`aocq.jobs.opened_run.open_run`
    threads, gemm
        of the emulation

    Raises
    ------
    InputError
        If the folder holds no run, the image cannot be decoded, or the float network is not that
        of the run.
    """
    load_record(folder)  # a folder without a run is told before anything is loaded
    with progress(f"explain {image.name}", STEPS) as advance:
        run = open_run(folder, weights, calibration)
        batches = _batches(image, run.meta)
        pixels = _decoded(image, batches)
        advance(1)
        executor = Executor(run.graph, gemm=gemm, threads=threads)
        integer = run_batch(executor, pixels, taps=activations(run.graph))
        outputs = _outputs(run, integer, pixels)
        advance(1)
        single = OpFigures(
            sqnr=sqnr_per_op(run.model, executor, batches, run.reference.parameters),
            mismatches=mismatches_per_image(run.model, executor, batches),
        )
        advance(1)
        found = explanation(run, image, pixels, integer, outputs, single)
        advance(1)
    return found


def _batches(image: Path, meta: GraphMeta) -> ImageBatches:
    return ImageBatches([LabelledImage(path=image, label=0)], meta.preprocessing)


def _decoded(image: Path, batches: ImageBatches) -> Tensor:
    """Return the one image, float32 [1, channels, height, width]."""
    try:
        ((pixels, _),) = batches
    except BadImageError as error:
        raise InputError(
            f"{image}: cannot be decoded ({error.reason}); name another image with --image"
        ) from error
    return pixels


def _outputs(run: OpenedRun, integer: IntegerRun, pixels: Tensor) -> Outputs:
    source, result = run.captured.input.name, run.captured.output.name
    with torch.inference_mode():
        real = run_float(run.captured, {source: pixels}, [result])[result]
    rounded = FakeQuantization(run.model).logits(pixels)
    arrays = (real.double().numpy(), rounded.numpy(), integer.logits())
    return {engine: array[0] for engine, array in zip(ENGINES, arrays, strict=True)}
