# SPDX-License-Identifier: Apache-2.0
"""Peers of another process: onnxruntime and LiteRT, on the same network and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aocq.lowering import lower
from benchmarks.engines import Engine, Logits, OtherProcess, codes_of, emulator
from benchmarks.networks import Subject, quantized
from simulator.export.onnx_graph import describe, ends
from simulator.export.tflite_graph import from_file, to_file, translated
from simulator.graph import IntGraph
from simulator.profile import load_profile

# How codes can be stored, and what onnxruntime is told: which is fastest, and which exact, depends
# on the CPU. Without VNNI the product of uint8 and int8 adds pairs in 16 bits, which saturate; the
# last form multiplies uint8 by uint8 instead.
FORMS: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "int8": (0, {}),
    "uint8": (128, {}),
    "uint8, no saturation": (128, {"session.x64quantprecision": "1"}),
}
ORT_BATCHES = (1, 4, 8)
LITERT_PROFILE = "litert_ref"
LITERT_EMULATOR = "emulator as LiteRT"
RESOLVERS = {"LiteRT reference": "litert_ref", "LiteRT optimized": "litert_default"}


def onnxruntime(
    subject: Subject, threads: int, process: OtherProcess, among: Sequence[int] = ORT_BATCHES
) -> list[Engine]:
    """Return onnxruntime on the QDQ form of a graph, in the form and at the batch that suit it.

    Where the fastest form saturates inside its products, the fastest that does not is beside it.

    Raises
    ------
    InputError
        If the graph holds something that the form has no words for.
    EnvironmentProblem
        If onnxruntime refuses the file.
    """
    codes = codes_of(subject.graph, subject.images)
    tried: dict[str, Engine] = {}
    for form in FORMS:
        found = [
            engine_of_onnxruntime(subject.graph, codes, form, batch, threads, process)
            for batch in among
            if batch <= len(codes)
        ]
        tried[form] = min(found, key=lambda engine: engine.seconds_per_image(engine.batch))
    times = {form: engine.seconds_per_image(engine.batch) for form, engine in tried.items()}
    fastest = min(times, key=times.__getitem__)
    exact = min((form for form in times if form != "uint8"), key=times.__getitem__)
    return [tried[form] for form in dict.fromkeys((fastest, exact))]


def engine_of_onnxruntime(
    graph: IntGraph,
    codes: NDArray[np.int8],
    form: str,
    batch: int,
    threads: int,
    process: OtherProcess,
) -> Engine:
    """Return onnxruntime on a graph's QDQ form in one of :data:`FORMS`, after a first run.

    Parameters
    ----------
    codes
        of the images, int8 [images, ...]; a turn runs the first so many
    """
    offset, settings = FORMS[form]
    file = describe(graph, batch, offset=offset)
    described = ends(file)
    key = f"onnxruntime {form} {batch}"
    header = {
        "engine": "onnxruntime",
        "key": key,
        "model": described,
        "batch": batch,
        "threads": threads,
        "settings": settings,
    }
    facts = process.load(header, file.constants)
    stored = (codes.astype(np.int16) + offset).astype(described["inputs"][0]["dtype"])

    def run(count: int) -> tuple[float, Logits]:
        passed, output = process.run(key, stored[:count])
        return passed, output.astype(np.int16) - offset

    run(batch)
    name = f"onnxruntime {form}"
    return Engine(name=name, run=run, batch=batch, facts={"threads": threads, **facts})


def litert(subject: Subject, threads: int, gemm: str, process: OtherProcess) -> list[Engine]:
    """Return LiteRT's kernels, and the emulator of the same file: both compute the same integers.

    The network is quantized again, within the limits of ``litert_ref``: LayerNorm is a graph of
    operators there. Reference kernels are what the emulator equals bit by bit; the optimized ones
    (XNNPACK) round otherwise here and there.

    Raises
    ------
    InputError
        If the network cannot be quantized or translated so.
    EnvironmentProblem
        If LiteRT refuses the file.
    """
    profile = load_profile(LITERT_PROFILE)
    model = quantized(subject.quantized.graph, profile, subject.images)
    graph = lower(model, profile)
    file = translated(graph, 1).file
    source, target = graph.inputs[0], graph.outputs[0]
    codes = codes_of(graph, subject.images)
    stored = to_file(codes, graph.tensors[source])
    engines = [emulator(graph, subject.images, threads, gemm, LITERT_EMULATOR)]
    for name, resolver in RESOLVERS.items():
        header = {
            "engine": "litert",
            "key": name,
            "model": file.described(),
            "batch": 1,
            "threads": threads,
            "resolver": resolver,
        }
        facts = process.load(header, file.constants)

        def run(count: int, key: str = name) -> tuple[float, Logits]:
            passed, output = process.run(key, stored[:count])
            return passed, from_file(output, graph.tensors[target])

        engines.append(
            Engine(
                name=name,
                run=run,
                batch=1,
                facts={"threads": threads, **facts},
                beside=LITERT_EMULATOR,
                exact=resolver == "litert_ref",
            )
        )
    return engines
