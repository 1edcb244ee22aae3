# SPDX-License-Identifier: Apache-2.0
"""Tools that tests of hardware need: simulators, synthesis, a C compiler.

A missing one skips the test with the reason; with ``AOCQ_REQUIRE_ORACLES=1`` it fails it. What is
missing is told by the table of ``tests/oracles/environments.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from simulator.graph import IntGraph
    from simulator.numerics.float_type import Array

# Where `presence` is, and where `small_graphs` are.
sys.path += [str(Path(__file__).parent.parent / folder) for folder in ("oracles", "simulator")]


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Return ``needs("iverilog", …)``: ``verilator``, ``cocotb``, ``yosys``, ``cc``."""
    from presence import need

    def needs(*tools: str) -> None:
        for tool in tools:
            need(tool)

    return needs


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what all workers of a session share; take ``FileLock`` to write."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    return shared


@pytest.fixture(scope="session")
def verilator_runtime(shared_folder: Path) -> Path:
    """Return a folder with the compiled parts of Verilator that are the same for every design.

    They take most of the time of a build: about 20 s.
    """
    from presence import need
    from simulators import build_runtime

    need("verilator")

    runtime = shared_folder / "verilator_runtime"
    with FileLock(shared_folder / "verilator_runtime.lock"):
        if not (runtime / "complete").exists():
            build_runtime(runtime)
            (runtime / "complete").touch()
    return runtime


@pytest.fixture(scope="session")
def demo_run(shared_folder: Path) -> tuple[IntGraph, Array]:
    """Return the graph of ``aocq demo`` and codes of its images."""
    import numpy as np

    from simulator.boundary import quantize
    from simulator.graph import load

    folder = shared_folder / "demo_run"
    with FileLock(shared_folder / "demo_run.lock"):
        if not (folder / "run.json").exists():
            command = [sys.executable, "-m", "aocq", "demo", "--out", str(folder)]
            subprocess.run(command, check=True)
    graph = load(folder)
    from aocq.demo.digits import gray_levels, load_split

    gray = gray_levels(load_split("val").images).astype(np.float32) / 255
    pixels = np.repeat(2 * gray[:, None] - 1, 3, axis=1)
    return graph, quantize(pixels, graph.tensors[graph.inputs[0]])


@pytest.fixture
def record_count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return ``record(simulator, row, compared=…, mismatches=…)``: a line of the summary."""
    from tally import COUNTS

    def record(simulator: str, row: str, *, compared: int, mismatches: int) -> None:
        line = [simulator, row, int(compared), int(mismatches)]
        request.node.user_properties.append((COUNTS, line))

    return record
