# SPDX-License-Identifier: Apache-2.0
"""Initial scales (s0): a quantizer for every tensor of a block, before any refinement."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC, LAYOUT, readers_of
from aocq.capture.passes import keeps_channels
from aocq.capture.residual_stream import fusable_layers, residual_stream, stream_terms
from aocq.methods.aocq.balance import (
    ChannelRange,
    balances_inputs,
    clipped_magnitude,
    columns_quantizer,
    form,
    linear_input_quantizer,
    stream_quantizer,
)
from aocq.methods.aocq.blocks import Block
from aocq.methods.aocq.float_stream import computed_from
from aocq.methods.aocq.stream_forms import stream_forms
from aocq.methods.aocq.token_norm import token_weights
from aocq.methods.aocq.tokens import token_importance
from aocq.methods.base_ptq import (
    multiplied_with_activations,
    probabilities_quantizer,
)
from aocq.methods.dynamic_steps import OPERANDS, WIDEST_BASE, Steps, dynamic_steps
from aocq.methods.masks import scores_of
from aocq.methods.operands import row_blocks
from aocq.methods.quantizers import ActivationQuantizer, DynamicQuantizer, Quantizer
from aocq.methods.ranges import (
    ObservedRange,
    activation_quantizer,
    least_squares_quantizer,
    quantize_weight,
)
from aocq.methods.scale_form import activation_form, weight_form
from aocq.methods.tensor_widths import tensor_widths, weight_widths
from aocq.recipes.aocq_options import Alpha
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_constants import octave_scale

# How far the factors of a linear layer's input follow the channels' ranges before that is decided.
EXPONENT = 0.5


def shared_parts(graph: FloatGraph) -> dict[str, str]:
    """Return tensors that share the quantizer of a concatenation, and that concatenation."""
    joins = stream_terms(graph)
    return {
        name: node.name
        for node in graph.nodes
        if node.op is FloatOp.CONCAT
        for name in node.inputs
        if name in joins
    }


def without_codes(graph: FloatGraph, limits: ChipLimits) -> frozenset[str]:
    """Return the layers whose sums the chip adds to the stream: they need no quantizer."""
    return frozenset(fusable_layers(graph) if limits.fused_add else ())


def octave_scores(graph: FloatGraph, limits: ChipLimits) -> dict[str, float]:
    """Return the scales of scores on a chip whose softmax takes so many codes for an octave."""
    if limits.octave_codes is None:
        return {}
    found = {}
    for node in graph.nodes:
        if node.op is FloatOp.SOFTMAX:
            name, factor = scores_of(graph, graph.node(node.inputs[0]))
            found[name] = octave_scale(limits.octave_codes) / factor
    return found


class InitialScales:
    """Chooses the first quantizer of any tensor from its channels' ranges and sampled values."""

    def __init__(
        self,
        graph: FloatGraph,
        seen: Mapping[str, ChannelRange],
        recipe: Recipe,
        limits: ChipLimits,
        result: Tensor | None = None,
    ) -> None:
        """Take the ranges of every arithmetic node's channels over the calibration images.

        ``result`` is the float network's on the images whose values are looked at, where it has
        one for each token; see :func:`aocq.methods.aocq.tokens.token_importance`.
        """
        self.graph, self.seen, self.recipe, self.limits = graph, seen, recipe, limits
        self.stream = residual_stream(graph)
        self.widths = tensor_widths(graph, recipe, limits)
        self.weight_widths = weight_widths(graph, recipe)
        self.importance = token_importance(graph, recipe.aocq, result)
        self.joins = stream_terms(graph)
        self.symmetric = multiplied_with_activations(graph)
        self.parts = shared_parts(graph)
        self.scores = octave_scores(graph, limits)
        self.without_codes = without_codes(graph, limits)
        self.dynamic = dynamic_steps(graph, recipe.aocq, limits)
        narrowed = {node.name for node in graph.nodes if node.op in OPERANDS}
        self.clipped = narrowed - self.dynamic.keys()
        self.forms = stream_forms(graph, recipe)
        self.readers = linear_readers(graph) if balances_inputs(recipe, limits) else {}
        self.columns = {
            name: torch.cat([self._weight(reader) for reader in found]).cpu().double().pow(2).sum(0)
            for name, found in self.readers.items()
        }

    @property
    def kept(self) -> frozenset[str]:
        """Tensors whose scale is not searched for: without codes, dynamic, or softmax's own."""
        return self.without_codes | self.dynamic.keys() | self.scores.keys()

    def needs_values(self, node: FloatNode) -> bool:
        """Whether :meth:`choose` looks at a node's values, not only at its ranges."""
        return (
            node.name in self.clipped
            or (node.op is FloatOp.LINEAR and self._is_narrow_operand(node.name))
            or self._is_clipped_on_the_stream(node)
        )

    def _is_narrow_operand(self, name: str) -> bool:
        """Whether products of activations read codes with fewer bits than the vector unit's."""
        narrow = self.widths[name] < self.limits.vector_width(self.recipe)
        return narrow and name in self.symmetric

    def _is_clipped_on_the_stream(self, node: FloatNode) -> bool:
        return (
            self.recipe.aocq.alpha_choice == "mse"
            and (node.name in self.stream or node.name in self.joins)
            and node.name not in self.parts
        )

    def of_block(
        self, block: Block, source: Tensor, known: Mapping[str, Tensor] = MappingProxyType({})
    ) -> dict[str, Quantizer]:
        """Return s0 of a block's tensors; parts of a concatenation share its quantizer.

        ``source`` are the float network's values where the block starts, [images, ...], and
        ``known`` those of other tensors of the block, by name.
        """
        nodes = [
            self.graph.node(name)
            for name in block.nodes
            if self.graph.node(name).op in ARITHMETIC and name not in self.without_codes
        ]
        sampled = [node.name for node in nodes if self.needs_values(node)]
        values = computed_from(self.graph, {**known, block.source: source}, sampled)
        chosen = {node.name: self.choose(node, values) for node in nodes}
        for part, whole in self.parts.items():
            if part in chosen:
                chosen[part] = chosen[whole]
        return chosen

    def choose(self, node: FloatNode, values: Mapping[str, Tensor]) -> Quantizer:
        """Return the quantizer of an arithmetic node.

        ``values`` [images, tokens, C] are the float network's, by node, where :meth:`needs_values`.
        """
        name = node.name
        if node.op is FloatOp.SOFTMAX or name in self.scores:
            return self._at_a_softmax(node)
        if name in self.stream or name in self.joins:
            balanced = form(self.recipe, self.limits, self._form(name)) != "none"
            return (self._on_the_stream if balanced else self._with_one_scale)(node, values)
        if name in self.columns:
            return self.input_quantizer(node, EXPONENT)
        if node.op in OPERANDS:
            return self._narrowed(node, values)
        if node.op is FloatOp.LINEAR and name in self.symmetric:
            return self._operands(node, values.get(name))
        return self._plain(name, self.widths[name])

    def _tells_columns_apart(self, node: FloatNode) -> bool:
        """Whether a tensor is a dense result, of many tokens, each column with its own scale.

        Its columns are different quantities: class logits, lengths. Logits of an image are
        compared with each other, by chips too, and keep one scale.
        """
        return (
            node.name == self.graph.output.name
            and node.op is FloatOp.LINEAR
            and len(node.shape) > 1
            and self.limits.activation_granularity == "per_channel"
        )

    def _at_a_softmax(self, node: FloatNode) -> Quantizer:
        """Return the quantizer of probabilities, or of scores whose octaves are whole codes."""
        width = self.widths[node.name]
        if node.op is FloatOp.SOFTMAX:
            return probabilities_quantizer(width, self.limits.softmax_levels_per_octave)
        scale = activation_form(self.limits).nearest(self.scores[node.name])
        return ActivationQuantizer(type=IntType(bits=width), scale=scale, zero_point=0)

    def input_quantizer(self, node: FloatNode, exponent: float) -> ActivationQuantizer:
        """Return the balanced quantizer of a linear layer's input; see ``exponent`` there."""
        return linear_input_quantizer(
            self.seen[node.name],
            self.columns[node.name],
            exponent,
            self.widths[node.name],
            self.limits,
            through_table=node.op is FloatOp.UNARY,
        )

    def _form(self, name: str) -> Alpha:
        """Return the form of α of a tensor of the stream, or of one that only a sum there reads."""
        return self.forms[name if name in self.stream else self.joins[name].name]

    def _on_the_stream(self, node: FloatNode, values: Mapping[str, Tensor]) -> ActivationQuantizer:
        name, options = node.name, self.recipe.aocq
        if options.alpha_sharing == "stage" and name in self.stream:
            same = [
                self.seen[other] for other in self.stream if self._width(other) == node.shape[-1]
            ]
            magnitude = torch.stack([found.magnitude for found in same]).amax(0).double()
            shared = stream_quantizer(magnitude, self.recipe, self.limits, self._form(name))
            own = self.seen[name].magnitude.double() / torch.tensor(shared.alpha)
            scale = activation_form(self.limits).nearest(float(own.max()) / shared.type.high)
            return ActivationQuantizer(
                type=shared.type, scale=scale, zero_point=0, alpha=shared.alpha
            )
        magnitude = self.seen[name].magnitude.double()
        if name in values:
            magnitude = clipped_magnitude(
                values[name].flatten(0, -2),
                self.seen[name],
                self._token_weights(name, values).flatten(0, -2),
                self.limits.residual_bits,
            )
        return stream_quantizer(magnitude, self.recipe, self.limits, self._form(name))

    def _with_one_scale(self, node: FloatNode, values: Mapping[str, Tensor]) -> ActivationQuantizer:
        """Return the stream's quantizer of least error where tokens count by their norm.

        Few tokens are far larger than all others: DeiT-Tiny on a chip with one scale for a tensor
        clips a quarter to a half of the range.
        """
        name = node.name
        if name not in values:
            return self._plain(name, self.limits.residual_bits)
        seen = self.seen[name]
        observed = ObservedRange(float(seen.low.min()), float(seen.high.max()))
        observed.count(values[name].cpu(), self._token_weights(name, values).cpu())
        return least_squares_quantizer(
            observed,
            self.limits.residual_bits,
            "symmetric" if name in self.symmetric else self.limits.zero_point,
            activation_form(self.limits),
        )

    def _token_weights(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """Return the weight of every token: what is added counts by the norm of the sum."""
        total = self.joins.get(name)
        read = total.name if total is not None and total.op is FloatOp.ADD else name
        if values[read].shape != values[name].shape:
            read = name
        return token_weights(values[read], self.recipe.aocq, self.importance[read].to(values[read]))

    def _width(self, name: str) -> int:
        return self.graph.node(name).shape[-1]

    def _plain(self, name: str, bits: int) -> ActivationQuantizer:
        zero_point = "symmetric" if name in self.symmetric else self.limits.zero_point
        seen = self.seen[name]
        if self._tells_columns_apart(self.graph.node(name)):
            return columns_quantizer(seen, bits, self.limits)
        low, high = float(seen.low.min()), float(seen.high.max())
        return activation_quantizer(low, high, bits, zero_point, activation_form(self.limits))

    def _narrowed(self, node: FloatNode, values: Mapping[str, Tensor]) -> Quantizer:
        """Return the quantizer of a rotation or a requantization."""
        name = node.name
        if name in self.dynamic:
            return self._dynamic(name, self.dynamic[name])
        zero_point = "symmetric" if name in self.symmetric else self.limits.zero_point
        return self._of_least_error(values[name], self.widths[name], zero_point)

    def _of_least_error(self, values: Tensor, bits: int, zero_point: str) -> ActivationQuantizer:
        """Return one scale of least squared error, which clips large values that are rare."""
        seen = ObservedRange()
        seen.see(values)
        seen.count(values.cpu())
        return least_squares_quantizer(seen, bits, zero_point, activation_form(self.limits))

    def _dynamic(self, name: str, steps: Steps) -> DynamicQuantizer:
        """Return dynamic steps on wide codes of the whole range, which clip nothing themselves."""
        base = IntType(bits=WIDEST_BASE)
        form = activation_form(self.limits)
        scale = form.nearest(float(self.seen[name].magnitude.max()) / base.high)
        wide = ActivationQuantizer(type=base, scale=scale, zero_point=0)
        return steps.on(wide, self.widths[name])

    def _operands(self, node: FloatNode, values: Tensor | None) -> ActivationQuantizer:
        """One scale each for queries, keys and values: rows of one layer, so it costs nothing.

        One for all three on a chip with one scale per tensor. Operands that are narrower than other
        tensors (of which ``values`` are given) clip large ones that are rare: at 4 bits the result
        of attention is 3 to 5 dB closer (docs/decisions/0045-passes-over-float-graphs.md).
        """
        int_type, form = IntType(bits=self.widths[node.name]), activation_form(self.limits)
        magnitude = self.seen[node.name].magnitude.double()
        factors = torch.empty_like(magnitude)
        per_channel = self.limits.activation_granularity == "per_channel"
        for rows in map(
            list, row_blocks(self.graph, node) if per_channel else [range(len(factors))]
        ):
            factors[rows] = magnitude[rows].max()
            if values is not None:
                clipped = self._of_least_error(values[..., rows], int_type.bits, "symmetric")
                factors[rows] = clipped.scale * int_type.high
        if form.power_of_two:  # what codes of such scales reach
            factors = form.nearest(factors / int_type.high) * int_type.high
        top = float(factors.max())
        scale = form.nearest(top / int_type.high)
        if bool((factors == top).all()):
            return ActivationQuantizer(type=int_type, scale=scale, zero_point=0)
        return ActivationQuantizer(
            type=int_type,
            scale=scale,
            zero_point=0,
            alpha=tuple((factors / top).tolist()),
        )

    def rounded_readers(self, name: str, alpha: tuple[float, ...]) -> dict[str, Tensor]:
        """Return the weights of the layers that read ``name``, as the factors would round them.

        To nearest, by parameter name: what factors cost the weights whose columns they go into.
        """
        recipe, limits, rounded_weights = self.recipe, self.limits, {}
        factors = torch.tensor(alpha or (1.0,), dtype=torch.float64)
        for reader in self.readers[name]:
            real = self._weight(reader)
            rounded = quantize_weight(
                real.cpu().double() * factors,
                self.weight_widths[reader.attributes["weight"]],
                limits.weight_granularity,
                recipe.weight_range,
                weight_form(limits),
            )
            rounded_weights[reader.attributes["weight"]] = (rounded.dequantized() / factors).to(
                real
            )
        return rounded_weights

    def _weight(self, layer: FloatNode) -> Tensor:
        weight: Tensor = self.graph.parameters[layer.attributes["weight"]]
        return weight


def linear_readers(graph: FloatGraph) -> dict[str, list[FloatNode]]:
    """Return the readers of tensors that only linear layers read, by tensor.

    Only results of LayerNorm and of functions by table: their channels can be given factors.
    """
    readers = readers_of(graph)
    readers_by_tensor = {}
    for node in graph.nodes:
        if node.op in {FloatOp.LAYERNORM, FloatOp.UNARY}:
            reading = _behind_layout(node, readers)
            if reading and all(reader.op is FloatOp.LINEAR for reader in reading):
                readers_by_tensor[node.name] = reading
    return readers_by_tensor


def _behind_layout(node: FloatNode, readers: Mapping[str, list[FloatNode]]) -> list[FloatNode]:
    """Return the readers of a tensor behind layout nodes that move whole tokens."""
    found = []
    for reader in readers.get(node.name, []):
        through = reader.op in LAYOUT and keeps_channels(reader, node)
        found += _behind_layout(reader, readers) if through else [reader]
    return found
