# SPDX-License-Identifier: Apache-2.0
"""``aocq golden record``: golden vectors of a graph, for images, codes or random codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options, requests
from aocq.cli.groups import OptionGroup, grouped
from aocq.cli.tasks import chosen_task

if TYPE_CHECKING:
    from aocq.data.image_folder import LabelledImage
    from aocq.tasks.task import Task
    from simulator.golden.formats import Format
    from simulator.graph import IntGraph
    from simulator.numerics.float_type import Array

WIDEST_WORD = 1 << 16  # bits
LARGEST_SEED = (1 << 32) - 1
Codes = Iterator["Array"]


def checked_formats(text: str) -> str:
    """Return a list of formats, checked; a usage error names the possible ones."""
    from simulator.golden.formats import FORMATS

    for name in filter(None, text.split(",")):
        options.one_of(FORMATS, "{text}: choose {names}, with commas between")(name)
    return text


def chosen_formats(text: str) -> tuple[Format, ...]:
    """Return the formats of a list with commas, in their own order."""
    from simulator.golden.formats import FORMATS

    return tuple(name for name in FORMATS if name in text.split(","))


@dataclass(frozen=True, kw_only=True)
class InputOptions(OptionGroup):
    """What a network runs on: images, codes, or random codes."""

    limit: Annotated[
        int,
        typer.Option(
            "--images",
            min=1,
            max=options.MOST_IMAGES,
            help="record this many images, evenly chosen",
        ),
    ] = 4
    data: Annotated[
        Path | None, typer.Option("--data", help="folder of images, as the task has them")
    ] = None
    task: options.TaskOfRun = None
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            help=".npy of input codes, images x channels x height x width; the first ones count",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--random", min=0, max=LARGEST_SEED, help="random input codes of this seed, no images"
        ),
    ] = None

    @property
    def given(self) -> int:
        """How many of the three are given."""
        return sum(source is not None for source in (self.data, self.inputs, self.seed))


@dataclass(frozen=True, kw_only=True)
class FormatOptions(OptionGroup):
    """Files beside the .npy ones."""

    formats: Annotated[
        str,
        typer.Option(
            "--format",
            callback=checked_formats,
            help="beside .npy: hex ($readmemh), raw (little-endian), c (headers), with commas",
        ),
    ] = ""
    word_bits: Annotated[
        int | None,
        typer.Option(
            "--word-bits",
            min=1,
            max=WIDEST_WORD,
            help="width of a memory word in hex files, which holds as many elements as fit "
            "(default: memory.word_bits of --profile, or one element per word)",
        ),
    ] = None
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="the profile whose memory.word_bits counts"),
    ] = None

    def names(self) -> tuple[Format, ...]:
        """Return the formats that are asked for."""
        return chosen_formats(self.formats)

    def width(self) -> int | None:
        """Return the width of a memory word, or None where none is stated."""
        if self.word_bits is not None or self.profile is None:
            return self.word_bits

        from simulator.profile import load_profile

        return load_profile(self.profile).memory.word_bits


@dataclass(frozen=True, kw_only=True)
class Operands:
    """Input codes of a network: how many images, what they are of, and batches of them."""

    images: int
    source: str
    codes: Codes


@grouped
def command(
    *,
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
    ops: Annotated[
        list[str] | None,
        typer.Option(
            "--ops",
            help="record this op; may be repeated, or be a pattern in quotes: 'blocks.0.*' "
            "(default: all)",
        ),
    ] = None,
    running_on: InputOptions,
    also: FormatOptions,
    emulation: requests.EmulationOptions,
    out: options.Out,
) -> None:
    """Record what ops read, compute on the way and write: vectors for RTL and firmware.

    Every op is computed twice, by the emulator and from its formula, and both must agree. DIR gets
    manifest.json, operands, results, constants and inner values as .npy, and the graph; see
    docs/validation.md. Images are those of --data, or of the run's own folder data/val, where it
    has one. Torch is not needed, nor imported.
    """
    from aocq import progress
    from simulator.executor import Executor
    from simulator.golden.files import made_whole
    from simulator.golden.record import Recording, ops_named, record
    from simulator.graph import load

    if running_on.given > 1:
        raise typer.BadParameter("give one of --data FOLDER, --inputs CODES.npy and --random SEED")
    loaded = load(graph)
    chosen = ops_named(loaded, ops or ())
    operands = _operands(loaded, graph, running_on)
    recording = Recording(
        graph=loaded,
        ops=chosen,
        images=operands.images,
        source=operands.source,
        word_bits=also.width(),
        formats=also.names(),
    )
    executor = Executor(loaded, gemm=emulation.gemm, without_torch=True, threads=emulation.threads)
    with made_whole(out) as folder:
        with progress.show("record", recording.steps) as advance:
            manifest = record(recording, executor, operands.codes, folder, advance)
        count = len(manifest.files) + len(manifest.derived or {})
    print(f"{len(chosen)} ops, {operands.images} images, {count} arrays: {out}", file=sys.stderr)


def _operands(graph: IntGraph, place: Path, asked: InputOptions) -> Operands:
    """Return the input codes that the options name; ``place`` is that of the graph."""
    tensor = graph.tensors[graph.inputs[0]]
    if asked.inputs is not None:
        from simulator.codes_file import read_codes

        codes = read_codes(asked.inputs, tensor, asked.limit)
        source = f"codes of {asked.inputs.name}"
        return Operands(images=len(codes), source=source, codes=iter([codes]))
    if asked.seed is not None:
        from simulator.golden.random_codes import random_codes

        return Operands(
            images=asked.limit,
            source=f"random codes, seed {asked.seed}",
            codes=random_codes(tensor, asked.limit, asked.seed),
        )
    data = asked.data or _own_images(place)
    return _of_images(graph, data, asked.limit, chosen_task(asked.task, place))


def _own_images(graph: Path) -> Path:
    """Return the folder of images that a run has of its own."""
    own = (graph if graph.is_dir() else graph.parent) / "data" / "val"
    if not own.is_dir():
        raise typer.BadParameter("give --data FOLDER, --inputs CODES.npy or --random SEED")
    return own


def _of_images(graph: IntGraph, data: Path, images: int, task: Task) -> Operands:
    from aocq import progress
    from aocq.data.image_folder import evenly
    from aocq.tasks.task import images_of
    from simulator.errors import InputError
    from simulator.graph.meta import graph_meta

    meta = graph_meta(graph)
    if meta is None:
        raise InputError(
            f"graph {graph.name}: does not say how images are preprocessed; give --inputs or "
            "--random instead"
        )
    chosen = evenly(images_of(task, data, meta.classes, progress.note), images)
    names = ", ".join(image.path.relative_to(data).as_posix() for image in chosen)
    return Operands(
        images=len(chosen),
        source=f"images {names}",
        codes=_codes_of(graph, chosen, meta.preprocessing),
    )


def _codes_of(
    graph: IntGraph, images: Sequence[LabelledImage], preprocessing: Mapping[str, Any]
) -> Codes:
    from aocq.data.pixels import read_pixels
    from simulator.boundary import quantize

    for image in images:
        pixels = read_pixels(image.path, preprocessing)
        yield quantize(pixels[None], graph.tensors[graph.inputs[0]])
