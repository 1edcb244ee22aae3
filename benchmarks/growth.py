# SPDX-License-Identifier: Apache-2.0
"""Growth of the time of an image with tokens, with width, with the images of a batch.

Networks of three widths (DeiT-Tiny, -Small, -Base) at 224 x 224, the narrowest also at image sizes
from 96 to 384, all with random weights and pixels, quantized by `base_ptq` for one chip; the
emulator runs them, and in the same rounds torch in float32 at the same batch.

Beside growth.json and growth.md, growth.csv and growth.png are written, after every point: a run
that is stopped leaves what it has.

    python -m benchmarks.growth
    python -m benchmarks.growth --axes tokens --sizes 96,224 --pairs 3
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aocq.capture import capture
from aocq.lowering import lower
from benchmarks import command_line
from benchmarks.engines import Engine, emulator, float_at
from benchmarks.networks import pictures, quantized, random_network
from benchmarks.pairs import Side, images_of_a_turn, ratio, take_turns, talk
from benchmarks.records import write
from simulator.config import default_threads
from simulator.files import replace_file, write_text
from simulator.graph import IntGraph
from simulator.graph.macs import total_macs
from simulator.profile import load_profile

AXES = ("tokens", "width", "batch")
MODELS = {
    "tiny": "deit_tiny_patch16_224",
    "small": "deit_small_patch16_224",
    "base": "deit_base_patch16_224",
}
SIZES = (96, 128, 160, 192, 224, 256, 288, 320, 352, 384)
BATCHES = (1, 2, 4, 8, 16, 32)
PLAIN_SIZE = 224
COLUMNS = {
    "axis": "axis",
    "model": "model",
    "image_size": "image size",
    "tokens": "tokens",
    "width": "width",
    "batch": "batch",
    "macs": "MACs",
    "milliseconds": "emulator, ms / image",
    "float_milliseconds": "float32 torch, ms / image",
    "ratio": "float32 / emulator",
    "gops": "emulator, Gop/s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A network of random weights in torch and lowered."""

    name: str
    image_size: int
    network: nn.Module
    graph: IntGraph
    images: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that its blocks work on."""
        return self._stream[0]

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self._stream[1]

    @property
    def _stream(self) -> tuple[int, ...]:
        return self.graph.tensors["blocks.0.norm1"].shape


def build(model: str, image_size: int, profile: str, images: int) -> Built:
    """Make, quantize and lower a network of :data:`MODELS`."""
    name = MODELS[model]
    network, shape = random_network(name, image_size)
    pixels = pictures(network, shape, None, images)
    chip = load_profile(profile)
    graph = lower(quantized(capture(network, name, shape), chip, pixels), chip)
    return Built(name=model, image_size=image_size, network=network, graph=graph, images=pixels)


def points(asked: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """Yield (axis, model, image size, batch) of everything to measure; neighbours share networks.

    A point that lies on two axes is measured on both.
    """
    axes = command_line.chosen(asked.axes, AXES, "axis")
    models = command_line.chosen(asked.models, list(MODELS), "model")
    plain = models[0]
    if "tokens" in axes:
        for size in asked.sizes:
            yield "tokens", plain, size, asked.batch
    if "batch" in axes:
        for batch in BATCHES:
            yield "batch", plain, PLAIN_SIZE, batch
    if "width" in axes:
        for model in models:
            yield "width", model, PLAIN_SIZE, asked.batch


def measure(built: Built, axis: str, batch: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Run both sides in turns at one batch; the emulator is given as many images at a time."""
    ours = emulator(built.graph, built.images, asked.threads, asked.gemm)
    peer = float_at(built.network, built.images, batch, asked.threads)

    def turn(engine: Engine) -> float:
        once = engine.seconds_per_image(batch)
        times = images_of_a_turn(once, asked.seconds, batch, batch * 64) // batch
        return statistics.mean(engine.seconds_per_image(batch) for _ in range(times))

    for engine in (ours, peer):
        engine.run(batch)
    times = take_turns(
        [
            Side(name="emulator", turn=lambda: turn(ours)),
            Side(name="float32", turn=lambda: turn(peer)),
        ],
        asked.pairs,
    )
    seconds = statistics.median(times["emulator"])
    return {
        "axis": axis,
        "model": built.name,
        "image_size": built.image_size,
        "tokens": built.tokens,
        "width": built.width,
        "batch": batch,
        "macs": total_macs(built.graph),
        "milliseconds": 1e3 * seconds,
        "float_milliseconds": 1e3 * statistics.median(times["float32"]),
        "ratio": ratio(times["float32"], times["emulator"]).median,
        "gops": 2e-9 * total_macs(built.graph) / seconds,
        "threads": asked.threads,
        "gemm": ours.facts["gemm"],
        "pairs": asked.pairs,
    }


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def exponent(rows: Sequence[dict[str, Any]], axis: str) -> float | None:
    """Return p of the least-squares line time ~ axis^p in logarithms; None for a single point."""
    x = [math.log(row[axis]) for row in rows]
    y = [math.log(row["milliseconds"]) for row in rows]
    return statistics.linear_regression(x, y).slope if len(set(x)) > 1 else None


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a panel for each axis: milliseconds per image of both sides."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot, ticker

    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure, panels = pyplot.subplots(
        1, len(axes), figsize=(4.2 * len(axes), 3.6), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes, panels[0], strict=True):
        found = sorted((row for row in rows if row["axis"] == axis), key=lambda row: row[axis])
        x = [row[axis] for row in found]
        for key, label in (("milliseconds", "emulator"), ("float_milliseconds", "float32 torch")):
            panel.plot(x, [row[key] for row in found], marker="o", label=label)
        panel.set(xscale="log", xlabel=axis, ylabel="ms / image")
        if axis == "batch":  # nearly flat: a logarithmic axis would blow it up
            panel.set_ylim(bottom=0)
        else:
            power = exponent(found, axis)
            panel.set_title("" if power is None else f"emulator ~ {axis}^{power:.2f}", fontsize=10)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(ticker.ScalarFormatter())
        panel.minorticks_off()
        panel.set_xticks(x, [str(value) for value in x], rotation=60)
        panel.grid(alpha=0.3)
        panel.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    pyplot.close(figure)


