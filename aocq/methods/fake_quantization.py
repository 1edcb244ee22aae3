# SPDX-License-Identifier: Apache-2.0
"""Fake quantization of a whole network, with its matrix products as products of whole numbers.

What the interpreter yields in float64 under :meth:`QuantizedModel.fake_quantize` is a sum of
products of codes times scales. Here the codes are summed as bytes or in float32, wherever no partial
sum can pass 2^24, so that every one of them is exact in any order; the scales, and everything that
is no product, stay in float64. Both differ by float64's rounding, and this takes half of the time.
A function of one tensor of codes is looked up: it has no more values than there are codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from aocq.capture import FloatNode, FloatOp
from aocq.capture.float_graph import LAYOUT
from aocq.capture.interpreter import apply
from aocq.capture.parts import in_threads, parts_of
from aocq.methods.masks import quantizer_of
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Quantizer
from aocq.methods.scales import Scales, linear_scales, moved, product_scales, quantizer_scales
from simulator.errors import InputError
from simulator.gemm import Gemm, Product

# Whole numbers up to here, and sums of them, are exact in float32.
EXACT = 2**24
# Of a longer table, most entries would be computed for nothing.
LONGEST_TABLE = 2**12


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes less their zero point, float32 [images, ...], and scales that broadcast, float64."""

    steps: Tensor
    scales: Tensor

    def real(self) -> Tensor:
        """Return the real values, float64."""
        return self.steps.double().mul_(self.scales)


Value = Codes | Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What is known of a tensor of codes before any image.

    Attributes
    ----------
    scales
        of the codes, float64, as :mod:`aocq.methods.scales` holds them
    lowest, highest
        that a code can be, less the zero point
    """

    scales: Scales
    lowest: int
    highest: int
    zero_point: int

    @property
    def is_signed_byte(self) -> bool:
        return self.lowest + self.zero_point >= -128 and self.highest + self.zero_point <= 127

    def codes(self, steps: Tensor) -> Codes:
        """Return codes of this form."""
        return Codes(steps, _tensor(self.scales))

    @property
    def reach(self) -> int:
        return max(-self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer on codes: scales of its sums [N] and bias [N], float64.

    Its sums come from signed bytes, or else from the weight's codes, float32 [N, K]. What a zero
    point adds to the sums of bytes is ``excess`` [N].
    """

    scales: Tensor
    bias: Tensor | None
    weight: Tensor
    zero_point: int
    excess: Tensor
    of_bytes: Product | None

    def __call__(self, steps: Tensor) -> Tensor:
        """Return the real values of the layer's sums, float64."""
        if self.of_bytes is None:
            sums = functional.linear(steps, self.weight).double()
        else:
            codes = (steps + self.zero_point).to(torch.int8).reshape(-1, steps.shape[-1])
            found = torch.from_numpy(self.of_bytes(codes.numpy())).double()
            sums = found.sub_(self.excess).reshape(*steps.shape[:-1], -1)
        real = sums.mul_(self.scales)
        return real if self.bias is None else real.add_(self.bias)


