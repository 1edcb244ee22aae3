# SPDX-License-Identifier: Apache-2.0
"""Layers, sums and softmax of the profile ``qnnpack`` against PyTorch's own QNNPACK, in process.

PyTorch's codes are unsigned: ours are 128 lower, but for probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from elementwise_operators import OneOp, Quantized
from presence import need
from quantized_networks import digits
from rules import by_rules
from tally import Tally
from vectors import codes

from aocq.lowering import lower
from aocq.lowering.factors import at_common_shift
from simulator.boundary import quantize
from simulator.executor import Executor
from simulator.graph.ops import Add, Softmax
from simulator.numerics.integer_type import IntType
from simulator.numerics.rounding import Rounding
from simulator.profile import load_profile

# That there will be no quantized tensors in PyTorch one day.
pytestmark = pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
PROFILE = load_profile("qnnpack")
MULTIPLIER = IntType(bits=22, signed=False)


@pytest.fixture(autouse=True)
def qnnpack() -> Iterator[None]:
    """PyTorch's quantized operators by QNNPACK."""
    need("qnnpack")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    yield
    torch.backends.quantized.engine = before


def tensor(values, scale, zero_point):
    """A quint8 tensor of PyTorch from our codes."""
    stored = torch.from_numpy((values.astype(np.int16) + 128).astype(np.uint8))
    return torch._make_per_tensor_quantized_tensor(stored, float(scale), zero_point + 128)


def read(found):
    """Our codes of a quint8 tensor."""
    return found.int_repr().numpy().astype(np.int64) - 128


def weights(values, scales):
    """A qint8 matrix with a scale for each row."""
    zero_points = torch.zeros(len(scales), dtype=torch.int64)
    return torch._make_per_channel_quantized_tensor(
        torch.from_numpy(values), torch.from_numpy(scales.astype(np.float64)), zero_points, 0
    )


@pytest.mark.parametrize("ties", [True, False])
def test_layers(record_count, ties):
    """PyTorch multiplies by the inverse of the result's scale, where the profile has a quotient."""
    random = np.random.default_rng(71)
    rule, wrong = "float32 half even", ("float32 half away", "Q31 half up")
    tally = Tally("QNNPACK", f"linear, {rule}" + ", full of ties" * ties, record_count)
    for _ in range(8):
        x, w = codes(random, (1024, 64)), codes(random, (64, 64), low=-127)
        scale_x, scale_y = (0.0312, 0.0913) if not ties else (0.03125, 0.125)
        scales = random.uniform(0.001, 0.02, 64).astype(np.float32)
        if ties:
            scales = (2.0 ** -random.integers(3, 8, 64)).astype(np.float32)
        zero_x, zero_y = (int(one) for one in random.integers(-128, 128, 2))
        bias = random.integers(-20000, 20001, 64)
        products = np.float32(scale_x) * scales
        real = torch.from_numpy((bias * products.astype(np.float64)).astype(np.float32))
        packed = torch.ops.quantized.linear_prepack(weights(w, scales), real)
        given = tensor(x, np.float32(scale_x), zero_x)
        theirs = torch.ops.quantized.linear(given, packed, float(np.float32(scale_y)), zero_y + 128)
        sums = (x.astype(np.int64) - zero_x) @ w.T.astype(np.int64) + bias
        factors = (products * (np.float32(1) / np.float32(scale_y))).astype(np.float64)
        results = by_rules((rule, *wrong), sums, factors, zero_y)
        if not ties:
            quotients = (products / np.float32(scale_y)).astype(np.float64)
            results = {
                rule: results[rule],
                "quotient": by_rules((rule,), sums, quotients, zero_y)[rule],
            }
        tally.add(read(theirs), results.pop(rule), results)
    tally.check(at_least=500_000)


def test_sums(record_count):
    random = np.random.default_rng(72)
    section = PROFILE.rescale_of("add")
    tally = Tally("QNNPACK", "add, multipliers of 22 bits, half away", record_count)
    for scales in [(0.03125, 0.0625, 0.125), (0.25, 0.125, 1.0), (0.0173, 0.0412, 0.0531)]:
        a, b = (codes(random, (1, 200_000)) for _ in range(2))
        zeros = [int(one) for one in random.integers(-128, 128, 3)]
        singles = np.array(scales, np.float32)
        theirs = torch.ops.quantized.add(
            tensor(a[0], singles[0], zeros[0]),
            tensor(b[0], singles[1], zeros[1]),
            float(singles[2]),
            zeros[2] + 128,
        )
        multipliers, shift = at_common_shift((singles[:2] / singles[2]).astype(np.float64), section)
        results = {}
        for rounding in (Rounding(section.rounding), Rounding.HALF_UP, Rounding.HALF_EVEN):
            operands = [
                Quantized(codes=one, scale=scale, zero_point=zero)
                for one, scale, zero in zip((a, b), scales, zeros, strict=False)
            ]
            one = OneOp(operands, Quantized(codes=a, scale=scales[2], zero_point=zeros[2]))
            results[rounding] = one.run_as_it_is(
                Add(
                    name="y",
                    a="x0",
                    b="x1",
                    multiplier_a=one.constant("ma", multipliers[:1], MULTIPLIER),
                    multiplier_b=one.constant("mb", multipliers[1:], MULTIPLIER),
                    shift=shift,
                    rounding=rounding,
                    overflow=section.overflow,
                )
            )
        found = results.pop(Rounding(section.rounding))
        tally.add(read(theirs)[None], found, {str(name): one for name, one in results.items()})
    tally.check(at_least=500_000)


def test_softmax_of_the_bundled_network(record_count, tmp_path):
    tally = Tally("QNNPACK", "softmax, a division for each element", record_count)
    network = digits(tmp_path / "images")
    model = network.quantized(PROFILE)
    graph = lower(model, PROFILE)
    found = [op for op in graph.ops if isinstance(op, Softmax)]
    assert found
    inputs = quantize(network.images.numpy(), graph.tensors[graph.inputs[0]])
    names = [name for op in found for name in (op.a, op.name)]
    taps = Executor(graph, threads=1).run(inputs, taps=names).taps
    for op in found:
        scores = graph.tensors[op.a]
        scale = float(model.scales(model.graph.node(op.name).inputs[0]).reshape(-1)[0])
        given = tensor(np.ascontiguousarray(taps[op.a]), scale, scores.zero_point)
        theirs = torch.ops.quantized.softmax(given, -1, 2.0**-8, 0).int_repr().numpy()
        ours = taps[op.name].astype(np.int64)
        exact = np.exp(scale * (taps[op.a] - taps[op.a].max(-1, keepdims=True).astype(np.float64)))
        exact = np.floor(256 * exact / exact.sum(-1, keepdims=True) + 0.5).clip(0, 255)
        tally.add(theirs, ours, {"exact softmax": exact})
    tally.check(at_least=500_000)
