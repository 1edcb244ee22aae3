# SPDX-License-Identifier: Apache-2.0
"""Capture rules of operators that compute new values: one function per operator.

A rule takes the translation and a torch node, appends nodes, and returns what the torch node
became. ``aocq.capture.export`` has the table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from aocq.capture.float_graph import FloatOp
from aocq.capture.folding import fold_behind, layer_behind_affine
from aocq.capture.l2norm_rules import l2norm, with_gain
from aocq.capture.translator import (
    Constant,
    FxNode,
    Translator,
    Value,
    is_operator,
    rank,
    with_defaults,
)

QUICK_GELU_SLOPE = 1.702  # of OpenAI's CLIP: x * sigmoid(1.702 x)


def add(t: Translator, node: FxNode) -> Value:
    """The sum of two tensors of one shape, or of a tensor and a constant that repeats along it."""
    if not all(isinstance(argument, torch.fx.Node) for argument in node.args) or node.kwargs:
        raise t.unsupported(node, "adds a number")
    first, second = node.args
    if isinstance(t.values[first.name], Constant):
        first, second = second, first
    a = t.front(node, first)
    constant = t.values[second.name]
    if isinstance(constant, Constant):
        b = t.constant(constant, _repeated_shape(t, node, a, tuple(constant.tensor.shape)))
    else:
        b = t.front(node, second)
        if t.nodes[a.name].op is FloatOp.CONSTANT:  # a token, repeated for every image
            a, b = b, a
    shape = a.image_shape(tuple(node.meta["val"].shape))
    if t.nodes[a.name].shape != shape or (b.parts != a.parts and b.parts > 1):
        raise t.unsupported(node, "broadcasts both operands")
    return t.emit(node, FloatOp.ADD, (a, b))


def _repeated_shape(
    t: Translator, node: FxNode, a: Value, shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return a constant's shape without the batch dimension and without idle leading ones."""
    missing = rank(node) - len(shape)
    if missing <= a.batch_axis and shape:
        place = a.batch_axis - missing
        if shape[place] != 1:
            raise t.unsupported(node, "adds a constant that differs from image to image")
        shape = (*shape[:place], *((1,) if a.parts > 1 else ()), *shape[place + 1 :])
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _scaled(t: Translator, node: FxNode, factor: float) -> Value:
    x = t.value(node.args[0])
    if not factor > 0:
        raise t.unsupported(node, f"scales by {factor}, which is not positive")
    return t.emit(node, FloatOp.SCALE, (x,), batch_axis=x.batch_axis, factor=float(factor))


def _quick_gelu_operand(product: FxNode) -> FxNode | None:
    """Return x where a product is ``x * sigmoid(1.702 * x)``; None of any other."""
    for x, gate in (product.args, product.args[::-1]):
        if not (is_operator(gate, "sigmoid.default") and len(gate.users) == 1):
            continue
        if is_operator(gate.args[0], "mul.Tensor") and gate.args[0].args == (x, QUICK_GELU_SLOPE):
            return x
    return None


def _belongs_to_quick_gelu(part: FxNode) -> bool:
    """Whether an operator's result is read as a part of QuickGELU, and by nothing else."""
    reader = next(iter(part.users), None)
    if len(part.users) != 1:
        return False
    if is_operator(reader, "sigmoid.default"):
        return _belongs_to_quick_gelu(reader)
    return is_operator(reader, "mul.Tensor") and _quick_gelu_operand(reader) is not None


def sigmoid(t: Translator, node: FxNode) -> Value:
    """The gate of QuickGELU: no node of its own, see :func:`mul`."""
    if not _belongs_to_quick_gelu(node):
        raise t.unsupported(node, "has no lowering")
    return t.value(node.args[0])


