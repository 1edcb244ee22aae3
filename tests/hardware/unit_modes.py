# SPDX-License-Identifier: Apache-2.0
"""Every unit in every mode against the emulator's kernels; modes and wrong units are told apart.

The requantizer has a bench of its own, whose stimuli are sums and not the operands of an op.
"""

from __future__ import annotations

import numpy as np
from many_ops import through_hardware
from op_modes import FAMILIES

from simulator.executor import Executor
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.vectors import of_run

LEAST = {"verilator": 1_000_000, "iverilog": 20_000}


def check_every_mode(unit, simulator, runtime, folder, record_count):
    """Compare a unit in every mode with the kernels, as hardware side by side."""
    family = FAMILIES[unit]()
    images = -(-LEAST[simulator] // family.per_image)
    operands = family.operands(np.random.default_rng(61), images)
    vectors = []
    for graph in family.graphs.values():
        executor = Executor(graph, gemm="numba", threads=1)
        vectors.append(of_run(executor, "y", operands))
    results = through_hardware(vectors, folder, simulator, runtime, family.wrong, family.part)
    benches = [bench_of(one, family.part) for one in vectors]
    ours = [bench.result.reshape(-1).astype(np.int64) for bench in benches]
    right, wrong = results[: len(ours)], results[len(ours) :]
    for mode, theirs, expected in zip(family.graphs, right, ours, strict=True):
        different = np.flatnonzero(theirs != expected)
        assert not different.size, f"{mode}: {different.size}, first at {different[0]}"
        record_count(simulator, f"RTL {unit}, {mode}", compared=theirs.size, mismatches=0)
        assert theirs.size >= LEAST[simulator]
    for one, (of, _, new) in zip(wrong, family.wrong.values(), strict=True):
        assert not np.array_equal(one, ours[of]), f"nothing tells {new} from what it should be"
    for one, mode in enumerate(family.graphs):
        for other, earlier in enumerate([*family.graphs][:one]):
            alike = family.alike(mode) == family.alike(earlier)
            assert np.array_equal(ours[one], ours[other]) == alike, f"{mode} and {earlier}"
