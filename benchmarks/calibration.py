# SPDX-License-Identifier: Apache-2.0
"""Time of AOCQ's calibration of one block: in matrix products, and elsewhere.

    python -m benchmarks.calibration [--block 7] [--weights FILE --data FOLDER] [--steps N]

Every stage runs twice: as it is, for its seconds of processor time, and under torch's profiler, for
the shares. "element-wise" are torch's operators but for matrix products and factorizations, so also
copies. "Python" is what is left of the second run's time: the interpreter, NumPy, and what the
profiler itself takes. Shares hardly depend on values: by default weights and pixels are random.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from aocq.capture import FloatGraph, capture, run_in_parts
from aocq.methods.aocq.block_state import BlockState
from aocq.methods.aocq.blocks import Block, blocks
from aocq.methods.aocq.channel_ranges import channel_ranges
from aocq.methods.aocq.initial_scales import InitialScales
from aocq.methods.aocq.reconstruction import Judge, reconstruct
from aocq.methods.aocq.rounding import FakeQuantizedNetwork, RoundedBlock, Streams, round_block
from aocq.methods.aocq.scale_refinement import choose_exponents, refine, searched
from aocq.methods.aocq.token_norm import BlockLoss, block_loss
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP
from aocq.recipes.recipe import Recipe
from benchmarks.networks import float_network, pictures

# What torch calls its matrix products, forward and backward, and solvers of linear equations.
KINDS = {
    "GEMM": ("addmm", "baddbmm", "bmm", "mm"),
    "factorization": ("linalg_cholesky_ex", "linalg_lu_factor_ex", "linalg_lu_solve"),
}
OBSERVED = 8


@dataclass(frozen=True, slots=True)
class Shares:
    """What a stage took: processor time in seconds, and the shares of its time, of 1, by kind."""

    seconds: float
    shares: dict[str, float]

    @classmethod
    def of(cls, job: Callable[[], object]) -> Shares:
        """Run ``job`` twice."""
        start = time.process_time()
        job()
        seconds = time.process_time() - start
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            start = time.perf_counter()
            job()
            total = 1e6 * (time.perf_counter() - start)
        kinds = dict.fromkeys([*KINDS, "element-wise"], 0.0)
        for event in profiled.key_averages():
            name = event.key.removeprefix("aten::")
            kind = next((kind for kind, names in KINDS.items() if name in names), "element-wise")
            kinds[kind] += event.self_cpu_time_total
        kinds["Python"] = total - sum(kinds.values())
        return cls(seconds, {kind: found / total for kind, found in kinds.items()})

    def __str__(self) -> str:
        shares = "  ".join(f"{kind} {100 * share:3.0f} %" for kind, share in self.shares.items())
        return f"{self.seconds:7.2f} s  {shares}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One block with its first quantizers, and the float network's values where it starts."""

    graph: FloatGraph
    block: Block
    initial: InitialScales
    source: Tensor
    recipe: Recipe

    def state(self, images: int) -> BlockState:
        """Return the block on some of the images, as the search of scales begins."""
        source = self.source[:images]
        chosen = self.initial.of_block(self.block, source)
        return BlockState.of(self.graph, self.block, source, chosen)

    def source_of(self, state: BlockState) -> Tensor:
        """Return the values where the block starts."""
        return state.value(self.block.source)

    def loss(self, state: BlockState) -> BlockLoss:
        """Return what the search minimizes."""
        name = self.block.result
        target = run_in_parts(self.graph, {self.block.source: self.source_of(state)}, [name])[name]
        importance = self.initial.importance[name]
        quantizer = state.quantizers.get(name)
        return block_loss(self.graph, name, target, quantizer, importance, self.recipe.aocq)


def copied(state: BlockState) -> BlockState:
    """Return a state that a search can change."""
    parts = [replace(part, values=dict(part.values), raw=dict(part.raw)) for part in state.parts]
    return replace(state, quantizers=dict(state.quantizers), parts=parts)


def prepared(arguments: argparse.Namespace) -> Prepared:
    """Run the float network up to the block."""
    network, shape = float_network(arguments.model, arguments.weights)
    images = pictures(network, shape, arguments.data, arguments.images)
    graph = capture(network, arguments.model, shape)
    options = AocqOptions(
        search_images=arguments.search,
        rounding="reconstruct",
        reconstruction_steps=arguments.steps,
    )
    recipe = Recipe(weight_bits=4, aocq=options)
    seen = channel_ranges(graph, images[:OBSERVED], recipe.activation_bits, lambda _: None)
    block = next(block for block in blocks(graph) if block.name == f"blocks.{arguments.block}")
    source = run_in_parts(graph, {graph.input.name: images}, [block.source])[block.source]
    return Prepared(graph, block, InitialScales(graph, seen, recipe, ANY_CHIP), source, recipe)


def stages(start: Prepared, passes: int) -> dict[str, Callable[[], Any]]:
    """Return every stage as a job that can be run again and again."""
    graph, block, recipe = start.graph, start.block, start.recipe
    state = start.state(recipe.aocq.search_images)
    loss = start.loss(state)
    names = searched(graph, block, start.initial.without_codes)
    streams = Streams(start.source, start.source)

    fake_quantized = FakeQuantizedNetwork(graph, dict(state.quantizers), recipe, ANY_CHIP)

    def closed_form() -> Any:
        return round_block(fake_quantized, block, streams, recipe, {}, lambda: None)[0]

    found = RoundedBlock(closed_form())
    values = run_in_parts(graph, {block.source: start.source}, [block.result])
    judge = Judge((), block.result, values[block.result])

    def back_propagation() -> None:
        reconstruct(fake_quantized, block, judge, streams, found, recipe, lambda: None)

    return {
        "first scales": lambda: start.initial.of_block(block, start.source_of(state)),
        "exponents of α": lambda: choose_exponents(
            copied(state), start.initial, loss, lambda: None
        ),
        f"scales, {passes} passes": lambda: refine(
            copied(state), names, loss, passes, lambda: None
        ),
        "closed form": closed_form,
        f"back-propagation, {recipe.aocq.reconstruction_steps} steps": back_propagation,
    }


def main() -> None:
    """Print a line per stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--block", type=int, default=7)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--search", type=int, default=16, help="images of the search of scales")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    with torch.no_grad():
        start = prepared(arguments)
        print(
            f"{arguments.model} {start.block.name}: {arguments.images} images, "
            f"{arguments.search} in the search, {torch.get_num_threads()} torch threads"
        )
        for name, job in stages(start, arguments.passes).items():
            print(f"{name:28}{Shares.of(job)}", flush=True)


if __name__ == "__main__":
    main()
