# SPDX-License-Identifier: Apache-2.0
"""The rules of a valid IntGraph, as a table. Run after lowering and on every load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.graph.float_ops import Function
from simulator.graph.graph import IntGraph, Role
from simulator.graph.ops import (
    SOFTMAX_OPS,
    TWO_OPERAND_OPS,
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    GeluPolynomial,
    InterpolatedLookup,
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
    Slice,
    Softmax,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)
from simulator.graph.ranges import bounds
from simulator.graph.verify_elementwise import (
    elementwise_parameters_fit,
    mean_shape,
    two_operand_shape,
)
from simulator.graph.verify_float import (
    broadcasts,
    float_function_shape,
    float_parameters_fit,
    types_go_together,
)
from simulator.graph.verify_softmax import softmax_parameters_fit
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_type import FloatType
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

Shape = tuple[int, ...]


def verify(graph: IntGraph) -> list[str]:
    """Return every broken rule as a sentence that names the op; empty for a valid graph."""
    problems = list(_structure(graph))
    if problems:
        return problems  # the other rules look tensors up by name
    for tensor_rule in (_tensors_are_possible, _constants_fit, _inputs_and_outputs):
        problems += tensor_rule(graph)
    for op in graph.ops:
        # The other rules look at codes where they expect integers.
        found = list(types_go_together(graph, op))
        found = found or [message for rule in _OP_RULES for message in rule(graph, op)]
        problems += [f"op {op.name} ({op.kind}): {message}" for message in found]
    if problems:
        return problems
    for op in graph.ops:  # ranges are only meaningful on a graph that is otherwise sound
        widest = bounds(graph, op).widest_bits
        if widest > 64:
            problems.append(
                f"op {op.name} ({op.kind}): an intermediate may need {widest} bits, the emulator "
                "has 64; use a narrower multiplier or fewer fraction bits"
            )
    return problems


def _structure(graph: IntGraph) -> Iterator[str]:
    """Names: unique, defined before use, nothing left over."""
    known = {name for name, tensor in graph.tensors.items() if tensor.role is not Role.ACTIVATION}
    for op in graph.ops:
        for name in (*op.operands, *op.constants):
            if name not in known:
                yield f"op {op.name} ({op.kind}): operand {name} is not defined before it"
        for name in op.constants:
            if name in known and not graph.is_constant(name):
                yield f"op {op.name} ({op.kind}): {name} must be a constant"
        if op.name not in graph.tensors:
            yield f"op {op.name} ({op.kind}): its result has no tensor"
        elif graph.tensors[op.name].role is not Role.ACTIVATION or op.name in known:
            yield f"op {op.name} ({op.kind}): its name is taken by another tensor"
        known.add(op.name)
    for name in graph.tensors.keys() - known:
        yield f"tensor {name}: no op computes it"
    for name in (*graph.inputs, *graph.outputs):
        if name not in known:
            yield f"{name}: named as input or output, but there is no such tensor"
    constants = {name for name, tensor in graph.tensors.items() if tensor.role is Role.CONSTANT}
    for name in constants ^ graph.constants.keys():
        yield f"constant {name}: must have both a tensor and codes"


def _tensors_are_possible(graph: IntGraph) -> Iterator[str]:
    for tensor in graph.tensors.values():
        if not tensor.shape or min(tensor.shape) < 1:
            yield (
                f"tensor {tensor.name}: has shape {tensor.shape}; wanted one or more dimensions "
                "of at least 1"
            )
        if isinstance(tensor.type, FloatType):
            if tensor.zero_point or tensor.scale:
                yield f"tensor {tensor.name}: {tensor.type} has neither scale nor zero point"
        elif not tensor.type.low <= tensor.zero_point <= tensor.type.high:
            yield f"tensor {tensor.name}: has zero point {tensor.zero_point} outside {tensor.type}"


def _constants_fit(graph: IntGraph) -> Iterator[str]:
    for name, codes in graph.constants.items():
        tensor = graph.tensors[name]
        if codes.shape != tensor.shape:
            yield f"constant {name}: has shape {codes.shape}, declared {tensor.shape}"
        elif codes.dtype != tensor.type.dtype:
            wanted = tensor.type.dtype
            yield f"constant {name}: is stored as {codes.dtype}, {tensor.type} wants {wanted}"
        elif isinstance(tensor.type, FloatType):
            if not np.isfinite(codes).all():
                yield f"constant {name}: has values that are not finite numbers"
        elif codes.size and not (
            tensor.type.low <= int(codes.min()) and int(codes.max()) <= tensor.type.high
        ):
            yield f"constant {name}: has codes outside {tensor.type}"


def _inputs_and_outputs(graph: IntGraph) -> Iterator[str]:
    declared = {name for name, tensor in graph.tensors.items() if tensor.role is Role.INPUT}
    if set(graph.inputs) != declared or len(graph.inputs) != 1 or not graph.outputs:
        yield "there must be one input, the tensor of role input, and an output"
    for name in graph.outputs:
        if graph.is_constant(name):
            yield f"output {name}: is a constant"
    for tensor in graph.tensors.values():
        if len(tensor.scale) > 1 and len(tensor.scale) != (tensor.shape or (0,))[-1]:
            yield f"tensor {tensor.name}: {len(tensor.scale)} scales for shape {tensor.shape}"


# --- rules of ops: each yields messages -----------------------------------------------------------


def _shape_of(graph: IntGraph, op: Op) -> Shape:
    """Return the shape that ``op``'s operands imply; ValueError where they do not go together."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    return _SHAPES[type(op)](op, shapes, graph.result(op).shape)


