# SPDX-License-Identifier: Apache-2.0
"""Means and deviations of channels over calibration images."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from aocq.capture import FloatGraph, run
from aocq.transforms.online import ChannelStatistics

BATCH = 4


def channel_statistics(
    graph: FloatGraph, names: Collection[str], images: Tensor
) -> dict[str, ChannelStatistics]:
    """Return mean and standard deviation of the channels of tensors over images and tokens.

    Parameters
    ----------
    images
        preprocessed, [count, channels, height, width]
    """
    sums: dict[str, Tensor] = {}
    with torch.inference_mode():
        for batch in images.split(BATCH):
            for name, values in run(graph, {graph.input.name: batch}, names).items():
                rows = values.flatten(0, -2).double()
                own = torch.stack([rows.sum(0), rows.square().sum(0)])
                own = torch.cat([own, torch.full_like(own[:1], len(rows))])
                sums[name] = sums[name] + own if name in sums else own
    return {name: _statistics(*found.clone()) for name, found in sums.items()}


def _statistics(total: Tensor, squares: Tensor, count: Tensor) -> ChannelStatistics:
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    return ChannelStatistics(mean, variance.sqrt())
