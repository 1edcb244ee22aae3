# SPDX-License-Identifier: Apache-2.0
"""Integer emulation beside float32 torch eager, in turns, on the same images and cores.

    python -m benchmarks.emulation [--model NAME] [--weights FILE] [--images N] [--pairs P]

Speed does not depend on the values of weights and pixels: by default both are random. The float
network runs with timm's fused attention, as a user would run it, at the batch size that suits it
best among a few (tried before the pairs).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from aocq.capture import capture
from aocq.lowering import lower
from aocq.methods import METHODS, Recipe
from aocq.models import load_model
from simulator.executor import Executor
from simulator.profile import load_profile


def seconds(job: Callable[[], object]) -> float:
    """Return how long ``job`` takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def network(name: str, weights: Path | None) -> tuple[torch.nn.Module, tuple[int, int, int]]:
    """Return the float network, with random weights where no file is given."""
    if weights is not None:
        loaded = load_model(name, weights)
        return loaded.network, loaded.input_size
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    return model, model.default_cfg["input_size"]


def main() -> None:
    """Print a line per pair and the median ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--profile", default="edge_npu_int8")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    model, size = network(arguments.model, arguments.weights)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(arguments.images, *size, generator=generator)
    profile = load_profile(arguments.profile)
    recipe = Recipe(zero_point=profile.activation.zero_point)
    graph = capture(model, arguments.model, size)
    quantized = METHODS["base_ptq"](graph, images[:8], recipe)
    executor = Executor(lower(quantized, profile))
    codes = quantized.activations["image"].codes(images).numpy().astype(np.int8)

    def run_float(batch: int) -> None:
        with torch.inference_mode():
            for part in images.split(batch):
                model(part)

    run_float(8)
    executor.run(codes[:8])
    batch = min((1, 2, 4, 8, 16, 32), key=lambda size: seconds(lambda: run_float(size)))
    print(
        f"{arguments.model} on {profile.name}: {arguments.images} images, "
        f"{torch.get_num_threads()} torch threads (batch {batch}), {executor.threads} emulator "
        f"threads (gemm {executor.gemm.name})"
    )
    ratios = []
    for pair in range(arguments.pairs):
        floating = seconds(lambda: run_float(batch)) / arguments.images
        integer = seconds(lambda: executor.run(codes)) / arguments.images
        ratios.append(floating / integer)
        print(
            f"pair {pair + 1}: float32 {floating * 1e3:.2f} ms/image, "
            f"integer {integer * 1e3:.2f} ms/image, float / integer {ratios[-1]:.2f}"
        )
    print(f"median float / integer: {statistics.median(ratios):.2f} (above 1: emulation is faster)")


if __name__ == "__main__":
    main()