def _matmul_shape(op: MatMul, shapes: list[Shape], _: Shape) -> Shape:
    a, b, *residual = shapes
    rows, columns = (b[-1], b[-2]) if op.transpose_b else (b[-2], b[-1])
    if a[-1] != rows or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"cannot multiply {a} by {b}")
    product = (*a[:-1], columns)
    if residual and residual[0] != product:
        raise ValueError(f"cannot add a product {product} to a residual {residual[0]}")
    return product


def _add_shape(_: Add, shapes: list[Shape], __: Shape) -> Shape:
    a, b = shapes
    if a[-1:] != b[-1:] or not broadcasts(b, a):
        raise ValueError(f"cannot add {b} to {a}")
    return a


def _axis(op: Concat | Slice, shape: Shape) -> int:
    if not 0 <= op.axis < len(shape):
        raise ValueError(f"axis {op.axis} of {shape}")
    return op.axis


def _concat_shape(op: Concat, shapes: list[Shape], _: Shape) -> Shape:
    axis = _axis(op, shapes[0])
    rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rests) != 1:
        raise ValueError(f"cannot concatenate {shapes} along {axis}")
    total = sum(shape[axis] for shape in shapes)
    return shapes[0][:axis] + (total,) + shapes[0][axis + 1 :]


def _slice_shape(op: Slice, shapes: list[Shape], _: Shape) -> Shape:
    shape = shapes[0]
    axis = _axis(op, shape)
    if not 0 <= op.start < op.stop <= shape[axis]:
        raise ValueError(f"{op.start}:{op.stop} of dimension {axis} of {shape}")
    if op.step < 1:
        raise ValueError(f"step {op.step}: must be 1 or more")
    return shape[:axis] + (len(range(op.start, op.stop, op.step)),) + shape[axis + 1 :]


def _reshape_shape(_: Reshape, shapes: list[Shape], result: Shape) -> Shape:
    sizes = []
    for shape in (shapes[0], result):
        size = 1
        for extent in shape:
            size *= extent
        sizes.append(size)
    if sizes[0] != sizes[1]:
        raise ValueError(f"{shapes[0]} has {sizes[0]} elements, {result} has {sizes[1]}")
    return result


def _transpose_shape(op: Transpose, shapes: list[Shape], _: Shape) -> Shape:
    if sorted(op.permutation) != list(range(len(shapes[0]))):
        raise ValueError(f"{op.permutation} does not permute {shapes[0]}")
    return tuple(shapes[0][axis] for axis in op.permutation)


