# SPDX-License-Identifier: Apache-2.0
"""``aocq``: ranges, then stage 1 over all blocks, then stage 2 over all blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, run, run_in_parts
from aocq.capture.float_graph import ARITHMETIC
from aocq.methods.aocq import adaround, checkpoints
from aocq.methods.aocq.balance import ChannelRange, balances_inputs
from aocq.methods.aocq.blocks import Block, blocks
from aocq.methods.aocq.initial_scales import InitialScales, linear_readers, without_codes
from aocq.methods.aocq.rounding import (
    BATCH,
    LayerResult,
    Simulation,
    Streams,
    linear_nodes,
    round_layer,
)
from aocq.methods.aocq.scale_refinement import (
    BlockState,
    Quantizers,
    balanced,
    choose_exponents,
    refine,
    searched,
)
from aocq.methods.aocq.token_norm import block_loss
from aocq.methods.base_ptq import check_finite
from aocq.methods.quantized_model import QuantizedModel, Recipe
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight

Progress = Callable[[int, int], None]


def quantize(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    on_progress: Progress | None = None,
    *,
    device: str = "cpu",
    work: Path | None = None,
) -> QuantizedModel:
    """Quantize ``graph`` by AOCQ (FITEE 2025, doi 10.1631/FITEE.2400994; reconstruction).

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    on_progress
        called with (steps done, steps in all)
    device
        where torch computes, ``cpu`` or ``cuda``; the decisions come back to the CPU
    work
        folder for finished blocks, which belongs to exactly these arguments; a killed calibration
        goes on behind the last of them

    Raises
    ------
    InputError
        If the float network yields values that are not finite.
    """
    chain = blocks(graph)
    network, images = graph, images.to(device)
    graph = replace(
        graph, parameters={name: value.to(device) for name, value in graph.parameters.items()}
    )
    searching, observed = _split(images, recipe.aocq.search_images)
    steps = _Steps(on_progress, len(observed))
    steps.plan(chain, graph, recipe)
    with torch.no_grad():
        seen = _observe(graph, observed, steps)
        initial = InitialScales(graph, seen, recipe)
        quantizers, log = _first_stage(graph, chain, initial, searching, work, steps)
        weights, biases = _second_stage(graph, chain, quantizers, images, recipe, work, steps)
    return QuantizedModel(
        graph=replace(
            network,
            parameters={
                **network.parameters,
                **{name: bias.cpu() for name, bias in biases.items()},
            },
        ),
        method="aocq",
        recipe=recipe,
        activations=quantizers,
        weights=weights,
        calibration_images=len(images),
        log=tuple(log),
    )


def _split(images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` images to judge scales on, evenly taken, and those to observe ranges on.

    These are the others, or all if there are fewer than twice as many.
    """
    count = min(count, len(images))
    chosen = torch.arange(count) * len(images) // count
    others = torch.ones(len(images), dtype=torch.bool)
    others[chosen] = len(images) < 2 * count
    return images[chosen], images[others]


class _Steps:
    """Counts what is done: images observed, tensors per pass, layers, steps of back-propagation.

    The unit is an image in the float network.
    """

    # About how many units one tensor's candidates or one layer take.
    WEIGHT = 10

    def __init__(self, on_progress: Progress | None, observed: int) -> None:
        self.total = observed
        self.done, self.on_progress = 0, on_progress

    def plan(self, chain: tuple[Block, ...], graph: FloatGraph, recipe: Recipe) -> None:
        """Add up what lies ahead."""
        options = recipe.aocq
        for block in chain:
            layers = len(linear_nodes(graph, block))
            self.total += (self.searches(graph, block, recipe) + layers) * self.WEIGHT
            if options.rounding == "adaround":
                self.total += options.adaround_steps

    @staticmethod
    def searches(graph: FloatGraph, block: Block, recipe: Recipe) -> int:
        """Return how many tensors' candidates a block has, over all passes."""
        exponents = balanced(block, linear_readers(graph)) if balances_inputs(recipe) else []
        tensors = searched(graph, block, without_codes(graph, recipe))
        return len(exponents) + len(tensors) * recipe.aocq.scale_passes

    def search(self, count: int = 1) -> None:
        """Note the candidates of ``count`` tensors."""
        self.advance(count * self.WEIGHT)

    def advance(self, count: int) -> None:
        """Note ``count`` steps."""
        self.done = min(self.done + count, self.total)
        if self.on_progress:
            self.on_progress(self.done, self.total)


def _observe(graph: FloatGraph, images: Tensor, steps: _Steps) -> dict[str, ChannelRange]:
    """Return every arithmetic node's channel ranges over the float network's values."""
    seen: dict[str, ChannelRange] = {}

    def note(node: FloatNode, x: Tensor) -> Tensor:
        if node.op in ARITHMETIC:
            check_finite(node, x)
            rows = x.reshape(-1, x.shape[-1]).double()
            low, high = rows.amin(0).cpu(), rows.amax(0).cpu()
            before = seen.get(node.name)
            if before is not None:
                low, high = torch.minimum(low, before.low), torch.maximum(high, before.high)
            seen[node.name] = ChannelRange(low, high)
        return x

    for batch in images.split(BATCH):
        note(graph.input, batch)
        run(graph, {graph.input.name: batch}, [graph.output.name], transform=note)
        steps.advance(len(batch))
    return seen