def sizes(text: str) -> list[int]:
    """Return image sizes from the command line: multiples of a patch's 16 pixels."""
    found = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if not all(size > 0 and size % 16 == 0 for size in found):
        raise argparse.ArgumentTypeError(f"{text}: multiples of 16, separated by commas")
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("growth", __doc__)
    parser.add_argument("--axes", default=",".join(AXES), help="default %(default)s")
    parser.add_argument(
        "--models", default=",".join(MODELS), help="default %(default)s; the first is on all axes"
    )
    parser.add_argument(
        "--sizes",
        type=sizes,
        default=list(SIZES),
        metavar="LIST",
        help=f"image sizes (default {','.join(map(str, SIZES))})",
    )
    parser.add_argument(
        "--batch",
        type=command_line.at_least_one,
        default=4,
        help="images at a time on the axes of tokens and width (default 4)",
    )
    parser.add_argument("--profile", default="edge_npu_int8", help="the chip (default %(default)s)")
    parser.add_argument("--threads", type=command_line.at_least_one, default=default_threads())
    parser.add_argument("--gemm", default="auto", help="the emulator's backend")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="how long a turn lasts, about (default 1)"
    )
    return parser.parse_args()


def main() -> None:
    """Measure every point, print, and write the record, the table and the picture."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    rows: list[dict[str, Any]] = []
    built: Built | None = None
    text = ""
    for axis, model, size, batch in points(asked):
        if built is None or (built.name, built.image_size) != (model, size):
            built = build(model, size, asked.profile, max(batch, asked.batch, *BATCHES))
        rows.append(measure(built, axis, batch, asked))
        last = rows[-1]
        talk(
            f"{axis}: {model}, {size} x {size}, batch {batch}: {last['milliseconds']:.4g} ms/image,"
            f" float32 {last['float_milliseconds']:.4g}"
        )
        write_csv(asked.out / "growth.csv", rows)
        draw(asked.out / "growth.png", rows)
        title = (
            f"Time of an image for {asked.profile}, {asked.threads} threads, random weights and "
            f"pixels; medians over {asked.pairs} rounds."
        )
        text = write(asked.out, "growth", title, rows, COLUMNS)
    print(text)


if __name__ == "__main__":
    command_line.run(main)
