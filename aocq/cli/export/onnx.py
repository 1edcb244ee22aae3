# SPDX-License-Identifier: Apache-2.0
"""``aocq export onnx``: a graph in QDQ form, with figures as metadata of its nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options
from aocq.cli.export import shared

if TYPE_CHECKING:
    from aocq.cli.export.agreement import Run
    from simulator.export.model_explorer import Figures
    from simulator.export.onnx_file import OnnxFile


def command(
    graph: shared.Graph,
    out: Annotated[Path, typer.Option("--out", "-o", help="the .onnx file")],
    batch: shared.Batch = 1,
    profile: shared.Profile = None,
    compare: shared.Compare = None,
    inputs: shared.Inputs = None,
    data: shared.Data = None,
    task: options.TaskOfRun = None,
) -> None:
    """Write a graph as ONNX: operators between DequantizeLinear and QuantizeLinear.

    Codes, zero points and factors are the graph's; the arithmetic is that of whoever runs the file,
    so its codes are near the emulator's, not equal: --compare says how near, by onnxruntime. Inputs
    and outputs are codes. Nodes carry cycles, bytes, SQNR and headroom of the run, or estimates, as
    metadata, which Netron shows.

    Example: aocq export onnx runs/demo --out demo.onnx --compare 100
    """
    from aocq.cli.export.agreement import Comparison, print_agreement
    from aocq.cli.export.figures import figures_of
    from simulator.export.onnx_graph import describe, ends
    from simulator.graph import load, sha256

    comparison = Comparison(count=compare, inputs=inputs, data=data, task=task, graph=graph)
    loaded = load(graph)
    file = describe(loaded, batch)
    described = ends(file)
    about = {"network": loaded.name, "profile": loaded.profile, "graph_sha256": sha256(loaded)}
    with shared.needs("onnx"):
        from simulator.export.onnx_model import onnx_bytes

        content = onnx_bytes(
            described,
            file.constants,
            name=loaded.name,
            metadata=about,
            of_nodes=_metadata(file, figures_of(graph, loaded, profile)),
        )
    shared.write_bytes(out, content)
    print(
        f"{out}: {len(file.nodes)} nodes of {len(loaded.ops)} ops, {batch} images at a time; codes "
        "in and out",
        file=sys.stderr,
    )
    if compare is not None:
        with shared.needs("onnxruntime"):
            run, version = _onnxruntime(content, described)
        print_agreement(loaded, f"onnxruntime {version}", batch, comparison, run)


def _metadata(file: OnnxFile, figures: Figures) -> dict[str, dict[str, str]]:
    """Return each node's op, and the figures of the op with the node that yields its result."""
    found = {output: {"op": owner} for output, owner in file.owners.items()}
    for name, values in figures.items():
        output = file.values[name].name
        if output in found:
            found[output] |= {key: str(value) for key, value in values.items()}
    return found


def _onnxruntime(content: bytes, described: Any) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    source = described["inputs"][0]

    def run(codes: Any) -> Any:
        return session.run(None, {source["name"]: codes.astype(source["dtype"])})[0]

    return run, onnxruntime.__version__
