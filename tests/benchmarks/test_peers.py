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


class Stored:
    """What onnxruntime is asked for, and how long an image takes in it."""

    def __init__(self, monkeypatch, **flags):
        self.asked = []
        monkeypatch.setattr(peers, "engine_of_onnxruntime", self.engine)
        monkeypatch.setattr(peers, "processor_flags", lambda: flags["flags"])

    def engine(self, graph, codes, form, batch, threads, process, level):
        self.asked.append((form, level, batch))
        seconds = {"uint8": 2.0, "int8": 3.0, "uint8, no saturation": 4.0}[form]
        seconds += {"all": 0.2, "extended": 0.1, "basic": 0.3, "disabled": 9.0}[level]
        seconds -= 0.01 * (batch == 2)
        return engines.Engine(
            name=f"{form}, {level}", run=lambda count: (count * seconds, None), batch=batch
        )


def test_onnxruntime_runs_as_it_is_fastest(subject, monkeypatch):
    stored = Stored(monkeypatch, flags=("avx2", "avx512_vnni"))
    (best,) = peers.onnxruntime(subject, 1, None)
    assert (best.name, best.batch) == ("uint8, extended", 2)
    tried = {(form, level) for form, level, _ in stored.asked}
    assert tried == {(form, level) for form in peers.FORMS for level in peers.OPTIMIZATIONS}


def test_where_the_fastest_form_saturates_the_fastest_exact_one_is_beside_it(subject, monkeypatch):
    Stored(monkeypatch, flags=("avx2",))
    found = [engine.name for engine in peers.onnxruntime(subject, 1, None)]
    assert found == ["uint8, extended", "int8, extended"]


def test_beside_several_threads_litert_s_reference_has_a_row_on_one_core(subject):
    from presence import need

    need("lite")
    process = OtherProcess()
    try:
        found = {engine.name: engine for engine in peers.litert(subject, 2, "auto", process)}
    finally:
        process.close()
    ours, theirs = found[f"{peers.LITERT_EMULATOR}, one core"], found["LiteRT reference, one core"]
    assert theirs.beside == ours.name
    assert (ours.facts["threads"], theirs.facts["threads"]) == (1, 1)
    assert found["LiteRT reference"].facts["threads"] == 2
    assert theirs.exact


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
