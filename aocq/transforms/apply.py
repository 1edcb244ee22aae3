# SPDX-License-Identifier: Apache-2.0
"""The passes that a recipe asks for and a chip has operations for, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from aocq.capture import FloatGraph, FloatOp
from aocq.capture.parts import one_thread
from aocq.recipes.aocq_options import AocqOptions, Hadamard
from aocq.recipes.limits import ChipLimits
from aocq.transforms.attention import align_scores, centre_values
from aocq.transforms.heads import rotate_heads
from aocq.transforms.online import balance_inputs, balanced, rotate_inputs
from aocq.transforms.operands import requantize_inputs, requantize_products
from aocq.transforms.statistics import channel_statistics
from aocq.transforms.stream import rotate_stream, stretches
from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_constants import octave_scale

# Who makes the inputs of layers: LayerNorms those of qkv and fc1, functions that of fc2, products
# that of attention's projection.
NORMS = frozenset({FloatOp.LAYERNORM})
FUNCTIONS = frozenset({FloatOp.UNARY})
PRODUCTS = frozenset({FloatOp.MATMUL})
SCORES = IntType(bits=8)
_ROTATED: Mapping[Hadamard, frozenset[FloatOp]] = MappingProxyType(
    {"none": frozenset(), "fc2": FUNCTIONS, "all": FUNCTIONS | PRODUCTS | NORMS}
)


def made_by(graph: FloatGraph, operations: frozenset[FloatOp]) -> frozenset[str]:
    """Return the names of the nodes of some operations."""
    return frozenset(node.name for node in graph.nodes if node.op in operations)


def changes_network(options: AocqOptions, limits: ChipLimits) -> bool:
    """Return whether :func:`transformed` changes a network at all."""
    asked = options.rotate_heads or options.hadamard != "none" or _whole_stream(options, limits)
    if limits.approximate_probabilities:
        return True
    return asked or _steps(options, limits) != "none" or _in_blocks(options, limits)


def needs_images(options: AocqOptions, limits: ChipLimits) -> bool:
    """Return whether :func:`transformed` looks at calibration images: to balance channels, say."""
    return limits.approximate_probabilities or _balances(options)


def _balances(options: AocqOptions) -> bool:
    return options.hadamard == "all" and options.balance_inputs


def transformed(
    graph: FloatGraph, options: AocqOptions, limits: ChipLimits, images: Tensor | None
) -> FloatGraph:
    """Return the same network in the form that a recipe quantizes; whatever torch's threads.

    Parameters
    ----------
    images
        some of the calibration images, of which balanced channels get their factors; preprocessed,
        [count, channels, height, width]; none where :func:`needs_images` says so
    """
    with one_thread():  # a sum depends on how many threads share it
        return _passed(graph, options, limits, images)


def _passed(
    graph: FloatGraph, options: AocqOptions, limits: ChipLimits, images: Tensor | None
) -> FloatGraph:
    done: frozenset[str] = frozenset()  # LayerNorms of a rotated stream yield rotated values
    if _whole_stream(options, limits):
        done = frozenset(norm.name for part in stretches(graph) for norm, _ in part.norms)
        graph = rotate_stream(graph)
    rotated = made_by(graph, _ROTATED[options.hadamard]) - done
    if limits.approximate_probabilities:
        assert images is not None
        graph = centre_values(graph, images)
        if limits.octave_codes is not None:
            graph = align_scores(graph, images, SCORES.high * octave_scale(limits.octave_codes))
    if _balances(options):
        assert images is not None
        names = [place.name for place in balanced(graph, rotated)]
        graph = balance_inputs(graph, rotated, channel_statistics(graph, names, images))
    if options.rotate_heads:
        graph = rotate_heads(graph)
    if rotated:
        graph = rotate_inputs(graph, rotated, limits.hadamard_order, options.hadamard_block)
    return _with_operands(graph, options, limits)


def _whole_stream(options: AocqOptions, limits: ChipLimits) -> bool:
    """Return whether the stream is rotated: where no factors hold its channels balanced."""
    without = limits.channel_factor == "none" or limits.activation_granularity == "per_tensor"
    return options.rotate_stream == "always" or (options.rotate_stream == "unbalanced" and without)


def _with_operands(graph: FloatGraph, options: AocqOptions, limits: ChipLimits) -> FloatGraph:
    """Give operands whose steps are found as the chip runs codes of their own."""
    steps, makers = _steps(options, limits), frozenset[FloatOp]()
    if steps in {"scores", "attention", "all"}:
        graph = requantize_products(graph)
    if steps in {"projection", "attention", "all"}:
        makers |= PRODUCTS
    if steps == "all":
        makers |= NORMS | FUNCTIONS
    if _in_blocks(options, limits):
        makers |= FUNCTIONS
    return requantize_inputs(graph, made_by(graph, makers))


def _steps(options: AocqOptions, limits: ChipLimits) -> str:
    return options.row_steps if limits.row_scale != "none" else "none"


def _in_blocks(options: AocqOptions, limits: ChipLimits) -> bool:
    return options.block_steps and limits.block > 0
