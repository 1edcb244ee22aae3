# SPDX-License-Identifier: Apache-2.0
"""``aocq export tflite``: a graph that TFLite's kernels compute, as a .tflite file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options
from aocq.cli.export import shared

if TYPE_CHECKING:
    from aocq.cli.export.agreement import Run
    from simulator.graph import IntGraph

# The kernels of a profile's engine, by the first word that fits; of others, the reference's.
KERNELS = {
    "litert_xnnpack": "AUTO",
    "litert_ruy": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "": "BUILTIN_REF",
}


def command(
    graph: shared.Graph,
    out: Annotated[Path, typer.Option("--out", "-o", help="the .tflite file")],
    batch: shared.Batch = 1,
    compare: shared.Compare = None,
    inputs: shared.Inputs = None,
    data: shared.Data = None,
    task: options.TaskOfRun = None,
) -> None:
    """Write a graph of a tflm_ or litert_ profile as a .tflite file.

    The file holds codes, scales and zero points; an engine derives its own multipliers and tables
    from these. A graph whose constants no engine would derive is refused, and the op is named.
    --compare runs the file with the LiteRT kernels that the graph's profile is about.

    Example: aocq export tflite runs/micro --out micro.tflite --compare 100
    """
    from aocq.cli.export.agreement import Comparison, print_agreement
    from simulator.export.tflite_graph import translated
    from simulator.graph import load

    comparison = Comparison(count=compare, inputs=inputs, data=data, task=task, graph=graph)
    loaded = load(graph)
    file = translated(loaded, batch).file
    with shared.needs("ai-edge-litert"):
        from simulator.export.tflite_model import tflite_bytes

        content = tflite_bytes(file.described(), file.constants, loaded.name)
    shared.write_bytes(out, content)
    print(
        f"{out}: {len(file.operators)} operators of {len(loaded.ops)} ops, {batch} images at a "
        "time; codes in and out",
        file=sys.stderr,
    )
    if compare is not None:
        kernels = next(name for word, name in KERNELS.items() if loaded.profile.startswith(word))
        with shared.needs("ai-edge-litert"):
            run, version = _litert(content, loaded, kernels)
        engine = f"LiteRT {version}, {kernels}"
        print_agreement(loaded, engine, batch, comparison, run)


def _litert(content: bytes, graph: IntGraph, kernels: str) -> tuple[Run, str]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from simulator.export.tflite_graph import from_file, to_file

    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=getattr(OpResolverType, kernels)
    )
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    tensors = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]

    def run(codes: Any) -> Any:
        interpreter.set_tensor(source["index"], to_file(codes, tensors[0]))
        interpreter.invoke()
        return from_file(interpreter.get_tensor(target["index"]), tensors[1])

    return run, version("ai-edge-litert")
