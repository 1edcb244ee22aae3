# SPDX-License-Identifier: Apache-2.0
"""Classification: one class for each image, judged by top-1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.data.image_folder import read_image_folder
from aocq.records.accuracy import IMAGES, SAME_CLASS, TOP1, TOP5, Agreement, PairedOutcomes
from aocq.tasks.metrics import agreement, outcomes, paired_counts, sqnr_of_pairs, top_k
from aocq.tasks.task import Dataset, Judgement, Note, Outputs, Size, Task
from simulator.errors import InputError


def _read(folder: Path, outputs: int, note: Note) -> Dataset:
    """List images by class folder; the label of each is its class."""
    return Dataset(images=read_image_folder(folder, outputs, note), classes=outputs)


def _check(name: str, shape: tuple[int, ...], _: Mapping[str, Any]) -> None:
    if len(shape) != 1:
        raise InputError(
            f"{name}: yields {' x '.join(map(str, shape))} values for an image, but classification "
            "wants one for each class; choose another --task, or a network with a pooled head"
        )


def _judge(
    outputs: Mapping[str, Outputs], labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> Judgement:
    real, rounded, integer = outputs["float"], outputs["simulated"], outputs["integer"]
    return Judgement(
        scores={engine: _scores(found, labels, dataset, size) for engine, found in outputs.items()},
        agreement=Agreement(
            integer_float=agreement(integer, real), integer_simulated=agreement(integer, rounded)
        ),
        sqnr=sqnr_of_pairs(outputs),
        paired=PairedOutcomes(
            float_integer=paired_counts(real, integer, labels),
            float_simulated=paired_counts(real, rounded, labels),
            simulated_integer=paired_counts(rounded, integer, labels),
        ),
        outcomes=outcomes(real, integer, labels),
    )


def _scores(
    outputs: Outputs, labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> dict[str, float]:
    del dataset, size  # the labels are all that is true
    return {TOP1.key: top_k(outputs, labels, 1), TOP5.key: top_k(outputs, labels, 5)}


def _agreement(first: Outputs, second: Outputs, size: Size) -> float:
    del size
    return agreement(second, first)


TASK = Task(
    name="classification",
    scores=(TOP1, TOP5),
    alike=SAME_CLASS,
    shares_of=IMAGES,
    read=_read,
    check=_check,
    judge=_judge,
    judge_one=_scores,
    agreement=_agreement,
)
