# SPDX-License-Identifier: Apache-2.0
"""Which rows of each tensor a worker makes where several workers run the same images.

Every worker walks all ops, each on its own range of rows of one axis of each tensor (the tokens of
a vision transformer), by the kernels that make whole images. Most ops need no other rows than those
they make. Where one does, as attention needs all keys and values, the workers exchange theirs. Ops
without a rule here run on whole tensors, in every worker: none could go on without their result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Dequantize,
    GeluPolynomial,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Quantize,
    Rescale,
    Reshape,
    ShiftGelu,
    Shiftmax,
    Slice,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)
from simulator.graph.shapes import Shape, repeated_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A tensor cut into ranges along one dimension, a range for every worker.

    axis : the dimension, of one image
    borders : where ranges begin, ascending from 0, and the extent at the end
    """

    axis: int
    borders: tuple[int, ...]

    def rows(self, worker: int) -> slice:
        """Return the range of a worker."""
        return slice(self.borders[worker], self.borders[worker + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCuts:
    """What workers take of an op's operands, and make of its result; None is all of it."""

    operands: tuple[Cut | None, ...]
    result: Cut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How so many workers share an image.

    workers
        how many
    ops
        per op name
    exchanged
        results that are cut, and of which some op takes other rows than its worker made
    """

    workers: int
    ops: Mapping[str, OpCuts]
    exchanged: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether anything is shared at all."""
        return any(cuts.result is not None for cuts in self.ops.values())

    def of(self, name: TensorId) -> Cut | None:
        """Return what each worker holds of a tensor; inputs and constants are whole everywhere."""
        return self.ops[name].result if name in self.ops else None


def split_of(graph: IntGraph, workers: int) -> Split:
    """Return how workers share an image of a valid graph."""
    made: dict[TensorId, Cut | None] = {}
    ops: dict[str, OpCuts] = {}
    exchanged = set()
    for op in graph.ops:
        given = [made.get(name) for name in op.operands]
        rule = RULES.get(type(op))
        found = rule(op, graph, given, workers) if rule else None
        cuts = found or OpCuts(operands=(None,) * len(given), result=None)
        for name, has, wants in zip(op.operands, given, cuts.operands, strict=True):
            if has is not None and has != wants:
                exchanged.add(name)
        ops[op.name] = cuts
        made[op.name] = cuts.result
    return Split(workers=workers, ops=MappingProxyType(ops), exchanged=frozenset(exchanged))


Rule = Callable[[Any, IntGraph, Sequence[Cut | None], int], OpCuts | None]


def _even(shape: Shape, workers: int) -> Cut | None:
    """Cut the dimension, not the last one, whose ranges differ least; None where all are short."""
    axes = [axis for axis, extent in enumerate(shape[:-1]) if extent >= workers]
    if not axes:
        return None
    # The longest range decides; among equals the first dimension, of which ranges are contiguous.
    axis = min(axes, key=lambda axis: -(-shape[axis] // workers) * workers / shape[axis])
    borders = tuple(shape[axis] * worker // workers for worker in range(workers + 1))
    return Cut(axis=axis, borders=borders)


def _rows_of(given: Sequence[Cut | None], shape: Shape, workers: int) -> Cut | None:
    """Return the first operand's cut that leaves rows whole, or a new one."""
    cuts = [cut for cut in given if cut is not None and cut.axis < len(shape) - 1]
    return cuts[0] if cuts else _even(shape, workers)


def _by_rows(
    op: Op, graph: IntGraph, given: Sequence[Cut | None], workers: int
) -> OpCuts | None:
    """Rows [C] of the result come from the same rows of activations of the same leading shape.

    Constants may have an entry for each channel, or repeat along the dimension that is cut.
    """
    shape = graph.result(op).shape
    cut = _rows_of(given, shape, workers)
    if cut is None or any(graph.constants[name].ndim > 1 for name in op.constants):
        return None
    wanted: list[Cut | None] = []
    for name in op.operands:
        extents = graph.tensors[name].shape
        if graph.is_constant(name):
            if cut.axis >= len(shape) - len(repeated_shape(extents)):
                return None
            wanted.append(None)
        elif extents[:-1] != shape[:-1]:
            return None
        else:
            wanted.append(cut)
    return OpCuts(operands=tuple(wanted), result=cut)


def _product(
    op: MatMul, graph: IntGraph, given: Sequence[Cut | None], workers: int
) -> OpCuts | None:
    """Rows of the left operand; matrices that stand side by side, such as heads, in both."""
    shape = graph.result(op).shape
    if graph.is_constant(op.b):
        cut = _rows_of(given, shape, workers)
        return cut and OpCuts(operands=(cut, None, cut)[: len(given)], result=cut)
    left, right = given
    beside = [cut for cut in (left, right) if cut is not None and cut.axis < len(shape) - 2]
    cut = beside[0] if beside else _rows_of([left], shape, workers)
    if cut is None:
        return None
    return OpCuts(operands=(cut, cut if cut.axis < len(shape) - 2 else None), result=cut)


def _mean(op: Mean, graph: IntGraph, given: Sequence[Cut | None], _: int) -> OpCuts | None:
    """Every other dimension than that of the terms, and that of the channels."""
    (cut,) = given
    if cut is None or cut.axis == op.axis:
        return None
    gone = cut.axis > op.axis and not op.keep_dimension
    axis = cut.axis - gone
    if axis >= len(graph.result(op).shape) - 1:
        return None
    return OpCuts(operands=(cut,), result=Cut(axis=axis, borders=cut.borders))


def _concat(op: Concat, _: IntGraph, given: Sequence[Cut | None], __: int) -> OpCuts | None:
    """All operands along another dimension."""
    cuts = [cut for cut in given if cut is not None]
    if not cuts or cuts[0].axis == op.axis:
        return None
    return OpCuts(operands=(cuts[0],) * len(given), result=cuts[0])


def _slice(op: Slice, _: IntGraph, given: Sequence[Cut | None], __: int) -> OpCuts | None:
    (cut,) = given
    if cut is None or cut.axis == op.axis:
        return None
    return OpCuts(operands=(cut,), result=cut)


def _transpose(op: Transpose, _: IntGraph, given: Sequence[Cut | None], __: int) -> OpCuts | None:
    (cut,) = given
    if cut is None:
        return None
    axis = op.permutation.index(cut.axis)
    return OpCuts(operands=(cut,), result=Cut(axis=axis, borders=cut.borders))


def _reshape(op: Reshape, graph: IntGraph, given: Sequence[Cut | None], _: int) -> OpCuts | None:
    """A dimension with as many elements before it, if its entries are not cut through."""
    (cut,) = given
    if cut is None:
        return None
    before, after = graph.tensors[op.a].shape, graph.result(op).shape
    entry = prod(before[cut.axis + 1 :])
    for axis in range(len(after)):
        wanted = prod(after[axis + 1 :])
        codes = [border * entry for border in cut.borders]
        if prod(after[:axis]) != prod(before[: cut.axis]) or any(code % wanted for code in codes):
            continue
        borders = tuple(code // wanted for code in codes)
        if after[axis] > 1:
            return OpCuts(operands=(cut,), result=Cut(axis=axis, borders=borders))
    return None


# Float functions have none: how their products are summed up may depend on the number of rows.
RULES: Mapping[type[Op], Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                Add,
                AddShifted,
                Dequantize,
                GeluPolynomial,
                InterpolatedLookup,
                L2Norm,
                LayerNorm,
                LayerNormBisection,
                Lookup,
                Mul,
                Quantize,
                Rescale,
                ShiftGelu,
                Shiftmax,
                Softmax,
                SoftmaxFloatTable,
                SoftmaxGemmlowp,
                SoftmaxIBert,
                SoftmaxIta,
                SoftmaxLog2,
                SoftmaxLut513,
                SquaredDifference,
            ),
            _by_rows,
        ),
        MatMul: _product,
        Mean: _mean,
        Concat: _concat,
        Slice: _slice,
        Transpose: _transpose,
        Reshape: _reshape,
    }
)
