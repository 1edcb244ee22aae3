# SPDX-License-Identifier: Apache-2.0
"""FloatGraph: a network in a few operations, for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FloatOp(StrEnum):
    """The operations of a FloatGraph; ``attributes`` of a node in brackets.

    All work on one image: no node has a batch dimension.
    """

    INPUT = "input"
    CONSTANT = "constant"  # [parameter] a token or an embedding used as data
    LINEAR = "linear"  # [weight, bias] y = x Wᵀ + b; weight (N, K)
    MATMUL = "matmul"  # [transpose_b] of two nodes
    SOFTMAX = "softmax"  # over the last dimension
    UNARY = "unary"  # [function] see UNARY_FUNCTIONS
    LAYERNORM = "layernorm"  # [weight, bias, epsilon] over the last dimension
    # [gain, epsilon] gain x / max(‖x‖, epsilon) over the last dimension; gain (heads, 1, 1) or (1)
    L2NORM = "l2norm"
    ADD = "add"  # of two nodes; the second may repeat, as ``broadcast_to`` does
    # [order] x H / √order in blocks of the last dimension; H of ±1, symmetric: its own inverse
    HADAMARD = "hadamard"
    REQUANTIZE = "requantize"  # the same values, which get codes of their own as an operand
    SCALE = "scale"  # [factor] times a positive constant
    MEAN = "mean"  # [axis]
    CONCAT = "concat"  # [axis]
    SLICE = "slice"  # [axis, start, stop]; with [step], every n-th element
    RESHAPE = "reshape"  # to the node's shape
    TRANSPOSE = "transpose"  # [permutation]
    ROLL = "roll"  # [axis, shift] cyclic: element i comes from i - shift
    PAD = "pad"  # [axis, before, after] with zeros
    # [kernel, stride] of an image (rows, columns, C): (down, across, kernel positions x C)
    PATCHES = "patches"
    MASK = "mask"  # [parameter] scores that a softmax never sees: where it is not 0


# Operations whose result is new values, and which therefore end in a quantizer.
ARITHMETIC = frozenset(
    {
        FloatOp.INPUT,
        FloatOp.CONSTANT,
        FloatOp.LINEAR,
        FloatOp.MATMUL,
        FloatOp.SOFTMAX,
        FloatOp.UNARY,
        FloatOp.LAYERNORM,
        FloatOp.L2NORM,
        FloatOp.ADD,
        FloatOp.MEAN,
        FloatOp.CONCAT,
        FloatOp.HADAMARD,
        FloatOp.REQUANTIZE,
    }
)
# Operations that move values from one place to another; zeros may come in.
LAYOUT = frozenset(
    {
        FloatOp.SLICE,
        FloatOp.RESHAPE,
        FloatOp.TRANSPOSE,
        FloatOp.ROLL,
        FloatOp.PAD,
        FloatOp.PATCHES,
    }
)
# Attributes whose values are names of parameters.
PARAMETER_ATTRIBUTES = ("parameter", "weight", "bias", "gain")

# Functions of UNARY nodes that are GELU, exact and by tanh: a profile's [gelu] computes them.
GELUS = frozenset({"gelu", "gelu_tanh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatNode:
    """One operation and the tensor it yields, which bears the node's name."""

    name: str
    op: FloatOp
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatGraph:
    """A network: nodes in order of execution, the last one its result.

    Attributes
    ----------
    parameters
        float32 tensors by timm's names; folded ones (LayerScale) already hold the product. They are
        torch's, but numpy's in a network whose costs are estimated without torch
    """

    name: str
    nodes: tuple[FloatNode, ...]
    parameters: Mapping[str, Any]

    @property
    def input(self) -> FloatNode:
        """The image."""
        return next(node for node in self.nodes if node.op is FloatOp.INPUT)

    @property
    def output(self) -> FloatNode:
        """The logits."""
        return self.nodes[-1]

    def node(self, name: str) -> FloatNode:
        """Return a node by name; KeyError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def readers_of(graph: FloatGraph) -> dict[str, list[FloatNode]]:
    """Return the readers of each node, once for each time that they read it."""
    readers: dict[str, list[FloatNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def sliced(node: FloatNode) -> range:
    """Return the indices of its dimension that a SLICE takes."""
    bounds = node.attributes
    return range(bounds["start"], bounds["stop"], bounds.get("step", 1))


def patch_positions(node: FloatNode) -> list[tuple[range, range]]:
    """Return, for each position in the kernel of PATCHES, the rows and the columns that it sees."""
    (down, across), (height, width) = node.shape[:2], node.attributes["kernel"]
    stride_down, stride_across = node.attributes["stride"]
    return [
        (
            range(row, row + (down - 1) * stride_down + 1, stride_down),
            range(column, column + (across - 1) * stride_across + 1, stride_across),
        )
        for row in range(height)
        for column in range(width)
    ]
