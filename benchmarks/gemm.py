# SPDX-License-Identifier: Apache-2.0
"""Exact integer products by backend and shape, on one core, beside what the core can do at best.

Shapes are the layers of ViTs of three widths, on the tokens of one image (M = 197) and of four
(788), and the two products of attention of one head. Beside them, in the same rounds: numpy's
float32 product of the same shape; a loop of float32 multiply-adds that never leave the registers;
on x86, the same of int16 pairs and, with VNNI, of quads of bytes. The operands of a layer are
prepared before, as an emulator does once; those of attention within the time, as it does for every
image.

Times are of the processor, not of the clock on the wall. A multiply-add is two operations.

    python -m benchmarks.gemm
    python -m benchmarks.gemm --models tiny --backends blas,numba --pairs 3
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import command_line, peak
from benchmarks.pairs import Side, cpu_seconds, ratio, take_turns, talk
from benchmarks.records import write
from simulator.errors import EnvironmentProblem
from simulator.gemm import (
    BACKENDS,
    Gemm,
    backend,
    limit_threads_of_this_thread,
    one_thread_per_worker,
)

WIDTHS = {"tiny": 192, "small": 384, "base": 768}
ROWS = (197, 788)
HEAD, TOKENS = 64, 197
SECONDS = 0.05  # of processor time, at least, for one side in one round
FLOAT = "numpy float32"
COLUMNS = {
    "model": "model",
    "layer": "layer",
    "m": "M",
    "k": "K",
    "n": "N",
    "backend": "backend",
    "gops": "Gop/s",
    "of_float": "of numpy float32",
    "of_float_peak": "of float32 loop",
    "of_pair_peak": "of int16 loop",
    "of_quad_peak": "of VNNI loop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A product [M, K] x [K, N].

    ``fresh`` says that the right operand is another one every time, ``unsigned`` that the left
    one holds probabilities; ``bits`` are those of the right one.
    """

    model: str
    layer: str
    m: int
    k: int
    n: int
    fresh: bool = False
    unsigned: bool = False
    bits: int = 8

    @property
    def name(self) -> str:
        """What a line of progress calls it."""
        return f"{self.model} {self.layer} [{self.m}, {self.k}] x [{self.k}, {self.n}]"

    @property
    def operations(self) -> int:
        """Two for every multiply-add."""
        return 2 * self.m * self.k * self.n


def shapes(models: Sequence[str]) -> list[Shape]:
    """Return the products of attention, which all widths share, and those of every layer."""
    found = [
        Shape(model="all", layer="scores", m=TOKENS, k=HEAD, n=TOKENS, fresh=True),
        Shape(model="all", layer="context", m=TOKENS, k=TOKENS, n=HEAD, fresh=True, unsigned=True),
    ]
    for model in models:
        width = WIDTHS[model]
        layers = {
            "patches": (768, width),
            "qkv": (width, 3 * width),
            "proj": (width, width),
            "fc1": (width, 4 * width),
            "fc2": (4 * width, width),
        }
        found += [
            Shape(model=model, layer=layer, m=rows, k=k, n=n)
            for layer, (k, n) in layers.items()
            for rows in ROWS
        ]
        found += [
            Shape(model=model, layer=f"{layer}, 4 bits", m=ROWS[-1], k=k, n=n, bits=4)
            for layer, (k, n) in layers.items()
        ]
    return found


def operands(shape: Shape) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return codes of a shape, over all of their range."""
    random = np.random.default_rng(0)
    kind: type = np.uint8 if shape.unsigned else np.int8
    limits = np.iinfo(kind)
    a = random.integers(limits.min, limits.max, (shape.m, shape.k), kind, endpoint=True)
    largest = 1 << (shape.bits - 1)
    b = random.integers(-largest, largest, (shape.k, shape.n)).astype(np.int8)
    return a, b


def job(gemm: Gemm, shape: Shape) -> Callable[[], object]:
    """Return what is timed of a backend, after a first call, which may compile."""
    a, b = operands(shape)
    product = gemm.prepare(b)
    product(a)
    return (lambda: gemm.prepare(b)(a)) if shape.fresh else (lambda: product(a))


def float_job(shape: Shape) -> Callable[[], object]:
    """Return numpy's product of the same shape in float32."""
    a, b = (codes.astype(np.float32) for codes in operands(shape))
    out = np.empty((shape.m, shape.n), np.float32)
    return lambda: np.matmul(a, b, out=out)


