# SPDX-License-Identifier: Apache-2.0
"""Engines that run a network: the emulator and, beside it, peers of its own process or of another.

Peers of other processes are in the environments of the oracles (``make oracles``).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aocq.capture import run_in_parts
from benchmarks.networks import Subject
from simulator.boundary import quantize
from simulator.errors import EnvironmentProblem
from simulator.executor import Executor
from simulator.graph import IntGraph

HERE = Path(__file__).parent
ORACLES = HERE.parent / "tests" / "oracles"
if str(ORACLES) not in sys.path:  # its modules have plain names, as pytest imports them
    sys.path.append(str(ORACLES))

BATCHES = (1, 2, 4, 8, 16, 32)
Logits = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Runs one network.

    Attributes
    ----------
    run
        maps a count to the seconds that the first so many images took, and their logits [count,
        classes]: codes, or real values in those that compute with such
    batch
        images that it takes at a time; counts are multiples of it
    facts
        of the record: threads, versions, what it made of the network
    beside
        the name of the engine it is compared with
    trained
        whether its classes mean something: not if its weights are random and the other's are not
    exact
        whether its codes are to equal the other's
    """

    name: str
    run: Callable[[int], tuple[float, Logits]]
    batch: int
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    beside: str = "emulator"
    trained: bool = True
    exact: bool = False

    def seconds_per_image(self, count: int) -> float:
        """Return what an image takes when ``count`` are run."""
        return self.run(count)[0] / count


def codes_of(graph: IntGraph, images: torch.Tensor) -> NDArray[Any]:
    """Return the codes that a graph begins with."""
    codes: NDArray[Any] = quantize(images.numpy(), graph.tensors[graph.inputs[0]])
    return codes


def emulator(
    graph: IntGraph,
    images: torch.Tensor,
    threads: int,
    gemm: str,
    name: str = "emulator",
    batch: int | None = None,
) -> Engine:
    """Return ours, ``batch`` images at a time; without, all images of a turn are one batch."""
    executor = Executor(graph, threads=threads, gemm=gemm)
    codes = codes_of(graph, images)

    def run(count: int) -> tuple[float, Logits]:
        start = time.perf_counter()
        outputs = [
            executor.run(part).outputs[graph.outputs[0]]
            for part in in_batches(codes[:count], batch)
        ]
        passed = time.perf_counter() - start
        return passed, np.concatenate(outputs)

    # Enough for every worker to have several tasks.
    most = min(8 * threads, len(codes)) if batch is None else batch
    return Engine(
        name=name,
        run=run,
        batch=most,
        facts={"threads": threads, "gemm": ", ".join(executor.backends)},
    )


def in_batches(codes: NDArray[Any], batch: int | None) -> list[NDArray[Any]]:
    """Return ``batch`` images each, or all at once."""
    size = len(codes) if batch is None else batch
    return [codes[first : first + size] for first in range(0, len(codes), size)]


def float_at(network: nn.Module, images: torch.Tensor, batch: int, threads: int) -> Engine:
    """Return torch in float32, eager, with timm's fused attention, ``batch`` images at a time."""

    def run(count: int) -> tuple[float, Logits]:
        start = time.perf_counter()
        with torch.inference_mode():
            parts = [network(part) for part in images[:count].split(batch)]
        passed = time.perf_counter() - start
        return passed, torch.cat(parts).numpy()

    return Engine(name="float32 torch", run=run, batch=batch, facts={"threads": threads})


def float_torch(subject: Subject, threads: int, among: Sequence[int] = BATCHES) -> Engine:
    """Return torch in float32 at the batch that suits it best of some."""
    batches = [batch for batch in among if batch <= len(subject.images)]
    tried = {batch: float_at(subject.network, subject.images, batch, threads) for batch in batches}
    tried[batches[0]].run(batches[0])  # the first call is slower than all others
    best = min(batches, key=lambda batch: tried[batch].seconds_per_image(batch))
    trained = subject.network_trained or subject.weights == "random weights"
    return replace(tried[best], trained=trained)


def fake_quantized(subject: Subject, threads: int) -> Engine:
    """Return this project's fake quantization: codes' real values in torch, float64."""
    model = subject.quantized
    graph, parameters = model.graph, model.fake_quantized_parameters()

    def run(count: int) -> tuple[float, Logits]:
        start = time.perf_counter()
        with torch.inference_mode():
            logits = run_in_parts(
                graph,
                {graph.input.name: model.fake_quantized_image(subject.images[:count])},
                [graph.output.name],
                transform=model.fake_quantize,
                parameters=parameters,
            )[graph.output.name]
        return time.perf_counter() - start, logits.numpy()

    # The interpreter splits batches itself.
    batch = min(4, len(subject.images))
    return Engine(name="fake-quantized, torch", run=run, batch=batch, facts={"threads": threads})


class OtherProcess:
    """The process with onnxruntime and LiteRT; see :mod:`benchmarks.engine_process`."""

    def __init__(self) -> None:
        import environments
        from oracle_process import OracleProcess

        self._process = OracleProcess(environments.python("lite"), str(HERE / "engine_process.py"))

    @staticmethod
    def missing(oracle: str) -> str | None:
        """Return what keeps ``onnx`` or ``lite`` from running, or None."""
        import environments

        return None if environments.MISSING[oracle]() is None else "not installed: make oracles"

    def load(
        self, header: Mapping[str, Any], constants: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, Any]:
        """Make a model ready; return what the engine says of itself and of the model.

        Raises
        ------
        EnvironmentProblem
            If the engine refuses it, with its words.
        """
        named = {f"constant:{name}": array for name, array in constants.items()}
        answer = self._ask({"request": "load", **header}, named)
        facts: Mapping[str, Any] = json.loads(answer["facts"].tobytes())
        return facts

    def run(self, key: str, codes: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Run a loaded model; return its own seconds, without the way here, and its output."""
        answer = self._ask({"request": "run", "key": key}, {"codes": codes})
        return float(answer["seconds"]), answer["output"]

    def _ask(
        self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        from oracle_process import OracleError

        try:
            answer: Mapping[str, NDArray[Any]] = self._process.ask(header, arrays)
        except OracleError as error:
            raise EnvironmentProblem(f"{header['request']}: {error}") from error
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.__exit__(None, None, None)
