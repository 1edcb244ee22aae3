# SPDX-License-Identifier: Apache-2.0
"""Condition numbers of the inputs of blocks, with and without α.

With inputs x, the Fisher matrix of a linear layer has the factor ``E[x xᵀ]``. The paper argues with
its condition number: α is a diagonal preconditioner of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, run
from aocq.methods.quantizers import ActivationQuantizer, Quantizer

BATCH = 8


def condition_numbers(samples: Tensor, alpha: Tensor) -> tuple[float, float]:
    """Return the condition number of ``E[x xᵀ]`` for ``x`` and for ``x / alpha``.

    Parameters
    ----------
    samples
        the stream, [tokens, C], of any float type
    alpha
        factors per channel, positive [C]

    Returns
    -------
    tuple
        largest over smallest eigenvalue of each; infinity where the smallest is lost in the
        rounding of the samples' own type, or there are fewer tokens than channels

    Raises
    ------
    ValueError
        If shapes do not fit or a factor is not positive.
    """
    if samples.ndim != 2 or alpha.shape != samples.shape[1:]:
        raise ValueError(f"samples {tuple(samples.shape)} and alpha {tuple(alpha.shape)}")
    if not bool((alpha > 0).all()):
        raise ValueError("alpha has a factor that is not positive")
    x, rounding = samples.double(), torch.finfo(samples.dtype).eps
    return _condition(x, rounding), _condition(x / alpha.double(), rounding)


def _condition(x: Tensor, rounding: float) -> float:
    # Singular values of x itself: squaring x first would halve the digits of the smallest.
    values = torch.linalg.svdvals(x)
    if len(values) < x.shape[1]:
        return float("inf")
    smallest, largest = float(values[-1]), float(values[0])
    if smallest <= largest * rounding:
        return float("inf")
    return (largest / smallest) ** 2


def block_conditions(
    graph: FloatGraph, activations: Mapping[str, Quantizer], images: Tensor
) -> list[tuple[str, float, float]]:
    """Return (block, condition number of the stream that enters it, the same with α) per block.

    Parameters
    ----------
    graph
        the float network, with its own weights
    activations
        what a method decided, for the α of each stream; without any, both numbers are the same
    images
        preprocessed, float32 [count, channels, height, width]: more tokens than channels in all
    """
    entered = {
        node.name.removesuffix(".norm1"): node.inputs[0]
        for node in graph.nodes
        if node.op is FloatOp.LAYERNORM and node.name.endswith(".norm1")
    }
    samples: dict[str, list[Tensor]] = {name: [] for name in entered.values()}
    for batch in images.split(BATCH):
        with torch.inference_mode():
            for name, x in run(graph, {graph.input.name: batch}, list(samples)).items():
                samples[name].append(x.reshape(-1, x.shape[-1]))
    return [
        (block, *condition_numbers(torch.cat(samples[name]), _alpha(graph, activations, name)))
        for block, name in entered.items()
    ]


def _alpha(graph: FloatGraph, activations: Mapping[str, Quantizer], name: str) -> Tensor:
    quantizer = activations.get(name)
    if isinstance(quantizer, ActivationQuantizer) and quantizer.alpha and quantizer.axis == -1:
        return torch.tensor(quantizer.alpha, dtype=torch.float64)
    return torch.ones(graph.node(name).shape[-1], dtype=torch.float64)
