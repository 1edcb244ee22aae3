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
    AnyMatMul,
    Concat,
    DeferredSoftmax,
    Dequantize,
    GeluPolynomial,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Op,
    Quantize,
    Rescale,
    Reshape,
    ScaledMatMul,
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
from simulator.graph.ops.scaled_product import by_field
from simulator.graph.shapes import Shape
from simulator.kernel_choice import Step


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
class Cuts:
    """What workers take of the operands of an op or step, and make of its result.

    None is all of it.
    """

    operands: tuple[Cut | None, ...]
    result: Cut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How so many workers share an image.

    workers
        how many
    steps
        by the tensor that a step writes out
    exchanged
        tensors that are cut, and of which some step takes other rows than its worker made
    """

    workers: int
    steps: Mapping[TensorId, Cuts]
    exchanged: frozenset[TensorId]

    def of(self, name: TensorId) -> Cut | None:
        """Return what each worker holds of a tensor; inputs and constants are whole everywhere."""
        return self.steps[name].result if name in self.steps else None


def split_of(graph: IntGraph, steps: Sequence[Step], workers: int) -> Split:
    """Return how workers share an image in the steps of a valid graph."""
    made: dict[TensorId, Cut | None] = {}
    found: dict[TensorId, Cuts] = {}
    exchanged = set()
    for step in steps:
        cuts = _cuts_of(step.ops, graph, made, workers)
        if cuts is None:
            cuts = Cuts(operands=(None,) * len(step.operands), result=None)
        for name, wanted in zip(step.operands, cuts.operands, strict=True):
            if made.get(name) not in (None, wanted):
                exchanged.add(name)
        found[step.result] = cuts
        made[step.result] = cuts.result
    return Split(workers=workers, steps=MappingProxyType(found), exchanged=frozenset(exchanged))


Given = Sequence[Cut | None]
Rule = Callable[[Any, IntGraph, Given, int], Cuts | None]


def _cuts_of(
    ops: Sequence[Op], graph: IntGraph, made: Mapping[TensorId, Cut | None], workers: int
) -> Cuts | None:
    """Return the cuts of ops that one kernel runs, if each takes the rows that the others make."""
    inner: dict[TensorId, Cut | None] = {}
    outer: list[Cut | None] = []
    result = None
    for op in ops:
        rule = RULES.get(type(op))
        given = [inner.get(name, made.get(name)) for name in op.operands]
        cuts = rule(op, graph, given, workers) if rule else None
        if cuts is None:
            return None
        for name, wanted in zip(op.operands, cuts.operands, strict=True):
            if name not in inner:
                outer.append(wanted)
            elif inner[name] != wanted:
                return None
        result = inner[op.name] = cuts.result
    return Cuts(operands=tuple(outer), result=result)


def _even(shape: Shape, workers: int) -> Cut | None:
    """Cut the dimension, not the last one, whose ranges differ least; None where all are short."""
    axes = [axis for axis, extent in enumerate(shape[:-1]) if extent >= workers]
    if not axes:
        return None
    # The longest range decides; among equals the first dimension, of which ranges are contiguous.
    axis = min(axes, key=lambda axis: -(-shape[axis] // workers) * workers / shape[axis])
    borders = tuple(shape[axis] * worker // workers for worker in range(workers + 1))
    return Cut(axis=axis, borders=borders)


def _rows_of(given: Given, shape: Shape, workers: int) -> Cut | None:
    """Return the first operand's cut that leaves rows whole, or a new one."""
    cuts = [cut for cut in given if cut is not None and cut.axis < len(shape) - 1]
    return cuts[0] if cuts else _even(shape, workers)


def _by_rows(op: Op, graph: IntGraph, given: Given, workers: int) -> Cuts | None:
    """Rows [C] of the result come from the same rows of activations of the same leading shape.

    Constants of the op have entries for all elements or for each channel; constant operands are
    cut where they do not repeat.
    """
    shape = graph.result(op).shape
    cut = _rows_of(given, shape, workers)
    if cut is None or any(graph.constants[name].ndim > 1 for name in op.constants):
        return None
    wanted: list[Cut | None] = []
    for name in op.operands:
        extents = graph.tensors[name].shape
        if graph.is_constant(name):
            axis = cut.axis - (len(shape) - len(extents))
            varies = axis >= 0 and extents[axis] > 1
            wanted.append(Cut(axis=axis, borders=cut.borders) if varies else None)
        elif extents[:-1] != shape[:-1]:
            return None
        else:
            wanted.append(cut)
    return Cuts(operands=tuple(wanted), result=cut)


