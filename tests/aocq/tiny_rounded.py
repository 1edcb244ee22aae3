# SPDX-License-Identifier: Apache-2.0
"""A tiny network of few bits, and its layers rounded one by one."""

from __future__ import annotations

from typing import Any

from asked import asked
from tiny_models import NANO, images, input_size

from aocq.capture import FloatGraph, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.methods.aocq.blocks import Block, blocks
from aocq.methods.aocq.rounding import (
    FakeQuantizedNetwork,
    LayerResult,
    Streams,
    float_targets,
    round_layer,
)
from aocq.methods.aocq.tokens import tokens_read
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.ranges import activation_quantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP
from aocq.recipes.recipe import Recipe


class Network:
    """A tiny network whose tensors are held at few bits, and its values block by block."""

    def __init__(self, graph: FloatGraph, count: int, *, alpha: bool = False) -> None:
        self.graph, self.images = graph, images(count, input_size(NANO))
        self.limits = ANY_CHIP
        self.quantizers: dict[str, ActivationQuantizer] = {}
        nodes = [node for node in graph.nodes if node.op in ARITHMETIC]
        values = run(graph, {"image": self.images}, [node.name for node in nodes])
        for node in nodes:
            low, high = float(values[node.name].min()), float(values[node.name].max())
            self.quantizers[node.name] = activation_quantizer(low, high, 6, "symmetric")
        if alpha:
            found = values["blocks.0.norm2"].flatten(0, -2).abs().amax(0).double()
            factors = tuple((found / found.max()).tolist())
            self.quantizers["blocks.0.norm2"] = ActivationQuantizer(
                type=self.quantizers["blocks.0.norm2"].type,
                scale=self.quantizers["blocks.0.norm2"].scale,
                zero_point=0,
                alpha=factors,
            )

    def fake_quantized(self) -> FakeQuantizedNetwork:
        recipe = Recipe(aocq=AocqOptions(class_token_weight=1.0))
        return FakeQuantizedNetwork(self.graph, self.quantizers, recipe, self.limits)

    def streams(self, block: Block) -> Streams:
        image = self.quantizers["image"](self.images)
        real = run(self.graph, {"image": self.images}, [block.source])[block.source]
        return Streams(real, self.fake_quantized()({"image": image}, [block.source])[block.source])

    def layer(self, name: str, **options: Any) -> LayerResult:
        aocq = {key: options.pop(key) for key in ("rounding", "loss") if key in options}
        recipe, self.limits = asked(**{"weight_bits": 4, **options, "aocq": aocq})
        block = next(block for block in blocks(self.graph) if name in block.nodes)
        node = self.graph.node(name)
        streams = self.streams(block)
        targets = float_targets(self.fake_quantized(), block, streams)
        feeds = {block.source: streams.quantized}
        return round_layer(self.fake_quantized(), feeds, node, targets, recipe)

    def result_error(self, name: str, found: LayerResult) -> float:
        """Mean squared error of the tokens that lead to the logits, against the float layer's."""
        node = self.graph.node(name)
        parameters = {node.attributes["weight"]: found.weight.dequantized().float()}
        if found.bias is not None:
            parameters[node.attributes["bias"]] = found.bias.float()
        image = self.quantizers["image"](self.images)
        x = self.fake_quantized()({"image": image}, [node.inputs[0]])
        held = run(self.graph, x, [name], parameters=parameters)[name]
        real = run(self.graph, {"image": self.images}, [name])[name]
        return float(((held - real) ** 2)[:, tokens_read(self.graph)[name]].mean())
