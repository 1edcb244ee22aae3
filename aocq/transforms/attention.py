# SPDX-License-Identifier: Apache-2.0
"""Biases of attention that its network does not feel, chosen for a chip whose softmax is inexact.

Softmax stays the same if a row's scores all change by the same number, which ``q · c`` is for every
vector c: the bias of keys is free. And probabilities that sum up to 1 hand a constant part of the
values on as it is: the bias of values is free, too, if the layer behind has what is taken from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.residual_stream import arithmetic_source, factor_between
from aocq.capture.tracing import channel_numbers
from aocq.transforms.editing import Editing
from aocq.transforms.heads import heads_of, mixes_probabilities, value_paths
from aocq.transforms.statistics import channel_statistics

# Of each head, on which its keys' bias is fitted; steps, and their length.
ROWS = 1500
STEPS = 60
STEP = 0.05
# Where rows' largest scores are to be at first, as a share of the largest score that there is.
SHARE = 0.8


def centre_values(graph: FloatGraph, images: Tensor) -> FloatGraph:
    """Take the mean of values over all tokens from their bias, and put it behind the product.

    Probabilities that a chip rounds down add up to less than 1: what is missing then is missing of
    values that are nearly 0 on average.

    Parameters
    ----------
    images
        preprocessed, [count, channels, height, width]
    """
    paths = [path for path in value_paths(graph) if not mixes_probabilities(graph, path.product)]
    seen = channel_statistics(graph, {path.layer.name for path in paths}, images)
    editing = Editing(graph)
    for path in paths:
        mean = seen[path.layer.name].mean
        taken = torch.zeros_like(mean)
        taken[path.heads.flatten()] = mean[path.heads.flatten()]
        _add_to_bias(editing, path.layer.name, -taken)
        for reader, columns in path.readers:
            weight = editing.value(reader.name, "weight")
            assert weight is not None
            _add_to_bias(editing, reader.name, weight @ taken[columns])
    return editing.graph()


def align_scores(graph: FloatGraph, images: Tensor, reach: float) -> FloatGraph:
    """Choose the keys' biases so that rows' largest scores lie just below ``reach``.

    A chip whose codes span few octaves clips both ends of scores at ``reach`` and ``-reach``: at
    the upper end a row's large probabilities become alike, at the lower one they are nearly 0
    anyway. The biases are those of least error of the probabilities of clipped scores.

    Parameters
    ----------
    images
        preprocessed, [count, channels, height, width]
    """
    keys = list(_keys(graph))
    names = {name for found in keys for name in found.product.inputs}
    with torch.no_grad():
        values = run(graph, {graph.input.name: images}, names)
    editing = Editing(graph)
    for found in keys:
        queries, own = (values[name] for name in found.product.inputs)
        moved = torch.zeros(found.layer.shape[-1], dtype=torch.float64)
        for head, rows in enumerate(found.heads):
            side = queries[:, head], own[:, head]
            aligned = _aligned(*side, found.factor, reach).double().cpu()
            moved[rows] = aligned / found.own_factor
        _add_to_bias(editing, found.layer.name, -moved)
    return editing.graph()


@dataclass(frozen=True, slots=True)
class _Keys:
    """A product of queries and keys.

    Attributes
    ----------
    layer, heads
        the layer of the keys, and its rows of each head, [heads, channels]
    factor, own_factor
        of what the softmax reads, and of the keys behind their layer
    """

    product: FloatNode
    layer: FloatNode
    heads: Tensor
    factor: float
    own_factor: float


def _keys(graph: FloatGraph) -> Iterator[_Keys]:
    """Yield the products that a softmax reads, perhaps times a factor, of a layer's keys."""
    for node in graph.nodes:
        if node.op is not FloatOp.SOFTMAX:
            continue
        product, factor = graph.node(node.inputs[0]), 1.0
        while product.op is FloatOp.SCALE:
            factor *= float(product.attributes["factor"])
            product = graph.node(product.inputs[0])
        if product.op is not FloatOp.MATMUL or not product.attributes["transpose_b"]:
            continue
        name = product.inputs[1]
        made = heads_of(graph, name, product)
        if made is None or len(product.shape) != 3:
            continue
        layer, _ = made
        if arithmetic_source(graph, name).name == layer.name:
            heads = channel_numbers(graph, layer, name)[:, 0]
            yield _Keys(product, layer, heads, factor, factor_between(graph, layer.name, name))


def _aligned(queries: Tensor, keys: Tensor, factor: float, reach: float) -> Tensor:
    """Return what to take from the keys of one head, [channels].

    ``queries`` and ``keys`` [images, tokens, channels].
    """
    scores = (queries @ keys.transpose(-1, -2)).flatten(0, 1) * factor
    rows = queries.flatten(0, 1) * factor
    generator = torch.Generator().manual_seed(0)
    picked = torch.randperm(len(rows), generator=generator)[:ROWS]
    scores, rows = scores[picked], rows[picked]
    wanted = scores.softmax(-1)
    too_high = scores.amax(-1, keepdim=True) - SHARE * reach
    start = torch.linalg.lstsq(rows.double(), too_high.double()).solution[:, 0].to(rows)
    best, least = torch.zeros_like(start), _error(scores, wanted, reach)[1]
    moved = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([moved], lr=STEP)
    for _ in range(STEPS):
        with torch.enable_grad():
            loss, error = _error(scores - (rows @ moved)[:, None], wanted, reach)
        if error < least:
            best, least = moved.detach().clone(), error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best


def _error(scores: Tensor, wanted: Tensor, reach: float) -> tuple[Tensor, float]:
    """Return the squared error of the probabilities of clipped scores, also as a number."""
    error = (scores.clamp(-reach, reach).softmax(-1) - wanted).square().sum()
    return error, float(error.detach())


def _add_to_bias(editing: Editing, layer: str, added: Tensor) -> None:
    bias = editing.value(layer, "bias")
    editing.set(layer, "bias", added if bias is None else bias + added)
