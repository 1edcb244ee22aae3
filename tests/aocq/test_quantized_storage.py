# SPDX-License-Identifier: Apache-2.0
"""A quantized model as files: the same bits come back, and damaged ones are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, run
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel, Recipe
from aocq.methods.storage import load, save
from simulator.errors import InputError
from simulator.graph import sha256
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def quantized(graph: FloatGraph, **recipe: Any) -> QuantizedModel:
    model = METHODS["base_ptq"](graph, images(8, input_size(NANO)), Recipe(**recipe))
    return replace(model, meta={"classes": "10"})


@pytest.fixture
def saved(nano: Captured, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save(quantized(nano("class_token")[1], weight_bits=4), folder)
    return folder


@pytest.mark.parametrize("variant", ["class_token", "layer_scale", "distilled", "registers"])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"weight_bits": 4, "weight_granularity": "per_tensor", "activation_range": "mse"}],
    ids=["defaults", "others"],
)
def test_what_was_saved_lowers_to_the_same_graph(
    variant: str, recipe: dict[str, Any], nano: Captured, tmp_path: Path
) -> None:
    model = quantized(nano(variant)[1], **recipe)
    save(model, tmp_path)
    loaded = load(tmp_path)
    profile = load_profile("edge_npu_int8")
    assert sha256(lower(loaded, profile)) == sha256(lower(model, profile))
    assert (loaded.recipe, loaded.method, loaded.meta) == (model.recipe, model.method, model.meta)
    assert loaded.activations == model.activations
    assert loaded.calibration_images == model.calibration_images
    assert [dict(entry) for entry in loaded.log] == [dict(entry) for entry in model.log]


def test_saving_again_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save(load(saved), tmp_path / "again")
    for name in ("quantized.json", "quantized.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_a_loaded_graph_runs_with_the_quantized_weights(saved: Path, nano: Captured) -> None:
    model, original = load(saved), quantized(nano("class_token")[1], weight_bits=4)
    inputs = images(3, input_size(NANO))
    weights = {name: w.dequantized().float() for name, w in original.weights.items()}
    expected = run(original.graph, {"image": inputs}, ["head"], parameters=weights)
    assert torch.equal(run(model.graph, {"image": inputs}, ["head"])["head"], expected["head"])


def test_float_weights_that_were_quantized_are_not_stored(saved: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(saved / "quantized.safetensors")
    assert "float/head.bias" in tensors
    assert "float/head.weight" not in tensors
    assert tensors["codes/head.weight"].dtype == np.int8
    assert sorted(path.name for path in saved.iterdir()) == [
        "quantized.json",
        "quantized.safetensors",
    ]


@pytest.mark.parametrize("name", ["quantized.json", "quantized.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(InputError, match=f"{name}: not found; .*aocq quantize"):
        load(saved)


@pytest.mark.parametrize("name", ["quantized.json", "quantized.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved: Path, name: str, share: float) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="not a quantized model of format 2"):
        load(saved)


def test_one_altered_bit_of_the_tensors_is_noticed(saved: Path) -> None:
    path = saved / "quantized.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"quantized\.safetensors do not match"):
        load(saved)


def test_files_of_two_models_do_not_go_together(
    saved: Path, nano: Captured, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    save(quantized(nano("class_token")[1], weight_bits=8), other)
    shutil.copy(other / "quantized.safetensors", saved)
    with pytest.raises(InputError, match="do not match"):
        load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"recipe": {"weight_bits": "many"}},
        {"recipe": {"unknown": 1}},
        {"nodes": 3},
        {"nodes": [{"name": "image"}]},
        {"activations": []},
        {"activations": {"image": {"type": "x9", "scale": 1.0, "zero_point": 0}}},
        {"weights": {"no.such.weight": 8}},
        {"weights": None},
        {"log": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_json_file_of_other_content_is_refused(saved: Path, change: dict[str, Any]) -> None:
    path = saved / "quantized.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(InputError, match=r"quantized\.json: not a quantized model of format 2"):
        load(saved)


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b"{}", b"\xff\xfe", b"format = 2"])
def test_a_file_that_holds_something_else_is_refused(saved: Path, content: bytes) -> None:
    (saved / "quantized.json").write_bytes(content)
    with pytest.raises(InputError, match="not a quantized model of format 2"):
        load(saved)
