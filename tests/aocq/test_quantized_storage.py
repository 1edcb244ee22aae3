# SPDX-License-Identifier: Apache-2.0
"""A quantized model as files: the same bits come back, and damaged ones are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import asked
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tiny_models import NANO, images, input_size
from tiny_quantized import meta_of, tiny
from torch import nn

from aocq.capture import FloatGraph, run
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.storage import load, save
from simulator.errors import InputError
from simulator.graph import sha256
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def quantized(graph: FloatGraph, **recipe: Any) -> QuantizedModel:
    model = METHODS["base_ptq"](graph, images(8, input_size(NANO)), *asked(**recipe))
    return replace(model, meta=meta_of(graph))


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
    assert (loaded.recipe, loaded.limits) == (model.recipe, model.limits)
    assert (loaded.method, loaded.meta) == (model.method, model.meta)
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
    with pytest.raises(InputError, match="not a quantized model of format 3"):
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
    with pytest.raises(InputError, match=r"quantized\.json: not a quantized model of format 3"):
        load(saved)


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b"{}", b"\xff\xfe", b"format = 3"])
def test_a_file_that_holds_something_else_is_refused(saved: Path, content: bytes) -> None:
    (saved / "quantized.json").write_bytes(content)
    with pytest.raises(InputError, match="not a quantized model of format 3"):
        load(saved)


NUMBER = "Input should be a"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("activations.image.zero_point", 0.5, f"{NUMBER} valid integer"),
        ("activations.image.zero_point", 128, "s8 has -128 to 127"),
        ("activations.image.zero_point", True, f"{NUMBER} valid integer"),
        ("activations.image.scale", 0.0, "Input should be greater than"),
        ("activations.image.scale", -1.0, "Input should be greater than"),
        ("activations.image.scale", "1", f"{NUMBER} valid number"),
        ("activations.image.scale", 10**400, "an integer of 401 digits"),
        ("activations.image.type", "s32", "wanted a type of 1 to 16 bits"),
        ("activations.image.type", "x", "an integer type is written"),
        ("activations.image.alpha", [1.0, 0.5], "the image has one scale"),
        ("activations.image.more", 1, "Extra inputs are not permitted"),
        ("activations.add.alpha", [1.0], "has 1 factors, dimension -1 of the tensor has 24"),
        ("activations.add.axis", 1, "Input should be less than"),
        ("activations.add.axis", -7, "the tensor has 2 dimensions"),
        ("activations.add.table_scale", 0.5, "only the channel factors of a function"),
        ("activations.add.type", "s16", "has 16 bits, the recipe 8"),
        ("activations.nowhere", None, "activations.nowhere"),
        ("weights.head~weight.bits", 8, "weights.head.weight: has 8 bits, the recipe 4"),
        ("weights.head~weight.bits", 3, "s3 has -4 to 3"),
        ("weights.head~weight.bits", 9, "weights.head.weight.bits: Input should be less than"),
        ("weights.head~weight.alpha", [1.0], "has 1 factors for 24 columns"),
        ("weights.head~weight.alpha", [0.0] * 24, "weights.head.weight.alpha.0"),
        ("nodes.3.name", "../escaped", "nodes.3.name: wanted a name"),
        ("nodes.3.name", "\x1b[2J", "nodes.3.name: wanted a name"),
        ("nodes.3.name", "a" * 201, "nodes.3.name: wanted a name"),
        ("nodes.3.op", "sort", "nodes.3.op: is no operation"),
        ("nodes.3.shape", [0], "nodes.3.shape.0: Input should be greater"),
        ("nodes.3.inputs", ["nowhere"], "reads nowhere"),
        ("recipe.weight_bits", "8", f"recipe.weight_bits: {NUMBER} valid integer"),
        ("recipe.weight_bits", 9, "recipe.weight_bits: Input should be less than"),
        ("recipe.weight_bits", 8, "has 4 bits, the recipe 8"),
        ("recipe.seed", -1, "recipe.seed"),
        ("limits.zero_point", "symmetric", "has a zero point, limits.zero_point is symmetric"),
        ("limits.weight_granularity", "per_tensor", "has one scale per row"),
        ("limits.weight_scale", "power_of_two", "has scales of another form"),
        ("limits.activation_scale", "power_of_two", "has a scale of another form"),
        ("calibration_images", 0, "calibration_images: Input should be greater"),
        ("name", "\x1b]0;x", "name: has characters that cannot be printed"),
        ("method", "", "method: wanted a name"),
        ("log.0", {"stage": "scales"}, "log.0"),
        ("parts.head", None, "parts.head"),
        ("meta.classes", "eleven", "meta: classes"),
        ("meta.classes", "11", "meta.classes: 11, the network's result has 10"),
        ("meta.preprocessing", "{}", "preprocessing: input_size: missing"),
        ("meta.preprocessing", "[]", "meta: preprocessing: must be a JSON object"),
        ("meta.preprocessing", '{"std": NaN}', "NaN is not JSON"),
        ("meta.model_arguments", "[", "meta"),
        ("meta.more", "x", "meta: more: Extra inputs"),
        ("more", 1, "more: Extra inputs"),
    ],
)
def test_what_a_place_cannot_be_is_told_with_the_place(
    saved: Path, place: str, value: Any, message: str
) -> None:
    path = saved / "quantized.json"
    plain = json.loads(path.read_text("utf-8"))
    *steps, last = (part.replace("~", ".") for part in place.split("."))
    holder = plain
    for step in steps:
        holder = holder[int(step) if isinstance(holder, list) else step]
    holder[int(last) if isinstance(holder, list) else last] = value
    path.write_text(json.dumps(plain), "utf-8")
    with pytest.raises(InputError, match=r"quantized\.json: not a quantized model") as refused:
        load(saved)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"format": 3', '"format": 3, "format": 3', "key 'format' twice"),
        ('"format": 3', '"format": NaN', "NaN is not JSON"),
        ('"format": 3', '"format": 1e999', "1e999 is no number"),
        ('"format": 3', f'"format": {"9" * 5000}', "not a quantized model"),
        ('"format": 3', f'"format": {"[" * 100_000}', "nested too deeply"),
        ('"format": 3', f'"format": {"[" * 500}{"]" * 500}', "format"),
        ('"log": [', f'"log": [{{"x": {"[" * 300}{"]" * 300}}},', "log.0: x: wanted"),
    ],
)
def test_json_is_read_strictly(saved: Path, before: str, after: str, message: str) -> None:
    path = saved / "quantized.json"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises(InputError, match=message):
        load(saved)


def with_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a saved model, and the hash that belongs to them."""
    content = load_tensors((folder / "quantized.safetensors").read_bytes())
    change(content)
    raw = save_tensors(content)
    (folder / "quantized.safetensors").write_bytes(raw)
    plain = json.loads((folder / "quantized.json").read_text("utf-8"))
    plain["tensors_sha256"] = hashlib.sha256(raw).hexdigest()
    (folder / "quantized.json").write_text(json.dumps(plain), "utf-8")


