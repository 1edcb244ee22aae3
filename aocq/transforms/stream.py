# SPDX-License-Identifier: Apache-2.0
"""Rotation of the residual stream, folded into the layers that write and read it.

A few channels of a transformer's stream are many times as large as the others. A chip with one
scale for all channels spends its codes on them, and a LayerNorm that it computes in codes of 8 bits
sees squares of which most round to 0. Behind an orthogonal matrix R every channel is a mixture of
all, and none is large.

With ``R 1 = 1`` the mean of a token's channels stays what it was, and so does its deviation:
``norm(x R) = norm(x) R`` for a LayerNorm without γ and β. These go into the layers that read it,
``W' = W diag(γ) R`` and ``b' = b + W β``; layers and constants that write the stream become
``Rᵀ W``, ``b R`` and ``p R``. Rotations by a plain Hadamard matrix (QuaRot, arXiv 2404.00456) need
an RMS norm; this one serves every chip's own LayerNorm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import LAYOUT
from aocq.capture.residual_stream import residual_stream
from aocq.capture.tracing import channel_numbers, readings
from aocq.transforms.editing import Editing

# What a token's channels pass unchanged on their way from one sum of the stream to the next.
_MOVES = LAYOUT | {FloatOp.MEAN}
_SUMS = frozenset({FloatOp.ADD, FloatOp.CONCAT})
# Of the permutation and the signs; any other would do.
_SEED = 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the stream that can be rotated.

    Attributes
    ----------
    width
        its channels
    writers
        the linear layers and the constants that write it
    norms
        the LayerNorms that read it, and the linear layers that read each of them
    """

    width: int
    writers: tuple[FloatNode, ...]
    norms: tuple[tuple[FloatNode, tuple[FloatNode, ...]], ...]


def rotate_stream(graph: FloatGraph) -> FloatGraph:
    """Rotate every stretch of the residual stream whose writers and readers can take it in."""
    editing = Editing(graph)
    for stretch in stretches(graph):
        rotation = mean_keeping_rotation(stretch.width)
        for writer in stretch.writers:
            _rotate_written(editing, writer, rotation)
        for norm, layers in stretch.norms:
            _fold_affine(editing, norm, layers)
            for layer in layers:
                weight = editing.value(layer.name, "weight")
                assert weight is not None
                columns = weight.reshape(len(weight), -1, stretch.width) @ rotation
                editing.set(layer.name, "weight", columns.reshape(weight.shape))
    return editing.graph()


def mean_keeping_rotation(width: int) -> Tensor:
    """Return an orthogonal matrix R with ``R 1 = 1`` and no large entries, [width, width], float64.

    ``R = Dᵀ P D``: the cosine transform D (DCT-II, whose first row is constant) spreads a channel
    over all frequencies, P permutes them and changes signs, all but the first.
    """
    numbers = torch.arange(width, dtype=torch.float64)
    cosines = torch.cos(math.pi / width * torch.outer(numbers, numbers + 0.5))
    cosines *= math.sqrt(2 / width)
    cosines[0] /= math.sqrt(2)
    generator = torch.Generator().manual_seed(_SEED)
    order = torch.cat([torch.zeros(1), 1 + torch.randperm(width - 1, generator=generator)])
    signs = 1.0 - 2.0 * torch.randint(2, (width, 1), generator=generator).double()
    signs[0] = 1.0
    rotation: Tensor = cosines.T @ (signs * cosines[order.long()])
    return rotation


def stretches(graph: FloatGraph) -> list[Stretch]:
    """Return the stretches of the stream that can be rotated, in order of execution.

    A stretch are sums that are terms of each other. It can be rotated if linear layers and
    constants alone write it, and nothing but LayerNorms read it, which linear layers read.
    """
    stream = residual_stream(graph)
    sums = [node for node in graph.nodes if node.name in stream]
    found = (_stretch(graph, part) for part in _connected(graph, sums))
    return [stretch for stretch in found if stretch is not None]


def _connected(graph: FloatGraph, sums: list[FloatNode]) -> list[list[FloatNode]]:
    """Return the sums of the stream in parts of which no other reads a term."""
    parts: list[list[FloatNode]] = []
    for node in sums:
        terms = {term.name for term in _terms(graph, node)}
        joined = [part for part in parts if terms & {other.name for other in part}]
        parts = [part for part in parts if part not in joined]
        parts.append([*(other for part in joined for other in part), node])
    return parts


