# SPDX-License-Identifier: Apache-2.0
"""Checks of a QuantizedModel against its network, its recipe and the chip's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC, readers_of
from aocq.capture.verify import parameters_of
from aocq.capture.verify import verify as verify_graph
from aocq.methods.dynamic_steps import problems_of
from aocq.methods.layernorm_parts import PARTS, part_name
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizer_entries import LARGEST, SMALLEST
from aocq.methods.quantizers import (
    ActivationQuantizer,
    DynamicQuantizer,
    QuantizedWeight,
    Quantizer,
)
from aocq.methods.scale_form import activation_form, weight_form
from aocq.methods.tensor_widths import tensor_widths, weight_widths
from simulator.errors import InputError
from simulator.graph.meta import meta_of
from simulator.graph.names import quoted
from simulator.numerics.integer_type import IntType


def verify(model: QuantizedModel) -> None:
    """Check that quantizers and weights fit the network, the recipe and the limits.

    Single values have been checked by the schema of the file.

    Raises
    ------
    InputError
        At the first broken rule of its graph (:mod:`aocq.capture.verify`), or naming the quantizer
        or the weight that does not fit.
    """
    verify_graph(model.graph)
    for rule in _RULES:
        for problem in rule(model):
            raise InputError(problem)


# --- quantizers -----------------------------------------------------------------------------------


def _quantizers_fit_their_tensors(model: QuantizedModel) -> Iterator[str]:
    nodes = {node.name: node for node in model.graph.nodes if node.op in ARITHMETIC}
    for name, quantizer in model.activations.items():
        if name not in nodes:
            yield f"activations.{name}: the network makes no new values of that name"
        else:
            for problem in _unfit(quantizer, nodes[name]):
                yield f"activations.{name}: {problem}"


def _unfit(quantizer: Quantizer, node: FloatNode) -> Iterator[str]:
    plain = isinstance(quantizer, ActivationQuantizer) and not quantizer.alpha
    if node.op is FloatOp.INPUT and not plain:
        yield "the image has one scale for all its values, not channel factors or levels"
    if isinstance(quantizer, LogarithmicQuantizer) and node.op is not FloatOp.SOFTMAX:
        yield "logarithms are codes of a softmax's rows"
    if not isinstance(quantizer, ActivationQuantizer):
        return
    if -quantizer.axis > len(node.shape):
        yield f"axis {quantizer.axis}: the tensor has {len(node.shape)} dimensions"
    elif quantizer.alpha and len(quantizer.alpha) != node.shape[quantizer.axis]:
        yield (
            f"alpha: has {len(quantizer.alpha)} factors, dimension {quantizer.axis} of the tensor "
            f"has {node.shape[quantizer.axis]} elements"
        )
    if quantizer.table_scale and (plain or node.op is not FloatOp.UNARY):
        yield "table_scale: only the channel factors of a function's result have it"


def _dynamic_steps_are_of_operands(model: QuantizedModel) -> Iterator[str]:
    nodes = {node.name: node for node in model.graph.nodes}
    for name, quantizer in model.activations.items():
        if isinstance(quantizer, DynamicQuantizer):
            for problem in problems_of(model.graph, nodes[name], quantizer, model.limits):
                yield f"activations.{name}: {problem}"


def _probabilities_are_the_chips(model: QuantizedModel) -> Iterator[str]:
    """Whether logarithms are those of the limits, and only products' left operands."""
    readers = readers_of(model.graph)
    wanted = model.limits.softmax_levels_per_octave
    for name, quantizer in model.activations.items():
        if not isinstance(quantizer, LogarithmicQuantizer):
            continue
        if quantizer.levels_per_octave != wanted:
            yield (
                f"activations.{name}: has {quantizer.levels_per_octave} levels per octave, "
                f"limits.softmax_levels_per_octave is {wanted}"
            )
        if any(not _divides(model.graph, reader, name) for reader in readers.get(name, ())):
            yield (
                f"activations.{name}: are logarithms of whole rows, which only the left operand of "
                "a product stands for"
            )


def _divides(graph: FloatGraph, reader: FloatNode, name: str) -> bool:
    """Whether a product reads rows whole: as they are, or moved as they are."""
    if reader.op is FloatOp.MATMUL:
        return reader.inputs[0] == name != reader.inputs[1]
    before = graph.node(name).shape
    if reader.op is FloatOp.TRANSPOSE:
        whole = reader.attributes["permutation"][-1] == len(before) - 1
    elif reader.op in {FloatOp.SLICE, FloatOp.ROLL}:
        whole = reader.attributes["axis"] != len(before) - 1
    else:
        whole = reader.op is FloatOp.RESHAPE and reader.shape[-1] == before[-1]
    readers = readers_of(graph).get(reader.name, ())
    return whole and all(_divides(graph, each, reader.name) for each in readers)


def _parts_are_of_layernorms(model: QuantizedModel) -> Iterator[str]:
    known = {
        part_name(node.name, part)
        for node in model.graph.nodes
        if node.op is FloatOp.LAYERNORM
        for part in PARTS
    }
    bits = model.limits.layernorm_part_bits
    for name, quantizer in model.layernorm_quantizers.items():
        if name not in known:
            yield f"parts.{name}: no LayerNorm of the network has such a part"
        elif quantizer.type.bits != bits:
            yield f"parts.{name}: has {quantizer.type}, limits.layernorm_part_bits is {bits}"
        elif quantizer.alpha or quantizer.table_scale or quantizer.axis != -1:
            yield f"parts.{name}: has one scale, so neither alpha nor axis nor table_scale"


# --- weights --------------------------------------------------------------------------------------


