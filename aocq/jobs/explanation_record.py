# SPDX-License-Identifier: Apache-2.0
"""The record of one image through a run's networks, made of their tensors and counts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aocq.capture import run as run_float
from aocq.capture.token_grid import TokenGrid, token_grid
from aocq.capture.token_places import token_places
from aocq.data.class_names import class_title
from aocq.jobs.opened_run import OpenedRun
from aocq.jobs.run_images import IntegerRun
from aocq.jobs.shown_images import encoded, readable_name, seen
from aocq.jobs.token_errors import StreamTensor, stream_behind_blocks, token_errors
from aocq.jobs.token_events import TokenEvents, token_events
from aocq.records.explanation import (
    BlockErrors,
    ClassScore,
    Events,
    Explanation,
    Grid,
    NetworkAnswer,
    TokenCounts,
)
from aocq.records.layers import LayerRow
from aocq.records.shown_images import ShownBox, ShownImage
from aocq.tasks.metrics import sqnr_db
from simulator.counts import OpCounts, sums_of
from simulator.graph import sha256
from simulator.graph.op import Op

ENGINES = ("float", "simulated", "integer")
CLASSES_SHOWN = 5

Output = NDArray[np.float64]  # of one image, [...]
Outputs = Mapping[str, Output]  # by engine


@dataclass(frozen=True, slots=True, kw_only=True)
class OpFigures:
    """SQNR in dB and mismatches of single ops, by name."""

    sqnr: Mapping[str, float | None]
    mismatches: Mapping[str, float]


def explanation(
    run: OpenedRun,
    image: Path,
    pixels: Tensor,
    integer: IntegerRun,
    outputs: Outputs,
    single: OpFigures,
) -> Explanation:
    """Return the record of one image.

    Parameters
    ----------
    pixels
        of the image, preprocessed, float32 [1, channels, height, width]
    integer
        its run, with all tensors
    outputs
        of every engine
    """
    stream = stream_behind_blocks(run.model.graph, run.graph)
    grids = [*dict.fromkeys(each.grid for each in stream)]
    output = integer.output
    places = token_places(run.model.graph)
    saturated, overflowed = token_events(run.graph, output.taps, output.counts, places, grids)
    return Explanation(
        network=run.model.graph.name,
        quantized=run.model.title,
        profile=run.graph.profile,
        graph_sha256=sha256(run.graph),
        checkpoint_sha256=run.record.model.checkpoint_sha256 or "unknown",
        task=run.task.name,
        picture=_picture(run, image, pixels, outputs),
        answers=_answers(run, outputs),
        logit_sqnr_db=sqnr_db(outputs["float"], outputs["integer"]),
        first_difference=next((name for name, count in single.mismatches.items() if count), None),
        blocks=_block_errors(run, stream, integer, pixels),
        saturated=_events(saturated),
        overflowed=_events(overflowed),
        ops=[
            _row(row, op, output.counts[op.name], single)
            for row, op in zip(run.rows, run.graph.ops, strict=True)
        ],
    )


def _block_errors(
    run: OpenedRun, stream: Sequence[StreamTensor], integer: IntegerRun, pixels: Tensor
) -> list[BlockErrors]:
    names = [each.name for each in stream]
    with torch.inference_mode():
        values = run_float(run.reference, {run.reference.input.name: pixels}, names)
    real = {name: value[0].double().numpy() for name, value in values.items()}
    codes = {name: integer.real(name)[0] for name in names}
    return [
        BlockErrors(
            block=each.block,
            tensor=each.name,
            grid=_grid(each.grid),
            errors=token_errors(each, real, codes).tolist(),
        )
        for each in stream
    ]


def _grid(grid: TokenGrid) -> Grid:
    return Grid(prefix=grid.prefix, rows=grid.rows, columns=grid.columns)


def _events(found: TokenEvents) -> Events:
    return Events(
        tokens=[
            TokenCounts(grid=_grid(grid), counts=numbers.tolist())
            for grid, numbers in found.tokens.items()
        ],
        placed=found.placed,
        elsewhere=found.elsewhere,
    )


def _answers(run: OpenedRun, outputs: Outputs) -> list[NetworkAnswer]:
    if run.task.boxes is not None:  # they are in the picture
        return []
    return [
        NetworkAnswer(engine=engine, classes=_classes(run, output))
        for engine, output in outputs.items()
    ]


def _classes(run: OpenedRun, output: Output) -> list[ClassScore]:
    """Return the first classes; where the output is of tokens, those that most patches have.

    Of equal ones, the lower number is first, as of a chip's arg-max.
    """
    if output.ndim == 1:
        logits = output
        powers = np.exp(logits - logits.max())
        shares = powers / powers.sum()
    else:
        grid = token_grid(run.model.graph, run.model.graph.output.name)
        patches = output.reshape(-1, output.shape[-1])[grid.prefix if grid else 0 :]
        shares = np.bincount(patches.argmax(-1), minlength=output.shape[-1]) / len(patches)
        logits = shares
    order = np.argsort(-logits, kind="stable")[:CLASSES_SHOWN].tolist()
    return [
        ClassScore(
            number=number,
            title=class_title(number, output.shape[-1]),
            logit=float(output[number]) if output.ndim == 1 else None,
            share=float(shares[number]),
        )
        for number in order
    ]


def _picture(run: OpenedRun, image: Path, pixels: Tensor, outputs: Outputs) -> ShownImage:
    picture = seen(pixels[0].numpy(), run.meta.preprocessing)
    media_type, content = encoded(picture)
    boxes: dict[str, list[ShownBox]] = {}
    for engine in ("float", "integer") if run.task.boxes is not None else ():
        assert run.task.boxes is not None
        boxes[engine] = [*run.task.boxes(outputs[engine], (picture.height, picture.width))]
    return ShownImage(
        name=readable_name(image.name),
        differs=False,  # it was asked for, not chosen
        width=picture.width,
        height=picture.height,
        media_type=media_type,
        content=base64.b64encode(content).decode("ascii"),
        true_boxes=[],
        float_boxes=boxes.get("float", []),
        integer_boxes=boxes.get("integer", []),
    )


def _row(row: LayerRow, op: Op, counts: OpCounts, single: OpFigures) -> LayerRow:
    """Return the run's row of an op with the figures of this image in place of those of all."""
    return row.model_copy(
        update={
            "elements": counts.elements,
            "saturated": counts.saturated,
            "overflowed": counts.overflowed,
            "sqnr_db": single.sqnr.get(row.op),
            "differing_codes": single.mismatches.get(row.op),
            **sums_of(op, counts),
        }
    )
