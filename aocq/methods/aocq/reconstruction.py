# SPDX-License-Identifier: Apache-2.0
"""Weights of a whole block learned by back-propagation, from the closed form's integers on.

The block's token-norm loss with activations quantized is what is minimized (blocks as in BRECQ,
arXiv 2102.05426). ``reconstruct`` learns codes, row scales, biases and activation steps, while
quantizers are left out at random (QDrop, arXiv 2203.05740); ``adaround`` rounding directions alone.
Some of the images are held out, and tell which of the states on the way is kept: the start, if none
is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, run
from aocq.capture.parts import Item, Result, in_threads, one_thread, parts_of
from aocq.methods.aocq.blocks import Block, within
from aocq.methods.aocq.initial_scales import octave_scores, without_codes
from aocq.methods.aocq.learned_weights import (
    LearnedWeight,
    SoftWeight,
    StraightThroughWeight,
    within_registers,
)
from aocq.methods.aocq.rounding import (
    FakeQuantizedNetwork,
    LayerResult,
    RoundedBlock,
    Streams,
    linear_nodes,
)
from aocq.methods.aocq.scale_refinement import searched
from aocq.methods.aocq.straight_through import Drop, StraightThrough, with_factor
from aocq.methods.aocq.token_norm import BlockLoss, block_loss
from aocq.methods.dynamic_steps import with_exact_base
from aocq.methods.masks import quantizing
from aocq.methods.quantizers import ActivationQuantizer, DynamicQuantizer, Quantizer
from aocq.methods.scale_form import activation_form, weight_form
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

# AdaRound's rate, published for 20,000 steps; fewer steps need longer ones.
PUBLISHED_RATE, PUBLISHED_STEPS, LONGEST_RATE = 1e-3, 20_000, 3e-2
# Learning rate of activation steps, relative; and how far they go.
STEPS_RATE, WIDEST = 1e-3, 2.0
# How often the images that are held out are looked at.
JUDGEMENTS = 5
# Values of the random choice of what is dropped, beside those of the largest tensor.
CHOICES = 2**20


@dataclass(frozen=True, slots=True)
class Judge:
    """Where the error of a block is measured: at its own result, or behind blocks in float.

    Attributes
    ----------
    behind
        nodes of the blocks in between, which stay in float
    result
        name of the last of them, or the block's own result
    target
        the float network's values of ``result``, [images, ...]
    """

    behind: tuple[str, ...]
    result: str
    target: Tensor


def reconstruct(
    network: FakeQuantizedNetwork,
    block: Block,
    judge: Judge,
    streams: Streams,
    start: RoundedBlock,
    recipe: Recipe,
    on_step: Callable[[], None],
) -> RoundedBlock:
    """Learn the layers of a block together, and the steps of its activations.

    Parameters
    ----------
    judge
        where the error is measured
    streams
        where the block starts
    start
        what the closed form found
    on_step
        called after every step of back-propagation
    """

    def held(found: RoundedBlock) -> RoundedBlock:
        if recipe.aocq.narrow_sums != "proven":
            return found
        return within_registers(network, linear_nodes(network.graph, block), found)

    with one_thread() as threads:
        state = _BlockLearning.of(network, block, judge, streams, start.layers, recipe, threads)
        return _learn(state, start, recipe, on_step, held)


def _learn(
    state: _BlockLearning,
    start: RoundedBlock,
    recipe: Recipe,
    on_step: Callable[[], None],
    held: Callable[[RoundedBlock], RoundedBlock],
) -> RoundedBlock:
    options = recipe.aocq
    soft = options.rounding == "adaround"
    steps = options.learning_steps
    batch = options.adaround_batch if soft else options.reconstruction_batch
    share = 0.0 if soft else options.held_out_share
    training, judging = split(state.images, share, options.image_views)
    kept = start
    first = least = state.loss_of(start, judging)
    adam = torch.optim.Adam(state.groups())
    rate = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: 1.0 if soft else 0.5 + 0.5 * math.cos(math.pi * step / steps)
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    judged = {steps * (number + 1) // JUDGEMENTS for number in range(JUDGEMENTS)}
    for step in range(steps):
        chosen = training[torch.randint(len(training), (batch,), generator=generator)]
        adam.zero_grad()
        state.add_derivatives(chosen, generator)
        state.add_derivatives_of_penalty(step / steps, first)
        adam.step()
        rate.step()
        on_step()
        if step + 1 == steps or (step + 1 in judged and not soft):
            found = held(state.learned())
            loss = state.loss_of(found, judging)
            if loss < least:  # never, where it is not a number
                least, kept = loss, found
    return replace(kept, losses=(first, least))


def split(count: int, share: float, views: int = 1) -> tuple[Tensor, Tensor]:
    """Return which images to learn from and which to judge on, evenly taken.

    All of them for both, where none is held out. Of several views of each image, the first of all
    images come first; what is held out is held out in all of them.
    """
    images = count // views
    held_out = torch.arange(int(images * share)) * images // max(int(images * share), 1)
    training = torch.ones(images, dtype=torch.bool)
    training[held_out] = False
    held_out = (torch.arange(views)[:, None] * images + held_out).flatten()
    everything = torch.arange(count)
    return everything[training.repeat(views)], held_out if len(held_out) else everything


@dataclass(slots=True)
class _BlockLearning:
    """A block, what is learned of it, and the images it is learned from.

    Attributes
    ----------
    graph
        without other blocks than those up to ``result``
    result
        the tensor whose error is measured
    layers
        by name of their weight
    biases
        fitted ones, by name of the parameter
    growth
        logarithms of factors on activation steps, scalars by node name
    kept
        for each value whether it is quantized, at random; None: all are
    threads
        that compute a few images each
    """

    graph: FloatGraph
    block: Block
    result: str
    quantizers: dict[str, Quantizer]
    streams: Streams
    loss: BlockLoss
    nodes: dict[str, FloatNode]
    layers: dict[str, LearnedWeight]
    biases: dict[str, Tensor]
    growth: dict[str, Tensor]
    limits: ChipLimits
    kept: Tensor | None
    threads: int

    @classmethod
    def of(
        cls,
        network: FakeQuantizedNetwork,
        block: Block,
        judge: Judge,
        streams: Streams,
        results: Mapping[str, LayerResult],
        recipe: Recipe,
        threads: int,
    ) -> _BlockLearning:
        """Begin a block."""
        options, device = recipe.aocq, streams.real.device
        own = within(network.graph, replace(block, nodes=(*block.nodes, *judge.behind)))
        loss = block_loss(
            network.graph,
            judge.result,
            judge.target,
            network.quantizers.get(judge.result),
            network.importance[judge.result],
            options,
        )
        nodes = {node.attributes["weight"]: node for node in linear_nodes(network.graph, block)}
        biases = {
            node.attributes["bias"]: bias.to(network.graph.parameters[node.attributes["bias"]])
            for node in nodes.values()
            if (bias := results[node.name].bias) is not None
        }
        layers: dict[str, LearnedWeight]
        growth: dict[str, Tensor] = {}
        kept = None
        if options.rounding == "adaround":
            rate = min(PUBLISHED_RATE * PUBLISHED_STEPS / options.adaround_steps, LONGEST_RATE)
            layers = {w: SoftWeight.of(results[n.name], rate, device) for w, n in nodes.items()}
        else:
            units = _deviations(own, block, streams, list(nodes.values()))
            form = weight_form(network.limits)
            layers = {
                weight: StraightThroughWeight.of(results[node.name], form, units[node.name])
                for weight, node in nodes.items()
            }
            if not activation_form(network.limits).power_of_two:
                # An octave of scores keeps its number of codes.
                kept_scales = without_codes(network.graph, network.limits)
                kept_scales |= octave_scores(network.graph, network.limits).keys()
                names = searched(network.graph, block, kept_scales)
                growth = {
                    name: torch.zeros((), device=device, requires_grad=True)
                    for name in names
                    if isinstance(network.quantizers.get(name), ActivationQuantizer)
                }
            if options.drop_probability:
                largest = max(math.prod(own.node(name).shape) for name in block.nodes)
                size = CHOICES + largest * (parts_of(2**10, device.type)[0].stop)
                generator = torch.Generator().manual_seed(recipe.seed)
                kept = (
                    (torch.rand(size, generator=generator) >= options.drop_probability)
                    .float()
                    .to(device)
                )
        return cls(
            own,
            block,
            judge.result,
            {name: network.quantizers[name] for name in block.nodes if name in network.quantizers},
            streams,
            loss,
            nodes,
            layers,
            biases,
            growth,
            network.limits,
            kept,
            threads,
        )

    def groups(self) -> list[dict[str, Any]]:
        """Return what an optimizer changes."""
        groups = [group for layer in self.layers.values() for group in layer.groups()]
        if self.growth:
            groups.append({"params": list(self.growth.values()), "lr": STEPS_RATE})
        return groups

    def add_derivatives(self, images: Tensor, generator: torch.Generator) -> None:
        """Add the derivatives of the loss on some images to those of what is learned.

        Each thread computes those of a few images, down to the real weights; from there on they
        are the same for all.
        """
        with torch.enable_grad():
            made = self._made()
        leaves = {name: value.detach().requires_grad_() for name, value in made.items()}
        parts = parts_of(len(images), images.device.type)
        seeds = torch.randint(2**62, (len(parts),), generator=generator).tolist()
        power = self.loss.power(images)

        def derivatives(item: tuple[slice, int]) -> tuple[Tensor, ...]:
            part, seed = item
            with torch.enable_grad():
                error = self._error(images[part], leaves, seed)
                return torch.autograd.grad(error / power, list(leaves.values()))

        found = self._in_threads(derivatives, list(zip(parts, seeds, strict=True)))
        slopes = [
            torch.stack(own).sum(0) if len(own) > 1 else own[0] for own in zip(*found, strict=True)
        ]
        torch.autograd.backward(list(made.values()), slopes)

    def add_derivatives_of_penalty(self, progress: float, factor: float) -> None:
        """Add those of the mean of what draws weights to codes, times ``factor``."""
        with torch.enable_grad():
            penalties = [layer.penalty(progress) for layer in self.layers.values()]
            total = torch.stack(penalties).sum() * (factor / self.weights)
        if total.requires_grad:
            total.backward()

    def learned(self) -> RoundedBlock:
        """Return the block in integers, as it is now."""
        layers = {self.nodes[name].name: layer.result() for name, layer in self.layers.items()}
        quantizers: dict[str, Quantizer] = {}
        form = activation_form(self.limits)
        for name, growth in self.growth.items():
            quantizer = self.quantizers[name]
            assert isinstance(quantizer, ActivationQuantizer)  # others have no factor to learn
            quantizers[name] = with_factor(quantizer, float(growth.detach().exp()), form)
        return RoundedBlock(layers, quantizers | self._exact_bases(quantizers))

    def _exact_bases(self, learned: Mapping[str, Quantizer]) -> dict[str, Quantizer]:
        """Return dynamic operands on the codes that their inputs have with learned steps."""
        quantizers = {**self.quantizers, **learned}
        dynamic = (n for n, found in quantizers.items() if isinstance(found, DynamicQuantizer))
        exact = {
            name: with_exact_base(self.graph, name, quantizers, self.limits) for name in dynamic
        }
        return {name: found for name, found in exact.items() if found is not None}

    def loss_of(self, learned: RoundedBlock, images: Tensor) -> float:
        """Return the loss of integers on some images."""
        quantizers = {**self.quantizers, **learned.quantizers}
        parameters = {}
        for name, node in self.nodes.items():
            found = learned.layers[node.name]
            parameters[name] = found.weight.dequantized().to(self.graph.parameters[name])
            if found.bias is not None:
                bias = node.attributes["bias"]
                parameters[bias] = found.bias.to(self.graph.parameters[bias])
        transform = quantizing(self.graph, quantizers)

        def error(part: slice) -> float:
            own = images[part]
            feeds = {self.block.source: self.streams.quantized[own]}
            with torch.no_grad():
                values = run(
                    self.graph,
                    feeds,
                    [self.result],
                    transform=transform,
                    parameters=parameters,
                )
                return float(self.loss.error(values[self.result], own))

        errors = self._in_threads(error, parts_of(len(images), self.device))
        return sum(errors) / float(self.loss.power(images))

    def _in_threads(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        return in_threads(function, items, self.device, threads=self.threads)

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.streams.real)

    @property
    def weights(self) -> int:
        """How many weights the block has."""
        return sum(self.graph.parameters[name].numel() for name in self.layers)

    @property
    def device(self) -> str:
        """Torch's type of device that computes."""
        return self.streams.real.device.type

    def _made(self) -> dict[str, Tensor]:
        """Return what the block is computed with, by name of a parameter or node."""
        made = {name: layer.weight() for name, layer in self.layers.items()}
        for name, layer in self.layers.items():
            bias = layer.bias()
            if bias is not None:
                made[self.nodes[name].attributes["bias"]] = bias
        return made | {name: growth.exp() for name, growth in self.growth.items()}

    def _error(self, images: Tensor, leaves: Mapping[str, Tensor], seed: int) -> Tensor:
        drop = None
        if self.kept is not None:
            drop = Drop(self.kept, torch.Generator().manual_seed(seed))
        factors = {name: leaves[name] for name in self.growth}
        transform = StraightThrough(self.graph, self.quantizers, factors, drop)
        feeds = {self.block.source: self.streams.quantized[images]}
        learned = {name: value for name, value in leaves.items() if name not in factors}
        parameters = {**self.biases, **learned}
        values = run(self.graph, feeds, [self.result], transform=transform, parameters=parameters)
        return self.loss.error(values[self.result], images)


def _deviations(
    graph: FloatGraph, block: Block, streams: Streams, layers: list[FloatNode]
) -> dict[str, Tensor]:
    """Return how far each result of the layers is from its mean, on a few images, [N] by name."""
    names = [node.name for node in layers]
    few = slice(0, 8)
    with torch.no_grad():
        values = run(graph, {block.source: streams.real[few]}, names)
    return {name: values[name].flatten(0, -2).std(0, unbiased=False) for name in names}
