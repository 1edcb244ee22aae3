# SPDX-License-Identifier: Apache-2.0
"""Verification of a FloatGraph that comes from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from pydantic import ValidationError
from torch import Tensor

from aocq.capture.attributes import (
    ATTRIBUTES,
    LARGEST_FACTOR,
    LARGEST_TENSOR,
    MOST_DIMENSIONS,
    SMALLEST_FACTOR,
)
from aocq.capture.float_graph import (
    ARITHMETIC,
    PARAMETER_ATTRIBUTES,
    FloatGraph,
    FloatNode,
    FloatOp,
)
from aocq.capture.interpreter import run
from aocq.capture.passes import MASKED
from simulator.errors import InputError

MOST_NODES = 5_000
# Nodes in a row that make no new values: what follows codes through them goes from node to node.
LONGEST_CHAIN = 100

# Operations of one node, but for these; a concatenation has one or more.
_INPUTS: Mapping[FloatOp, int] = MappingProxyType(
    {FloatOp.INPUT: 0, FloatOp.CONSTANT: 0, FloatOp.MATMUL: 2, FloatOp.ADD: 2}
)


def verify(graph: FloatGraph) -> None:
    """Check that a graph can be run, and that every node yields what it declares.

    Nothing is computed: the interpreter runs on no images, which have shapes all the same.

    Raises
    ------
    InputError
        At the first broken rule, naming the node or the parameter.
    """
    _structure_is_sound(graph)
    _parameters_are_sound(graph)
    _shapes_agree(graph)


def _wrong(node: FloatNode, what: str) -> InputError:
    return InputError(f"node {node.name} ({node.op}): {what}")


# --- names, numbers of inputs, attributes ---------------------------------------------------------


def _structure_is_sound(graph: FloatGraph) -> None:
    if not 1 <= len(graph.nodes) <= MOST_NODES:
        raise InputError(f"nodes: has {len(graph.nodes)}, wanted 1 to {MOST_NODES}")
    chains: dict[str, int] = {}  # of each node before, how many nodes back new values were made
    for node in graph.nodes:
        if node.name in chains:
            raise _wrong(node, "another node has its name")
        for name in node.inputs:
            if name not in chains:
                raise _wrong(node, f"reads {name}, which no node before it yields")
        _inputs_are_as_many_as_wanted(node)
        _attributes_are_possible(node)
        _shape_is_possible(node)
        behind = max((chains[name] for name in node.inputs), default=0)
        chains[node.name] = 0 if node.op in ARITHMETIC else behind + 1
        if chains[node.name] > LONGEST_CHAIN:
            raise _wrong(node, f"stands behind {LONGEST_CHAIN} others that make no new values")
    images = [node.name for node in graph.nodes if node.op is FloatOp.INPUT]
    if len(images) != 1:
        raise InputError(f"nodes: {len(images)} of them are inputs, wanted one: the image")


def _inputs_are_as_many_as_wanted(node: FloatNode) -> None:
    count = len(node.inputs)
    if node.op is FloatOp.CONCAT:
        if not count:
            raise _wrong(node, "reads nothing, wanted one tensor or more")
    elif count != (wanted := _INPUTS.get(node.op, 1)):
        raise _wrong(node, f"reads {count} tensors, wanted {wanted}")


def _attributes_are_possible(node: FloatNode) -> None:
    try:
        ATTRIBUTES[node.op].model_validate(dict(node.attributes))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(ascii(part).strip("'") for part in first["loc"])
        raise _wrong(node, f"attributes.{place}: {first['msg']}") from error
    if node.op is FloatOp.PATCHES and len(node.shape) != 3:
        raise _wrong(node, f"has shape {list(node.shape)}, wanted rows, columns and channels")


def _shape_is_possible(node: FloatNode) -> None:
    possible = 1 <= len(node.shape) <= MOST_DIMENSIONS and min(node.shape) >= 1
    if not possible or math.prod(node.shape) > LARGEST_TENSOR:
        raise _wrong(
            node,
            f"has shape {list(node.shape)}, wanted 1 to {MOST_DIMENSIONS} dimensions of at least 1 "
            f"and at most {LARGEST_TENSOR} elements",
        )


# --- parameters -----------------------------------------------------------------------------------


def parameters_of(node: FloatNode) -> Iterator[str]:
    """Yield the names of the parameters that a node reads."""
    for key in PARAMETER_ATTRIBUTES:
        name = node.attributes.get(key)
        if name is not None:
            yield name


def _parameters_are_sound(graph: FloatGraph) -> None:
    shapes = {node.name: node.shape for node in graph.nodes}
    for node in graph.nodes:
        for name in parameters_of(node):
            value = graph.parameters.get(name)
            if value is None:
                raise _wrong(node, f"reads the parameter {name}, which is not there")
            if value.dtype != torch.float32:
                raise _wrong(node, f"parameter {name} is {value.dtype}, wanted torch.float32")
            if node.op is FloatOp.MASK:
                _switches_off(node, name, value)
            elif not _is_finite(value):
                raise _wrong(node, f"parameter {name} has values that are not finite")
            elif node.op is FloatOp.L2NORM:
                _gains_rows(node, name, value)
        for name, wanted in _wanted_shapes(node, shapes).items():
            shape = tuple(graph.parameters[name].shape)
            if shape != wanted:
                raise _wrong(node, f"parameter {name} has shape {shape}, wanted {wanted}")


def _is_finite(value: Tensor) -> bool:
    """Whether all values are finite; NaN passes on to both ends of the range."""
    return not value.numel() or all(math.isfinite(end) for end in torch.aminmax(value))


def _wanted_shapes(
    node: FloatNode, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that parameters must have exactly: none is repeated along a tensor."""
    channels, attributes = node.shape[-1:], node.attributes
    found = {}
    if node.op in {FloatOp.LINEAR, FloatOp.LAYERNORM}:
        found = {attributes[key]: channels for key in ("weight", "bias") if attributes[key]}
    if node.op is FloatOp.LINEAR:
        found[attributes["weight"]] = (*channels, *shapes[node.inputs[0]][-1:])
    return found


