# SPDX-License-Identifier: Apache-2.0
"""Dynamic steps on a chip: the ops they become, exact in the emulator, as fake quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from changed_profiles import with_dynamic_steps
from fake_quantized import logits
from operand_nodes import with_operand_nodes
from PIL import Image
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import ImageBatches
from aocq.jobs.mismatches import mismatches_per_image
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods import fake_quantization as module
from aocq.methods.fake_quantization import FakeQuantization
from aocq.methods.quantizers import DynamicQuantizer
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.graph import IntGraph
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Lookup,
    ScaledMatMul,
)
from simulator.numerics.integer_type import Overflow
from simulator.profile import NpuProfile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
X = images(6, SIZE, seed=3)
FORMS = ("multiplier", "power_of_two")
EXACT = {FloatOp.LINEAR, FloatOp.MATMUL, FloatOp.ADD, FloatOp.HADAMARD}
PREPROCESSING = {
    "input_size": SIZE,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 1.0,
    "crop_mode": "center",
}
MODELS: dict[tuple[str, str, Any], QuantizedModel] = {}


def chip(form: str, name: str = "edge_npu_int8", trim: int = 0) -> NpuProfile:
    return with_dynamic_steps(name, row_scale=form, block=8, block_trim=trim)


@pytest.fixture
def quantized(nano: Captured) -> Callable[..., QuantizedModel]:
    """By form and profile, the smallest network with steps in all places."""

    def of(form: str, name: str = "edge_npu_int8", trim: int = 0, **options: Any) -> QuantizedModel:
        key = (form, name, (trim, *options.items()))
        if key not in MODELS:
            profile = chip(form, name, trim)
            aocq = {"scale_passes": 1, "search_images": 4, "row_steps": "all", "block_steps": True}
            bits = {"weight_bits": 4, "activation_bits": profile.activation.bits}
            asked = for_chip(profile, **bits, aocq={**aocq, **options})
            graph = with_operand_nodes(nano("class_token")[1], 4)
            MODELS[key] = METHODS["aocq"](graph, images(16, SIZE), *asked)
        return MODELS[key]

    return of


@pytest.fixture
def data(tmp_path: Path) -> ImageBatches:
    chance = np.random.default_rng(0)
    listed = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        listed.append(LabelledImage(path=path, label=index))
    return ImageBatches(listed, PREPROCESSING, batch=4)


def ops_of(graph: IntGraph, kind: type) -> list[Any]:
    return [op for op in graph.ops if isinstance(op, kind)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "trim", "clipping"),
    [
        ("edge_npu_int8", 0, 1.0),
        ("edge_npu_a4", 0, 1.0),
        ("edge_npu_int8", 2, 0.85),
        ("edge_npu_a4", 1, 0.51),
    ],
)
def test_the_emulator_is_exact_and_what_fake_quantization_is(
    name: str,
    trim: int,
    clipping: float,
    form: str,
    quantized: Callable[..., QuantizedModel],
    data: ImageBatches,
) -> None:
    asked = {"row_clipping": clipping} if form == "multiplier" else {}
    model, profile = quantized(form, name, trim, **asked), chip(form, name, trim)
    graph = lower(model, profile)
    assert graph.float_ops == 0
    executor = Executor(graph, gemm="numba", threads=1)
    codes = quantize(X.numpy(), graph.tensors[model.graph.input.name])
    taps = executor.run(codes, taps=[op.name for op in graph.ops]).taps
    reference = run_reference(graph, codes[0])
    for op in graph.ops:
        np.testing.assert_array_equal(taps[op.name][0], reference[op.name], err_msg=op.name)
    found = mismatches_per_image(model, executor, data)
    kinds = {node.name: node.op for node in model.graph.nodes}
    dynamic = {n for n, q in model.activations.items() if isinstance(q, DynamicQuantizer)}
    assert dynamic < found.keys()
    exact = {name for name in found if kinds[name] in EXACT} | dynamic
    assert {name: found[name] for name in exact if found[name]} == {}
    clips = [beyond(graph, name, taps) for name in dynamic]
    assert any(clips) == (clipping < 1)


def beyond(graph: IntGraph, name: str, taps: Mapping[str, Any]) -> bool:
    """Whether some magnitude is beyond the largest narrow code by more than a rounding."""
    op: Any = graph.makers[name]
    high = graph.tensors[name].code_type.high
    a, found = (taps[part] for part in op.operands)
    groups = a.astype(np.int64).reshape(*found.shape, op.group)
    steps = found.astype(np.int64)[..., None]
    if isinstance(op, GroupShift):
        return bool((abs(groups) >> steps > high).any())
    return bool((abs(groups) * (op.numerator // np.maximum(steps, 1)) >> op.shift > high).any())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_clipped_saturates_whatever_the_chip_does_elsewhere(
    form: str, quantized: Callable[..., QuantizedModel]
) -> None:
    """A wrapped code would have the other sign."""
    profile = chip(form, trim=2)
    wrapping = profile.rescale.model_copy(update={"overflow": Overflow.WRAP})
    graph = lower(quantized(form, trim=2), profile.model_copy(update={"rescale": wrapping}))
    ops = [*ops_of(graph, GroupQuantize), *ops_of(graph, GroupShift)]
    assert len(ops) == 6
    assert {op.overflow for op in ops} == {Overflow.SATURATE}
    assert any(op.overflow is Overflow.WRAP for op in graph.ops if hasattr(op, "overflow"))


def test_a_chip_with_another_trim_is_refused(quantized: Callable[..., QuantizedModel]) -> None:
    for form in FORMS:
        with pytest.raises(InputError, match=r"dynamic.block_trim = 0, the model's .* with 2"):
            lower(quantized(form, trim=2), chip(form))
    # A multiplier's clipping is in the model's integers: it has no powers of two here.
    rows = {"block_steps": False, "row_clipping": 0.85}
    lower(quantized("multiplier", trim=2, **rows), chip("multiplier"))


@pytest.mark.parametrize("form", FORMS)
def test_sums_take_the_factors_of_their_rows_columns_and_blocks(
    form: str, quantized: Callable[..., QuantizedModel]
) -> None:
    graph = lower(quantized(form), chip(form))
    products = {op.name.removeprefix("blocks.0."): op for op in ops_of(graph, ScaledMatMul)}
    layers = [op for name, op in products.items() if name != "attn.scores"]
    assert len(layers) == 4
    assert all(graph.is_constant(op.b) and op.column_factor is None for op in layers)
    scores = products["attn.scores"]
    assert scores.column_factor is not None
    # The function's layer has blocks, whichever form the rows have.
    assert len([op for op in layers if op.block == 8]) == 1
    if form == "multiplier":
        assert sum(op.row_factor is not None for op in products.values()) == 4
        assert len(ops_of(graph, GroupMaximum)) == len(ops_of(graph, GroupQuantize)) == 5
        assert len(ops_of(graph, GroupExponent)) == len(ops_of(graph, GroupShift)) == 1
    else:
        assert all(op.row_factor is None for op in products.values())
        assert {op.block for op in layers} == {8, graph.tensors[layers[0].a].shape[-1]}
        assert isinstance(graph.makers[scores.column_factor], Lookup)
        assert not ops_of(graph, GroupMaximum)


def test_layers_add_to_the_stream_with_one_rounding(
    quantized: Callable[..., QuantizedModel],
) -> None:
    graph = lower(quantized("multiplier"), chip("multiplier"))
    assert sum(op.residual is not None for op in ops_of(graph, ScaledMatMul)) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exact", [True, False])
def test_whole_numbers_sum_up_to_what_real_ones_do(
    exact: bool, form: str, quantized: Callable[..., QuantizedModel], monkeypatch: Any
) -> None:
    model = quantized(form)
    if not exact:
        monkeypatch.setattr(module, "EXACT", 1)
    fake_quantized = FakeQuantization(model)
    products = {n.name for n in model.graph.nodes if n.op in {FloatOp.LINEAR, FloatOp.MATMUL}}
    assert set(fake_quantized.sums) == (products if exact else set())
    torch.testing.assert_close(fake_quantized.logits(X), logits(model, X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_chip_s_logits_are_near(form: str, quantized: Callable[..., QuantizedModel]) -> None:
    model = quantized(form)
    graph = lower(model, chip(form))
    codes = quantize(X.numpy(), graph.tensors[model.graph.input.name])
    output = Executor(graph, gemm="numba", threads=1).run(codes)
    (name,) = graph.outputs
    tensor = graph.tensors[name]
    real = (output.outputs[name].astype(float) - tensor.zero_point) * tensor.scale[0]
    wanted = logits(model, X).numpy()
    assert 10 * np.log10((wanted**2).sum() / max(((wanted - real) ** 2).sum(), 1e-9)) > 25
