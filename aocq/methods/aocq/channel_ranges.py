# SPDX-License-Identifier: Apache-2.0
"""Ranges of every tensor's channels, observed on a run of the float network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.parts import in_threads, parts_of
from aocq.methods.aocq.balance import ChannelRange
from aocq.methods.base_ptq import check_finite
from aocq.methods.masks import lowest_code_wanted, scores_of

BATCH = 16


def channel_ranges(
    graph: FloatGraph,
    images: Tensor,
    probability_bits: int,
    on_images: Callable[[int], None],
    *,
    observed: Tensor | None = None,
    kept: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, ChannelRange]:
    """Return every arithmetic node's channel ranges over the float network's values.

    Those of masked scores reach as far down as the lowest code has to, for probabilities of
    ``probability_bits``.
    ``on_images`` is called with the number of images observed since the last call.

    Parameters
    ----------
    observed
        which images count, bool [images]; None for all
    kept
        tensors [images, ...] by node name, which are filled with its values on all images; without
        any, images that do not count are not run

    Raises
    ------
    InputError
        If a value is not finite.
    """
    seen: dict[str, ChannelRange] = {}
    counts = torch.ones(len(images), dtype=torch.bool) if observed is None else observed
    if not kept:
        images, counts = images[counts], counts[counts]
    device = images.device.type

    def observe(part: slice) -> dict[str, ChannelRange]:
        own = {name: values[part] for name, values in kept.items()}
        return _observed(graph, images[part], probability_bits, counts[part], own)

    parts = parts_of(len(images), device)
    at_once = max(BATCH // (parts[0].stop - parts[0].start), 1)
    for start in range(0, len(parts), at_once):
        batch = parts[start : start + at_once]
        for found in in_threads(observe, batch, device):
            for name, own in found.items():
                seen[name] = seen[name].widened(own) if name in seen else own
        on_images(int(counts[batch[0].start : batch[-1].stop].sum()))
    return seen


def _observed(
    graph: FloatGraph,
    images: Tensor,
    probability_bits: int,
    counts: Tensor,
    kept: Mapping[str, Tensor],
) -> dict[str, ChannelRange]:
    """Return the channel ranges over a few images, of which some count; fill what is kept."""
    seen: dict[str, ChannelRange] = {}
    some, every = bool(counts.any()), bool(counts.all())

    def see(name: str, x: Tensor) -> None:
        rows = x.reshape(-1, x.shape[-1])
        own = ChannelRange(rows.amin(0).double().cpu(), rows.amax(0).double().cpu())
        seen[name] = seen[name].widened(own) if name in seen else own

    def note(node: FloatNode, x: Tensor) -> Tensor:
        if node.name in kept:
            kept[node.name][:] = x
        if not some:
            return x
        own = x if every else x[counts]
        if node.op is FloatOp.MASK:
            name, factor = scores_of(graph, node)
            see(name, lowest_code_wanted(own, factor, probability_bits))
        elif node.op in ARITHMETIC:
            see(node.name, own)
            # Looked for in the ranges: NaN and infinities get there, and x is far larger.
            check_finite(node, torch.stack([seen[node.name].low, seen[node.name].high]))
        return x

    note(graph.input, images)
    run(graph, {graph.input.name: images}, [graph.output.name], transform=note)
    return seen