def _first_stage(
    graph: FloatGraph,
    chain: tuple[Block, ...],
    initial: InitialScales,
    images: Tensor,
    work: Path | None,
    steps: _Steps,
) -> tuple[dict[str, ActivationQuantizer], list[dict[str, Any]]]:
    options = initial.recipe.aocq
    source = graph.input.name
    found: Quantizers = {source: initial.choose(graph.input, {})}
    log: list[dict[str, Any]] = []
    real, quantized = images, found[source](images)
    for block in chain:
        chosen, entries = checkpoints.load_scales(work, block)
        target = run_in_parts(graph, {block.source: real}, [block.result])[block.result]
        if chosen is None:
            chosen = _initial_of_block(graph, block, initial, real)
            state = BlockState.of(graph, block, quantized, chosen)
            loss = block_loss(
                graph,
                block.result,
                target,
                chosen.get(block.result),
                initial.importance[block.result],
                options,
            )
            choose_exponents(state, initial, loss, steps.search)
            names = searched(graph, block, initial.without_codes)
            form = initial.recipe.activation_form
            entries = refine(state, names, loss, options.scale_passes, steps.search, form)
            quantized = state.values[block.result]
            checkpoints.save_scales(work, block, chosen, entries)
        else:
            state = BlockState.of(graph, block, quantized, chosen)
            quantized = state.values[block.result]
            steps.search(steps.searches(graph, block, initial.recipe))
        found |= chosen
        log += entries
        real = target
    return found, log


def _initial_of_block(
    graph: FloatGraph, block: Block, initial: InitialScales, real: Tensor
) -> Quantizers:
    """Return s0 of a block's tensors; parts of a concatenation share its quantizer."""
    nodes = [
        graph.node(name)
        for name in block.nodes
        if graph.node(name).op in ARITHMETIC and name not in initial.without_codes
    ]
    sampled = [node.name for node in nodes if initial.needs_values(node)]
    values = run_in_parts(graph, {block.source: real}, sampled) if sampled else {}
    chosen = {node.name: initial.choose(node, values) for node in nodes}
    for part, whole in initial.parts.items():
        if part in chosen:
            chosen[part] = chosen[whole]
    return chosen


def _second_stage(
    graph: FloatGraph,
    chain: tuple[Block, ...],
    quantizers: dict[str, ActivationQuantizer],
    images: Tensor,
    recipe: Recipe,
    work: Path | None,
    steps: _Steps,
) -> tuple[dict[str, QuantizedWeight], dict[str, Tensor]]:
    simulation = Simulation(graph, quantizers, recipe)
    weights: dict[str, QuantizedWeight] = {}
    biases: dict[str, Tensor] = {}
    streams = Streams(images, quantizers[graph.input.name](images))
    for block in chain:
        results = checkpoints.load_weights(work, block)
        finished, layers = bool(results), linear_nodes(graph, block)
        for node in layers:
            if not finished:
                results[node.name] = round_layer(simulation, block, node, streams, recipe)
            _take(node, results[node.name], simulation, weights, biases)
            steps.advance(steps.WEIGHT)
        if recipe.aocq.rounding == "adaround" and not finished:
            with torch.enable_grad():
                results = adaround.optimize(
                    graph, block, quantizers, streams, results, recipe, lambda: steps.advance(1)
                )
            for node in layers:
                _take(node, results[node.name], simulation, weights, biases)
        elif recipe.aocq.rounding == "adaround":
            steps.advance(recipe.aocq.adaround_steps)
        checkpoints.save_weights(work, block, results)
        streams = _behind(graph, simulation, block, streams)
    return weights, biases


def _take(
    node: FloatNode,
    result: LayerResult,
    simulation: Simulation,
    weights: dict[str, QuantizedWeight],
    biases: dict[str, Tensor],
) -> None:
    """Let a layer's integers replace its float weights in everything that follows."""
    name, bias = node.attributes["weight"], node.attributes["bias"]
    weights[name] = result.weight
    simulation.parameters[name] = result.weight.dequantized().to(simulation.graph.parameters[name])
    if result.bias is not None:
        biases[bias] = result.bias
        simulation.parameters[bias] = result.bias.to(simulation.graph.parameters[bias])


def _behind(graph: FloatGraph, simulation: Simulation, block: Block, streams: Streams) -> Streams:
    """Return both streams at the end of a block."""
    fetch = [block.result]
    real = run_in_parts(graph, {block.source: streams.real}, fetch)[block.result]
    return Streams(real, simulation({block.source: streams.quantized}, fetch)[block.result])
