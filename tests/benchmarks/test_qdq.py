# SPDX-License-Identifier: Apache-2.0
"""onnxruntime computes the network that we ask it for, whatever form the file has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_subjects import small_subject
from torch import nn

from benchmarks import engines, peers
from benchmarks.engines import OtherProcess
from simulator.graph.ops import MatMul, Softmax

VARIANTS = {
    "class token": {},
    "mean of tokens": {"global_pool": "avg", "fc_norm": False},
    "relu": {"act_layer": nn.ReLU},
    "silu": {"act_layer": nn.SiLU},
    "gelu by tanh": {"act_layer": "gelu_tanh"},
    "no biases": {"qkv_bias": False, "proj_bias": False},
    "norms of queries": {"qk_norm": True},
    "layer scale": {"init_values": 0.1},
}


@pytest.fixture(scope="module")
def process():
    from presence import need

    need("onnx")
    made = OtherProcess()
    yield made
    made.close()


def fake_quantized_codes(subject):
    """Return the logits' codes of fake quantization, which has no rounding of its own."""
    quantizer = subject.model.activations[subject.model.graph.output.name]
    logits = engines.fake_quantized(subject, threads=1).run(len(subject.images))[1]
    return np.rint(logits / quantizer.scale) + quantizer.zero_point


def shares(found, wanted):
    """Shares of codes that are equal, and that differ by one at most."""
    apart = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    return (apart == 0).mean(), (apart <= 1).mean()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("form", ["int8", "uint8, no saturation"])
def test_codes_are_those_of_fake_quantization(process, options, form):
    subject = small_subject(**options)
    codes = engines.codes_of(subject.graph, subject.images)
    engine = peers.engine_of_onnxruntime(subject.graph, codes, form, 4, 1, process)
    equal, near = shares(engine.run(len(codes))[1], fake_quantized_codes(subject))
    # Float32 sums and divisions move values across the middle between two codes here and there.
    assert equal > 0.8
    assert near == 1


def test_a_wrong_scale_shows(process, subject):
    graph = subject.graph
    name = next(op.name for op in graph.ops if isinstance(op, Softmax))
    softmax = graph.tensors[name]
    wrong = replace(softmax, scale=(softmax.scale[0] * 1.1,))
    codes = engines.codes_of(graph, subject.images)
    other = replace(graph, tensors={**graph.tensors, name: wrong})
    engine = peers.engine_of_onnxruntime(other, codes, "int8", 4, 1, process)
    assert shares(engine.run(len(codes))[1], fake_quantized_codes(subject))[0] < 0.8


def test_all_layers_become_integer_products(process, subject):
    codes = engines.codes_of(subject.graph, subject.images)
    engine = peers.engine_of_onnxruntime(subject.graph, codes, "uint8", 4, 1, process)
    operators = engine.facts["operators"]
    layers = sum(
        isinstance(op, MatMul) and subject.graph.is_constant(op.b) for op in subject.graph.ops
    )
    assert operators["QGemm"] == layers
    assert operators["QLinearMatMul"] == 4
    assert "MatMul" not in operators


def test_every_batch_gives_the_same(process, subject):
    codes = engines.codes_of(subject.graph, subject.images)
    one, four = (
        peers.engine_of_onnxruntime(subject.graph, codes, "int8", batch, 1, process).run(8)[1]
        for batch in (1, 4)
    )
    assert np.array_equal(one, four)
