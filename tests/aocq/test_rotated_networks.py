# SPDX-License-Identifier: Apache-2.0
"""Rotated networks are quantized, stored, lowered and emulated like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import asked, for_chip
from fake_quantized import logits, sqnr
from tiny_models import images, input_size
from tiny_quantized import TINY, meta_of, tiny_graph

from aocq.capture import FloatGraph, FloatOp
from aocq.jobs.calibration import calibrated
from aocq.lowering import check_recipe, lower
from aocq.lowering.lower import CannotHoldError
from aocq.methods import QuantizedModel
from aocq.methods.aocq.channel_ranges import channel_ranges
from aocq.methods.aocq.initial_scales import InitialScales
from aocq.methods.fake_quantization import FakeQuantization
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.storage import load, save
from aocq.recipes.aocq_options import AocqOptions
from aocq.transforms.apply import transformed
from simulator.boundary import dequantize, quantize
from simulator.executor import Executor, run_reference
from simulator.graph.ops import Hadamard
from simulator.profile import NpuProfile, load_profile

PIXELS = images(8, input_size(TINY))
SHIPPED = load_profile("edge_npu_int8")
FAST = {"scale_passes": 1, "search_images": 4}


def rotating(order: int = 64) -> NpuProfile:
    """A chip with rotations."""
    plain = SHIPPED.model_dump(mode="json", exclude_none=True)
    return NpuProfile.model_validate({**plain, "hadamard": {"largest_order": order}})


def quantized(method: str, chip: NpuProfile, **options: Any) -> tuple[QuantizedModel, FloatGraph]:
    """Return a quantized network, rotated by ``options``, and the float network."""
    recipe, limits = for_chip(chip, aocq=AocqOptions(**FAST, **options), weight_bits=8)
    graph = transformed(tiny_graph(), recipe.aocq, limits, PIXELS)
    return calibrated(method, graph, PIXELS, recipe, limits), graph


@pytest.mark.parametrize("method", ["aocq", "base_ptq"])
def test_the_chip_computes_what_fake_quantization_says(method: str, tmp_path: Path) -> None:
    chip = rotating()
    model, graph = quantized(method, chip, hadamard="all", rotate_heads=True)
    integers = lower(model, chip)
    orders = {op.name: op.order for op in integers.ops if isinstance(op, Hadamard)}
    assert orders == dict.fromkeys(orders, 8)
    assert len(orders) == 4
    rotated = {node.name for node in graph.nodes if node.op is FloatOp.HADAMARD}
    assert orders.keys() == rotated
    codes = quantize(PIXELS.numpy(), integers.tensors["image"])
    output = Executor(integers, gemm="numba", threads=1).run(codes).outputs[integers.outputs[0]]
    one = run_reference(integers, codes[0])[integers.outputs[0]]
    assert np.array_equal(one, output[0])
    on_chip = dequantize(output, integers.tensors[integers.outputs[0]])
    faked = logits(model, PIXELS).numpy()
    step = float(integers.tensors[integers.outputs[0]].scale[0])
    assert np.abs(on_chip - faked).max() <= 3 * step
    np.testing.assert_allclose(FakeQuantization(model).logits(PIXELS).numpy(), faked, atol=1e-9)
    assert sqnr(model, PIXELS, graph) > 20
    kept = QuantizedModel(**{**_fields(model), "meta": meta_of(model.graph)})
    save(kept, tmp_path)
    assert load(tmp_path).activations == model.activations


def _fields(model: QuantizedModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in QuantizedModel.__dataclass_fields__}


def test_a_rotation_of_few_bits_is_clipped_where_its_error_is_least() -> None:
    """Its largest value is rare: few codes serve the others better."""
    recipe, limits = for_chip(
        rotating(), activation_bits=4, aocq=AocqOptions(**FAST, hadamard="all")
    )
    graph = transformed(tiny_graph(), recipe.aocq, limits, PIXELS)
    seen = channel_ranges(graph, PIXELS, 8, lambda count: None)
    initial = InitialScales(graph, seen, recipe, limits)
    node = graph.node("blocks.0.mlp.act.hadamard")
    assert initial.needs_values(node)
    values = images(1, (64, 64, 2)) ** 3
    narrow = initial.choose(node, {node.name: values})
    assert isinstance(narrow, ActivationQuantizer)
    assert narrow.scale * 15 < 0.8 * float(values.max() - values.min())


def test_narrow_queries_keys_and_values_are_clipped_each_by_itself() -> None:
    """Operands of 4 bits beside tensors of 8; where all have 4 bits, ranges stay whole."""
    scales = {}
    for bits in (8, None):
        recipe, limits = asked(activation_bits=4, vector_bits=bits)
        graph = tiny_graph()
        seen = channel_ranges(graph, PIXELS, 4, lambda count: None)
        initial = InitialScales(graph, seen, recipe, limits)
        node = graph.node("blocks.0.attn.qkv")
        assert initial.needs_values(node) == (bits == 8)
        values = images(1, (1, 400, 24))[0] * (torch.arange(24) // 8 + 1)
        quantizer = initial.choose(node, {node.name: values} if bits else {})
        assert isinstance(quantizer, ActivationQuantizer)
        scales[bits] = quantizer.scales()
    reached = scales[8].reshape(3, 8)[:, 0] * 7 / torch.arange(1, 4)  # in standard deviations
    assert bool(((reached > 2) & (reached < 3)).all())
    assert len(set(scales[8].tolist())) == 3
    whole = seen["blocks.0.attn.qkv"].magnitude.reshape(3, 8).amax(1)
    assert torch.allclose(scales[None].reshape(3, 8)[:, 0] * 7, whole)


def test_a_chip_without_rotations_refuses_them() -> None:
    recipe, limits = for_chip(rotating(), aocq=AocqOptions(hadamard="fc2"))
    with pytest.raises(CannotHoldError, match=r"no table \[hadamard\].*choose --hadamard none"):
        check_recipe(recipe, limits, SHIPPED)
    with pytest.raises(CannotHoldError, match=r"hadamard\.largest_order = 0, the model has"):
        check_recipe(recipe, limits, SHIPPED)
    recipe, limits = for_chip(rotating(), aocq=AocqOptions(hadamard="fc2", hadamard_block=128))
    with pytest.raises(CannotHoldError, match=r"largest_order = 64, aocq\.hadamard_block is 128"):
        check_recipe(recipe, limits, rotating())


def test_rotated_heads_need_nothing_of_a_chip() -> None:
    model, _ = quantized("aocq", SHIPPED, rotate_heads=True)
    assert not any(isinstance(op, Hadamard) for op in lower(model, SHIPPED).ops)