def mul(t: Translator, node: FxNode) -> Value:
    """A product with a number, QuickGELU, or a factor that the layer before it absorbs.

    LayerScale goes into a layer, the factor of cosine attention into the normalized queries.
    """
    x, factor = node.args
    operand = _quick_gelu_operand(node)
    if operand is not None and _belongs_to_quick_gelu(
        next(g for g in node.args if g is not operand)
    ):
        return t.emit(node, FloatOp.UNARY, (t.front(node, operand),), function="quick_gelu")
    if factor == QUICK_GELU_SLOPE and _belongs_to_quick_gelu(node):
        return t.value(x)
    if isinstance(factor, (int, float)):
        return _scaled(t, node, factor)
    if isinstance(t.values[x.name], Constant):  # γ may come first
        x, factor = factor, x
    gamma = t.values[factor.name]
    found = None
    if isinstance(gamma, Constant):
        found = fold_behind(t, node, x, gamma.tensor) or with_gain(t, node, x, gamma)
    if found is None:
        raise t.unsupported(
            node,
            "only LayerScale behind a linear layer, or a positive factor for each head behind a "
            "product of normalized queries, can be multiplied in",
        )
    return found


def div(t: Translator, node: FxNode) -> Value:
    """A tensor divided by a number, or its rows by their lengths."""
    normalized = l2norm(t, node)
    if normalized is not None:
        return normalized
    if not isinstance(node.args[1], (int, float)):
        raise t.unsupported(node, "divides by a tensor")
    return _scaled(t, node, 1 / node.args[1])


def linear(t: Translator, node: FxNode) -> Value:
    """A layer along the last dimension."""
    x = t.front(node, node.args[0])
    weight = t.parameter(node.args[1])
    bias = t.parameter(node.args[2] if len(node.args) > 2 else None)
    assert weight is not None
    return layer_behind_affine(t, node, x, weight, bias)


def matmul(t: Translator, node: FxNode) -> Value:
    """The product of two activations."""
    a, b = (t.front(node, argument) for argument in node.args)
    if a.parts != b.parts:
        raise t.unsupported(node, "multiplies parts of images by whole ones")
    return t.emit(node, FloatOp.MATMUL, (a, b), transpose_b=False)


def softmax(t: Translator, node: FxNode) -> Value:
    """Probabilities along the last dimension."""
    x = t.front(node, node.args[0])
    if node.args[1] % rank(node) != rank(node) - 1:
        raise t.unsupported(node, "is not over the last dimension")
    return t.emit(node, FloatOp.SOFTMAX, (x,))


def unary(function: str) -> Callable[[Translator, FxNode], Value]:
    """Return the rule of a function of one value."""

    def rule(t: Translator, node: FxNode) -> Value:
        chosen = "gelu_tanh" if node.kwargs.get("approximate") == "tanh" else function
        return t.emit(node, FloatOp.UNARY, (t.front(node, node.args[0]),), function=chosen)

    return rule


def layer_norm(t: Translator, node: FxNode) -> Value:
    """Normalization along the last dimension."""
    x = t.front(node, node.args[0])
    normalized, weight, bias, epsilon, _ = with_defaults(node, ((), None, None, 1e-5, True))
    if len(normalized) != 1:
        raise t.unsupported(node, "normalizes more than the last dimension")
    return t.emit(
        node,
        FloatOp.LAYERNORM,
        (x,),
        weight=t.parameter(weight),
        bias=t.parameter(bias),
        epsilon=float(epsilon),
    )


def mean(t: Translator, node: FxNode) -> Value:
    """The mean over a dimension, or over neighbours in front of the last (an image's pixels)."""
    x = t.front(node, node.args[0])
    keep = len(node.args) > 2 and node.args[2]
    dimensions = sorted(dimension % rank(node.args[0]) for dimension in node.args[1])
    axes = [x.axis(dimension) for dimension in dimensions]
    neighbours = axes == list(range(axes[0], axes[0] + len(axes)))
    shape = t.nodes[x.name].shape
    if keep or not neighbours or axes[0] < 0 or (len(axes) > 1 and axes[-1] == len(shape) - 1):
        raise t.unsupported(
            node, "averages several dimensions that are no neighbours, or keeps one"
        )
    first, behind = axes[0], axes[-1] + 1
    if len(axes) > 1:
        merged = (*shape[:first], torch.Size(shape[first:behind]).numel(), *shape[behind:])
        x = t.emit(node, FloatOp.RESHAPE, (x,), shape=merged)
    return t.emit(node, FloatOp.MEAN, (x,), axis=first)
