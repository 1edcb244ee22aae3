# SPDX-License-Identifier: Apache-2.0
"""Those that are timed beside the emulator compute the same network."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import engines, peers
from benchmarks.engines import OtherProcess


def test_the_emulator_and_fake_quantization_agree(subject):
    ours = engines.emulator(subject.graph, subject.images, threads=1, gemm="auto").run(8)[1]
    tensor = subject.graph.tensors[subject.graph.outputs[0]]
    real = (ours.astype(float) - tensor.zero_point) * tensor.scale[0]
    fake_quantized = engines.fake_quantized(subject, threads=1).run(8)[1]
    assert np.abs(real - fake_quantized).max() <= 2 * tensor.scale[0]


def test_float_torch_is_the_network(subject):
    engine = engines.float_torch(subject, threads=1)
    _, logits = engine.run(8)
    assert np.allclose(logits, subject.network(subject.images).numpy(), atol=1e-5)
    assert engine.trained


def test_classes_of_random_floats_beside_given_codes_mean_nothing(subject):
    from dataclasses import replace

    given = replace(subject, weights="given weights")
    assert not engines.float_torch(given, threads=1).trained


def test_litert_computes_the_same_integers(subject):
    from presence import need

    need("lite")
    process = OtherProcess()
    try:
        ours, reference, optimized = peers.litert(subject, 1, "auto", process)
        codes = [engine.run(8)[1] for engine in (ours, reference, optimized)]
    finally:
        process.close()
    assert reference.beside == ours.name
    assert reference.exact
    assert not optimized.exact
    assert np.array_equal(codes[0], codes[1])
    assert np.abs(codes[1] - codes[2]).mean() < 8


def test_what_an_engine_refuses_is_said(subject):
    from presence import need

    from simulator.errors import EnvironmentProblem

    need("onnx")
    process = OtherProcess()
    try:
        with pytest.raises(EnvironmentProblem, match="load"):
            process.load({"engine": "none", "key": "k", "batch": 1}, {})
    finally:
        process.close()
