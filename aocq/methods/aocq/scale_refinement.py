# SPDX-License-Identifier: Apache-2.0
"""Refinement of activation scales from s0 to s4, weights in float (framework level, stage 1).

Block after block, each on what the quantized blocks before it yield; target is the float network.
Within a block the tensors are visited in order of execution, pass after pass with ever smaller
steps, and every candidate is judged by the loss of the whole block, on a few images first
(:mod:`aocq.methods.aocq.race`). A judgement by the tensor alone clips rare values that matter.

Sums of the stream keep their scale: the best clipping of every channel has been found already
(``alpha_choice``), and one factor for all of them, judged at the end of a block, hides errors that
better scales within the block would take away. In ViT-Tiny's block 7, whose fc2 makes values 110
times the median, it left twice the loss (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.parts import in_threads
from aocq.capture.residual_stream import residual_stream
from aocq.methods.aocq.block_state import BlockState, Candidate
from aocq.methods.aocq.blocks import Block
from aocq.methods.aocq.initial_scales import InitialScales, shared_parts
from aocq.methods.aocq.race import race
from aocq.methods.aocq.token_norm import BlockLoss
from aocq.methods.dynamic_steps import with_exact_base
from aocq.methods.quantizers import ActivationQuantizer, DynamicQuantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm
from aocq.recipes.limits import ChipLimits

# Factors on the current scale that each pass tries.
PASSES: tuple[tuple[float, ...], ...] = (
    (0.6, 0.7, 0.8, 0.9, 1.1),
    (0.85, 0.93, 1.08),
    (0.95, 1.05),
    (0.975, 1.025),
)
# The same among powers of two: there are no smaller steps, but every pass sees the others' choices.
PASSES_OF_POWERS_OF_TWO: tuple[tuple[float, ...], ...] = ((0.25, 0.5, 2.0), *(((0.5, 2.0),) * 3))
# How far a linear input's factors may follow its channels' ranges.
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def refine(
    state: BlockState,
    names: Sequence[str],
    loss: BlockLoss,
    passes: int,
    on_step: Callable[[], None],
    form: ScaleForm = ANY_SCALE,
) -> list[dict[str, Any]]:
    """Refine the scales of ``state.quantizers`` in place; return the log, one entry per pass.

    Parameters
    ----------
    names
        of the tensors, see :func:`searched`
    loss
        of a block's result; the best so far is kept, so it never rises
    on_step
        called after every tensor of every pass
    form
        which scales there are to choose from
    """
    tried = PASSES_OF_POWERS_OF_TWO if form.power_of_two else PASSES
    errors, power = state.errors(loss), state.power(loss)
    log = [_entry(state.block, 0, sum(errors) / power)]
    for number, factors in enumerate(tried[:passes], start=1):
        for name in names:
            candidates = _candidates(state, name, factors, form)
            best = race(state, name, candidates, loss, errors)
            if best is not None:
                state.take(name, candidates[best.index].quantizer)
                errors = best.errors
            on_step()
        log.append(_entry(state.block, number, sum(errors) / power))
    return log


def take_exact_bases(state: BlockState, limits: ChipLimits) -> None:
    """Let dynamic operands start from the codes that their inputs have now, without a rounding.

    Their steps are found as the chip runs, so that there is no scale to choose before.
    """
    for name in state.block.nodes:
        if isinstance(state.quantizers.get(name), DynamicQuantizer):
            found = with_exact_base(state.graph, name, state.quantizers, limits)
            if found is not None:
                state.take(name, found)


def choose_exponents(
    state: BlockState, initial: InitialScales, loss: BlockLoss, on_step: Callable[[], None]
) -> None:
    """Choose how far the factors of every linear layer's input follow its channels' ranges.

    Factors that ease the activations burden the weights' columns: candidates are judged with the
    reading layers' weights rounded, so that fewer weight bits get smoother factors.
    """
    for name in balanced(state.block, initial.readers):
        node = state.graph.node(name)

        def candidate(exponent: float, name: str = name, node: FloatNode = node) -> Candidate:
            quantizer = initial.input_quantizer(node, exponent)
            return Candidate(quantizer, initial.rounded_readers(name, quantizer.alpha))

        candidates = in_threads(candidate, EXPONENTS)
        best = race(state, name, candidates, loss)
        assert best is not None  # without a limit, one of them is
        state.take(name, candidates[best.index].quantizer)
        on_step()


def balanced(block: Block, readers: Mapping[str, list[FloatNode]]) -> list[str]:
    """Return the linear inputs of a block that are read in it only: their exponent is chosen."""
    return [
        name
        for name in block.nodes
        if name in readers and all(reader.name in block.nodes for reader in readers[name])
    ]


def searched(graph: FloatGraph, block: Block, without: frozenset[str]) -> list[str]:
    """Return the tensors whose scale is refined.

    Not probabilities, constants, shared parts, sums of the stream, nor those ``without`` codes or
    without a scale to choose.
    """
    kept = shared_parts(graph).keys() | residual_stream(graph) | without
    return [
        name
        for name in block.nodes
        if graph.node(name).op in ARITHMETIC
        and graph.node(name).op not in {FloatOp.SOFTMAX, FloatOp.CONSTANT}
        and name not in kept
    ]


def _entry(block: Block, number: int, loss: float) -> dict[str, Any]:
    return {"stage": "scales", "block": block.name, "pass": number, "loss": loss}


def _candidates(
    state: BlockState, name: str, factors: Iterable[float], form: ScaleForm
) -> list[Candidate]:
    now = state.quantizers[name]
    assert isinstance(now, ActivationQuantizer)  # others have no scale to choose
    return [
        Candidate(
            replace(
                now,
                scale=form.nearest(now.scale * factor),
                table_scale=form.nearest(now.table_scale * factor) if now.table_scale else 0.0,
            )
        )
        for factor in factors
    ]
