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
from aocq.cli.groups import grouped
from aocq.cli.torch_free import without_torch

if TYPE_CHECKING:
    from aocq.data.image_folder import LabelledImage
    from simulator.golden.formats import Format
    from simulator.graph import IntGraph
    from simulator.numerics.float_type import Array

WIDEST_WORD = 1 << 16  # bits
LARGEST_SEED = (1 << 32) - 1
Codes = Iterator["Array"]


def formats(text: str) -> str:
    """Return a list of formats, checked; a usage error names the possible ones."""
    from simulator.golden.formats import FORMATS

    for name in filter(None, text.split(",")):
        options.one_of(FORMATS, "{text}: choose {names}, with commas between")(name)
    return text


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
    limit: Annotated[
        int,
        typer.Option(
            "--images",
            min=1,
            max=options.MOST_IMAGES,
            help="record this many images, evenly chosen",
        ),
    ] = 4,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="folder of images, one subfolder per class"),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            help=".npy of input codes, images x channels x height x width; the first ones count",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--random", min=0, max=LARGEST_SEED, help="random input codes of this seed, no images"
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            callback=formats,
            help="beside .npy: hex ($readmemh), raw (little-endian), c (headers), with commas",
        ),
    ] = "",
    word_bits: Annotated[
        int | None,
        typer.Option(
            "--word-bits",
            min=1,
            max=WIDEST_WORD,
            help="width of a memory word in hex files, which holds as many elements as fit "
            "(default: memory.word_bits of --profile, or one element per word)",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="the profile whose memory.word_bits counts"),
    ] = None,
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

    if sum(given is not None for given in (data, inputs, seed)) > 1:
        raise typer.BadParameter("give one of --data FOLDER, --inputs CODES.npy and --random SEED")
    loaded = load(graph)
    chosen = ops_named(loaded, ops or ())
    operands = _operands(loaded, _data_of(graph, data, inputs, seed), inputs, seed, limit)
    recording = Recording(
        graph=loaded,
        ops=chosen,
        images=operands.images,
        source=operands.source,
        word_bits=word_bits or _word_bits(profile),
        formats=_formats(formats),
    )
    executor = Executor(loaded, gemm=without_torch(emulation.gemm), threads=emulation.threads)
    with made_whole(out) as folder:
        with progress.show("record", recording.steps) as advance:
            manifest = record(recording, executor, operands.codes, folder, advance)
        count = len(manifest.files) + len(manifest.derived or {})
    print(f"{len(chosen)} ops, {operands.images} images, {count} arrays: {out}", file=sys.stderr)


def _data_of(graph: Path, data: Path | None, inputs: Path | None, seed: int | None) -> Path | None:
    """Return the folder of images, the run's own where nothing is given."""
    if data is not None or inputs is not None or seed is not None:
        return data
    own = (graph if graph.is_dir() else graph.parent) / "data" / "val"
    if own.is_dir():
        return own
    raise typer.BadParameter("give --data FOLDER, --inputs CODES.npy or --random SEED")


def _word_bits(profile: str | None) -> int | None:
    if profile is None:
        return None
    from simulator.profile import load_profile

    return load_profile(profile).memory.word_bits


def _formats(text: str) -> tuple[Format, ...]:
    from simulator.golden.formats import FORMATS

    return tuple(name for name in FORMATS if name in text.split(","))


def _operands(
    graph: IntGraph, data: Path | None, inputs: Path | None, seed: int | None, images: int
) -> Operands:
    """Return the input codes that the options name."""
    if inputs is not None:
        from simulator.codes_file import read_codes

        codes = read_codes(inputs, graph.tensors[graph.inputs[0]], images)
        return Operands(images=len(codes), source=f"codes of {inputs.name}", codes=iter([codes]))
    if seed is not None:
        from simulator.golden.random_codes import random_codes

        tensor = graph.tensors[graph.inputs[0]]
        source = f"random codes, seed {seed}"
        return Operands(images=images, source=source, codes=random_codes(tensor, images, seed))
    assert data is not None
    return _of_images(graph, data, images)


def _of_images(graph: IntGraph, data: Path, images: int) -> Operands:
    from aocq.data.image_folder import evenly, read_image_folder
    from simulator.errors import InputError
    from simulator.graph.meta import graph_meta

    meta = graph_meta(graph)
    if meta is None:
        raise InputError(
            f"graph {graph.name}: does not say how images are preprocessed; give --inputs or "
            "--random instead"
        )
    chosen = evenly(read_image_folder(data, meta.classes), images)
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
