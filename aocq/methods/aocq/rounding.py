# SPDX-License-Identifier: Apache-2.0
"""Integer weights, layer after layer, scales frozen (AOCQ's framework level, second stage).

Every layer is fitted on what the quantized network before it yields, to what the float network
yields there. Layers that end a branch are fitted to the float *stream* behind their sum, so that
they also make up for the stream's own error; their tokens are weighted by the token norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run_in_parts
from aocq.capture.float_graph import LAYOUT
from aocq.capture.parts import in_threads
from aocq.capture.passes import keeps_channels
from aocq.capture.residual_stream import arithmetic_source, stream_terms
from aocq.methods.aocq.blocks import Block, segments
from aocq.methods.aocq.closed_form import (
    Moments,
    centred,
    descend,
    refit_scales,
    regular,
    round_columns,
    row_scales,
)
from aocq.methods.aocq.float_stream import MOST_KEPT, computed_from
from aocq.methods.aocq.narrow_sums import (
    projected,
    register_of,
    rounded_within,
    smallest_scales,
)
from aocq.methods.aocq.token_norm import token_weights
from aocq.methods.aocq.tokens import token_importance
from aocq.methods.chip_operators import ChipOperators, exact_operators, operator_of
from aocq.methods.masks import quantizing
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight, Quantizer
from aocq.methods.ranges import quantize_weight
from aocq.methods.scale_form import weight_form
from aocq.methods.scales import moved
from aocq.methods.tensor_widths import weight_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

# From fewer tokens, the mean of their errors says little about those of other images.
TOKENS_FOR_BIAS = 50
# Images whose tokens are summed up in float32, and of how many batches the sums are held at once.
BATCH, BATCHES = 16, 8
# Of a channel of a layer's input: what is further off has other reasons than the chip's operators.
MOST_GAIN = 2.0
# Of a channel's power that the slope explains: a slope is not believed below the first share, and
# in full from the second one on.
CERTAIN = (0.6, 0.9)
# How often scales and codes are fitted to each other, and passes over the columns each time.
ROUNDS, PASSES = 2, 2


@dataclass(slots=True)
class LayerResult:
    """A linear layer's integer weights, its bias, and the weights in codes before rounding."""

    weight: QuantizedWeight
    bias: Tensor | None
    sought: Tensor


@dataclass(frozen=True, slots=True)
class RoundedBlock:
    """A block's layers in integers, and what was learned beside them.

    Attributes
    ----------
    layers
        by node name
    quantizers
        those of activations whose step was learned, by node name
    losses
        of the block on the images that judged what was learned, at the start and at last; none
        where nothing was
    """

    layers: dict[str, LayerResult]
    quantizers: dict[str, Quantizer] = field(default_factory=dict)
    losses: tuple[float, ...] = ()


@dataclass(slots=True)
class Streams:
    """Float and quantized values of the tensor at which a block starts, [images, ...]."""

    real: Tensor
    quantized: Tensor


class FakeQuantizedNetwork:
    """The network with fake-quantized activations, and with the integer weights found so far."""

    def __init__(
        self,
        graph: FloatGraph,
        quantizers: dict[str, Quantizer],
        recipe: Recipe,
        limits: ChipLimits,
        operators: ChipOperators = exact_operators,
        result: Tensor | None = None,
    ) -> None:
        """Start with float weights; ``quantizers`` of what is learned are replaced.

        ``result`` is the float network's on all images, where it has one for each token; see
        :func:`aocq.methods.aocq.tokens.token_importance`.
        """
        self.graph, self.quantizers, self.limits = graph, quantizers, limits
        self.operators = operator_of(graph, quantizers, operators)
        self.importance = token_importance(graph, recipe.aocq, result)
        self.parameters: dict[str, Tensor] = {}

    def __call__(self, feeds: Mapping[str, Tensor], fetches: list[str]) -> dict[str, Tensor]:
        """Run from ``feeds`` to ``fetches``."""
        fake_quantize = quantizing(self.graph, self.quantizers)
        return run_in_parts(
            self.graph,
            feeds,
            fetches,
            transform=fake_quantize,
            parameters=self.parameters,
            operators=self.operators,
        )

    def approximates_input(self, node: FloatNode) -> bool:
        """Whether the chip approximates what makes a layer's input, or an operand of that."""
        source = arithmetic_source(self.graph, node.inputs[0])
        makers = [source]
        if source.op is FloatOp.MATMUL:
            makers += [arithmetic_source(self.graph, name) for name in source.inputs]
        return any(self.operators(maker) is not None for maker in makers)

    def take_block(self, block: Block, found: RoundedBlock) -> None:
        """Let what was found of a block replace what it was in everything that follows."""
        self.quantizers |= found.quantizers
        for node in linear_nodes(self.graph, block):
            self.take(node, found.layers[node.name])

    def take(self, node: FloatNode, result: LayerResult) -> None:
        """Let a layer's integers replace its float weights in everything that follows."""
        name, bias = node.attributes["weight"], node.attributes["bias"]
        self.parameters[name] = result.weight.dequantized().to(self.graph.parameters[name])
        if result.bias is not None:
            self.parameters[bias] = result.bias.to(self.graph.parameters[bias])


