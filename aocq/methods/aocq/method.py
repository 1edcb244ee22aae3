# SPDX-License-Identifier: Apache-2.0
"""``aocq``: ranges, then scales of all blocks (stage 1), then weights of all blocks (stage 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods.aocq import checkpoints
from aocq.methods.aocq.balance import balances_inputs
from aocq.methods.aocq.block_state import BlockState, Quantizers
from aocq.methods.aocq.blocks import Block, blocks
from aocq.methods.aocq.channel_ranges import channel_ranges
from aocq.methods.aocq.float_stream import computed_from, room_for_stream
from aocq.methods.aocq.initial_scales import (
    InitialScales,
    linear_readers,
    octave_scores,
    without_codes,
)
from aocq.methods.aocq.race import spread
from aocq.methods.aocq.reconstruction import Judge, reconstruct
from aocq.methods.aocq.rounding import (
    FakeQuantizedNetwork,
    RoundedBlock,
    Streams,
    linear_nodes,
    round_block,
)
from aocq.methods.aocq.scale_refinement import (
    balanced,
    choose_exponents,
    refine,
    searched,
    take_exact_bases,
)
from aocq.methods.aocq.token_norm import block_loss
from aocq.methods.aocq.tokens import weighs_results
from aocq.methods.chip_operators import ChipOperators, exact_operators, with_those_before
from aocq.methods.dynamic_steps import dynamic_steps
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import QuantizedWeight
from aocq.methods.scale_form import activation_form
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

Progress = Callable[[int, int], None]


def quantize(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Progress | None = None,
    *,
    device: str = "cpu",
    work: Path | None = None,
    operators: ChipOperators = exact_operators,
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
    operators
        those of the chip, where they are not exact

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
    searching, observed = _split(len(images), recipe.aocq.search_images)
    steps = _Steps(on_progress, int(observed.sum()))
    steps.plan(chain, graph, recipe, limits)
    with torch.no_grad():
        stream = room_for_stream(graph, chain, images)
        seen = channel_ranges(
            graph,
            images,
            limits.resolved_bits(recipe),
            steps.advance,
            observed=observed,
            kept=stream,
        )
        name, result = graph.output.name, None
        if weighs_results(graph, recipe.aocq):
            result = computed_from(graph, {graph.input.name: images, **stream}, [name])[name]
        on_searching = None if result is None else result[searching]
        initial = InitialScales(graph, seen, recipe, limits, on_searching)
        known = {name: values[searching] for name, values in stream.items()}
        quantizers, log = _first_stage(
            chain, initial, images[searching], known, work, steps, operators
        )
        fake_quantized = FakeQuantizedNetwork(graph, quantizers, recipe, limits, operators, result)
        weights, biases, learned = _second_stage(
            fake_quantized, chain, images, stream, recipe, work, steps
        )
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
        limits=limits,
        activations=quantizers,
        weights=weights,
        calibration_images=len(images),
        log=(*log, *learned),
    )


def _split(images: int, count: int) -> tuple[Tensor, Tensor]:
    """Return which ``count`` images to judge scales on, evenly taken, and which to observe.

    Indices [count], and bool [images]. Ranges are observed on the others, or on all if there are
    fewer than twice as many.
    """
    count = min(count, images)
    chosen = torch.tensor(spread(count)) * images // count
    others = torch.ones(images, dtype=torch.bool)
    others[chosen] = images < 2 * count
    return chosen, others


class _Steps:
    """Progress: images observed, tensors per pass, layers, steps of back-propagation.

    The unit is an image in the float network.
    """

    # About how many units one tensor's candidates or one layer take.
    WEIGHT = 10

    def __init__(self, on_progress: Progress | None, observed: int) -> None:
        self.total = observed
        self.done, self.on_progress = 0, on_progress

    def plan(
        self, chain: tuple[Block, ...], graph: FloatGraph, recipe: Recipe, limits: ChipLimits
    ) -> None:
        """Add up what lies ahead."""
        options = recipe.aocq
        for block in chain:
            layers = len(linear_nodes(graph, block))
            self.total += (self.searches(graph, block, recipe, limits) + layers) * self.WEIGHT
            self.total += options.learning_steps

    @staticmethod
    def searches(graph: FloatGraph, block: Block, recipe: Recipe, limits: ChipLimits) -> int:
        """Return how many tensors' candidates a block has, over all passes."""
        readers = linear_readers(graph) if balances_inputs(recipe, limits) else {}
        exponents = balanced(block, readers)
        dynamic = dynamic_steps(graph, recipe.aocq, limits)
        tensors = searched(
            graph,
            block,
            without_codes(graph, limits) | dynamic.keys() | octave_scores(graph, limits).keys(),
        )
        return len(exponents) + len(tensors) * recipe.aocq.scale_passes

    def search(self, count: int = 1) -> None:
        """Note the candidates of ``count`` tensors."""
        self.advance(count * self.WEIGHT)

    def advance(self, count: int) -> None:
        """Note ``count`` steps."""
        self.done = min(self.done + count, self.total)
        if self.on_progress:
            self.on_progress(self.done, self.total)


