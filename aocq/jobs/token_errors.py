# SPDX-License-Identifier: Apache-2.0
"""The error of each token of the residual stream behind every block, integer against float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatGraph
from aocq.capture.token_grid import TokenGrid, token_grid
from aocq.jobs.op_sqnr import is_readable
from aocq.methods.aocq.blocks import blocks
from simulator.graph import IntGraph

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTensor:
    """A tensor of the residual stream behind a block, and where its tokens stand."""

    block: str
    name: str
    grid: TokenGrid


def stream_behind_blocks(float_graph: FloatGraph, graph: IntGraph) -> list[StreamTensor]:
    """Return the results of a network's blocks that a run of its integers can return, in order."""
    found = []
    for block in blocks(float_graph)[:-1]:  # the last one ends in logits
        name = block.result
        grid = token_grid(float_graph, name)
        if name in graph.tensors and is_readable(graph, name) and grid is not None:
            found.append(StreamTensor(block=block.name, name=name, grid=grid))
    return found


def token_errors(
    tensor: StreamTensor, real: Mapping[str, Real], integer: Mapping[str, Real]
) -> Real:
    """Return how far each token is off: the norm of its error over the root mean square of all.

    Norms are over channels, and so are the same of a stream that was rotated.

    Parameters
    ----------
    real, integer
        values of one image, by name

    Returns
    -------
    float64 [tokens], those in front of the patches first
    """
    reference = real[tensor.name].reshape(tensor.grid.tokens, -1)
    error = reference - integer[tensor.name].reshape(reference.shape)
    mean = float(np.mean(np.sum(reference**2, axis=1)))
    norms: Real = np.sqrt(np.sum(error**2, axis=1) / mean if mean else np.zeros(len(error)))
    return norms