def round_block(
    network: FakeQuantizedNetwork,
    block: Block,
    streams: Streams,
    recipe: Recipe,
    known: Mapping[str, LayerResult],
    on_layer: Callable[[], None],
    float_stream: Mapping[str, Tensor] = MappingProxyType({}),
) -> tuple[dict[str, LayerResult], Streams]:
    """Round a block's weights to integers, and hand them to the fake-quantized network.

    Parameters
    ----------
    known
        layers that an earlier run finished, by node name
    on_layer
        called after every layer
    float_stream
        the float network's values that are known, [images, ...] by node name

    Returns
    -------
    results, streams
        its layers by node name, and both streams behind it
    """
    results = dict(known)
    # Attention's result is computed once, not for every layer of the MLP.
    for part in segments(network.graph, block):
        targets = float_targets(network, part, streams, float_stream)
        feeds = {part.source: streams.quantized}
        for node in linear_nodes(network.graph, part):
            if node.name not in known:
                results[node.name] = round_layer(network, feeds, node, targets, recipe)
            network.take(node, results[node.name])
            on_layer()
        values = network(feeds, [part.result])
        streams = Streams(targets[part.result], values[part.result])
    return results, streams


def float_targets(
    network: FakeQuantizedNetwork,
    block: Block,
    streams: Streams,
    float_stream: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Return the float network's values of what a block's layers are fitted to, and its result.

    And of the inputs that the chip approximates. Those in ``float_stream`` are not computed again.
    """
    graph = network.graph
    layers = linear_nodes(graph, block)
    targets = {_target_of(graph, node).name for node in layers} | {block.result}
    targets |= {node.inputs[0] for node in layers if network.approximates_input(node)}
    inside = [name for name in block.nodes if name in targets]
    known = {name: float_stream[name] for name in inside if name in float_stream}
    return computed_from(graph, {**known, block.source: streams.real}, inside)


def _target_of(graph: FloatGraph, node: FloatNode) -> FloatNode:
    """Return the node whose values a layer is fitted to: its sum with the stream, or itself."""
    total = stream_terms(graph).get(node.name)
    return total if total is not None and total.op is FloatOp.ADD else node


def round_layer(
    network: FakeQuantizedNetwork,
    feeds: dict[str, Tensor],
    node: FloatNode,
    targets: Mapping[str, Tensor],
    recipe: Recipe,
) -> LayerResult:
    """Turn one linear layer's weights into integers by the recipe's ``rounding``.

    Parameters
    ----------
    feeds
        values of the quantized network before the layer, by node name, [images, ...]; the layer's
        input is added, so that nothing before it is computed again
    targets
        those of the block, see :func:`float_targets`
    """
    graph, limits = network.graph, network.limits
    weight = graph.parameters[node.attributes["weight"]]
    bias_name = node.attributes["bias"]
    bits = weight_widths(graph, recipe)[node.attributes["weight"]]
    alpha = _input_factors(network, node)
    columns = weight.cpu().double() * torch.tensor(alpha or (1.0,), dtype=torch.float64)
    register = register_of(graph, node, network.quantizers, limits.sum_bits)
    wanted = recipe.aocq.narrow_sums
    real_bias = graph.parameters[bias_name].cpu() if bias_name else torch.zeros(len(columns))
    if recipe.aocq.rounding == "nearest":
        nearest = quantize_weight(
            columns,
            bits,
            limits.weight_granularity,
            recipe.weight_range,
            weight_form(limits),
        )
        nearest = replace(nearest, alpha=alpha)
        if register is not None and wanted == "proven":
            form = weight_form(limits)
            nearest = rounded_within(register, columns, nearest, real_bias, form)
        return LayerResult(nearest, None, torch.from_numpy(nearest.codes.astype(np.float64)))
    moments = _moments(network, feeds, node, targets, recipe, alpha)
    if network.approximates_input(node):
        columns = columns / _gains(network, feeds, node, targets)
    images = len(next(iter(feeds.values())))
    counted = network.importance[node.name].clamp(max=1)
    tokens = float(counted.sum()) * (images if counted.ndim == len(node.shape) else 1)
    fits_bias = bool(bias_name) and tokens >= TOKENS_FOR_BIAS
    # What a bias does not take up, the weights have to.
    second = centred(moments) if fits_bias else regular(moments.inputs[:-1, :-1])
    form = weight_form(limits)
    # A power of two cannot follow the codes: the next one is twice as far as any fit goes.
    refits = limits.weight_granularity == "per_channel" and not form.power_of_two
    smallest = torch.zeros(len(columns), dtype=torch.float64)
    if register is not None:
        smallest = smallest_scales(register, wanted, columns, real_bias, moments.reach)

    def large_enough(scales: Tensor) -> Tensor:
        return _shared(form.nearest(torch.maximum(scales, smallest)), limits)

    scales = large_enough(row_scales(columns, second.diagonal(), bits, form))
    codes, sought = round_columns(columns, second, scales, bits)
    for _ in range(ROUNDS):
        if refits:
            scales = large_enough(refit_scales(codes, columns, second, scales))
        codes, sought = descend(codes, columns, second, scales, bits, PASSES)
    fitted = _fitted_bias(moments, codes * scales[:, None]) if fits_bias else None
    if register is not None and wanted == "proven":
        codes = projected(register, codes, scales, real_bias if fitted is None else fitted)
    return LayerResult(_weight(codes, scales.numpy(), bits, limits, alpha), fitted, sought)


def _gains(
    network: FakeQuantizedNetwork,
    feeds: Mapping[str, Tensor],
    node: FloatNode,
    targets: Mapping[str, Tensor],
) -> Tensor:
    """Return how many times too large every channel of a layer's input is on the chip, [K].

    Probabilities that are rounded down, or a root that is, make what they reach smaller or larger
    throughout: no bias makes up for that. It is the slope of the chip's values over the float
    network's; noise that has nothing to do with these does not change it, as it would the other
    way round. Where both have little to do with each other, it says nothing, and is 1.
    """
    name = node.inputs[0]
    found = feeds[name] if name in feeds else network(feeds, [name])[name]
    real = targets[name].flatten(0, -2)
    found = found.flatten(0, -2)
    deviation, own = real - real.mean(0), found - found.mean(0)
    power, power_found, common = (
        (a * b).sum(0).double().cpu()
        for a, b in ((deviation, deviation), (own, own), (deviation, own))
    )
    tiny = torch.finfo(power.dtype).tiny
    explained = common.square() / (power * power_found).clamp_min(tiny)
    low, high = CERTAIN
    trust = ((explained - low) / (high - low)).clamp(0, 1)
    slope = torch.where(power > 0, common / power.clamp_min(tiny), 1.0)
    return (1 + trust * (slope - 1)).clamp(1 / MOST_GAIN, MOST_GAIN)


def _shared(scales: Tensor, limits: ChipLimits) -> Tensor:
    """Return the same scale for all rows where the chip has only one."""
    if limits.weight_granularity == "per_channel":
        return scales
    return scales.max().expand_as(scales).contiguous()


def _weight(
    codes: Tensor, scales: np.ndarray, bits: int, limits: ChipLimits, alpha: tuple[float, ...]
) -> QuantizedWeight:
    shared = scales[:1] if limits.weight_granularity == "per_tensor" else scales
    return QuantizedWeight(
        bits=bits,
        codes=codes.numpy().astype(np.int8),
        scale=shared.astype(np.float64),
        alpha=alpha,
    )


def _input_factors(network: FakeQuantizedNetwork, node: FloatNode) -> tuple[float, ...]:
    """Return α of a linear layer's input, looking through what moves its values.

    Merged patches have as many factors as there are channels in a merged one.
    """
    source = network.graph.node(node.inputs[0])
    moves: list[tuple[FloatNode, FloatNode]] = []
    while source.name not in network.quantizers:
        before = network.graph.node(source.inputs[0])
        if source.op not in LAYOUT:
            return ()
        moves.insert(0, (source, before))
        source = before
    quantizer = network.quantizers[source.name]
    alpha = quantizer.alpha if isinstance(quantizer, ActivationQuantizer) else ()
    if all(keeps_channels(*move) for move in moves):
        return alpha if len(alpha) == node_inputs(network.graph, node) else ()
    factors = np.array(alpha or (1.0,)).reshape((1,) * (len(source.shape) - 1) + (-1,))
    for after, before in moves:
        factors = moved(factors, before.shape, after)
    return tuple(factors.reshape(-1).tolist()) if factors.size == factors.shape[-1] > 1 else ()


def node_inputs(graph: FloatGraph, node: FloatNode) -> int:
    """Return how many inputs a linear layer has."""
    return int(graph.parameters[node.attributes["weight"]].shape[1])


def _moments(
    network: FakeQuantizedNetwork,
    feeds: dict[str, Tensor],
    node: FloatNode,
    targets: Mapping[str, Tensor],
    recipe: Recipe,
    alpha: tuple[float, ...],
) -> Moments:
    """Gather inputs (in balanced form) and targets of a layer over all images.

    The inputs are kept in ``feeds``, unless they are too large.
    """
    graph, total = network.graph, _target_of(network.graph, node)
    source, real = node.inputs[0], targets[total.name]
    device = real.device.type
    factors = torch.tensor(alpha or (1.0,), dtype=torch.float32, device=real.device)
    moments = Moments.empty(node.shape[-1], node_inputs(graph, node))
    importance = network.importance[total.name].to(real)
    fetches, weights = [source], importance.expand_as(real[..., :1])
    if total is not node:
        fetches += [name for name in total.inputs if name != node.name]
        weights = token_weights(real, recipe.aocq, importance)
    kept = _room(graph.node(source), real) if source not in feeds else None

    def gather(images: slice) -> Moments:
        values = network({name: x[images] for name, x in feeds.items()}, fetches)
        if kept is not None:
            kept[images] = values[source]
        own = Moments.empty(node.shape[-1], node_inputs(graph, node))
        target = real[images] if total is node else real[images] - values[fetches[1]]
        own.add(
            (values[source] / factors).flatten(0, -2),
            target.flatten(0, -2),
            weights[images].flatten(0, -2),
        )
        return own

    batches = [slice(start, start + BATCH) for start in range(0, len(real), BATCH)]
    for start in range(0, len(batches), BATCHES):
        for batch in in_threads(gather, batches[start : start + BATCHES], device):
            moments.join(batch)
    if kept is not None:
        feeds[source] = kept
    return moments


def _room(node: FloatNode, real: Tensor) -> Tensor | None:
    """Return a tensor for a node's values on as many images as ``real`` has, None if too large."""
    values = len(real) * math.prod(node.shape)
    return real.new_empty(len(real), *node.shape) if values <= MOST_KEPT else None


def _fitted_bias(moments: Moments, weight: Tensor) -> Tensor:
    """Return the bias that makes up for the mean output error of rounded weights, [N]."""
    total = moments.inputs[-1, -1]
    mean_input = moments.inputs[-1, :-1] / total
    return (moments.targets / total - weight @ mean_input).float()


def linear_nodes(graph: FloatGraph, block: Block) -> list[FloatNode]:
    """Return the linear layers of a block in order of execution."""
    nodes = (graph.node(name) for name in block.nodes)
    return [node for node in nodes if node.op is FloatOp.LINEAR]