def _same_shape(_: Op, shapes: list[Shape], __: Shape) -> Shape:
    return shapes[0]


_SHAPES: Mapping[type[Op], Callable[[Any, list[Shape], Shape], Shape]] = MappingProxyType(
    {
        MatMul: _matmul_shape,
        Rescale: _same_shape,
        Add: _add_shape,
        LayerNorm: _same_shape,
        **dict.fromkeys(SOFTMAX_OPS, _same_shape),
        Lookup: _same_shape,
        Mean: mean_shape,
        AddShifted: two_operand_shape,
        SquaredDifference: two_operand_shape,
        Mul: two_operand_shape,
        InterpolatedLookup: _same_shape,
        GeluPolynomial: _same_shape,
        ShiftGelu: _same_shape,
        LayerNormBisection: _same_shape,
        Concat: _concat_shape,
        Slice: _slice_shape,
        Reshape: _reshape_shape,
        Transpose: _transpose_shape,
        Quantize: _same_shape,
        Dequantize: _same_shape,
        FloatFunction: float_function_shape,
    }
)


def _shapes_agree(graph: IntGraph, op: Op) -> Iterator[str]:
    try:
        implied = _shape_of(graph, op)
    except (ValueError, IndexError) as error:
        yield str(error)
    else:
        if implied != graph.result(op).shape:
            yield f"result has shape {graph.result(op).shape}, operands imply {implied}"


def _operands_have_images(graph: IntGraph, op: Op) -> Iterator[str]:
    """Kernels take activations with a batch dimension in front, and constants without."""
    constant = [graph.is_constant(name) for name in op.operands]
    if isinstance(op, Concat):
        if all(constant):
            yield "all operands are constants"
        return
    if constant and constant[0]:
        yield f"operand {op.operands[0]} is a constant"
    adds = isinstance(op, (Add, *TWO_OPERAND_OPS)) or _is_float(op, Function.ADD)
    if len(op.operands) > 1 and constant[1] and _is_float(op, Function.MATMUL):
        yield f"operand {op.operands[1]} is a constant: use linear"
    if isinstance(op, MatMul) or (adds and len(op.operands) == 2):
        a, b = (graph.tensors[name].shape for name in op.operands[:2])
        if isinstance(op, MatMul) and len(b) != (2 if constant[1] else len(a)):
            yield f"cannot multiply {a} by {b}: weights are matrices, activations have equal ranks"
        repeats = len(b) < len(a) or (b[:-1] != a[:-1] and broadcasts(b, a))
        if adds and not constant[1] and repeats:
            verb = op.kind.removeprefix("float_")
            yield f"cannot {verb} {b} to {a}: only a constant is broadcast"


def _is_float(op: Op, function: Function) -> bool:
    return isinstance(op, FloatFunction) and op.function is function


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
    if (
        isinstance(op, MatMul)
        and op.bias is not None
        and graph.tensors[op.bias].code_type.bits > 48
    ):
        yield f"bias {op.bias} has more than 48 bits"
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
        if found.arithmetic is not Arithmetic.FIXED_POINT:
            if found.overflow is Overflow.WRAP:
                yield f"a requantization in {found.arithmetic} saturates: it has no low bits"
            if (found.double_rounding, found.left_shift) != (DoubleRounding.NONE, LeftShift.WIDEN):
                yield f"a requantization in {found.arithmetic} has no shift to round or to wrap at"
        elif (
            found.double_rounding is not DoubleRounding.NONE
            and found.rounding is not Rounding.HALF_UP
        ):
            yield f"double rounding is half_up twice, not {found.rounding}"


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


_OP_RULES: tuple[Callable[[IntGraph, Op], Iterator[str]], ...] = (
    _shapes_agree,
    _operands_have_images,
    _layout_keeps_codes,
    _vectors_match_channels,
    _shifts_in_range,
    _accumulators_are_sound,
    _requantizations_are_possible,
    _residuals_join_a_layer,
    _tables_cover_all_codes,
    _fraction_bits_in_range,
    elementwise_parameters_fit,
    float_parameters_fit,
    softmax_parameters_fit,
)
