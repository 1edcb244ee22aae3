# SPDX-License-Identifier: Apache-2.0
"""The rules of names, tensors, constants and the two ends of a graph: layers for ``verify``.

Each layer may rely on those before it. None takes memory or time that the graph's files do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.names import LONGEST_NAME, is_name, quoted
from simulator.graph.ops import op_name
from simulator.numerics.float_type import FLOAT64, FloatType
from simulator.numerics.rescaling import Arithmetic

# Far beyond what networks need, and little enough for closed forms, kernels' 32-bit counts and
# quadratic plans of memory.
MOST_DIMENSIONS = 8
MOST_ELEMENTS = (1 << 31) - 1
MOST_OPS = 1 << 15
MOST_TENSORS = 1 << 18
# Input codes are made in float32: scales are normal numbers of it.
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-126, 2.0**126

_GRAMMAR = (
    f"wanted 1 to {LONGEST_NAME} letters, digits, _ and -, with single dots between, none of the "
    "marks - and . in front"
)


def names_are_plain(graph: IntGraph) -> Iterator[str]:
    """Names have the grammar of :mod:`simulator.graph.names`; there are not too many."""
    for what, name in (("graph", graph.name), ("profile", graph.profile)):
        if not is_name(name):
            yield f"{what} {quoted(name)}: is no name; {_GRAMMAR}"
    for name, tensor in graph.tensors.items():
        if not is_name(name):
            yield f"tensor {quoted(name)}: is no name; {_GRAMMAR}"
        elif tensor.name != name:
            yield f"tensor {name}: is declared as {quoted(tensor.name)}"
    for what, count, most in (
        ("ops", len(graph.ops), MOST_OPS),
        ("tensors", len(graph.tensors), MOST_TENSORS),
    ):
        if count > most:
            yield f"graph {quoted(graph.name)}: has {count} {what}, wanted at most {most}"


def names_are_defined(graph: IntGraph) -> Iterator[str]:
    """Names are unique and defined before use, nothing is left over."""
    known = {name for name, tensor in graph.tensors.items() if tensor.role is not Role.ACTIVATION}
    for op in graph.ops:
        place = f"op {quoted(op.name)} ({op_name(op)})"
        for name in (*op.operands, *op.constants):
            if name not in known:
                yield f"{place}: operand {quoted(name)} is not defined before it"
        for name in op.constants:
            if name in known and not graph.is_constant(name):
                yield f"{place}: {name} must be a constant"
        if op.name not in graph.tensors:
            yield f"{place}: its result has no tensor"
        elif graph.tensors[op.name].role is not Role.ACTIVATION or op.name in known:
            yield f"{place}: its name is taken by another tensor"
        known.add(op.name)
    for name in sorted(graph.tensors.keys() - known):
        yield f"tensor {name}: no op computes it"
    for name in (*graph.inputs, *graph.outputs):
        if name not in known:
            yield f"{quoted(name)}: named as input or output, but there is no such tensor"
    constants = {name for name, tensor in graph.tensors.items() if tensor.role is Role.CONSTANT}
    for name in sorted(constants ^ graph.constants.keys()):
        yield f"constant {quoted(name)}: must have both a tensor and codes"


def ends_are_named(graph: IntGraph) -> Iterator[str]:
    """One input, and outputs that ops compute."""
    declared = {name for name, tensor in graph.tensors.items() if tensor.role is Role.INPUT}
    if set(graph.inputs) != declared or len(graph.inputs) != 1 or not graph.outputs:
        yield "there must be one input, the tensor of role input, and an output"
    for name, count in Counter(graph.outputs).items():
        if graph.tensors[name].role is not Role.ACTIVATION:
            yield f"output {name}: is a constant or the input, wanted the result of an op"
        if count > 1:
            yield f"output {name}: is named {count} times"


def nothing_is_left_over(graph: IntGraph) -> Iterator[str]:
    """Every result is read or is an output, every constant is read."""
    read = {name for op in graph.ops for name in (*op.operands, *op.constants)}
    for name in sorted(graph.tensors.keys() - read - set(graph.outputs)):
        yield f"tensor {name}: no op reads it, and it is no output"


def tensors_are_possible(graph: IntGraph) -> Iterator[str]:
    """Shapes, types, zero points and scales of every tensor by itself."""
    factors = {
        found.multiplier
        for op in graph.ops
        for found in op.requantizations
        if found.arithmetic is Arithmetic.FLOAT64
    }
    for tensor in graph.tensors.values():
        yield from _shape_is_possible(tensor)
        yield from _scales_are_possible(tensor)
        if isinstance(tensor.type, FloatType):
            if tensor.zero_point or tensor.scale:
                yield f"tensor {tensor.name}: {tensor.type} has neither scale nor zero point"
            if tensor.type == FLOAT64 and tensor.name not in factors:
                yield (
                    f"tensor {tensor.name}: is {tensor.type}, which only the factors of "
                    "requantizations in float64 are; wanted f32"
                )
        elif not tensor.type.low <= tensor.zero_point <= tensor.type.high:
            yield f"tensor {tensor.name}: has zero point {tensor.zero_point} outside {tensor.type}"


def _shape_is_possible(tensor: Tensor) -> Iterator[str]:
    shape = tensor.shape
    if len(shape) > MOST_DIMENSIONS:
        yield (
            f"tensor {tensor.name}: has {len(shape)} dimensions, wanted at most {MOST_DIMENSIONS}"
        )
    elif not shape or min(shape) < 1:
        yield (
            f"tensor {tensor.name}: has shape {shape}; wanted one or more dimensions of at least 1"
        )
    elif tensor.size > MOST_ELEMENTS:
        yield (
            f"tensor {tensor.name}: has {tensor.size} elements {shape}, wanted at most "
            f"{MOST_ELEMENTS}"
        )


def _scales_are_possible(tensor: Tensor) -> Iterator[str]:
    count = len(tensor.scale)
    if count > 1 and count != (tensor.shape or (0,))[-1]:
        yield f"tensor {tensor.name}: has {count} scales for shape {tensor.shape}"
    for scale in tensor.scale:
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:  # not a number fails, too
            yield (
                f"tensor {tensor.name}: has scale {scale}, wanted a finite number above 0 "
                f"({SMALLEST_SCALE:.3g} to {LARGEST_SCALE:.3g})"
            )
            return


def constants_fit(graph: IntGraph) -> Iterator[str]:
    """Codes have the shape and the storage that are declared, and lie in their type."""
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
        elif not (tensor.type.low <= int(codes.min()) and int(codes.max()) <= tensor.type.high):
            yield f"constant {name}: has codes outside {tensor.type}"
