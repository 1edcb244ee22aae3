# SPDX-License-Identifier: Apache-2.0
"""The rules of a valid IntGraph, as a table. Run after lowering, on every save and every load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulator.graph.canonical import impossible_numbers, plain
from simulator.graph.graph import IntGraph
from simulator.graph.meta import meta_fits
from simulator.graph.ops import (
    Add,
    Concat,
    Dequantize,
    FloatFunction,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Op,
    Quantize,
    Reshape,
    Slice,
    Softmax,
    SoftmaxLut513,
    Transpose,
)
from simulator.graph.ranges import bounds
from simulator.graph.verify_elementwise import elementwise_parameters_fit
from simulator.graph.verify_float import float_parameters_fit, types_go_together
from simulator.graph.verify_shapes import operands_have_images, shapes_agree
from simulator.graph.verify_softmax import softmax_parameters_fit
from simulator.graph.verify_tensors import (
    constants_fit,
    ends_are_named,
    names_are_defined,
    names_are_plain,
    nothing_is_left_over,
    tensors_are_possible,
)
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_type import FloatType
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage

GraphRule = Callable[[IntGraph], Iterator[str]]
OpRule = Callable[[IntGraph, Op], Iterator[str]]


def verify(graph: IntGraph) -> list[str]:
    """Return broken rules as sentences that name the place; empty for a valid graph.

    Rules are layers, and the first layer with a broken one is the last that is looked at: what
    names mean is not asked while there are wrong names, nor what shapes imply of impossible ones.
    """
    for rules in _LAYERS:
        problems = [message for rule in rules for message in rule(graph)]
        if problems:
            return problems
    return []


def _of_ops(*rules: OpRule) -> GraphRule:
    """Return a rule of graphs that asks some rules of every op, and says which op broke one."""

    def rule(graph: IntGraph) -> Iterator[str]:
        for op in graph.ops:
            for of_op in rules:
                for message in of_op(graph, op):
                    yield f"op {op.name} ({op.kind}): {message}"

    return rule


# --- rules of ops: each yields messages -----------------------------------------------------------


def _numbers_are_possible(_: IntGraph, op: Op) -> Iterator[str]:
    yield from impossible_numbers(plain(op))


def _layout_keeps_codes(graph: IntGraph, op: Op) -> Iterator[str]:
    if isinstance(op, (Concat, Slice, Reshape, Transpose)):
        result = graph.result(op)
        for name in op.operands:
            operand = graph.tensors[name]
            if (operand.type, operand.zero_point) != (result.type, result.zero_point):
                yield f"moves codes of {name} ({operand.type}) into {result.type}"


def _vectors_match_channels(graph: IntGraph, op: Op) -> Iterator[str]:
    if isinstance(op, (Quantize, Dequantize, FloatFunction)):
        return  # theirs may have more dimensions: float_parameters_fit
    if isinstance(op, SoftmaxLut513):
        return  # its two constants are tables: softmax_parameters_fit
    channels = graph.result(op).shape[-1] if graph.result(op).shape else 1
    for name in op.constants:
        length = graph.tensors[name].shape
        if name != getattr(op, "table", None) and length not in {(1,), (channels,)}:
            yield f"constant {name} has shape {length}, wanted ({channels},)"
    for field in ("bias", "weight", "gamma", "beta", "channel_multiplier", "channel_shift"):
        vector = getattr(op, field, None)
        if vector is not None and graph.tensors[vector].shape != (channels,):
            yield f"{field} {vector} has shape {graph.tensors[vector].shape}, wanted ({channels},)"


def _shifts_in_range(graph: IntGraph, op: Op) -> Iterator[str]:
    shifts = {op.shift} if isinstance(op, (Add, LayerNorm, Softmax)) else set()
    shifts |= {op.beta_shift} if isinstance(op, LayerNorm) else set()
    multipliers: tuple[str, ...] = ()
    for found in op.requantizations:
        shifts |= _ends(graph, found.shift) if found.shift else set()
        multipliers = (*multipliers, found.multiplier)
    if isinstance(op, MatMul) and op.residual_multiplier is not None:
        multipliers = (*multipliers, op.residual_multiplier)
    elif isinstance(op, Add):
        multipliers = (op.multiplier_a, op.multiplier_b)
    elif isinstance(op, LayerNorm):
        if op.channel_shift is not None:
            shifts |= _ends(graph, op.channel_shift)
        if op.channel_multiplier is not None:
            multipliers = (op.channel_multiplier,)
    if any(graph.constants[name].min() < 0 for name in multipliers):
        yield "a multiplier is negative"
    for shift in sorted(shifts):
        if not 0 <= shift <= LARGEST_SHIFT:
            yield f"shift {shift}: must be 0..{LARGEST_SHIFT}"


def _ends(graph: IntGraph, name: str) -> set[int]:
    codes = graph.constants[name]
    return {int(codes.min()), int(codes.max())}


def _accumulators_are_sound(graph: IntGraph, op: Op) -> Iterator[str]:
    if isinstance(op, (MatMul, Mean)):
        yield from op.accumulator.problems()
        # Wider ones could pass 64 bits before any register sees them.
        widest = 16 if isinstance(op, MatMul) else 32
        for name in op.operands:
            if graph.tensors[name].code_type.bits > widest:
                yield f"operand {name} has more than {widest} bits"
    if isinstance(op, MatMul) and op.bias is not None:
        kind = graph.tensors[op.bias].type
        if isinstance(kind, FloatType) or kind.bits > 48:
            yield f"bias {op.bias} is {kind}, wanted codes of at most 48 bits"
    if isinstance(op, MatMul) and not graph.is_constant(op.b):
        if any(graph.tensors[name].zero_point for name in op.operands):
            yield "a product of two activations needs zero points 0"
        if op.bias is not None:
            yield "a product of two activations has no bias"


def _residuals_join_a_layer(graph: IntGraph, op: Op) -> Iterator[str]:
    if not isinstance(op, MatMul):
        return
    if (op.residual is None) != (op.residual_multiplier is None):
        yield "residual and residual_multiplier go together"
    if op.residual is None:
        if op.residual_fraction_bits:
            yield "residual_fraction_bits without a residual"
        return
    if not graph.is_constant(op.b):
        yield "a product of two activations takes no residual"
    if graph.is_constant(op.residual):
        yield f"residual {op.residual} is a constant"
    if op.requantize != replace(
        op.requantize,
        arithmetic=Arithmetic.FIXED_POINT,
        left_shift=LeftShift.WIDEN,
        zero_point_stage=ZeroPointStage.AFTER_ROUND,
    ):
        yield (
            "a sum onto a residual is rescaled in fixed point, with wide left shifts and the zero "
            "point after rounding"
        )
        return
    assert op.requantize.shift is not None
    smallest = min(_ends(graph, op.requantize.shift))
    if not 0 <= op.residual_fraction_bits <= smallest:
        yield (
            f"residual_fraction_bits {op.residual_fraction_bits}: must be 0..{smallest}, the "
            "smallest shift"
        )


def _requantizations_are_possible(_: IntGraph, op: Op) -> Iterator[str]:
    for found in op.requantizations:
        yield from found.problems()


def _tables_cover_all_codes(graph: IntGraph, op: Op) -> Iterator[str]:
    if isinstance(op, (Lookup, Softmax)):
        entries, bits = graph.tensors[op.table].shape, graph.tensors[op.a].code_type.bits
        if entries != (1 << bits,):
            yield f"table has shape {entries}, wanted ({1 << bits},) for {bits}-bit codes"
            return
    if isinstance(op, Lookup) and graph.tensors[op.table].type != graph.result(op).type:
        yield f"table holds {graph.tensors[op.table].type}, result is {graph.result(op).type}"
    if isinstance(op, Softmax):
        table = graph.constants[op.table]
        if int(table[0]) < 1 or int(table.min()) < 0:
            yield "table of exponentials must start above 0 and not go below it"


def _fraction_bits_in_range(_: IntGraph, op: Op) -> Iterator[str]:
    if isinstance(op, (LayerNorm, Softmax)) and not 0 <= op.reciprocal_bits <= LARGEST_SHIFT:
        yield f"reciprocal_bits {op.reciprocal_bits}: must be 0..{LARGEST_SHIFT}"
    if isinstance(op, LayerNorm):
        spare = op.reciprocal_bits - op.sqrt_fraction_bits - op.normalized_fraction_bits
        if min(op.epsilon, op.sqrt_fraction_bits, op.normalized_fraction_bits, spare) < 0:
            yield "epsilon, fraction bits and the spare reciprocal bits must not be negative"


def _intermediates_fit(graph: IntGraph, op: Op) -> Iterator[str]:
    widest = bounds(graph, op).widest_bits
    if widest > 64:
        yield (
            f"an intermediate may need {widest} bits, the emulator has 64; use a narrower "
            "multiplier or fewer fraction bits"
        )


_LAYERS: tuple[tuple[GraphRule, ...], ...] = (
    (names_are_plain,),
    (names_are_defined,),
    (ends_are_named, tensors_are_possible),
    (constants_fit, meta_fits),
    (_of_ops(_numbers_are_possible, types_go_together, _layout_keeps_codes),),
    (_of_ops(shapes_agree, operands_have_images),),
    (_of_ops(_vectors_match_channels),),
    (
        _of_ops(
            _shifts_in_range,
            _accumulators_are_sound,
            _requantizations_are_possible,
            _residuals_join_a_layer,
            _tables_cover_all_codes,
            _fraction_bits_in_range,
            elementwise_parameters_fit,
            float_parameters_fit,
            softmax_parameters_fit,
        ),
    ),
    (_of_ops(_intermediates_fit), nothing_is_left_over),
)
