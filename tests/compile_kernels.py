# SPDX-License-Identifier: Apache-2.0
"""Compiles what the tests' kernels need, before workers start: each kernel once, in processes.

``python tests/compile_kernels.py 8`` uses eight processes. Kernels go to the cache that the tests
read; workers that start with an empty one would compile the same kernels side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TESTS = Path(__file__).parent
# Rows of one op's graphs share most kernels: a process takes an op, those with most first.
OPS = (
    *("MatMul", "AddShifted", "Softmax", "SoftmaxGemmlowp", "Mean", "LayerNorm", "Add", "Rescale"),
    *("SoftmaxLut513", "SoftmaxFloatTable", "SoftmaxIBert", "SoftmaxIta", "SoftmaxLog2"),
)


def main(processes: int) -> None:
    """Compile in so many processes."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        sys.path[:0] = _folders()
        from one_op_graphs import CASES

        named = {kind.__name__ for kind in CASES}
        ordered = sorted(named, key=lambda name: (OPS.index(name) if name in OPS else len(OPS)))
        list(pool.map(compile_op, ordered))


def _folders() -> list[str]:
    return [str(TESTS / folder) for folder in ("simulator/ops", "simulator")]


def compile_op(name: str) -> None:
    """Run every graph of an op once with every matrix product that there is."""
    sys.path[:0] = _folders()
    from one_op_graphs import CASES, operands_for, results
    from small_graphs import Draft

    (cases,) = (cases for kind, cases in CASES.items() if kind.__name__ == name)
    for build in cases.values():
        draft = Draft()
        build(draft)
        graph = draft.graph()
        for gemm in _backends():
            results(graph, operands_for(graph), gemm)


def _backends() -> Iterator[str]:
    from simulator.gemm import backend
    from simulator.gemm.selection import BACKENDS
    from simulator.errors import EnvironmentProblem

    for name in BACKENDS:
        try:
            backend(name)
        except EnvironmentProblem:
            continue
        yield name


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