HEAD = "head.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"codes/{HEAD}"), f"codes/{HEAD} is missing"),
        (lambda t: t.pop("float/head.bias"), "float/head.bias is missing"),
        (lambda t: t.update(more=torch.ones(1)), "more is there, and nothing reads it"),
        (lambda t: t.update({f"codes/{HEAD}": t[f"codes/{HEAD}"].int()}), "wanted torch.int8"),
        (lambda t: t.update({f"scale/{HEAD}": t[f"scale/{HEAD}"].float()}), "torch.float64"),
        (lambda t: t.update({f"scale/{HEAD}": t[f"scale/{HEAD}"][:3]}), "one for each of 10"),
        (lambda t: t[f"scale/{HEAD}"].fill_(float("nan")), "must be positive numbers"),
        (lambda t: t[f"scale/{HEAD}"].neg_(), "must be positive numbers"),
        (lambda t: t[f"codes/{HEAD}"].fill_(100), "s4 has -8 to 7"),
        (lambda t: t.update({f"codes/{HEAD}": t[f"codes/{HEAD}"][0]}), "two dimensions"),
        (lambda t: t["float/head.bias"].fill_(float("inf")), "head.bias has values that are not"),
        (lambda t: t.update({"float/head.bias": t["float/head.bias"].double()}), "torch.float32"),
        (lambda t: t.update({"float/head.bias": torch.ones(1)}), r"shape \(1,\), wanted \(10,\)"),
    ],
)
def test_tensors_are_what_the_json_says(
    saved: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    with_tensors(saved, change)
    with pytest.raises(InputError, match=rf"not a quantized model of format 3 \(.*{message}"):
        load(saved)


def test_a_type_that_torch_does_not_have_is_refused(saved: Path) -> None:
    raw = (saved / "quantized.safetensors").read_bytes().replace(b'"F32"', b'"F31"', 1)
    plain = json.loads((saved / "quantized.json").read_text("utf-8"))
    plain["tensors_sha256"] = hashlib.sha256(raw).hexdigest()
    (saved / "quantized.safetensors").write_bytes(raw)
    (saved / "quantized.json").write_text(json.dumps(plain), "utf-8")
    with pytest.raises(InputError, match=r"quantized\.safetensors: SafetensorError"):
        load(saved)


def test_a_folder_in_the_place_of_a_file_is_told(saved: Path) -> None:
    (saved / "quantized.json").unlink()
    (saved / "quantized.json").mkdir()
    with pytest.raises(InputError, match=r"quantized\.json: is a folder; wanted a regular file"):
        load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: replace(m, log=({"loss": float("nan")},)), "log.0: loss: wanted"),
        (lambda m: replace(m, calibration_images=0), "calibration_images"),
        (
            lambda m: replace(
                m,
                activations={
                    **m.activations,
                    "image": replace(m.activations["image"], scale=float("inf")),
                },
            ),
            "activations.image.scale",
        ),
        (lambda m: replace(m, weights={}), "every operator is quantized"),
        (lambda m: replace(m, recipe=replace(m.recipe, weight_bits=3)), "has 4 bits"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    nano: Captured,
    tmp_path: Path,
    change: Callable[[QuantizedModel], QuantizedModel],
    message: str,
) -> None:
    model = quantized(nano("class_token")[1], weight_bits=4)
    with pytest.raises(InputError, match=f"is no quantized model .*{message}"):
        save(change(model), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", ["edge_npu_int8", "edge_npu_a4", "litert_ref", "esp32_p4"])
def test_what_methods_decide_is_written_and_read(method: str, profile: str, tmp_path: Path) -> None:
    for float_ops in ("declared", "integer"):
        model = tiny(method, profile, float_ops=float_ops)
        save(model, tmp_path)
        loaded = load(tmp_path)
        assert loaded.activations == model.activations
        assert loaded.layernorm_quantizers == model.layernorm_quantizers


def test_a_file_of_the_format_before_is_read(saved: Path) -> None:
    """Its recipe held the chip's limits too."""
    model, path = load(saved), saved / "quantized.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["recipe"] |= plain.pop("limits")
    path.write_text(json.dumps({**plain, "format": 2}), "utf-8")
    again = load(saved)
    assert (again.recipe, again.limits) == (model.recipe, model.limits)
    assert again.activations == model.activations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.pop("recipe"), "recipe: Field required"),
        (lambda plain: plain.update(recipe=[]), "recipe: Input should be"),
        (lambda plain: plain.update(limits={}), "limits: in a file of format 2 they are part of"),
        (lambda plain: plain["recipe"].update(seed=-1), r"recipe\.seed: Input should be greater"),
        (lambda plain: plain["recipe"].update(residual_bits=1), r"recipe\.residual_bits: Input"),
        (lambda plain: plain["recipe"].update(bias_bits=7), r"recipe\.bias_bits: Input should"),
    ],
)
def test_what_is_wrong_in_a_file_of_the_format_before_has_the_name_of_that_file(
    saved: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = saved / "quantized.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["recipe"] |= plain.pop("limits")
    change(plain)
    path.write_text(json.dumps({**plain, "format": 2}), "utf-8")
    with pytest.raises(InputError, match=rf"quantized\.json: .*\({message}"):
        load(saved)


@pytest.mark.parametrize("weight", [0.001, 5000.0])
def test_a_class_token_weight_beyond_the_command_line_s_is_read(saved: Path, weight: float) -> None:
    model, path = load(saved), saved / "quantized.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["recipe"] |= plain.pop("limits")
    plain["recipe"]["aocq"]["class_token_weight"] = weight
    path.write_text(json.dumps({**plain, "format": 2}), "utf-8")
    options = replace(model.recipe.aocq, class_token_weight=weight)
    assert load(saved).recipe == replace(model.recipe, aocq=options)
    for damaged in (0.0, -1.0):
        plain["recipe"]["aocq"]["class_token_weight"] = damaged
        path.write_text(json.dumps({**plain, "format": 2}), "utf-8")
        with pytest.raises(InputError, match=r"recipe\.aocq\.class_token_weight: Input"):
            load(saved)
