# SPDX-License-Identifier: Apache-2.0
"""The integer emulator beside others on the same network, images and cores, in turns.

Peers (``--peers``), each at the batch that suits it best among a few, tried before:

float           torch eager in float32, with timm's fused attention
fake-quantized  fake quantization in torch, float64, as `aocq verify` compares op by op with
onnxruntime     the same integers as an int8 QDQ model, in the form and with the graph optimisations
                that suit it best: all are tried
litert          LiteRT's kernels on the network quantized for `litert_ref`; beside them the emulator
                of that same file, which must yield the same codes; with several threads also
                LiteRT's reference beside the emulator on one core

With ``--batch`` the emulator and those of the first and the third take so many images at a time:
``--batch 1`` tells how long a single image takes, which all cores share.

Every round runs every side once for about ``--seconds``. The ratio is peer / emulator: above 1, the
emulator is faster. The last two peers need `make oracles`; without, they are left out.

Weights and pixels are random by default; agreement with the emulator then says little, and narrow
accumulators (``--accumulator``), whose time depends on values, want --graph or --weights, and
--data.

    python -m benchmarks.emulation
    python -m benchmarks.emulation --graph FOLDER --data FOLDER --peers onnxruntime
    python -m benchmarks.emulation --weights FILE --data FOLDER --accumulator 16s --peers float
    python -m benchmarks.emulation --graph FOLDER --data FOLDER --peers float --batch 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import command_line, peers
from benchmarks.engines import (
    Engine,
    Logits,
    OtherProcess,
    codes_of,
    emulator,
    fake_quantized,
    float_torch,
)
from benchmarks.networks import ACCUMULATORS, Subject, subject
from benchmarks.op_times import OpTimes, op_times
from benchmarks.pairs import Side, images_of_a_turn, ratio, take_turns, talk
from benchmarks.records import versions, write
from simulator.config import default_threads
from simulator.errors import AocqError
from simulator.executor import Executor
from simulator.graph.macs import total_macs

PEERS = ("float", "fake-quantized", "onnxruntime", "litert")
# Those of another process, by the names that the oracles' environments have for them.
INSTALLED_AS = {"onnxruntime": "onnx", "litert": "lite"}
COLUMNS = {
    "engine": "engine",
    "milliseconds": "ms / image",
    "ratio": "peer / emulator",
    "ratio_least": "least",
    "ratio_most": "most",
    "beside": "emulator of",
    "batch": "batch",
    "threads": "threads",
    "images": "images a turn",
    "agreement": "same class, %",
    "equal_codes": "equal codes, %",
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("emulation", __doc__)
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="timm's name of a network")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="its checkpoint")
    parser.add_argument(
        "--graph",
        type=Path,
        metavar="FOLDER",
        help="graph.json of `aocq`, instead of --model; peers need quantized.json beside it",
    )
    parser.add_argument(
        "--w-bits",
        type=int,
        choices=range(2, 9),
        default=8,
        help="of --model's weights (default %(default)s)",
    )
    parser.add_argument("--profile", default="edge_npu_int8", help="the chip (default %(default)s)")
    parser.add_argument(
        "--accumulator",
        choices=ACCUMULATORS,
        help="another register: bits, and s where it saturates; lowers the network again",
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="images, a folder per class")
    parser.add_argument(
        "--images",
        type=command_line.at_least_one,
        default=64,
        help="how many there are; no turn takes more (default 64)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=4.0,
        help="how long the turn of a side lasts, about (default 4)",
    )
    parser.add_argument(
        "--threads",
        type=command_line.at_least_one,
        default=default_threads(),
        help="of every side (default: all cores, here %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=command_line.at_least_one,
        help="images at a time of every side (default: what suits each best)",
    )
    parser.add_argument("--gemm", default="auto", help="the emulator's backend")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="a list with commas (default %(default)s)"
    )
    return parser.parse_args()


@contextmanager
def other_process(wanted: Sequence[str]) -> Iterator[OtherProcess | None]:
    """Hold the process of onnxruntime and LiteRT, if a peer wants it and it is installed."""
    packages = [INSTALLED_AS[name] for name in wanted if name in INSTALLED_AS]
    if all(OtherProcess.missing(package) is not None for package in packages):
        yield None
        return
    process = OtherProcess()
    try:
        yield process
    finally:
        process.close()


def engines_of(
    name: str, given: Subject, asked: argparse.Namespace, process: OtherProcess | None
) -> list[Engine]:
    """Return a peer's engines, none where it cannot run: a line says why."""
    threads, gemm = asked.threads, asked.gemm
    among = {} if asked.batch is None else {"among": (asked.batch,)}
    if name == "float":
        return [float_torch(given, threads, **among)]
    absent = OtherProcess.missing(INSTALLED_AS[name]) if name in INSTALLED_AS else None
    if given.model is None:
        absent = "not run: the folder has no quantized.json"
    try:
        if absent is None and name == "fake-quantized":
            return [fake_quantized(given, threads)]
        if absent is None and process is not None:
            return {
                "onnxruntime": lambda: peers.onnxruntime(given, threads, process, **among),
                "litert": lambda: peers.litert(given, threads, gemm, process),
            }[name]()
    except AocqError as error:
        absent = f"not run: {error}"
    talk(f"{name}: {absent}")
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An engine with the images of its turns, its seconds per image round by round, its logits."""

    engine: Engine
    images: int
    seconds: Sequence[float]
    logits: Logits


def measure(
    engines: Sequence[Engine], images: int, wanted: float, pairs: int
) -> Mapping[str, Measured]:
    """Let every engine run all it can once, choose the images of its turns, then take turns."""
    counts, logits = {}, {}
    for engine in engines:
        engine.run(engine.batch)  # compiles, allocates, fills caches
        once = engine.seconds_per_image(engine.batch)
        counts[engine.name] = images_of_a_turn(once, wanted, engine.batch, images)
        logits[engine.name] = engine.run(counts[engine.name])[1]
        talk(f"{engine.name}: {once * 1e3:.4g} ms/image, {counts[engine.name]} images a turn")

    def turn(engine: Engine) -> Callable[[], float]:
        return lambda: engine.seconds_per_image(counts[engine.name])

    sides = [Side(name=engine.name, turn=turn(engine)) for engine in engines]
    found = take_turns(sides, pairs, talk)
    return {
        engine.name: Measured(
            engine=engine,
            images=counts[engine.name],
            seconds=found[engine.name],
            logits=logits[engine.name],
        )
        for engine in engines
    }


def row(found: Measured, beside: Measured, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the record: an engine and the emulator it is compared with."""
    engine = found.engine
    facts = dict(engine.facts)
    peer = None if found is beside else ratio(found.seconds, beside.seconds)
    same = min(len(found.logits), len(beside.logits))
    mine, theirs = beside.logits[:same], found.logits[:same]
    agreeing = mine.argmax(axis=1) == theirs.argmax(axis=1)
    return {
        **shared,
        "engine": engine.name,
        "milliseconds": 1e3 * float(np.median(found.seconds)),
        "ratio": peer and peer.median,
        "ratio_least": peer and peer.least,
        "ratio_most": peer and peer.most,
        "beside": None if peer is None else engine.beside,
        "batch": engine.batch,
        "images": found.images,
        "agreement": 100 * float(agreeing.mean()) if engine.trained else None,
        "equal_codes": 100 * float((mine == theirs).mean()) if engine.exact else None,
        **facts,
        "versions": {**versions(), **facts.get("versions", {})},
    }