def weight_problems(weight: QuantizedWeight) -> Iterator[str]:
    """Yield the problems of a weight by itself."""
    codes, scale = weight.codes, weight.scale
    if codes.dtype != np.int8 or codes.ndim != 2 or not codes.size:
        yield f"codes: are {codes.dtype} of shape {codes.shape}, wanted int8 of two dimensions"
        return
    if scale.dtype != np.float64 or scale.shape not in {(1,), codes.shape[:1]}:
        yield (
            f"scale: is {scale.dtype} of shape {scale.shape}, wanted float64, one for all rows or "
            f"one for each of {len(codes)}"
        )
        return
    int_type = IntType(bits=weight.bits)
    if not int_type.low <= int(codes.min()) <= int(codes.max()) <= int_type.high:
        low, high = int_type.low, int_type.high
        yield f"codes: {codes.min()} to {codes.max()}, {int_type} has {low} to {high}"
    if not bool(np.all((scale >= SMALLEST) & (scale <= LARGEST))):  # not a number fails both
        yield f"scale: must be positive numbers from {SMALLEST:.3g} to {LARGEST:.3g}"
    if len(weight.alpha) not in {0, codes.shape[1]}:
        yield f"alpha: has {len(weight.alpha)} factors for {codes.shape[1]} columns"


def _weights_are_of_layers(model: QuantizedModel) -> Iterator[str]:
    layers = [node for node in model.graph.nodes if node.op is FloatOp.LINEAR]
    known = {node.attributes["weight"] for node in layers}
    for name, weight in model.weights.items():
        for problem in weight_problems(weight):
            yield f"weights.{name}: {problem}"
        if name not in known:
            yield f"weights.{name}: is the weight of no layer"
        elif weight.codes.shape != tuple(model.graph.parameters[name].shape):
            yield f"weights.{name}: codes: have another shape than the parameter"
    if not model.leaves_floats:
        for node in layers:
            if node.attributes["weight"] not in model.weights:
                yield f"node {node.name}: every operator is quantized, and this one's weight is not"


def _every_parameter_is_read(model: QuantizedModel) -> Iterator[str]:
    read = {name for node in model.graph.nodes for name in parameters_of(node)}
    for name in sorted(model.graph.parameters.keys() - read):
        yield f"parameter {name}: no node reads it"


# --- what the recipe says -------------------------------------------------------------------------


def _codes_are_as_narrow_as_asked_for(model: QuantizedModel) -> Iterator[str]:
    wanted = weight_widths(model.graph, model.recipe)
    for name, weight in model.weights.items():
        if weight.bits != wanted[name]:
            yield f"weights.{name}: has {weight.bits} bits, the recipe {wanted[name]} for it"
    widths = _widths(model)
    for name, quantizer in model.activations.items():
        width = (
            quantizer.type.bits if isinstance(quantizer, ActivationQuantizer) else quantizer.bits
        )
        if width > widths[name]:
            yield f"activations.{name}: has {width} bits, the recipe {widths[name]} for it"


def _widths(model: QuantizedModel) -> dict[str, int]:
    """Return the most bits of each node's codes: terms may share the quantizer of their sum."""
    graph = model.graph
    asked = tensor_widths(graph, model.recipe, model.limits)
    widths = {n.name: asked[n.name] if n.name in model.activations else 0 for n in graph.nodes}
    for node in reversed(graph.nodes):
        if node.op in {FloatOp.ADD, FloatOp.CONCAT} or node.op not in ARITHMETIC:
            for name in node.inputs:
                widths[name] = max(widths[name], widths[node.name])
    return widths


def _scales_have_the_form_asked_for(model: QuantizedModel) -> Iterator[str]:
    weights, activations = weight_form(model.limits), activation_form(model.limits)
    per_tensor = model.limits.weight_granularity == "per_tensor"
    for name, weight in model.weights.items():
        if per_tensor and len(weight.scale) > 1:
            yield f"weights.{name}: has one scale per row, limits.weight_granularity is per_tensor"
        if not np.array_equal(weights.nearest(weight.scale), weight.scale):
            yield f"weights.{name}: has scales of another form than limits.weight_scale"
    for name, quantizer in model.activations.items():
        held = quantizer.base if isinstance(quantizer, DynamicQuantizer) else quantizer
        if activations.nearest(held.scale) != held.scale:
            yield f"activations.{name}: has a scale of another form than limits.activation_scale"
        if quantizer.zero_point and model.limits.zero_point == "symmetric":
            yield f"activations.{name}: has a zero point, limits.zero_point is symmetric"


# --- both ends ------------------------------------------------------------------------------------


def _meta_is_of_the_network(model: QuantizedModel) -> Iterator[str]:
    meta = meta_of(model.meta, quoted(model.graph.name))
    if meta is None:
        return
    classes, size = meta.classes, meta.preprocessing["input_size"]
    if model.graph.output.shape[-1] != classes:
        yield f"meta.classes: {classes}, the network's result has {model.graph.output.shape[-1]}"
    if tuple(size) != model.graph.input.shape:
        yield f"meta.preprocessing: input_size {size}, the network takes {model.graph.input.shape}"


_RULES: tuple[Callable[[QuantizedModel], Iterator[str]], ...] = (
    _quantizers_fit_their_tensors,
    _dynamic_steps_are_of_operands,
    _probabilities_are_the_chips,
    _parts_are_of_layernorms,
    _weights_are_of_layers,
    _every_parameter_is_read,
    _codes_are_as_narrow_as_asked_for,
    _scales_have_the_form_asked_for,
    _meta_is_of_the_network,
)
