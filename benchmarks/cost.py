# SPDX-License-Identifier: Apache-2.0
"""Seconds of `aocq cost NAME`: as a whole process, first and again, and of its steps.

Every round has an empty cache folder: the first call captures the network, the following find it
kept, for the same chip, for another width and for another chip. Times are those of the clock on the
wall and of the processor, which others on the machine disturb less. The steps after the capture
(quantize, lower and verify; estimate) are timed in this process, processor's time alone.

    python -m benchmarks.cost
    python -m benchmarks.cost --models deit_tiny_patch16_224 --pairs 3
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from aocq import progress
from aocq.jobs.captured import captured_network
from aocq.jobs.request import ModelRequest
from aocq.jobs.without_weights import lowered_without_weights
from aocq.recipes.recipe import Recipe
from benchmarks import command_line
from benchmarks.pairs import cpu_seconds, talk
from benchmarks.records import write
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.profile import load_profile

MODELS = (
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_base_patch4_window7_224",
    "vit_large_patch16_224",
)
CHIP, OTHER_CHIP = "edge_npu_int8", "ethos_u85_256"
CALLS: Mapping[str, tuple[str, ...]] = {
    "first": (),
    "again": (),
    "other_width": ("--w-bits", "4"),
    "other_chip": ("--profile", OTHER_CHIP),
}
COLUMNS = {
    "model": "model",
    "first": "first, s",
    "again": "again, s",
    "other_width": "another width, s",
    "other_chip": "another chip, s",
    "first_cpu": "first, CPU s",
    "again_cpu": "again, CPU s",
    "other_width_cpu": "another width, CPU s",
    "other_chip_cpu": "another chip, CPU s",
    "lower_cpu": "quantize, lower and verify, CPU s",
    "estimate_cpu": "estimate, CPU s",
}


class Seconds(NamedTuple):
    """Of a process: on the clock on the wall, and of the processor."""

    wall: float
    cpu: float


def process(words: tuple[str, ...], cache: str) -> Seconds:
    """Run a command as a process of its own.

    Raises
    ------
    InputError
        If it fails, with what it says.
    """
    before, start = _children(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "aocq", *words],
        env={**os.environ, "AOCQ_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    found = Seconds(time.perf_counter() - start, _children() - before)
    if done.returncode:
        raise InputError(f"{' '.join(words)}: {done.stderr.strip()}")
    return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def calls(model: str) -> dict[str, Seconds]:
    """Run a round: every call of a network, in an empty cache folder."""
    with tempfile.TemporaryDirectory() as cache:
        return {
            name: process(("cost", model, "--json", *options), cache)
            for name, options in CALLS.items()
        }


def steps(model: str, seconds: float = 1.0) -> dict[str, float]:
    """Return the processor's seconds of what follows the capture, each done for so many at least.

    The sha256 of the graph, which the command prints too, is not in them.
    """
    captured = captured_network(ModelRequest(name=model), progress.silent, talk)
    chip, recipe = load_profile(CHIP), Recipe()
    graph = lowered_without_weights(captured, recipe, chip).graph
    return {
        "lower_cpu": cpu_seconds(lambda: lowered_without_weights(captured, recipe, chip), seconds),
        "estimate_cpu": cpu_seconds(lambda: estimate(graph, chip), seconds),
    }


def measure(model: str, pairs: int) -> dict[str, Any]:
    """Return the row of a network: medians over the rounds, and all their wall times."""
    rounds = []
    for number in range(pairs):
        rounds.append(calls(model))
        told = ", ".join(f"{name} {found.wall:.2f} s" for name, found in rounds[-1].items())
        talk(f"{model}, round {number + 1} of {pairs}: {told}")
    row: dict[str, Any] = {"model": model, "chip": CHIP, "other_chip_name": OTHER_CHIP}
    for name in CALLS:
        row[name] = statistics.median(found[name].wall for found in rounds)
        row[f"{name}_cpu"] = statistics.median(found[name].cpu for found in rounds)
        row[f"{name}_rounds"] = [found[name].wall for found in rounds]
    return {**row, **steps(model), "pairs": pairs}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("cost", __doc__)
    parser.add_argument(
        "--models",
        default=",".join(MODELS),
        help="names of timm, with commas (default %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    """Measure every network, print, and write the record."""
    asked = arguments()
    names = [name.strip() for name in asked.models.split(",") if name.strip()]
    title = (
        f"Seconds of `aocq cost NAME` for {CHIP} at W8A8, W4A8, and for {OTHER_CHIP}, whole "
        f"processes and steps; medians over {asked.pairs} rounds, each in an empty cache folder."
    )
    rows = [measure(name, asked.pairs) for name in names]
    print(write(asked.out, "cost", title, rows, COLUMNS))


if __name__ == "__main__":
    command_line.run(main)
