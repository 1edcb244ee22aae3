# SPDX-License-Identifier: Apache-2.0
"""One block under the quantizers chosen so far, on the images that candidates are judged on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, run
from aocq.capture.parts import in_threads, parts_of
from aocq.methods.aocq.blocks import Block, within
from aocq.methods.aocq.token_norm import BlockLoss
from aocq.methods.chip_operators import ChipOperators, exact_operators, operator_of
from aocq.methods.masks import quantizing
from aocq.methods.quantizers import Quantizer

Quantizers = dict[str, Quantizer]


@dataclass(slots=True)
class Part:
    """Some images: quantized results, and the same before their quantizer, by node name."""

    images: slice
    values: dict[str, Tensor]
    raw: dict[str, Tensor]

    def forget(self, outdated: Collection[str], changed: str) -> None:
        """Drop results that depend on the one whose quantizer changed, and its own."""
        self.values = {name: x for name, x in self.values.items() if name not in outdated}
        self.raw = {n: x for n, x in self.raw.items() if n not in outdated or n == changed}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantizer to judge, and parameters that go with it, such as rounded weights, by name."""

    quantizer: Quantizer
    parameters: Mapping[str, Tensor] | None = None


@dataclass(slots=True)
class BlockState:
    """One block on the search images, in parts, under the quantizers chosen so far.

    What a change of a quantizer outdates is dropped, and computed again when it is asked for.

    Attributes
    ----------
    parts
        of the images, in order
    own
        the graph without other blocks
    operators
        those of the chip
    """

    graph: FloatGraph
    block: Block
    quantizers: Quantizers
    parts: list[Part]
    own: FloatGraph
    operators: ChipOperators = exact_operators

    @classmethod
    def of(
        cls,
        graph: FloatGraph,
        block: Block,
        source: Tensor,
        quantizers: Quantizers,
        operators: ChipOperators = exact_operators,
    ) -> BlockState:
        """Start a block on its quantized ``source``."""
        parts = [
            Part(images, {block.source: source[images]}, {})
            for images in parts_of(len(source), source.device.type)
        ]
        return cls(graph, block, quantizers, parts, within(graph, block), operators)

    def value(self, name: str) -> Tensor:
        """Return the quantized result of a node, [images, ...]."""
        self._compute([name])
        return torch.cat([part.values[name] for part in self.parts])

    def prepare(self, name: str) -> None:
        """Compute what every candidate for the quantizer of ``name`` needs, and only that."""
        later = behind(self.own, self.block, [name]) - {name}
        self._compute([other for other in self.block.nodes if other not in later])

    def take(self, name: str, quantizer: Quantizer) -> None:
        """Give ``name`` another quantizer."""
        self.quantizers[name] = quantizer
        outdated = behind(self.own, self.block, [name])
        for part in self.parts:
            part.forget(outdated, name)
            if name in part.raw:
                part.values[name] = quantizer(part.raw[name])

    def errors(self, loss: BlockLoss) -> list[float]:
        """Return the loss of the block's result, part by part."""
        result = self.block.result
        self._compute([result])
        return [float(loss.error(part.values[result], part.images)) for part in self.parts]

    def power(self, loss: BlockLoss) -> float:
        """Return what errors are relative to."""
        return sum(float(loss.power(part.images)) for part in self.parts)

    def error_with(self, name: str, candidate: Candidate, loss: BlockLoss, part: Part) -> float:
        """Return one part's loss if ``name`` had another quantizer; see :meth:`prepare`."""
        return float(loss.error(self.result_with(name, candidate, part), part.images))

    def result_with(self, name: str, candidate: Candidate, part: Part) -> Tensor:
        """Return the block's result on one part if ``name`` had another quantizer."""
        stale = behind(self.own, self.block, [name])
        feeds = {key: value for key, value in part.values.items() if key not in stale}
        if name in part.raw:
            feeds[name] = candidate.quantizer(part.raw[name])
        changed = {**self.quantizers, name: candidate.quantizer}
        result = self.block.result
        return run(
            self.own,
            feeds,
            [result],
            transform=quantizing(self.own, changed),
            parameters=candidate.parameters,
            operators=operator_of(self.own, changed, self.operators),
        )[result]

    def _compute(self, names: Sequence[str]) -> None:
        """Compute the nodes of ``names`` that are not known, and keep all in between."""
        fake_quantize = quantizing(self.own, self.quantizers)
        operators = operator_of(self.own, self.quantizers, self.operators)

        def compute(part: Part) -> None:
            def keep(node: FloatNode, x: Tensor) -> Tensor:
                # A chip's own operator yields codes: for other ones it has to run again.
                if node.name in self.quantizers and operators(node) is None:
                    part.raw[node.name] = x
                part.values[node.name] = value = fake_quantize(node, x)
                return value

            unknown = [name for name in names if name not in part.values]
            run(self.own, dict(part.values), unknown, transform=keep, operators=operators)

        in_threads(compute, self.parts, self.device)

    @property
    def device(self) -> str:
        """Torch's type of device that computes."""
        return self.parts[0].values[self.block.source].device.type


def behind(graph: FloatGraph, block: Block, names: Iterable[str]) -> frozenset[str]:
    """Return ``names`` and the nodes of ``block`` that depend on them."""
    stale = set(names)
    for name in block.nodes:
        if any(source in stale for source in graph.node(name).inputs):
            stale.add(name)
    return frozenset(stale)
