# SPDX-License-Identifier: Apache-2.0
"""Peers of another process: onnxruntime and LiteRT, on the same network and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from aocq.lowering import lower
from benchmarks.engines import Engine, Logits, OtherProcess, codes_of, emulator
from benchmarks.networks import Subject, quantized
from benchmarks.pairs import talk
from simulator.export.onnx_graph import describe, ends
from simulator.export.tflite_graph import from_file, to_file, translated
from simulator.graph import IntGraph
from simulator.processor import processor_flags
from simulator.profile import load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How codes are stored, and what onnxruntime is told of its products.

    Attributes
    ----------
    offset
        added to codes of activations: 0, they are int8, or 128, uint8; weights are int8, with a
        scale per channel
    settings
        of the session
    saturates
        whether its product adds pairs in 16 bits on x86 CPUs without VNNI, which saturate
    """

    offset: int
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    saturates: bool = False


# Which is fastest, and which exact, depends on the CPU. The last makes weights unsigned, too.
FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "int8": Form(offset=0),
        "uint8": Form(offset=128, saturates=True),
        "uint8, no saturation": Form(
            offset=128, settings=MappingProxyType({"session.x64quantprecision": "1"})
        ),
    }
)
# Of the graph: all; without changes of layout; without fusions of float kernels; none.
OPTIMIZATIONS = ("all", "extended", "basic", "disabled")
ORT_BATCHES = (1, 2, 4, 8, 16)
ORT_TRIED = 4  # images at a time while forms and optimizations are compared
LITERT_PROFILE = "litert_ref"
LITERT_EMULATOR = "emulator as LiteRT"
RESOLVERS = {"LiteRT reference": "litert_ref", "LiteRT optimized": "litert_default"}


def onnxruntime(
    subject: Subject, threads: int, process: OtherProcess, among: Sequence[int] = ORT_BATCHES
) -> list[Engine]:
    """Return onnxruntime on the QDQ form of a graph, as it is fastest.

    All forms are tried with all levels of graph optimization, the fastest of them at all batches.
    Where it saturates inside its products, the fastest that does not is beside it.

    Raises
    ------
    InputError
        If the graph holds something that the form has no words for.
    EnvironmentProblem
        If onnxruntime refuses the file.
    """
    codes = codes_of(subject.graph, subject.images)

    def engine(form: str, level: str, batch: int) -> tuple[float, Engine]:
        made = engine_of_onnxruntime(subject.graph, codes, form, batch, threads, process, level)
        seconds = _least_seconds(made)
        talk(f"{made.name}, {batch} images at a time: {1e3 * seconds:.4g} ms/image")
        return seconds, made

    first = min(ORT_TRIED, len(codes), max(among))
    tried = {
        (form, level): engine(form, level, first)[0] for form in FORMS for level in OPTIMIZATIONS
    }
    safe = [key for key in tried if not (FORMS[key[0]].saturates and not has_fast_bytes())]
    found = []
    for form, level in dict.fromkeys(min(keys, key=tried.__getitem__) for keys in (tried, safe)):
        batches = [batch for batch in among if batch <= len(codes)]
        timed = [engine(form, level, batch) for batch in batches]
        found.append(min(timed, key=lambda pair: pair[0])[1])
    return found


def _least_seconds(engine: Engine) -> float:
    """Return the least time of an image in three runs: a choice is not to hang on one of them."""
    return min(engine.seconds_per_image(engine.batch) for _ in range(3))


def has_fast_bytes() -> bool:
    """Tell whether the CPU adds products of bytes in 32 bits; others than x86 never saturate."""
    flags = processor_flags()
    return "avx2" not in flags or not {"avx_vnni", "avx512_vnni"}.isdisjoint(flags)


def engine_of_onnxruntime(
    graph: IntGraph,
    codes: NDArray[np.int8],
    form: str,
    batch: int,
    threads: int,
    process: OtherProcess,
    optimizations: str = OPTIMIZATIONS[0],
) -> Engine:
    """Return onnxruntime on a graph's QDQ form in one of :data:`FORMS`, after a first run.

    Parameters
    ----------
    codes
        of the images, int8 [images, ...]; a turn runs the first so many
    optimizations
        one of :data:`OPTIMIZATIONS`
    """
    offset = FORMS[form].offset
    file = describe(graph, batch, offset=offset)
    described = ends(file)
    key = f"onnxruntime {form} {optimizations} {batch}"
    header = {
        "engine": "onnxruntime",
        "key": key,
        "model": described,
        "batch": batch,
        "threads": threads,
        "settings": {**FORMS[form].settings},
        "optimizations": optimizations,
    }
    facts = process.load(header, file.constants)
    stored = (codes.astype(np.int16) + offset).astype(described["inputs"][0]["dtype"])

    def run(count: int) -> tuple[float, Logits]:
        passed, output = process.run(key, stored[:count])
        return passed, output.astype(np.int16) - offset

    run(batch)
    told = "" if optimizations == OPTIMIZATIONS[0] else f", optimizations {optimizations}"
    return Engine(
        name=f"onnxruntime {form}{told}",
        run=run,
        batch=batch,
        facts={"threads": threads, "optimizations": optimizations, **facts},
    )


def litert(subject: Subject, threads: int, gemm: str, process: OtherProcess) -> list[Engine]:
    """Return LiteRT's kernels, and the emulator of the same file: both compute the same integers.

    The network is quantized again, within the limits of ``litert_ref``: LayerNorm is a graph of
    operators there. Reference kernels are what the emulator equals bit by bit; the optimized ones
    (XNNPACK) round otherwise here and there. The reference runs on one core whatever it is told:
    beside several threads, a row compares it with the emulator on one core, too.

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
    stored = to_file(codes_of(graph, subject.images), graph.tensors[graph.inputs[0]])

    def kernels(name: str, resolver: str, threads: int, beside: str) -> Engine:
        header = {
            "engine": "litert",
            "key": name,
            "model": file.described(),
            "batch": 1,
            "threads": threads,
            "resolver": resolver,
        }
        facts = process.load(header, file.constants)

        def run(count: int) -> tuple[float, Logits]:
            passed, output = process.run(name, stored[:count])
            return passed, from_file(output, graph.tensors[graph.outputs[0]])

        return Engine(
            name=name,
            run=run,
            batch=1,
            facts={"threads": threads, **facts},
            beside=beside,
            exact=resolver == "litert_ref",
        )

    engines = [emulator(graph, subject.images, threads, gemm, LITERT_EMULATOR)]
    engines += [kernels(*item, threads, LITERT_EMULATOR) for item in RESOLVERS.items()]
    if threads > 1:
        ours = f"{LITERT_EMULATOR}, one core"
        engines.append(emulator(graph, subject.images, 1, gemm, ours))
        engines.append(kernels("LiteRT reference, one core", "litert_ref", 1, ours))
    return engines
