# SPDX-License-Identifier: Apache-2.0
"""Capture rules of L2 normalization and of cosine attention's factor behind it.

``torch.nn.functional.normalize`` is four operators: the length of each row, its lower bound, that
repeated along the row, and a division. They become one node, and only where nothing else reads the
three before the division.

Cosine attention (Swin Transformer V2, arXiv 2111.09883) multiplies the scores of each head h by
``g[h]``, which it computes from parameters only. As ``(q kᵀ) g[h] = (g[h] q) kᵀ``, the
normalization of q takes the factor in, as its gain: exact in real arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from aocq.capture.float_graph import FloatOp
from aocq.capture.translator import (
    Constant,
    FxNode,
    Translator,
    Value,
    is_operator,
    rank,
    with_defaults,
)

_LENGTH = "linalg_vector_norm.default"
_BOUND = "clamp_min.default"
_REPEATED = "expand_as.default"
_DIVISION = "div.Tensor"
# Each operator that belongs to a normalization, and the one that alone reads it.
_NEXT = MappingProxyType({_LENGTH: _BOUND, _BOUND: _REPEATED, _REPEATED: _DIVISION})


def part(t: Translator, node: FxNode) -> Value:
    """The length of the rows of a normalization: no node of its own, see :func:`l2norm`."""
    last = node
    for name, reader in _NEXT.items():
        if is_operator(last, name) and len(last.users) == 1:
            (found,) = last.users
            last = found if is_operator(found, reader) else last
    if not is_operator(last, _DIVISION) or _operand(last) is None:
        raise t.unsupported(
            node,
            "has a lowering only as a part of torch.nn.functional.normalize over the last "
            "dimension, with p = 2 and an eps above 0 and up to 1",
        )
    return t.value(node.args[0])


def l2norm(t: Translator, node: FxNode) -> Value | None:
    """Return the L2 normalization that a division ends; None of any other division."""
    found = _operand(node)
    if found is None:
        return None
    x, epsilon = found
    return t.emit(node, FloatOp.L2NORM, (t.front(node, x),), gain=None, epsilon=epsilon)


def _operand(division: FxNode) -> tuple[FxNode, float] | None:
    """Return x and ε where a division is ``x / max(‖x‖, ε)`` over the last dimension."""
    x, repeated = division.args
    if not is_operator(repeated, _REPEATED):
        return None
    bound = repeated.args[0]
    if not (is_operator(bound, _BOUND) and is_operator(bound.args[0], _LENGTH)):
        return None
    length, epsilon = bound.args
    same_shape = repeated.meta["val"].shape == x.meta["val"].shape
    possible = isinstance(epsilon, (int, float)) and 0 < epsilon <= 1
    whole = same_shape and possible and _is_length_of_rows(length, x)
    return (x, float(epsilon)) if whole else None


def _is_length_of_rows(length: FxNode, x: FxNode) -> bool:
    """Whether it is the L2 norm of ``x`` over its last dimension, which is not the images'."""
    last = rank(x) - 1
    operand, (order, dimensions, keeps) = length.args[0], with_defaults(length, (2, None, False))
    over_last = dimensions is not None and [d % rank(x) for d in dimensions] == [last]
    return operand is x and order == 2 and over_last and keeps and last > 0 and not length.kwargs


def with_gain(t: Translator, node: FxNode, scores: FxNode, factor: Constant) -> Value | None:
    """Take the factor of scores into the L2 normalization whose rows their product reads first.

    None where ``scores`` are no such product, where they or the rows are read elsewhere too, or
    where the factor is not positive, or not one number for all scores or one for each head.
    """
    if not is_operator(scores, "matmul.default") or len(scores.users) > 1:
        return None
    rows, others = scores.args
    # Of rows times themselves, both operands would change.
    if not is_operator(rows, _DIVISION) or len(rows.users) > 1 or rows is others:
        return None
    normalization = t.nodes[t.value(rows).name]
    if normalization.op is not FloatOp.L2NORM:
        return None
    gain = _gain(node, scores, rows, factor)
    if gain is None:
        return None
    attributes = {**normalization.attributes, "gain": t.registered(gain)}
    t.nodes[normalization.name] = replace(normalization, attributes=MappingProxyType(attributes))
    return t.value(scores)


def _gain(node: FxNode, scores: FxNode, rows: FxNode, factor: Constant) -> Constant | None:
    """Return a factor of scores [..., heads, rows, columns] as [heads, 1, 1] or [1]."""
    tensor = factor.tensor
    heads = tensor.shape[-3] if tensor.ndim >= 3 else 1
    # Of three dimensions, the one for heads would be that of the images.
    has_heads = rank(scores) > 3 and rows.meta["val"].shape[-3] == heads
    by_head = tensor.numel() == heads and (heads == 1 or has_heads)
    same_shape = node.meta["val"].shape == scores.meta["val"].shape
    positive = bool((tensor > 0).all()) and math.isfinite(float(tensor.max()))
    if not (by_head and same_shape and positive):
        return None
    shape = (heads, 1, 1) if heads > 1 else (1,)
    return Constant(factor.name, tensor.reshape(shape), factor.computed)
