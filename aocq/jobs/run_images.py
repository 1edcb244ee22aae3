# SPDX-License-Identifier: Apache-2.0
"""Integer runs of images: pixels to codes, codes through the executor, results to real values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aocq.data.loader import ImageBatches
from simulator.boundary import dequantize, quantize
from simulator.executor import Executor, RunOutput
from simulator.graph import IntGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerRun:
    """The results of one batch: codes, and counts by op."""

    graph: IntGraph
    output: RunOutput

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the real values of an output or a tap, [images, ...]."""
        codes = self.output.taps[name] if name in self.output.taps else self.output.outputs[name]
        return dequantize(codes, self.graph.tensors[name])

    def logits(self) -> NDArray[np.float64]:
        """Return the real values of the graph's first output, [images, classes]."""
        return self.real(self.graph.outputs[0])


def run_batch(
    executor: Executor,
    images: Tensor,
    *,
    taps: Collection[str] = (),
    on_progress: Callable[[int], None] | None = None,
) -> IntegerRun:
    """Return what an integer graph computes of preprocessed images.

    Parameters
    ----------
    images
        float32 [images, channels, height, width]
    taps, on_progress
        see :meth:`simulator.executor.Executor.run`
    """
    graph = executor.graph
    codes = quantize(images.numpy(), graph.tensors[graph.inputs[0]])
    return IntegerRun(graph=graph, output=executor.run(codes, taps=taps, on_progress=on_progress))


def run_images(
    executor: Executor,
    batches: ImageBatches,
    *,
    taps: Collection[str] = (),
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tensor, NDArray[np.int64], IntegerRun]]:
    """Decode batches one after the other and yield the images, the labels and the results of each.

    Raises
    ------
    BadImageError
        If an image cannot be decoded and ``batches`` does not skip such.
    """
    for images, labels in batches:
        run = run_batch(executor, images, taps=taps, on_progress=on_progress)
        yield images, labels.numpy(), run
