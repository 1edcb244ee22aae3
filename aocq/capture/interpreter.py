# SPDX-License-Identifier: Apache-2.0
"""Interpreter of a FloatGraph or any part of it in torch, with a transformation of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import cache
from threading import Lock
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aocq.capture.float_graph import (
    FloatGraph,
    FloatNode,
    FloatOp,
    patch_positions,
    sliced,
)
from aocq.capture.parts import in_threads, parts_of
from simulator.numerics.hadamard import factors, hadamard_matrix

UNARY_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "relu": functional.relu,
        "silu": functional.silu,
        "hardswish": functional.hardswish,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    }
)

Transform = Callable[[FloatNode, Tensor], Tensor]
# What computes a node in place of its own rule, from its inputs [batch, ...]; None for the rule.
OperatorOf = Callable[[FloatNode], Callable[[list[Tensor]], Tensor] | None]


def run(
    graph: FloatGraph,
    feeds: Mapping[str, Tensor],
    fetches: Collection[str],
    *,
    transform: Transform | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    operators: OperatorOf | None = None,
) -> dict[str, Tensor]:
    """Compute ``fetches`` from ``feeds``, running only the nodes in between.

    Parameters
    ----------
    feeds
        tensors [batch, ...] by node name: the image, or any inner tensor to start from
    fetches
        names of nodes to return
    transform
        applied to the result of every node that runs (not to feeds); its result is what the
        following nodes see and what is returned
    parameters
        replacements of parameters by name, e.g. quantized weights
    operators
        other rules of some nodes, e.g. those of a chip

    Raises
    ------
    KeyError
        If a fetch needs the image and it is not fed, or names no node.
    """
    needed = _needed(graph, feeds, fetches)
    weights = {**graph.parameters, **(parameters or {})}
    batch = next(iter(feeds.values())).shape[0]
    values = dict(feeds)
    last_use = {
        name: node.name for node in graph.nodes if node.name in needed for name in node.inputs
    }
    for node in graph.nodes:
        if node.name not in needed:
            continue
        inputs = [values[name] for name in node.inputs]
        operator = operators(node) if operators else None
        result = operator(inputs) if operator else apply(node, inputs, weights, batch)
        values[node.name] = transform(node, result) if transform else result
        for name in set(node.inputs):
            if last_use[name] == node.name and name not in fetches:
                values.pop(name, None)
    return {name: values[name] for name in fetches}


def run_in_parts(
    graph: FloatGraph,
    feeds: Mapping[str, Tensor],
    fetches: Collection[str],
    *,
    transform: Transform | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    operators: OperatorOf | None = None,
) -> dict[str, Tensor]:
    """Compute the same as :func:`run` in parts of few images, by several threads.

    ``transform`` sees each node once for each part, in any order of parts.
    """
    first = next(iter(feeds.values()))
    parts, device = parts_of(len(first), first.device.type), first.device.type
    whole: dict[str, Tensor] = {}
    lock = Lock()

    def compute(images: slice) -> None:
        own = {name: value[images] for name, value in feeds.items()}
        found = run(
            graph, own, fetches, transform=transform, parameters=parameters, operators=operators
        )
        with lock:  # of which type they are, and where, only the first part tells
            for name, value in found.items():
                if name not in whole:
                    whole[name] = value.new_empty(len(first), *value.shape[1:])
        for name, value in found.items():
            whole[name][images] = value

    in_threads(compute, parts, device)
    return {name: whole[name] for name in fetches}


def apply(
    node: FloatNode, inputs: list[Tensor], parameters: Mapping[str, Tensor], batch: int
) -> Tensor:
    """Return the result of one node on ``batch`` images, from its inputs [batch, ...]."""
    return _RULES[node.op](node, inputs, parameters, batch)


def _needed(graph: FloatGraph, feeds: Mapping[str, Tensor], fetches: Collection[str]) -> set[str]:
    nodes = {node.name: node for node in graph.nodes}
    needed: set[str] = set()
    open_names = [name for name in fetches if name not in feeds]
    while open_names:
        name = open_names.pop()
        if name in needed:
            continue
        if nodes[name].op is FloatOp.INPUT:
            raise KeyError(f"{name}: is needed for {', '.join(fetches)} and was not fed")
        needed.add(name)
        open_names += [source for source in nodes[name].inputs if source not in feeds]
    return needed


def _constant(
    node: FloatNode, _: list[Tensor], weights: Mapping[str, Tensor], batch: int
) -> Tensor:
    value = weights[node.attributes["parameter"]].reshape(node.shape)
    return value.expand(batch, *node.shape)


def _add(_: FloatNode, inputs: list[Tensor], __: Any, ___: int) -> Tensor:
    a, b = inputs  # behind the batch dimension, b may lack leading ones
    return a + b.reshape(len(b), *(1,) * (a.ndim - b.ndim), *b.shape[1:])


def _linear(node: FloatNode, inputs: list[Tensor], weights: Mapping[str, Tensor], _: int) -> Tensor:
    bias = node.attributes["bias"]
    return functional.linear(
        inputs[0], weights[node.attributes["weight"]], weights[bias] if bias else None
    )


def _matmul(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    b = inputs[1].transpose(-1, -2) if node.attributes["transpose_b"] else inputs[1]
    return inputs[0] @ b


def _layernorm(
    node: FloatNode, inputs: list[Tensor], weights: Mapping[str, Tensor], _: int
) -> Tensor:
    weight, bias = node.attributes["weight"], node.attributes["bias"]
    return functional.layer_norm(
        inputs[0],
        node.shape[-1:],
        weights[weight] if weight else None,
        weights[bias] if bias else None,
        node.attributes["epsilon"],
    )


def _l2norm(node: FloatNode, inputs: list[Tensor], weights: Mapping[str, Tensor], _: int) -> Tensor:
    gain = node.attributes["gain"]
    rows = functional.normalize(inputs[0], dim=-1, eps=node.attributes["epsilon"])
    return rows * weights[gain] if gain else rows


def _hadamard(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    return hadamard(inputs[0], node.attributes["order"])


def hadamard(x: Tensor, order: int) -> Tensor:
    """Return ``x H / √order`` [..., C], in blocks of ``order`` of the last dimension.

    By the factors of H, which is far less work than a product with it. Whole numbers stay whole
    before they are divided by the root.
    """
    paley, sylvester = factors(order)
    blocks = x.reshape(*x.shape[:-1], x.shape[-1] // order, paley, sylvester)
    summed = _matrix(paley).to(x) @ (blocks @ _matrix(sylvester).to(x))
    return (summed / math.sqrt(order)).reshape(x.shape)


@cache
def _matrix(order: int) -> Tensor:
    return torch.from_numpy(hadamard_matrix(order).astype("float64"))


def _slice(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    taken = sliced(node)
    part = (slice(None),) * (node.attributes["axis"] + 1)
    return inputs[0][(*part, slice(taken.start, taken.stop, taken.step))]


def _transpose(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    return inputs[0].permute(0, *(axis + 1 for axis in node.attributes["permutation"]))


def _roll(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    return inputs[0].roll(node.attributes["shift"], node.attributes["axis"] + 1)


def _pad(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    x, axis = inputs[0], node.attributes["axis"] + 1
    parts = []
    for extent in (node.attributes["before"], node.attributes["after"]):
        parts.append(x.new_zeros(*x.shape[:axis], extent, *x.shape[axis + 1 :]))
    return torch.cat([parts[0], x, parts[1]], axis)


def _patches(node: FloatNode, inputs: list[Tensor], _: Any, __: int) -> Tensor:
    return torch.cat(
        [
            inputs[0][
                :, rows.start : rows.stop : rows.step, columns.start : columns.stop : columns.step
            ]
            for rows, columns in patch_positions(node)
        ],
        -1,
    )


def _mask(node: FloatNode, inputs: list[Tensor], weights: Mapping[str, Tensor], _: int) -> Tensor:
    return inputs[0] + weights[node.attributes["parameter"]].to(inputs[0])


_RULES: Mapping[FloatOp, Callable[[FloatNode, list[Tensor], Mapping[str, Tensor], int], Tensor]] = (
    MappingProxyType(
        {
            FloatOp.CONSTANT: _constant,
            FloatOp.LINEAR: _linear,
            FloatOp.MATMUL: _matmul,
            FloatOp.SOFTMAX: lambda node, inputs, w, b: inputs[0].softmax(-1),
            FloatOp.UNARY: lambda node, inputs, w, b: UNARY_FUNCTIONS[node.attributes["function"]](
                inputs[0]
            ),
            FloatOp.LAYERNORM: _layernorm,
            FloatOp.L2NORM: _l2norm,
            FloatOp.ADD: _add,
            FloatOp.SCALE: lambda node, inputs, w, b: inputs[0] * node.attributes["factor"],
            FloatOp.MEAN: lambda node, inputs, w, b: inputs[0].mean(node.attributes["axis"] + 1),
            FloatOp.CONCAT: lambda node, inputs, w, b: torch.cat(
                inputs, node.attributes["axis"] + 1
            ),
            FloatOp.SLICE: _slice,
            FloatOp.RESHAPE: lambda node, inputs, w, b: inputs[0].reshape(-1, *node.shape),
            FloatOp.TRANSPOSE: _transpose,
            FloatOp.ROLL: _roll,
            FloatOp.PAD: _pad,
            FloatOp.PATCHES: _patches,
            FloatOp.MASK: _mask,
            FloatOp.HADAMARD: _hadamard,
            FloatOp.REQUANTIZE: lambda node, inputs, w, b: inputs[0],
        }
    )
)
