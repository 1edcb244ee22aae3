# SPDX-License-Identifier: Apache-2.0
"""Fake quantization of a whole network, with its matrix products as products of whole numbers.

What the interpreter yields in float64 under :meth:`QuantizedModel.fake_quantize` is a sum of
products of codes times scales. Here the codes are summed as bytes or in float32, wherever no
partial sum can pass 2^24, so that every one of them is exact in any order; the scales, and
everything that is no product, stay in float64, in one pass over memory each
(:mod:`aocq.methods.code_kernels`). Both differ by float64's rounding, and this takes less than
half of the time.
A function of one tensor of codes is looked up: it has no more values than there are codes.
Where codes have a step of their own in each row, so have their sums; where blocks of a row have,
codes are multiplied by their block's factor, a whole number, and summed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
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
from aocq.methods.code_kernels import (
    codes_of_added,
    codes_of_real,
    codes_of_sums,
    codes_of_table,
    real_of_sums,
    signed_bytes,
)
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.masks import quantizer_of
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import (
    ActivationQuantizer,
    DynamicQuantizer,
    LevelQuantizer,
    Quantizer,
)
from aocq.methods.scales import Scales, linear_scales, moved, product_scales, quantizer_scales
from simulator.errors import InputError
from simulator.gemm import Gemm, Product

# Whole numbers up to here, and sums of them, are exact in float32.
EXACT = 2**24
# Of a longer table, most entries would be computed for nothing.
LONGEST_TABLE = 2**12
NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes less their zero point, float32 [images, ...], and scales that broadcast, float64.

    ``factors`` [images, ..., groups] are those of groups of the last dimension whose steps are
    dynamic, whole numbers in float64: scales are then of a group whose factor is 1.
    """

    steps: Tensor
    scales: Tensor
    factors: Tensor | None = None

    def whole(self) -> Tensor:
        """Return the codes times their groups' factors: whole numbers, float64."""
        if self.factors is None:
            return self.steps.double()
        groups = self.factors.shape[-1]
        grouped: Tensor = self.steps.double().unflatten(-1, (groups, -1))
        return grouped.mul_(self.factors[..., None]).flatten(-2)

    def real(self) -> Tensor:
        """Return the real values, float64."""
        if self.factors is not None:
            return self.whole().mul_(self.scales)
        return _in_rows(real_of_sums, self.steps, self.scales, NONE, dtype=torch.float64)


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
class _Sums:
    """How sums of codes become a tensor: ``sums * factor + offset``, float64.

    Attributes
    ----------
    span
        lowest and highest code less the zero point, where factor and offset are in codes of the
        result; None where they are real values
    """

    factor: Tensor
    offset: Tensor | None
    span: tuple[int, int] | None

    def __call__(self, sums: Tensor) -> Tensor:
        """Return codes less their zero point, float32, or real values, float64, from ``sums``.

        These are whole numbers of any type.
        """
        offset = NONE if self.offset is None else self.offset.reshape(-1).numpy()
        if self.span is None:
            return _in_rows(real_of_sums, sums, self.factor, offset, dtype=torch.float64)
        low, high = map(float, self.span)
        return _in_rows(codes_of_sums, sums, self.factor, offset, low, high)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer on codes: weight codes, float32 [N, K], or what multiplies signed bytes."""

    weight: Tensor
    zero_point: int
    of_bytes: Product | None

    def __call__(self, steps: Tensor) -> Tensor:
        """Return the sums; those of bytes are int32 and contain what their zero point adds."""
        if self.of_bytes is None:
            return functional.linear(steps, self.weight)
        codes = np.empty((steps.numel() // steps.shape[-1], steps.shape[-1]), np.int8)
        signed_bytes(steps.reshape(-1).numpy(), self.zero_point, codes.reshape(-1))
        sums = torch.from_numpy(self.of_bytes(codes))
        return sums.reshape(*steps.shape[:-1], -1)


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
        self.sums: dict[str, _Sums] = {}
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
        if node.name in self.sums:
            return self._summed(node, [_codes(value) for value in inputs])
        if node.op is FloatOp.ADD:
            a, b = inputs
            if isinstance(b, Codes):
                a, b = b, a
            if isinstance(a, Codes) and not isinstance(b, Codes):
                added = self._added(node, a, b)
                if added is not None:
                    return added
        if node.op is FloatOp.INPUT:
            real = images if node.name in self.quantizers else images.double()
        else:
            real = apply(node, [_real(value) for value in inputs], self.parameters, len(images))
        quantizer = self.quantizers.get(node.name)
        if isinstance(quantizer, LogarithmicQuantizer):
            return quantizer(real)
        return real if quantizer is None else self._codes(node, quantizer, real)

    def _codes(self, node: FloatNode, quantizer: Quantizer, real: Tensor) -> Codes:
        if isinstance(quantizer, DynamicQuantizer):
            steps, factors = quantizer.split(real)
            return replace(self.forms[node.name].codes(steps.float()), factors=factors)
        assert not isinstance(quantizer, LogarithmicQuantizer)
        rule = _uniform(quantizer)
        if rule is not None and real.dtype == torch.float64:
            return self.forms[node.name].codes(_in_rows(codes_of_real, real, *rule))
        return self.forms[node.name].codes(quantizer.steps(real).float())

    def _summed(self, node: FloatNode, inputs: list[Codes]) -> Value:
        """Return the result of a layer or a product, whose sums are whole numbers."""
        if any(codes.factors is not None for codes in inputs):
            sums = self._scaled(node, inputs)
        else:
            sums = self._plain(node, [codes.steps for codes in inputs])
        result = self.sums[node.name](sums)
        if self.sums[node.name].span is not None:
            return self.forms[node.name].codes(result)
        quantizer = self.quantizers.get(node.name)
        return result if quantizer is None else self._codes(node, quantizer, result)

    def _plain(self, node: FloatNode, steps: list[Tensor]) -> Tensor:
        """Return the sums of products of codes."""
        if node.name in self.layers:
            return self.layers[node.name](steps[0])
        return apply(node, steps, {}, len(steps[0]))

    def _scaled(self, node: FloatNode, inputs: list[Codes]) -> Tensor:
        """Return sums, float64, each product times the factors of its codes' groups."""
        if any(codes.factors is not None and codes.factors.shape[-1] > 1 for codes in inputs):
            whole = [codes.whole() for codes in inputs]
            if node.name in self.layers:
                return functional.linear(whole[0], self.layers[node.name].weight.double())
            return apply(node, whole, {}, len(whole[0]))
        sums = self._plain(node, [codes.steps for codes in inputs]).double()
        for side, codes in enumerate(inputs):  # one factor for each row of the operand
            if codes.factors is not None:
                sums *= codes.factors if side == 0 else codes.factors.transpose(-1, -2)
        return sums

    def _looked_up(self, node: FloatNode, source: Value) -> Codes:
        """Return the codes of a function of codes that have one scale."""
        quantizer = self.quantizers[node.name]
        assert isinstance(quantizer, ActivationQuantizer)
        scales, low, high = _rule(quantizer)
        steps = _in_rows(
            codes_of_table,
            _steps(source),
            scales,
            low,
            high,
            before=(self.forms[node.inputs[0]].lowest, self.tables[node.name].numpy()),
        )
        return self.forms[node.name].codes(steps)

    def _added(self, node: FloatNode, codes: Codes, real: Tensor) -> Codes | None:
        """Return the codes of a sum of codes and real values; None where it takes more steps."""
        rule = _uniform(self.quantizers.get(node.name))
        if rule is None or codes.steps.shape != real.shape:
            return None
        factor = _periodic(codes.scales, real.shape)
        rows = real.reshape(-1, real.shape[-1]).numpy()
        steps = _in_rows(codes_of_added, codes.steps, *rule, before=(factor, rows))
        return self.forms[node.name].codes(steps)

    def _prepare(self, node: FloatNode) -> None:
        """Note the form of a node's result, and how it is computed."""
        quantizer = quantizer_of(self.graph, self.model.activations, node)
        source = self.forms.get(node.inputs[0]) if node.inputs else None
        if quantizer is not None:
            self.quantizers[node.name] = quantizer
        if isinstance(quantizer, LogarithmicQuantizer):
            pass  # every row has a scale of its own: what reads them sums real values
        elif quantizer is not None:
            self.forms[node.name] = _form(quantizer, node)
        elif source is not None and node.op is FloatOp.SCALE:
            scales = source.scales * float(node.attributes["factor"])
            self.forms[node.name] = replace(source, scales=scales)
        elif source is not None and node.op in LAYOUT:
            scales = moved(source.scales, self.graph.node(node.inputs[0]).shape, node)
            self.forms[node.name] = replace(source, scales=scales)
        if node.op is FloatOp.LINEAR and source is not None:
            self._prepare_layer(node, source)
        if node.op is FloatOp.MATMUL and all(name in self.forms for name in node.inputs):
            self._prepare_product(node, *(self.forms[name] for name in node.inputs))
        if node.op is FloatOp.UNARY and source is not None:
            table = self._table(node, source)
            if table is not None:
                self.tables[node.name] = table

    def _prepare_layer(self, node: FloatNode, source: _Form) -> None:
        """Note how a layer is computed from codes, unless a sum may not be exact."""
        weight = self.model.weights[node.attributes["weight"]]
        codes = weight.codes.astype(np.int64)
        if source.reach * int(np.abs(codes).sum(1).max()) >= EXACT:
            return
        try:
            scales = linear_scales(node, source.scales, weight).reshape(-1)
        except InputError:  # the input's vary along the sum
            return
        of_bytes = None
        offset = np.zeros(len(codes))
        if self.of_bytes is not None and source.is_signed_byte:
            of_bytes = self.of_bytes.prepare(np.ascontiguousarray(weight.codes.T))
            offset -= source.zero_point * codes.sum(1) * scales
        if node.attributes["bias"]:
            offset += self.parameters[node.attributes["bias"]].numpy()
        scales = np.broadcast_to(scales, len(codes))
        self.layers[node.name] = _Layer(_tensor(weight.codes).float(), source.zero_point, of_bytes)
        self.sums[node.name] = self._rule(node, scales, offset)

    def _prepare_product(self, node: FloatNode, a: _Form, b: _Form) -> None:
        """Note how a product is computed from codes, unless a sum may not be exact."""
        terms = self.graph.node(node.inputs[0]).shape[-1]
        if terms * a.reach * b.reach >= EXACT:
            return
        with suppress(InputError):  # scales vary along the sum
            self.sums[node.name] = self._rule(node, product_scales(node, a.scales, b.scales), None)

    def _rule(self, node: FloatNode, scales: Scales, offset: Scales | None) -> _Sums:
        """Return what becomes of sums of these scales: where that is possible, codes at once."""
        quantizer, span = self.quantizers.get(node.name), None
        if isinstance(quantizer, ActivationQuantizer) and not quantizer.table_scale:
            own, span = quantizer.scale_array(), quantizer.span
            scales, offset = scales / own, None if offset is None else offset / own
        return _Sums(_tensor(scales), None if offset is None else _tensor(offset), span)

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


