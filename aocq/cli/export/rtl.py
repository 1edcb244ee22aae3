# SPDX-License-Identifier: Apache-2.0
"""``aocq export rtl``: a self-checking testbench of one op."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.executor import Executor
    from simulator.export.rtl.folder import OwnModule
    from simulator.export.rtl.one_op import OpVectors

IMAGES = 1


def command(
    graph: Annotated[Path, typer.Argument(help="graph.json, or the folder that holds it")],
    op: Annotated[str, typer.Option("--op", help="name of the op, as `aocq inspect` prints it")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the testbench")],
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help=".npy of input codes; without, random ones"),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, help="images whose codes the op computes")
    ] = IMAGES,
    module: Annotated[
        str | None,
        typer.Option("--module", help="test a module of your own instead of our units"),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--source", help="a file of your module; may be repeated"),
    ] = None,
) -> None:
    """Write a self-checking testbench in SystemVerilog for any op of a graph.

    The folder needs nothing else: our units with the op's parameters, memories of operands,
    constants and expected codes, and a Makefile: `make icarus`, `make verilator`. With --module the
    same testbench is written around a module of yours; without --source, a skeleton of it.
    """
    from aocq import progress
    from aocq.records.manifest import refuse_foreign
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from simulator.executor import Executor
    from simulator.export.rtl.folder import testbench_files, write_testbench
    from simulator.export.rtl.one_op import find_op
    from simulator.graph import load, sha256

    if sources and module is None:
        raise typer.BadParameter("--source is a file of --module NAME")
    loaded = load(graph)
    found = find_op(loaded, op)
    own = _own(module, sources or [])
    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_foreign(out)
        vectors = _vectors(Executor(loaded, gemm="numba"), found.name, inputs, images)
        texts = testbench_files(vectors, own)
        write_testbench(staging(out), texts)
        what = f"graph {sha256(loaded)}, op {op}, {images} images, module {module}"
        publish(out, "export rtl", what)
    print(f"{out}: testbench of {op}, {vectors.result.size} results; make icarus, make verilator")


def _vectors(executor: Executor, op: str, inputs: Path | None, images: int) -> OpVectors:
    """Return the op's operands and results for the first images of ``inputs``, or random ones."""
    from simulator.codes_file import read_codes
    from simulator.export.rtl.one_op import find_op, random_codes, run_for_op

    graph = executor.graph
    tensor = graph.tensors[graph.inputs[0]]
    codes = random_codes(tensor, images) if inputs is None else read_codes(inputs, tensor, images)
    return run_for_op(executor, find_op(graph, op), codes)


def _own(module: str | None, sources: list[Path]) -> OwnModule | None:
    from simulator.errors import InputError
    from simulator.export.rtl.folder import OwnModule

    if module is None:
        return None
    texts = {}
    for path in sources:
        try:
            texts[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"source {path}: cannot be read ({error})") from error
    return OwnModule(name=module, sources=texts)
