# SPDX-License-Identifier: Apache-2.0
"""Refinement of activation scales from s0 to s4, weights in float (framework level, stage 1).

Block after block, each on what the quantized blocks before it yield; target is the float network.
Within a block the tensors are visited in order of execution, pass after pass with ever smaller
steps, and every candidate is judged by the loss of the whole block. A judgement by the tensor alone
clips rare values that matter.

Sums of the stream keep their scale: the best clipping of every channel has been found already
(``alpha_choice``), and one factor for all of them, judged at the end of a block, hides errors that
better scales within the block would take away. In ViT-Tiny's block 7, whose fc2 makes values 110
times the median, it left twice the loss (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run_in_parts
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import residual_stream
from aocq.methods.aocq.blocks import Block, within
from aocq.methods.aocq.initial_scales import InitialScales, shared_parts
from aocq.methods.masks import quantizing
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm

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

Quantizers = dict[str, ActivationQuantizer]
Loss = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class BlockState:
    """One block on the search images, under the quantizers chosen so far.

    ``values`` are quantized results and ``raw`` the same before their quantizer, by node name;
    ``own`` is the graph without other blocks.
    """

    graph: FloatGraph
    block: Block
    source: Tensor
    quantizers: Quantizers
    values: dict[str, Tensor]
    raw: dict[str, Tensor]
    own: FloatGraph

    @classmethod
    def of(
        cls, graph: FloatGraph, block: Block, source: Tensor, quantizers: Quantizers
    ) -> BlockState:
        """Run the block on its quantized ``source``."""
        values, raw = {block.source: source}, dict[str, Tensor]()
        state = cls(graph, block, source, quantizers, values, raw, within(graph, block))
        state.update(block.nodes)
        return state

    def update(self, names: Iterable[str]) -> None:
        """Compute ``names`` and everything of the block behind them anew."""
        stale = behind(self.own, self.block, names)
        known = {name: value for name, value in self.values.items() if name not in stale}
        raw: dict[str, list[Tensor]] = {}
        fake_quantize = quantizing(self.own, self.quantizers)

        def keep(node: FloatNode, x: Tensor) -> Tensor:
            if node.name in self.quantizers:
                raw.setdefault(node.name, []).append(x)
            return fake_quantize(node, x)

        self.values = known | run_in_parts(self.own, known, sorted(stale), transform=keep)
        self.raw |= {name: torch.cat(parts) for name, parts in raw.items()}

    def result_with(
        self,
        name: str,
        quantizer: ActivationQuantizer,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the block's result if ``name`` had another quantizer (and weights others)."""
        stale = behind(self.own, self.block, [name])
        feeds = {key: value for key, value in self.values.items() if key not in stale}
        fake_quantize = quantizing(self.own, {**self.quantizers, name: quantizer})
        result = self.block.result
        feeds[name] = quantizer(self.raw[name])
        return run_in_parts(
            self.own, feeds, [result], transform=fake_quantize, parameters=parameters
        )[result]


def behind(graph: FloatGraph, block: Block, names: Iterable[str]) -> frozenset[str]:
    """Return ``names`` and the nodes of ``block`` that depend on them."""
    stale = set(names)
    for name in block.nodes:
        if any(source in stale for source in graph.node(name).inputs):
            stale.add(name)
    return frozenset(stale)


def refine(
    state: BlockState,
    names: Sequence[str],
    loss: Loss,
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
    best = float(loss(state.values[state.block.result]))
    log = [_entry(state.block, 0, best)]
    for number, factors in enumerate(tried[:passes], start=1):
        for name in names:
            best = _improve(state, name, _candidates(state, name, factors, form), best, loss)
            on_step()
        log.append(_entry(state.block, number, best))
    return log


def choose_exponents(
    state: BlockState, initial: InitialScales, loss: Loss, on_step: Callable[[], None]
) -> None:
    """Choose how far the factors of every linear layer's input follow its channels' ranges.

    Factors that ease the activations burden the weights' columns: candidates are judged with the
    reading layers' weights rounded, so that fewer weight bits get smoother factors.
    """
    for name in balanced(state.block, initial.readers):
        node, losses = state.graph.node(name), {}
        for exponent in EXPONENTS:
            candidate = initial.input_quantizer(node, exponent)
            weights = initial.rounded_readers(name, candidate.alpha)
            losses[candidate] = float(loss(state.result_with(name, candidate, weights)))
        state.quantizers[name] = min(losses, key=losses.__getitem__)
        state.update([name])
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

    Not probabilities, constants, shared parts, sums of the stream, nor those ``without`` codes.
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
) -> list[ActivationQuantizer]:
    now = state.quantizers[name]
    return [
        replace(
            now,
            scale=form.nearest(now.scale * factor),
            table_scale=form.nearest(now.table_scale * factor) if now.table_scale else 0.0,
        )
        for factor in factors
    ]


def _improve(
    state: BlockState,
    name: str,
    candidates: Iterable[ActivationQuantizer],
    best: float,
    loss: Loss,
) -> float:
    """Take the candidate of least loss, if any is below ``best``; return the loss then."""
    chosen = None
    for candidate in candidates:
        candidate_loss = float(loss(state.result_with(name, candidate)))
        if candidate_loss < best:
            best, chosen = candidate_loss, candidate
    if chosen is not None:
        state.quantizers[name] = chosen
        state.update([name])
    return best
