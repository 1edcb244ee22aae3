# SPDX-License-Identifier: Apache-2.0
"""Compiles the kernels that tests run, each once, in as many processes as workers will be.

``python tests/compile_kernels.py 8`` uses eight. Kernels go to the cache that tests read; workers
that start with an empty one compile the same kernels side by side.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TESTS = Path(__file__).parent
# An op's graphs share most kernels, so that a process takes an op; these have the most kernels.
MOST_KERNELS = ("MatMul", "AddShifted", "Softmax", "LayerNorm", "Mean", "Add", "Rescale")


def main(processes: int) -> None:
    """Compile the kernels of every op."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_op, sorted(_op_names(), key=_place)))


def _place(name: str) -> int:
    """Return the place of an op in the queue."""
    return MOST_KERNELS.index(name) if name in MOST_KERNELS else len(MOST_KERNELS)


def _op_names() -> list[str]:
    from simulator.graph.ops import OP_TYPES

    assert set(MOST_KERNELS) <= set(OP_TYPES), "MOST_KERNELS names an op that is none"
    return list(OP_TYPES)


def compile_op(name: str) -> None:
    """Run the portable and the SIMD kernel of every graph of an op once."""
    sys.path.insert(0, str(TESTS / "simulator"))
    from one_op_graphs import CASES, operands_for
    from small_graphs import Draft

    from simulator.gemm import backend
    from simulator.graph.ops import OP_TYPES
    from simulator.kernel_choice import kernel_of
    from simulator.numerics.jit import has_avx2

    forms = [("numba", True), *([("avx2", False)] if has_avx2() else [])]
    for build in CASES[OP_TYPES[name]].values():
        draft = Draft()
        build(draft)
        graph = draft.graph()
        op, operands = graph.ops[-1], operands_for(graph)
        batches = [
            graph.constants[operand] if graph.is_constant(operand) else operands[operand]
            for operand in op.operands
        ]
        for gemm, portable in forms:
            kernel_of(op, graph, backend(gemm), portable=portable)(batches)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
