# SPDX-License-Identifier: Apache-2.0
"""A chip's own operators for calibration: single nodes, lowered and run by their kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import GELUS, PARAMETER_ATTRIBUTES
from aocq.capture.interpreter import apply
from aocq.lowering.lower import lower
from aocq.methods.chip_operators import ChipOperators, Operator, exact_operators
from aocq.methods.layernorm_parts import PARTS, part_name
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.masks import scores_of
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer, Quantizer
from aocq.methods.scale_form import ScaleForm
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from simulator.boundary import dequantize
from simulator.executor import Executor
from simulator.profile import DeferredLog2Softmax, GraphLayerNorm, NpuProfile

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "source"
# Algorithms whose results differ from exact ones by more than the rounding of a code.
_APPROXIMATE = frozenset({"ibert_poly", "shiftmax", "ita_shift", "log2", "shift_gelu"})
_APPROXIMATE_NORMS = frozenset({"isqrt_bisect"})


def operators_of(profile: NpuProfile, recipe: Recipe, *, parts: bool = False) -> ChipOperators:
    """Return the operators of a chip that differ from exact ones; :func:`exact_operators` if none.

    Parameters
    ----------
    parts
        whether those that nearly are exact are among them, too: a LayerNorm that is a graph of
        operators, where the quantizers of its parts are known, which they are not while a network
        is calibrated; and division by the reciprocals of rows' sums
    """
    kinds = approximate(profile)
    if parts and isinstance(profile.layernorm, GraphLayerNorm):
        kinds |= {FloatOp.LAYERNORM}
    if parts and isinstance(profile.softmax, DeferredLog2Softmax):
        kinds |= {FloatOp.MATMUL}
    return _Lowered(profile, recipe, kinds) if kinds else exact_operators


def approximate(profile: NpuProfile) -> frozenset[FloatOp]:
    """Return the operations that a chip approximates."""
    found = {
        FloatOp.SOFTMAX: profile.softmax.algorithm in _APPROXIMATE,
        FloatOp.UNARY: profile.gelu.algorithm in _APPROXIMATE,
        FloatOp.LAYERNORM: profile.layernorm.algorithm in _APPROXIMATE_NORMS,
    }
    return frozenset(op for op, approximates in found.items() if approximates)


@dataclass(slots=True)
class _Lowered:
    """Operators of one profile, each made once for the quantizers at both of its ends."""

    profile: NpuProfile
    recipe: Recipe
    kinds: frozenset[FloatOp]
    made: dict[object, Operator] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def __call__(
        self, graph: FloatGraph, node: FloatNode, quantizers: Mapping[str, Quantizer]
    ) -> Operator | None:
        if node.op not in self.kinds or node.name not in quantizers:
            return None
        if node.op is FloatOp.MATMUL:
            return self._divided(node, quantizers.get(node.inputs[0]))
        if node.op is FloatOp.UNARY and node.attributes["function"] not in GELUS:
            return None
        name, factor = scores_of(graph, graph.node(node.inputs[0]))
        source, result = quantizers.get(name), quantizers[node.name]
        if not isinstance(source, ActivationQuantizer) or source.alpha or source.table_scale:
            return None
        form = ScaleForm(float32=limits_of(self.profile, self.recipe).float32_scales)
        source = replace(source, scale=form.nearest(source.scale * factor))
        parts = _parts(node, quantizers) if node.op is FloatOp.LAYERNORM else {}
        key = (node.name, source, result)
        with self.lock:
            if key not in self.made:
                self.made[key] = self._lowered(graph, node, source, result, parts)
            return self.made[key]

    def _divided(self, node: FloatNode, rows: Quantizer | None) -> Operator | None:
        """Return a product of a softmax's rows as the chip divides it, by rounded reciprocals."""
        section = self.profile.softmax
        if not isinstance(rows, LogarithmicQuantizer):
            return None
        assert isinstance(section, DeferredLog2Softmax)
        largest, one = rows.levels[0], 2.0**section.reciprocal_bits

        def product(inputs: Sequence[Tensor]) -> Tensor:
            probabilities, values = inputs
            levels = probabilities / probabilities.amax(-1, keepdim=True)
            levels = levels.mul_(largest).round_()  # each row has the largest one
            sums = levels.sum(-1, keepdim=True)
            reciprocals = ((one + (sums / 2).floor_()) / sums).floor_()
            return apply(node, [levels, values], {}, len(levels)).mul_(reciprocals / one)

        return product

    def _lowered(
        self,
        graph: FloatGraph,
        node: FloatNode,
        source: ActivationQuantizer,
        result: Quantizer,
        parts: Mapping[str, ActivationQuantizer],
    ) -> Operator:
        """Return one node as the chip computes it."""
        shape = graph.node(node.inputs[0]).shape
        front = FloatNode(
            name=SOURCE, op=FloatOp.INPUT, inputs=(), attributes=MappingProxyType({}), shape=shape
        )
        read = [node.attributes[key] for key in PARAMETER_ATTRIBUTES if node.attributes.get(key)]
        alone = FloatGraph(
            name=graph.name,
            nodes=(front, replace(node, inputs=(SOURCE,))),
            parameters={name: graph.parameters[name].cpu() for name in read},
        )
        model = QuantizedModel(
            graph=alone,
            method="aocq",
            recipe=self.recipe,
            limits=limits_of(self.profile, self.recipe),
            activations={SOURCE: source, node.name: result},
            weights={},
            calibration_images=0,
            layernorm_quantizers=parts,
        )
        executor = Executor(lower(model, self.profile), threads=1)
        lowered = executor.graph
        dtype, output = lowered.tensors[SOURCE].type.dtype, lowered.outputs[0]

        def operator(inputs: Sequence[Tensor]) -> Tensor:
            import torch

            codes = source.codes(inputs[0]).cpu().numpy().astype(dtype)
            found = executor.run(np.ascontiguousarray(codes)).outputs[output]
            return torch.from_numpy(dequantize(found, lowered.tensors[output])).to(inputs[0])

        return operator


def _parts(norm: FloatNode, quantizers: Mapping[str, Quantizer]) -> dict[str, ActivationQuantizer]:
    """Return the quantizers of a LayerNorm's parts, those that are known."""
    names = (part_name(norm.name, part) for part in PARTS)
    found = {name: quantizers.get(name) for name in names}
    return {name: q for name, q in found.items() if isinstance(q, ActivationQuantizer)}
