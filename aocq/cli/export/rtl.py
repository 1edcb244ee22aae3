# SPDX-License-Identifier: Apache-2.0
"""``aocq export rtl``: a self-checking testbench of one op."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from simulator.export.rtl.folder import OwnModule
    from simulator.export.rtl.vectors import OpVectors
    from simulator.graph import IntGraph


def command(
    op: Annotated[str, typer.Option("--op", help="name of the op, as `aocq inspect` prints it")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the testbench")],
    graph: Annotated[
        Path | None,
        typer.Argument(help="graph.json, or the folder that holds it; none with --golden"),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option("--golden", help="take the op and its codes from a folder of golden vectors"),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help=".npy of the graph's input codes; without, random ones"),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, help="images; 1 unless said, or all of the golden vectors"),
    ] = None,
    part: Annotated[
        Literal["whole", "sums", "requantization"],
        typer.Option("--part", help="of MatMul and Mean: products to sums, or sums to codes"),
    ] = "whole",
    module: Annotated[
        str | None,
        typer.Option("--module", help="test a module of your own instead of our units"),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--source", help="a file of your module; may be repeated"),
    ] = None,
) -> None:
    """Write a self-checking testbench in SystemVerilog for an op of a graph.

    The folder needs nothing else: our units with the op's parameters, memories of operands,
    constants and expected codes, and a Makefile: `make icarus`, `make verilator`. With --module the
    same testbench is written around a module of yours. Without --source, that is NAME.sv of the
    folder, at first a skeleton that says what each port carries.
    """
    from aocq import progress
    from aocq.records.manifest import refuse_foreign
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from simulator.export.rtl.bench import Part
    from simulator.export.rtl.folder import bench_files, write_files
    from simulator.graph import load

    if graph is None and golden is None:
        raise typer.BadParameter("give the folder of a graph, or --golden FOLDER")
    if golden is not None and inputs is not None:
        raise typer.BadParameter("golden vectors have their own inputs: leave out --inputs")
    if sources and module is None:
        raise typer.BadParameter("--source is a file of --module NAME")
    loaded = None if graph is None else load(graph)
    with claimed(out, progress.note):
        refuse_run_folder(out)
        own = _own(module, sources or [], out)
        refuse_foreign(out)
        if golden is not None:
            vectors = _of_golden(golden, op, images, loaded)
        else:
            assert loaded is not None
            vectors = _of_graph(loaded, op, inputs, images or 1)
        write_files(staging(out), bench_files(vectors, own, Part(part)))
        publish(out, "export rtl", f"op {op}, {part}, {vectors.images} images, module {module}")
    print(f"{out}: testbench of {op}, {vectors.result.size} results; make icarus, make verilator")


def _of_graph(graph: IntGraph, op: str, inputs: Path | None, images: int) -> OpVectors:
    """Return the op on the first images of ``inputs``, or on random ones."""
    from simulator.codes_file import read_codes
    from simulator.executor import Executor
    from simulator.export.rtl.vectors import of_random_run, of_run

    executor = Executor(graph, gemm="numba")
    if inputs is None:
        return of_random_run(executor, op, images)
    return of_run(executor, op, read_codes(inputs, graph.tensors[graph.inputs[0]], images))


def _of_golden(folder: Path, op: str, images: int | None, graph: IntGraph | None) -> OpVectors:
    """Return the op of a golden folder, which must be of ``graph`` where one is given."""
    from simulator.errors import InputError
    from simulator.export.rtl.vectors import of_golden
    from simulator.golden.manifest import read_manifest
    from simulator.graph import sha256

    manifest = read_manifest(folder)
    if graph is not None and (manifest.graph is None or manifest.graph.sha256 != sha256(graph)):
        raise InputError(f"{folder}: golden vectors of another graph than {graph.name}")
    return of_golden(manifest, op, folder, images)


def _own(module: str | None, sources: list[Path], out: Path) -> OwnModule | None:
    """Return the user's module; a skeleton that was filled in is a source."""
    from simulator.errors import InputError
    from simulator.export.rtl.folder import OwnModule

    if module is None:
        return None
    filled_in = out / f"{module}.sv"
    if not sources and filled_in.is_file():
        sources = [filled_in]
    texts = {}
    for path in sources:
        try:
            texts[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"source {path}: cannot be read ({error})") from error
    return OwnModule(name=module, sources=texts)