def _terms(graph: FloatGraph, node: FloatNode) -> list[FloatNode]:
    """Return what a sum of the stream is made of; the node itself where it is no sum."""
    if node.op not in _SUMS:
        return [node]
    found = []
    for name in node.inputs:
        term = graph.node(name)
        while term.op in _MOVES:
            term = graph.node(term.inputs[0])
        found.append(term)
    return found


def _stretch(graph: FloatGraph, sums: list[FloatNode]) -> Stretch | None:
    """Return what writes and what reads some sums; None where not all of it can be rotated."""
    names, width = {node.name for node in sums}, sums[0].shape[-1]
    terms = [term for node in sums for term in _terms(graph, node)]
    writers = {term.name: term for term in terms if term.name not in names or term.op not in _SUMS}
    layers: dict[str, tuple[FloatNode, ...]] = {}
    for name in dict.fromkeys([*names, *writers]):
        for reading in readings(graph, name, _MOVES):
            if not _keeps_channels(graph, graph.node(name), reading.name):
                return None
            if reading.reader.op is FloatOp.LAYERNORM:
                layers[reading.reader.name] = _layers(graph, reading.reader)
            elif reading.reader.name not in names:
                return None
    written = all(_can_be_written(writer, width) for writer in writers.values())
    if not written or not layers or not all(layers.values()):
        return None
    norms = tuple((graph.node(name), found) for name, found in layers.items())
    return Stretch(width, tuple(writers.values()), norms)


def _can_be_written(writer: FloatNode, width: int) -> bool:
    return writer.op in {FloatOp.LINEAR, FloatOp.CONSTANT} and writer.shape[-1] == width


def _keeps_channels(graph: FloatGraph, source: FloatNode, name: str) -> bool:
    """Whether ``name`` holds whole tokens of ``source``, one or several side by side."""
    if source.name == name:
        return True
    width = source.shape[-1]
    numbers = channel_numbers(graph, source, name)  # a mean of equal numbers is that number
    wanted = torch.arange(numbers.shape[-1]) % width
    return numbers.shape[-1] % width == 0 and bool((numbers == wanted).all())


def _layers(graph: FloatGraph, norm: FloatNode) -> tuple[FloatNode, ...]:
    """Return the linear layers that read a LayerNorm; none where anything else does."""
    if not norm.attributes.get("centred", True):
        return ()
    found = readings(graph, norm.name, _MOVES)
    if not all(
        reading.reader.op is FloatOp.LINEAR and _keeps_channels(graph, norm, reading.name)
        for reading in found
    ):
        return ()
    return tuple({reading.reader.name: reading.reader for reading in found}.values())


def _rotate_written(editing: Editing, writer: FloatNode, rotation: Tensor) -> None:
    if writer.op is FloatOp.CONSTANT:
        value = editing.value(writer.name, "parameter")
        assert value is not None
        editing.set(writer.name, "parameter", value.reshape(writer.shape) @ rotation)
        return
    weight, bias = (editing.value(writer.name, key) for key in ("weight", "bias"))
    assert weight is not None
    editing.set(writer.name, "weight", rotation.T @ weight)
    if bias is not None:
        editing.set(writer.name, "bias", bias @ rotation)


def _fold_affine(editing: Editing, norm: FloatNode, layers: tuple[FloatNode, ...]) -> None:
    """Put a LayerNorm's γ and β into the layers that read it: they become 1 and 0."""
    gamma, beta = (editing.value(norm.name, key) for key in ("weight", "bias"))
    for layer in layers:
        weight, bias = (editing.value(layer.name, key) for key in ("weight", "bias"))
        assert weight is not None
        times = weight.shape[1] // norm.shape[-1]
        if beta is not None:
            moved = weight @ beta.repeat(times)
            editing.set(layer.name, "bias", moved if bias is None else bias + moved)
        if gamma is not None:
            editing.set(layer.name, "weight", weight * gamma.repeat(times))
    if gamma is not None:
        editing.set(norm.name, "weight", torch.ones_like(gamma))
    if beta is not None:
        editing.set(norm.name, "bias", torch.zeros_like(beta))
