# SPDX-License-Identifier: Apache-2.0
"""AdaRound on a whole block: rounding directions learned by back-propagation.

Each weight is rounded up or down, ``floor(w / s) + h(V)`` with ``h = clip(1.2 sigmoid(V) - 0.1, 0,
1)``, and V learns from the block's token-norm loss with activations quantized (Nagel et al., arXiv
2004.10568; blocks as in BRECQ, arXiv 2102.05426). What is rounded are the values that the closed
form arrived at, so that its error correction is kept. Scales are frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from aocq.capture import FloatGraph, FloatNode, run, run_in_parts
from aocq.methods.aocq.blocks import Block
from aocq.methods.aocq.rounding import LayerResult, Streams, linear_nodes
from aocq.methods.aocq.token_norm import block_loss
from aocq.methods.aocq.tokens import token_importance
from aocq.methods.masks import quantizer_of
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight, Quantizer
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType

STRETCH = 1.2
# The share of the steps before the regularizer sets in, and its exponent at both ends.
WARM_UP = 0.2
EXPONENTS = (20.0, 2.0)
# Published for 20,000 steps; fewer steps need longer ones.
LEARNING_RATE, PUBLISHED_STEPS = 1e-3, 20_000
LONGEST_RATE = 3e-2


@dataclass(slots=True)
class SoftWeight:
    """A layer's rounding while it is being learned; shapes [N, K], scales [N, 1]."""

    floor: Tensor
    direction: Tensor
    scale: Tensor
    alpha: Tensor
    int_type: IntType

    @classmethod
    def of(cls, result: LayerResult, device: torch.device) -> SoftWeight:
        """Return the start of a layer: ``h`` is the fraction that the closed form rounded."""
        sought = result.sought.float().to(device)
        floor = torch.floor(sought)
        share = ((sought - floor + (STRETCH - 1) / 2) / STRETCH).clamp(1e-4, 1 - 1e-4)
        return cls(
            floor=floor,
            direction=torch.logit(share).requires_grad_(),
            scale=torch.from_numpy(result.weight.scale).float()[:, None].to(sought),
            alpha=torch.tensor(result.weight.alpha or (1.0,), dtype=torch.float32).to(sought),
            int_type=IntType(bits=result.weight.bits),
        )

    def up(self) -> Tensor:
        """Return h: how far each weight is rounded up, 0..1."""
        stretched = torch.sigmoid(self.direction) * STRETCH - (STRETCH - 1) / 2
        return stretched.clamp(0, 1)

    def weight(self, up: Tensor) -> Tensor:
        """Return the real weights for given directions."""
        return self.codes(up) * self.scale / self.alpha

    def codes(self, up: Tensor) -> Tensor:
        """Return the codes for given directions; whole numbers where these are 0 or 1."""
        return torch.clamp(self.floor + up, self.int_type.low, self.int_type.high)


def optimize(
    graph: FloatGraph,
    block: Block,
    quantizers: Mapping[str, Quantizer],
    streams: Streams,
    results: dict[str, LayerResult],
    recipe: Recipe,
    on_step: Callable[[], None],
) -> dict[str, LayerResult]:
    """Learn the rounding directions of all layers of a block together.

    The result with the smaller loss on the whole calibration set, before or after, is returned:
    few steps may be too few.
    """
    options = recipe.aocq
    layers = {node.attributes["weight"]: node.name for node in linear_nodes(graph, block)}
    soft = {
        weight: SoftWeight.of(results[name], streams.real.device) for weight, name in layers.items()
    }
    biases = _biases(graph, block, results)
    loss = block_loss(
        graph,
        block.result,
        _target(graph, block, streams),
        quantizers.get(block.result),
        token_importance(graph, options)[block.result],
        options,
    )
    count = len(streams.real)
    fake_quantize = straight_through(graph, quantizers)
    generator = torch.Generator().manual_seed(recipe.seed)
    rate = min(LEARNING_RATE * PUBLISHED_STEPS / options.adaround_steps, LONGEST_RATE)
    adam = torch.optim.Adam([layer.direction for layer in soft.values()], lr=rate)

    def result_of(images: Tensor | slice, up: Mapping[str, Tensor]) -> Tensor:
        parameters = {name: soft[name].weight(up[name]) for name in soft} | biases
        feeds = {block.source: streams.quantized[images]}
        return run(graph, feeds, [block.result], transform=fake_quantize, parameters=parameters)[
            block.result
        ]

    def total(up: Mapping[str, Tensor]) -> float:
        error = power = 0.0
        for start in range(0, count, options.adaround_batch):
            images = slice(start, start + options.adaround_batch)
            sums = loss.sums(result_of(images, up), images)
            error, power = error + float(sums[0]), power + float(sums[1])
        return error / power

    with torch.no_grad():
        nearest = {
            name: (
                results[layers[name]].sought.to(soft[name].floor) - soft[name].floor >= 0.5
            ).float()
            for name in soft
        }
        before = total(nearest)
    for step in range(options.adaround_steps):
        chosen = torch.randint(count, (options.adaround_batch,), generator=generator)
        up = {name: layer.up() for name, layer in soft.items()}
        objective = loss(result_of(chosen, up), chosen)
        objective = objective + before * _regularizer(up, step / options.adaround_steps)
        adam.zero_grad()
        objective.backward()
        adam.step()
        on_step()
    with torch.no_grad():
        learned = {name: (layer.up() >= 0.5).float() for name, layer in soft.items()}
        if not total(learned) < before:  # nor where it is not a number
            return results
    return {
        name: _result(results[name], soft[weight], learned[weight])
        for weight, name in layers.items()
    }