def _gains_rows(node: FloatNode, name: str, value: Tensor) -> None:
    """Refuse a gain of an L2NORM that differs within a head, or is no positive factor."""
    wanted = {(1,), *((heads, 1, 1) for heads in node.shape[-3:-2])}
    if tuple(value.shape) not in wanted:
        raise _wrong(
            node,
            f"parameter {name} has shape {tuple(value.shape)}, wanted "
            f"{' or '.join(map(str, sorted(wanted)))}: one factor, or one for each head",
        )
    if not bool(((value >= SMALLEST_FACTOR) & (value <= LARGEST_FACTOR)).all()):
        raise _wrong(
            node,
            f"parameter {name} must hold factors from {SMALLEST_FACTOR:.3g} to "
            f"{LARGEST_FACTOR:.3g}",
        )


def _switches_off(node: FloatNode, name: str, value: Tensor) -> None:
    """Refuse a mask of other values than 0 and very low ones, and rows of which nothing counts."""
    kept = value == 0
    if not (bool((kept | (value <= MASKED)).all()) and value.ndim and bool(kept.any(-1).all())):
        raise _wrong(
            node,
            f"parameter {name} must hold 0 and numbers up to {MASKED:.1f} only, and a 0 in every "
            "row: scores that count, and scores that do not",
        )


# --- shapes ---------------------------------------------------------------------------------------


def _shapes_agree(graph: FloatGraph) -> None:
    done = {graph.input.name}
    shapes = {node.name: node.shape for node in graph.nodes}

    def compare(node: FloatNode, result: Tensor) -> Tensor:
        implied = tuple(result.shape[1:])
        _no_image_hides_it(node, [shapes[name] for name in node.inputs])
        if len(result) or implied != node.shape:
            raise _wrong(node, f"has shape {list(node.shape)}, its inputs imply {list(implied)}")
        done.add(node.name)
        return result

    no_images = torch.empty(0, *graph.input.shape)
    try:
        with torch.inference_mode():
            run(graph, {graph.input.name: no_images}, list(shapes), transform=compare)
    except InputError:
        raise
    except Exception as error:  # whatever torch says of operands that do not go together
        node = next(node for node in graph.nodes if node.name not in done)
        first_line = (str(error).splitlines() or [""])[0]
        raise _wrong(node, f"does not go together with its inputs ({first_line})") from error


def _no_image_hides_it(node: FloatNode, inputs: list[tuple[int, ...]]) -> None:
    """Check rules that torch does not check on tensors without elements."""
    if node.op is FloatOp.RESHAPE and math.prod(inputs[0]) != math.prod(node.shape):
        raise _wrong(node, f"has shape {list(node.shape)}, which does not hold {list(inputs[0])}")
    if node.op is FloatOp.HADAMARD and node.shape[-1] % (order := node.attributes["order"]):
        raise _wrong(node, f"has {node.shape[-1]} channels, which are not whole blocks of {order}")
    if node.op is FloatOp.ROLL:
        axis, shift = node.attributes["axis"], node.attributes["shift"]
        if axis >= len(inputs[0]) or shift >= inputs[0][axis]:
            raise _wrong(node, f"cannot shift dimension {axis} of {list(inputs[0])} by {shift}")
