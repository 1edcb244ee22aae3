# SPDX-License-Identifier: Apache-2.0
"""What a sweep over accumulator widths keeps of each run: a class of each image, or outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph
from aocq.data.image_folder import LabelledImage
from aocq.jobs import accumulator_widths
from aocq.jobs.accumulator_widths import EXACT_BITS, SweepRequest, WidthsRequest, with_register
from aocq.jobs.request import EmulationRequest, EvaluationRequest
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.recipes.recipe import Recipe
from aocq.tasks import classification
from aocq.tasks.metrics import agreement, top_k
from aocq.tasks.task import Dataset
from simulator.profile import load_profile

PREPROCESSING = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 1.0,
    "crop_mode": "center",
}


@pytest.fixture
def request_of(
    nano: Callable[[str], tuple[nn.Module, FloatGraph]], tmp_path: Path
) -> Callable[..., SweepRequest]:
    """The request of a sweep, by task, over eleven images of noise."""
    _, graph = nano("class_token")
    model = METHODS["base_ptq"](graph, images(16, input_size(NANO)), Recipe())
    chance, listed = np.random.default_rng(0), []
    for index in range(11):
        path = tmp_path / f"{index}.png"
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        listed.append(LabelledImage(path=path, label=index % 10))

    def made(**changes: Any) -> SweepRequest:
        asked = WidthsRequest(
            folder=tmp_path,
            task="classification",
            profile="edge_npu_int8",
            evaluation=EvaluationRequest(folder=tmp_path, batch=4),
            emulation=EmulationRequest(threads=1),
            command=("aocq",),
        )
        return SweepRequest(
            asked=asked,
            model=model,
            task=replace(classification.TASK, **changes),
            dataset=Dataset(images=listed, classes=10),
            profile=load_profile("edge_npu_int8"),
            images=listed,
            preprocessing=PREPROCESSING,
        )

    return made


def runs(request: SweepRequest) -> list[accumulator_widths._Run]:
    """Run exact sums, and those of a register in which they overflow."""
    return [
        accumulator_widths._run(
            request,
            lower(request.model, with_register(request.profile, bits, "wrap")),
            lambda count: None,
        )
        for bits in (EXACT_BITS, 10)
    ]


def test_classes_are_kept_where_images_are_judged_one_by_one(
    request_of: Callable[..., SweepRequest],
) -> None:
    whole, kept = request_of(shares_of="values"), request_of()
    (exact, narrow), (exact_classes, narrow_classes) = runs(whole), runs(kept)
    assert exact.results.shape == narrow.results.shape == (11, 10)
    for found in (exact_classes, narrow_classes):
        assert (found.results.shape, found.results.dtype) == ((11,), np.int64)
    alike = agreement(narrow.results, exact.results)
    assert 0 <= alike < 100
    for request, first, second in (
        (whole, exact, narrow),
        (kept, exact_classes, narrow_classes),
    ):
        assert accumulator_widths._agreement(request, first.results, second.results) == alike
        for each, outputs in ((first, exact.results), (second, narrow.results)):
            wanted = top_k(outputs, each.labels, 1)
            assert accumulator_widths._score(request, each) == wanted


def test_one_network_is_judged_where_one_was_run(
    request_of: Callable[..., SweepRequest],
) -> None:
    judged: list[NDArray[np.float64]] = []

    def counting(outputs: NDArray[np.float64], *others: Any) -> Any:
        judged.append(outputs)
        return classification.TASK.judge_one(outputs, *others)

    request = request_of(shares_of="values", judge_one=counting, judge=None)
    exact, _ = runs(request)
    accumulator_widths._score(request, exact)
    assert len(judged) == 1
    assert judged[0] is exact.results