def _l2_norm(op: L2Norm, graph: IntGraph, given: Given, workers: int) -> Cuts | None:
    """Rows as above, but heads with gains of their own stay together."""
    cuts = _by_rows(op, graph, given, workers)
    heads = len(graph.result(op).shape) - 3
    if cuts is None or cuts.result is None:
        return None
    return None if cuts.result.axis == heads and graph.constants[op.gain].size > 1 else cuts


def _product(
    op: AnyMatMul | NormalizedMatMul, graph: IntGraph, given: Given, workers: int
) -> Cuts | None:
    """Rows of the left operand; matrices that stand side by side, such as heads, in both."""
    shape = graph.result(op).shape
    if graph.is_constant(op.b):
        cut = _rows_of(given, shape, workers)
        if cut is None:
            return None
        return Cuts(operands=(cut, None, cut)[: len(given)], result=cut)
    left, right = given
    beside = [cut for cut in (left, right) if cut is not None and cut.axis < len(shape) - 2]
    cut = beside[0] if beside else _rows_of([left], shape, workers)
    if cut is None:
        return None
    return Cuts(operands=(cut, cut if cut.axis < len(shape) - 2 else None), result=cut)


def _scaled_product(op: ScaledMatMul, graph: IntGraph, given: Given, workers: int) -> Cuts | None:
    """Rows of a, with their factors, exponents and residuals; b and its factors as in a MatMul."""
    cuts = by_field(op, given)
    pair = _product(op, graph, [cuts["a"], cuts["b"]], workers)
    if pair is None:
        return None
    right = pair.operands[1]
    wanted = [right if field in {"b", "column_factor"} else pair.result for field in cuts]
    return Cuts(operands=tuple(wanted), result=pair.result)


def _mean(op: Mean, graph: IntGraph, given: Given, _: int) -> Cuts | None:
    """Every other dimension than that of the terms, and that of the channels."""
    (cut,) = given
    if cut is None or cut.axis == op.axis:
        return None
    gone = cut.axis > op.axis and not op.keep_dimension
    axis = cut.axis - gone
    if axis >= len(graph.result(op).shape) - 1:
        return None
    return Cuts(operands=(cut,), result=Cut(axis=axis, borders=cut.borders))


def _concat(op: Concat, _: IntGraph, given: Given, __: int) -> Cuts | None:
    """All operands along another dimension."""
    cuts = [cut for cut in given if cut is not None]
    if not cuts or cuts[0].axis == op.axis:
        return None
    return Cuts(operands=(cuts[0],) * len(given), result=cuts[0])


def _slice(op: Slice, _: IntGraph, given: Given, __: int) -> Cuts | None:
    (cut,) = given
    if cut is None or cut.axis == op.axis:
        return None
    return Cuts(operands=(cut,), result=cut)


def _transpose(op: Transpose, _: IntGraph, given: Given, __: int) -> Cuts | None:
    (cut,) = given
    if cut is None:
        return None
    axis = op.permutation.index(cut.axis)
    return Cuts(operands=(cut,), result=Cut(axis=axis, borders=cut.borders))


def _reshape(op: Reshape, graph: IntGraph, given: Given, _: int) -> Cuts | None:
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
            return Cuts(operands=(cut,), result=Cut(axis=axis, borders=borders))
    return None


# Float functions have none: how their products are summed up may depend on the number of rows.
RULES: Mapping[type[Op], Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                Add,
                AddShifted,
                DeferredSoftmax,
                Dequantize,
                GeluPolynomial,
                GroupExponent,
                GroupMaximum,
                GroupQuantize,
                GroupShift,
                Hadamard,
                InterpolatedLookup,
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
        L2Norm: _l2_norm,
        MatMul: _product,
        NormalizedMatMul: _product,
        ScaledMatMul: _scaled_product,
        Mean: _mean,
        Concat: _concat,
        Slice: _slice,
        Transpose: _transpose,
        Reshape: _reshape,
    }
)
