# SPDX-License-Identifier: Apache-2.0
"""Ops in vector registers: the same integers as the portable kernels of :mod:`simulator.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    Add,
    AddShifted,
    LayerNorm,
    Lookup,
    MatMul,
    Mul,
    Op,
    Softmax,
    SquaredDifference,
)
from simulator.ops.behaviour import GroupKernel, Kernel
from simulator.simd.ops import (
    add,
    attention,
    common_scale,
    layer_table,
    layernorm,
    lookup,
    matmul,
    mul,
    softmax,
)

__all__ = ["FORMS", "GROUP_FORMS", "form", "group_form"]

# Each returns a kernel for batches as ``Behaviour.build`` does, or none where lanes cannot hold the
# op's numbers or do not know its rounding. CPU and compiler are not theirs to ask about.
FORMS: Mapping[type[Op], Callable[[Any, IntGraph, Gemm], Kernel | None]] = MappingProxyType(
    {
        MatMul: matmul.simd_kernel,
        Add: add.simd_kernel,
        LayerNorm: layernorm.simd_kernel,
        Softmax: softmax.simd_kernel,
        Lookup: lookup.simd_kernel,
        AddShifted: common_scale.simd_kernel,
        SquaredDifference: common_scale.simd_kernel,
        Mul: mul.simd_kernel,
    }
)


class GroupForm(NamedTuple):
    """A vector form of several ops that follow one another.

    find
        returns the ops of a group that begins with an op, none if it does not; the last argument
        are the ops behind it, of which each is the only reader of the one before
    build
        as in :data:`FORMS`, of these ops; the last argument gives the backend of an op's products
    """

    find: Callable[[IntGraph, Op, Sequence[Op]], Sequence[Op]]
    build: Callable[[Sequence[Any], IntGraph, Callable[[Op], Gemm]], GroupKernel | None]


GROUP_FORMS: Mapping[str, GroupForm] = MappingProxyType(
    {
        "attention": GroupForm(attention.find, attention.simd_kernel),
        "layer and table": GroupForm(layer_table.find, layer_table.simd_kernel),
    }
)


def form(op: Op, graph: IntGraph, gemm: Gemm) -> Kernel | None:
    """Return an op's kernel in vector registers, None where it has none.

    It runs on x86 CPUs with AVX2 only, compiled: :func:`simulator.kernel_choice.kernel_of` asks.
    """
    build = FORMS.get(type(op))
    return None if build is None else build(op, graph, gemm)


def group_form(
    graph: IntGraph, first: Op, following: Sequence[Op], gemm_of: Callable[[Op], Gemm]
) -> tuple[tuple[Op, ...], GroupKernel] | None:
    """Return the ops of a group that begins with an op, and their kernel; None if there is none.

    ``following`` are the ops behind it, of which each is the only reader of the one before. CPU and
    compiler are those of :func:`form`.
    """
    for found in GROUP_FORMS.values():
        ops = found.find(graph, first, following)
        kernel = found.build(ops, graph, gemm_of) if ops else None
        if kernel is not None:
            return tuple(ops), kernel
    return None