def _uniform(quantizer: Quantizer | None) -> tuple[Tensor, float, float] | None:
    """Return scales, lowest and highest code of a quantizer that only divides and rounds."""
    if not isinstance(quantizer, ActivationQuantizer) or quantizer.table_scale:
        return None
    return _rule(quantizer)


def _rule(quantizer: ActivationQuantizer) -> tuple[Tensor, float, float]:
    low, high = quantizer.span
    return quantizer.scales(), float(low), float(high)


def _periodic(scales: Tensor, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return scales that broadcast with [images, ...], as :mod:`aocq.methods.code_kernels` does."""
    array = scales.numpy()
    array = array.reshape((1,) * (len(shape) - 1 - array.ndim) + array.shape)
    own, last = array.shape[:-1], array.shape[-1]
    first = next((axis for axis, size in enumerate(own) if size > 1), len(own))
    rows = (*own[:first], *shape[1 + first : -1], last)
    return np.ascontiguousarray(np.broadcast_to(array, rows).reshape(-1, last))


def _in_rows(
    function: Callable[..., None],
    values: Tensor,
    scales: Tensor,
    *arguments: Any,
    before: tuple[Any, ...] = (),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return what a kernel writes for ``values`` [images, ...], whose rows are its last axis."""
    out = torch.empty(values.shape, dtype=dtype)
    columns = values.shape[-1]
    function(
        values.reshape(-1, columns).numpy(),
        *before,
        _periodic(scales, values.shape),
        *arguments,
        out.view(-1, columns).numpy(),
    )
    return out


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: torch warns of arrays that are read-only


def _steps(value: Value) -> Tensor:
    assert isinstance(value, Codes)
    return value.steps


def _codes(value: Value) -> Codes:
    assert isinstance(value, Codes)
    return value


def _real(value: Value) -> Tensor:
    return value.real() if isinstance(value, Codes) else value


def _form(
    quantizer: ActivationQuantizer | LevelQuantizer | DynamicQuantizer, node: FloatNode
) -> _Form:
    if isinstance(quantizer, LevelQuantizer):
        lowest, highest = quantizer.levels[0], quantizer.levels[-1]
    elif isinstance(quantizer, DynamicQuantizer):
        lowest, highest = quantizer.type.low, quantizer.type.high
    else:
        lowest, highest = quantizer.span
    return _Form(
        scales=quantizer_scales(quantizer, node.shape),
        lowest=lowest,
        highest=highest,
        zero_point=quantizer.zero_point,
    )
