# SPDX-License-Identifier: Apache-2.0
"""Traces of ops that look codes up or move them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Concat, InterpolatedLookup, Lookup, Reshape, Slice, Transpose
from simulator.numerics.float_type import Array
from simulator.traces.steps import constant, shifted, wide


def lookup(op: Lookup, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``."""
    index = wide(operands[0]) - graph.tensors[op.a].code_type.low
    return {"result": graph.constants[op.table][index].astype(graph.result(op).type.dtype)}


def interpolated(
    op: InterpolatedLookup, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return ``rise``, the step from one sample to the next, and what ends in a shift."""
    distance = wide(operands[0]) - graph.tensors[op.a].code_type.low
    index = distance >> op.fraction_bits
    place = distance & ((1 << op.fraction_bits) - 1)
    table = constant(graph, op.table)
    rise = table[index + 1] - table[index]
    scaled = (table[index] << op.fraction_bits) + rise * place
    result = graph.result(op)
    return {
        "rise": rise,
        **shifted(scaled, op.shift, op.rounding, op.overflow, result, zero_point=0),
    }


def concat(op: Concat, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``; parts that are constants are repeated for every image."""
    constant = [graph.is_constant(name) for name in op.inputs]
    images = next(len(codes) for codes, same in zip(operands, constant, strict=True) if not same)
    parts = [
        np.repeat(codes[None], images, axis=0) if same else codes
        for codes, same in zip(operands, constant, strict=True)
    ]
    return {"result": np.concatenate(parts, axis=op.axis + 1)}


def slice_(op: Slice, _: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``."""
    return {"result": np.take(operands[0], range(op.start, op.stop, op.step), axis=op.axis + 1)}


def reshape(op: Reshape, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``."""
    return {"result": operands[0].reshape(len(operands[0]), *graph.result(op).shape)}


def transpose(op: Transpose, _: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``."""
    source = range(1, operands[0].ndim)
    target = [1 + op.permutation.index(axis - 1) for axis in source]
    return {"result": np.moveaxis(operands[0], list(source), target)}
