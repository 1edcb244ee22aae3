# SPDX-License-Identifier: Apache-2.0
"""Mismatches with fake quantization on equal inputs, op by op."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from asked import asked
from changed_profiles import changed
from PIL import Image
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import ImageBatches
from aocq.jobs.mismatches import compared, mismatches_per_image
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from simulator.executor import Executor

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
PREPROCESSING = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 1.0,
    "crop_mode": "center",
}


@pytest.fixture
def data(tmp_path: Path) -> ImageBatches:
    """Five images in batches of four."""
    chance = np.random.default_rng(0)
    listed = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        listed.append(LabelledImage(path=path, label=index))
    return ImageBatches(listed, PREPROCESSING, batch=4)


def quantized(nano: Captured, method: str, **recipe: object) -> QuantizedModel:
    graph = nano("class_token")[1]
    return METHODS[method](
        graph, images(16, input_size(NANO)), *asked(**{"weight_bits": 8, **recipe})
    )


@pytest.mark.parametrize("method", ["base_ptq", "aocq"])
def test_products_and_sums_are_exact(method: str, nano: Captured, data: ImageBatches) -> None:
    model = quantized(nano, method)
    executor = Executor(lower(model, changed()), threads=1)
    found = mismatches_per_image(model, executor, data)
    kinds = {node.name: node.op for node in model.graph.nodes}
    assert {kinds[name] for name in found} >= {FloatOp.LINEAR, FloatOp.SOFTMAX, FloatOp.LAYERNORM}
    exact = (FloatOp.MATMUL, FloatOp.LINEAR, FloatOp.ADD)
    assert {name: count for name, count in found.items() if kinds[name] in exact and count} == {}


def test_the_op_that_approximates_is_named_and_no_other(nano: Captured, data: ImageBatches) -> None:
    model = quantized(nano, "base_ptq")
    counts = {}
    for bits in (30, 8):
        graph = lower(model, changed(softmax__table_bits=bits))
        counts[bits] = mismatches_per_image(model, Executor(graph, threads=1), data)
    kinds = {node.name: node.op for node in model.graph.nodes}
    for name, count in counts[8].items():
        if kinds[name] is FloatOp.SOFTMAX:
            assert count > counts[30][name] + 1
    softmax = sum(count for name, count in counts[8].items() if kinds[name] is FloatOp.SOFTMAX)
    assert softmax > 0.9 * sum(counts[8].values())


def test_counts_are_per_image(nano: Captured, data: ImageBatches) -> None:
    model = quantized(nano, "base_ptq")
    executor = Executor(lower(model, changed(softmax__table_bits=8)), threads=1)
    done: list[int] = []
    found = mismatches_per_image(model, executor, data, done.append)
    assert done == [4, 1]
    once = mismatches_per_image(
        model, executor, ImageBatches(data.images * 2, PREPROCESSING, batch=5)
    )
    assert once == found


def test_operators_that_stay_in_float_are_not_compared(nano: Captured) -> None:
    model = quantized(nano, "base_ptq_paper")
    graph = lower(model, changed())
    names = compared(model, graph)
    assert names
    assert set(names) <= set(model.activations)
    kinds = {node.name: node.op for node in model.graph.nodes}
    assert FloatOp.SOFTMAX not in {kinds[name] for name in names}