class FakeQuantization:
    """A quantized model made ready to compute what its integers stand for, few images at a time."""

    def __init__(self, model: QuantizedModel, of_bytes: Gemm | None = None) -> None:
        """Find the forms of all tensors, and which products are exact.

        Parameters
        ----------
        of_bytes
            what multiplies signed bytes faster than float32 is multiplied, if anything does here
        """
        self.model, self.graph = model, model.graph
        self.parameters = model.fake_quantized_parameters()
        self.quantizers: dict[str, Quantizer] = {}
        self.forms: dict[str, _Form] = {}
        self.of_bytes = of_bytes
        self.layers: dict[str, _Layer] = {}
        self.products: dict[str, Tensor] = {}
        self.tables: dict[str, Tensor] = {}
        self.last_use = {name: node.name for node in self.graph.nodes for name in node.inputs}
        for node in self.graph.nodes:
            self._prepare(node)

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's result, float64 [count, classes].

        Parameters
        ----------
        images
            preprocessed, float32 [count, channels, height, width]
        """
        with torch.inference_mode():
            parts = parts_of(len(images))
            return torch.cat(in_threads(lambda part: self._run(images[part]), parts))

    def _run(self, images: Tensor) -> Tensor:
        values: dict[str, Value] = {}
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            values[node.name] = self._value(node, inputs, images)
            for name in set(node.inputs):
                if self.last_use[name] == node.name:
                    del values[name]
        return _real(values[self.graph.output.name])

    def _value(self, node: FloatNode, inputs: Sequence[Value], images: Tensor) -> Value:
        """Return a node's result: codes where it has a form, else real values in float64."""
        if node.name in self.forms and node.op in LAYOUT | {FloatOp.SCALE}:
            steps = _steps(inputs[0])
            if node.op in LAYOUT:
                steps = apply(node, [steps], {}, len(images))
            return self.forms[node.name].codes(steps)
        if node.name in self.tables:
            return self._looked_up(node, inputs[0])
        if node.op is FloatOp.INPUT:
            real = images if node.name in self.quantizers else images.double()
        elif node.name in self.layers:
            real = self.layers[node.name](_steps(inputs[0]))
        elif node.name in self.products:
            sums = apply(node, [_steps(value) for value in inputs], {}, len(images))
            real = sums.double().mul_(self.products[node.name])
        else:
            real = apply(node, [_real(value) for value in inputs], self.parameters, len(images))
        quantizer = self.quantizers.get(node.name)
        return real if quantizer is None else self._codes(node, quantizer, real)

    def _codes(self, node: FloatNode, quantizer: Quantizer, real: Tensor) -> Codes:
        return self.forms[node.name].codes(quantizer.steps(real).float())

    def _looked_up(self, node: FloatNode, source: Value) -> Codes:
        """Return the codes of a function of codes that have one scale."""
        steps = _steps(source)
        index = steps.flatten().sub(self.forms[node.inputs[0]].lowest).int()
        found = self.tables[node.name].index_select(0, index).reshape(steps.shape)
        quantizer = self.quantizers[node.name]
        assert isinstance(quantizer, ActivationQuantizer)
        return self._codes(node, replace(quantizer, table_scale=0.0), found)

    def _prepare(self, node: FloatNode) -> None:
        """Note the form of a node's result, and how it is computed."""
        quantizer = quantizer_of(self.graph, self.model.activations, node)
        source = self.forms.get(node.inputs[0]) if node.inputs else None
        if quantizer is not None:
            self.quantizers[node.name] = quantizer
            self.forms[node.name] = _form(quantizer, node)
        elif source is not None and node.op is FloatOp.SCALE:
            scales = source.scales * float(node.attributes["factor"])
            self.forms[node.name] = replace(source, scales=scales)
        elif source is not None and node.op in LAYOUT:
            scales = moved(source.scales, self.graph.node(node.inputs[0]).shape, node)
            self.forms[node.name] = replace(source, scales=scales)
        if node.op is FloatOp.LINEAR and source is not None:
            layer = self._layer(node, source)
            if layer is not None:
                self.layers[node.name] = layer
        if node.op is FloatOp.MATMUL and all(name in self.forms for name in node.inputs):
            scales = self._scales_of_product(node, *(self.forms[name] for name in node.inputs))
            if scales is not None:
                self.products[node.name] = scales
        if node.op is FloatOp.UNARY and source is not None:
            table = self._table(node, source)
            if table is not None:
                self.tables[node.name] = table

    def _layer(self, node: FloatNode, source: _Form) -> _Layer | None:
        """Return how a layer is computed from codes; None where a sum may not be exact."""
        weight = self.model.weights[node.attributes["weight"]]
        codes = weight.codes.astype(np.int64)
        if source.reach * int(np.abs(codes).sum(1).max()) >= EXACT:
            return None
        try:
            scales = linear_scales(node, source.scales, weight)
        except InputError:  # the input's vary along the sum
            return None
        bias = node.attributes["bias"]
        by_bytes = self.of_bytes if source.is_signed_byte else None
        return _Layer(
            _tensor(scales.reshape(-1)),
            self.parameters[bias] if bias else None,
            _tensor(weight.codes).float(),
            source.zero_point,
            _tensor(source.zero_point * codes.sum(1)).double(),
            None if by_bytes is None else by_bytes.prepare(np.ascontiguousarray(weight.codes.T)),
        )

    def _scales_of_product(self, node: FloatNode, a: _Form, b: _Form) -> Tensor | None:
        """Return the scales of a product's sums; None where a sum may not be exact."""
        terms = self.graph.node(node.inputs[0]).shape[-1]
        if terms * a.reach * b.reach >= EXACT:
            return None
        try:
            return _tensor(product_scales(node, a.scales, b.scales))
        except InputError:  # they vary along the sum
            return None

    def _table(self, node: FloatNode, source: _Form) -> Tensor | None:
        """Return a function's values for all codes, float64, None where a table is of no use."""
        quantizer = self.quantizers.get(node.name)
        entries = source.highest - source.lowest + 1
        if source.scales.size > 1 or entries > LONGEST_TABLE:
            return None
        if not isinstance(quantizer, ActivationQuantizer):
            return None
        steps = torch.arange(source.lowest, source.highest + 1, dtype=torch.float64)
        real = steps * float(source.scales.reshape(()))
        return quantizer.through_table(apply(node, [real], {}, len(real)))


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: torch warns of arrays that are read-only


def _steps(value: Value) -> Tensor:
    assert isinstance(value, Codes)
    return value.steps


def _real(value: Value) -> Tensor:
    return value.real() if isinstance(value, Codes) else value


def _form(quantizer: Quantizer, node: FloatNode) -> _Form:
    if isinstance(quantizer, LevelQuantizer):
        lowest, highest = quantizer.levels[0], quantizer.levels[-1]
    else:
        lowest, highest = quantizer.span
    return _Form(
        scales=quantizer_scales(quantizer, node.shape),
        lowest=lowest,
        highest=highest,
        zero_point=quantizer.zero_point,
    )