def usable(names: Sequence[str]) -> dict[str, Gemm]:
    """Return the backends that can be used here; of the others, a line says why not."""
    found = {}
    for name in names:
        try:
            found[name] = backend(name)
        except EnvironmentProblem as error:
            talk(f"{name}: not run: {error}")
    return found


def side(name: str, timed: Callable[[], object], gemm: Gemm | None = None) -> Side:
    """Return a side that stays on one core, whatever its library's default."""

    def turn() -> float:
        if gemm is None:
            with threadpool_limits(1):
                return cpu_seconds(timed, SECONDS)
        with one_thread_per_worker(gemm):
            limit_threads_of_this_thread(gemm)
            return cpu_seconds(timed, SECONDS)

    return Side(name=name, turn=turn)


def measure(shape: Shape, gemms: Mapping[str, Gemm], pairs: int) -> list[dict[str, Any]]:
    """Return a row for every backend, and for numpy in float32."""
    sides = [side(name, job(gemm, shape), gemm) for name, gemm in gemms.items()]
    sides.append(side(FLOAT, float_job(shape)))
    peaks = {"float32 loop": peak.float_peak}
    if peak.HAS_PAIRS:
        peaks["int16 loop"] = peak.pair_peak
    if peak.HAS_QUADS:
        peaks["VNNI loop"] = peak.quad_peak
    sides += [Side(name=name, turn=_inverse(found)) for name, found in peaks.items()]
    times = take_turns(sides, pairs)
    rows = []
    for name in (*gemms, FLOAT):
        each = [spent / shape.operations for spent in times[name]]
        floats = [spent / shape.operations for spent in times[FLOAT]]
        pair, quad = times.get("int16 loop"), times.get("VNNI loop")
        rows.append(
            {
                "model": shape.model,
                "layer": shape.layer,
                "m": shape.m,
                "k": shape.k,
                "n": shape.n,
                "backend": name,
                "gops": 1e-9 / statistics.median(each),
                "of_float": ratio(floats, each).median,
                "of_float_peak": ratio(times["float32 loop"], each).median,
                "of_pair_peak": ratio(pair, each).median if pair else None,
                "of_quad_peak": ratio(quad, each).median if quad else None,
                "threads": 1,
                "batch": shape.m // TOKENS,
                "pairs": pairs,
            }
        )
    talk(f"{shape.name}: " + ", ".join(f"{row['backend']} {row['gops']:.3g}" for row in rows))
    return rows


def _inverse(rate: Callable[[], float]) -> Callable[[], float]:
    return lambda: 1 / rate()


def peaks_line(pairs: int) -> str:
    """Return what the core does at best, as a sentence."""
    clocks, floats = [peak.clock() for _ in range(pairs)], [peak.float_peak() for _ in range(pairs)]
    cycles = [flops / clock for flops, clock in zip(floats, clocks, strict=True)]
    line = (
        f"In registers, one core does {statistics.median(floats) / 1e9:.1f} Gflop/s in float32, "
        f"{statistics.median(cycles):.1f} per cycle at {statistics.median(clocks) / 1e9:.2f} GHz"
    )
    if not peak.HAS_PAIRS:
        return f"{line}."
    found = {"int16 pairs": peak.pair_peak}
    if peak.HAS_QUADS:
        found["quads of bytes (VNNI)"] = peak.quad_peak
    told = [
        f"{statistics.median([rate() for _ in range(pairs)]) / 1e9:.1f} Gop/s in {name}"
        for name, rate in found.items()
    ]
    return f"{line}, and {', '.join(told)}."


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("gemm", __doc__)
    parser.add_argument("--models", default=",".join(WIDTHS), help="default %(default)s")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="default %(default)s")
    return parser.parse_args()


def main() -> None:
    """Measure every shape, print, and write the record."""
    asked = arguments()
    gemms = usable(command_line.chosen(asked.backends, list(BACKENDS), "backend"))
    wanted = shapes(command_line.chosen(asked.models, list(WIDTHS), "model"))
    line = peaks_line(asked.pairs)
    talk(line)
    rows = [row for shape in wanted for row in measure(shape, gemms, asked.pairs)]
    title = f"Products on one core, medians over {asked.pairs} rounds. {line}"
    print(write(asked.out, "gemm", title, rows, COLUMNS))


if __name__ == "__main__":
    command_line.run(main)