def print_op_times(times: OpTimes, images: int) -> None:
    """Print where the emulator's time went."""
    inside = sum(times.by_kind.values())
    print(
        f"\nInside kernels and products: {100 * times.share:.1f} % of the workers' time "
        f"({1e3 * times.wall / images:.2f} ms per image)\n"
    )
    for kind, spent in times.by_kind.items():
        print(f"{kind:20} {1e3 * spent / images:8.2f} ms/image {100 * spent / inside:5.1f} %")


def main() -> None:
    """Measure, print, and write the record."""
    asked = arguments()
    wanted = command_line.chosen(asked.peers, PEERS, "peer")
    torch.set_num_threads(asked.threads)
    given = subject(
        name=asked.model,
        weights=asked.weights,
        graph=asked.graph,
        profile=asked.profile,
        accumulator=asked.accumulator,
        data=asked.data,
        images=asked.images,
        weight_bits=asked.w_bits,
    )
    talk(f"{given.name} for {given.graph.profile}, {asked.images} images")
    with other_process(wanted) as process:
        ours = emulator(given.graph, given.images, asked.threads, asked.gemm, batch=asked.batch)
        engines = [ours]
        for name in wanted:
            engines += engines_of(name, given, asked, process)
        found = measure(engines, asked.images, asked.seconds, asked.pairs)
    executor = Executor(given.graph, threads=asked.threads, gemm=asked.gemm)
    images = found[ours.name].images
    times = op_times(executor, codes_of(given.graph, given.images[:images]), asked.batch)
    shared = {
        "model": given.name,
        "profile": given.graph.profile,
        "accumulator": asked.accumulator,
        "weights": given.weights,
        "pixels": given.pixels,
        "pairs": asked.pairs,
        "macs": total_macs(given.graph),
    }
    rows = [row(one, found[one.engine.beside], shared) for one in found.values()]
    rows[0] |= {
        "kernel_share": times.share,
        "milliseconds_by_kind": {
            kind: 1e3 * spent / images for kind, spent in times.by_kind.items()
        },
    }
    register = f", accumulator {asked.accumulator}" if asked.accumulator else ""
    title = (
        f"{given.name} for {given.graph.profile}{register}: {given.weights}, {given.pixels}; "
        f"medians over {asked.pairs} rounds."
    )
    print(write(asked.out, "emulation", title, rows, COLUMNS))
    print_op_times(times, images)


if __name__ == "__main__":
    command_line.run(main)