def _first_stage(
    chain: tuple[Block, ...],
    initial: InitialScales,
    images: Tensor,
    stream: Mapping[str, Tensor],
    work: Path | None,
    steps: _Steps,
    operators: ChipOperators,
) -> tuple[Quantizers, list[dict[str, Any]]]:
    graph, options = initial.graph, initial.recipe.aocq
    source = graph.input.name
    quantizers: Quantizers = {source: initial.choose(graph.input, {})}
    log: list[dict[str, Any]] = []
    real, quantized = images, quantizers[source](images)
    for block in chain:
        known_operators = with_those_before(operators, graph, dict(quantizers))
        chosen, entries = checkpoints.load_scales(work, block)
        known = {name: stream[name] for name in block.nodes if name in stream}
        found = computed_from(graph, {**known, block.source: real}, [block.result])
        target = found[block.result]
        if chosen is None:
            chosen = initial.of_block(block, real, known)
            state = BlockState.of(graph, block, quantized, chosen, known_operators)
            loss = block_loss(
                graph,
                block.result,
                target,
                chosen.get(block.result),
                initial.importance[block.result],
                options,
            )
            choose_exponents(state, initial, loss, steps.search)
            names = searched(graph, block, initial.kept)
            form = activation_form(initial.limits)
            entries = refine(state, names, loss, options.scale_passes, steps.search, form)
            take_exact_bases(state, initial.limits)
            quantized = state.value(block.result)
            checkpoints.save_scales(work, block, chosen, entries)
        else:
            state = BlockState.of(graph, block, quantized, chosen, known_operators)
            quantized = state.value(block.result)
            steps.search(steps.searches(graph, block, initial.recipe, initial.limits))
        quantizers |= chosen
        log += entries
        real = target
    return quantizers, log


def _second_stage(
    fake_quantized: FakeQuantizedNetwork,
    chain: tuple[Block, ...],
    images: Tensor,
    stream: dict[str, Tensor],
    recipe: Recipe,
    work: Path | None,
    steps: _Steps,
) -> tuple[dict[str, QuantizedWeight], dict[str, Tensor], list[dict[str, Any]]]:
    graph, quantizers = fake_quantized.graph, fake_quantized.quantizers
    weights: dict[str, QuantizedWeight] = {}
    biases: dict[str, Tensor] = {}
    streams = Streams(images, quantizers[graph.input.name](images))
    log: list[dict[str, Any]] = []
    for number, block in enumerate(chain):
        known, entered = checkpoints.load_weights(work, block), streams
        own = {name: stream.pop(name) for name in block.nodes if name in stream}
        if known is not None:
            fake_quantized.take_block(block, known)
        layers, streams = round_block(
            fake_quantized,
            block,
            entered,
            recipe,
            known.layers if known is not None else {},
            lambda: steps.advance(steps.WEIGHT),
            own,
        )
        found = known or RoundedBlock(layers)
        if known is not None:
            steps.advance(recipe.aocq.learning_steps)
        elif recipe.aocq.learning_steps:
            found = reconstruct(
                fake_quantized,
                block,
                _judge(graph, chain[number:][: recipe.aocq.look_ahead + 1], streams.real, stream),
                entered,
                found,
                recipe,
                lambda: steps.advance(1),
            )
            fake_quantized.take_block(block, found)
            values = fake_quantized({block.source: entered.quantized}, [block.result])
            streams = Streams(streams.real, values[block.result])
        checkpoints.save_weights(work, block, found)
        if found.losses:
            before, after = found.losses
            log.append({"stage": "learning", "block": block.name, "before": before, "after": after})
        for node in linear_nodes(graph, block):
            result = found.layers[node.name]
            weights[node.attributes["weight"]] = result.weight
            if result.bias is not None:
                biases[node.attributes["bias"]] = result.bias
    return weights, biases, log


def _judge(
    graph: FloatGraph, chain: Sequence[Block], real: Tensor, stream: Mapping[str, Tensor]
) -> Judge:
    """Return the judge of the first block at the end of the last.

    ``real`` are the float network's values behind the first block, ``stream`` those of others that
    are known.
    """
    behind = tuple(name for block in chain[1:] for name in block.nodes)
    result = chain[-1].result
    known = {name: stream[name] for name in behind if name in stream}
    known[chain[0].result] = real
    return Judge(behind, result, computed_from(graph, known, [result])[result])
