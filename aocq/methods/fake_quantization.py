# SPDX-License-Identifier: Apache-2.0
"""Fake quantization of a whole network, with its matrix products as products of whole numbers.

What the interpreter yields in float64 under :meth:`QuantizedModel.fake_quantize` is a sum of
products of codes times scales. Here the codes are summed in float32, wherever no partial sum can
pass 2^24, so that every one of them is exact in any order; the scales, and everything that is no
product, stay in float64. Both differ by float64's rounding, and this takes a third of the time.
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

    def codes(self, steps: Tensor) -> Codes:
        """Return codes of this form."""
        return Codes(steps, _tensor(self.scales))

    @property
    def reach(self) -> int:
        return max(-self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class _Product:
    """The scales of a product's sums, float64; a layer's weight codes, float32 [N, K], and bias."""

    scales: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None


class FakeQuantization:
    """A quantized model made ready to compute what its integers stand for, few images at a time."""

    def __init__(self, model: QuantizedModel) -> None:
        """Find the forms of all tensors, and which products are exact in float32."""
        self.model, self.graph = model, model.graph
        self.parameters = model.fake_quantized_parameters()
        self.quantizers: dict[str, Quantizer] = {}
        self.forms: dict[str, _Form] = {}
        self.products: dict[str, _Product] = {}
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
            (source,) = inputs
            assert isinstance(source, Codes)
            moves = node.op in LAYOUT
            steps = apply(node, [source.steps], {}, len(images)) if moves else source.steps
            return self.forms[node.name].codes(steps)
        if node.name in self.tables:
            return self._looked_up(node, inputs[0])
        if node.op is FloatOp.INPUT:
            real = images if node.name in self.quantizers else images.double()
        elif node.name in self.products:
            real = self._product(node, inputs)
        else:
            real = apply(node, [_real(value) for value in inputs], self.parameters, len(images))
        quantizer = self.quantizers.get(node.name)
        return real if quantizer is None else self._codes(node, quantizer, real)

    def _codes(self, node: FloatNode, quantizer: Quantizer, real: Tensor) -> Codes:
        return self.forms[node.name].codes(quantizer.steps(real).float())

    def _product(self, node: FloatNode, inputs: Sequence[Value]) -> Tensor:
        """Return the real values of sums that are computed as whole numbers, float64."""
        product = self.products[node.name]
        steps = [value.steps for value in inputs if isinstance(value, Codes)]
        if product.weight is not None:
            sums = functional.linear(steps[0], product.weight)
        else:
            sums = apply(node, steps, {}, len(steps[0]))
        real = sums.double().mul_(product.scales)
        return real if product.bias is None else real.add_(product.bias)

    def _looked_up(self, node: FloatNode, source: Value) -> Codes:
        """Return the codes of a function of codes that have one scale."""
        assert isinstance(source, Codes)
        index = source.steps.flatten().sub(self.forms[node.inputs[0]].lowest).int()
        found = self.tables[node.name].index_select(0, index).reshape(source.steps.shape)
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
        if node.op in {FloatOp.LINEAR, FloatOp.MATMUL}:
            product = self._exact_product(node)
            if product is not None:
                self.products[node.name] = product
        if node.op is FloatOp.UNARY and source is not None:
            table = self._table(node, source)
            if table is not None:
                self.tables[node.name] = table

    def _exact_product(self, node: FloatNode) -> _Product | None:
        """Return how a product is computed from codes; None where a sum may not be exact."""
        forms = [self.forms[name] for name in node.inputs if name in self.forms]
        if len(forms) < len(node.inputs):
            return None
        try:
            if node.op is FloatOp.MATMUL:
                scales = product_scales(node, forms[0].scales, forms[1].scales)
                terms = self.graph.node(node.inputs[0]).shape[-1]
                largest = terms * forms[0].reach * forms[1].reach
                return _Product(_tensor(scales)) if largest < EXACT else None
            weight = self.model.weights[node.attributes["weight"]]
            scales = linear_scales(node, forms[0].scales, weight)
        except InputError:  # scales vary along the sum
            return None
        if forms[0].reach * int(np.abs(weight.codes.astype(np.int64)).sum(1).max()) >= EXACT:
            return None
        bias = node.attributes["bias"]
        return _Product(
            _tensor(scales),
            _tensor(weight.codes).float(),
            self.parameters[bias] if bias else None,
        )

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


def _real(value: Value) -> Tensor:
    return value.real() if isinstance(value, Codes) else value


def _form(quantizer: Quantizer, node: FloatNode) -> _Form:
    if isinstance(quantizer, LevelQuantizer):
        lowest, highest = quantizer.levels[0], quantizer.levels[-1]
    else:
        lowest, highest = quantizer.span
    return _Form(scales=quantizer_scales(quantizer, node.shape), lowest=lowest, highest=highest)