def _regularizer(up: Mapping[str, Tensor], progress: float) -> Tensor:
    """Return the mean of ``1 - |2h - 1|^β``: 0 where all directions are decided."""
    if progress < WARM_UP:
        return torch.zeros(())  # a scalar on the CPU meets any device
    share = (progress - WARM_UP) / (1 - WARM_UP)
    beta = EXPONENTS[0] + (EXPONENTS[1] - EXPONENTS[0]) * share
    undecided = sum((1 - (2 * h - 1).abs() ** beta).sum() for h in up.values())
    count = sum(h.numel() for h in up.values())
    return torch.as_tensor(undecided / count)


class _StraightThrough(Function):
    """A quantizer whose derivative is 1 inside its range and 0 outside.

    Of its own, since autograd would keep and differentiate every step of the rounding.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, quantizer: ActivationQuantizer) -> Tensor:
        scales = quantizer.scales().to(x)
        codes = quantizer.ratio(x, scales)
        clipped = torch.clamp(codes, *quantizer.span)
        # As floats: comparisons that yield truth values take five times as long.
        context.save_for_backward(codes.eq_(clipped))
        return clipped.round_().mul_(scales)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inside,) = context.saved_tensors
        return gradients[0] * inside, None


def straight_through(
    graph: FloatGraph, quantizers: Mapping[str, Quantizer]
) -> Callable[[FloatNode, Tensor], Tensor]:
    """Quantize in the forward pass; in the backward pass, round like the identity and clip."""

    def fake_quantize(node: FloatNode, x: Tensor) -> Tensor:
        quantizer = quantizer_of(graph, quantizers, node)
        if quantizer is None:
            return x
        if not isinstance(quantizer, ActivationQuantizer):  # nothing is clipped
            return x + (quantizer(x) - x).detach()
        result: Tensor = _StraightThrough.apply(x, quantizer)  # type: ignore[no-untyped-call]
        return result

    return fake_quantize


def _biases(
    graph: FloatGraph, block: Block, results: Mapping[str, LayerResult]
) -> dict[str, Tensor]:
    biases = {}
    for node in linear_nodes(graph, block):
        bias = results[node.name].bias
        if bias is not None:
            biases[node.attributes["bias"]] = bias.to(graph.parameters[node.attributes["bias"]])
    return biases


def _target(graph: FloatGraph, block: Block, streams: Streams) -> Tensor:
    with torch.no_grad():
        return run_in_parts(graph, {block.source: streams.real}, [block.result])[block.result]


def _result(before: LayerResult, soft: SoftWeight, up: Tensor) -> LayerResult:
    codes = soft.codes(up).cpu().numpy().astype(np.int8)
    weight = QuantizedWeight(
        bits=before.weight.bits, codes=codes, scale=before.weight.scale, alpha=before.weight.alpha
    )
    return LayerResult(weight, before.bias, before.sought)
