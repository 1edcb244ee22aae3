# SPDX-License-Identifier: Apache-2.0
"""AOCQ as a whole: what it yields, on which chips, and after it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from fake_quantized import logits, on_chip, sqnr
from tiny_models import NANO, SMALL, images, input_size, network
from torch import nn

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.capture.float_graph import ARITHMETIC
from aocq.lowering import check_recipe, lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.aocq import method
from aocq.methods.aocq import rounding as rounding_stage
from aocq.methods.aocq.blocks import blocks
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.records.kept import keep, kept
from simulator.errors import InputError
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
VARIANTS = ("class_token", "mean_then_norm", "registers", "distilled", "pre_norm", "qk_norm")
CHIPS = ("edge_npu_int8", "narrow_acc_20", "edge_npu_a4")


def recipe(profile: str = "edge_npu_int8", **fields: Any) -> tuple[Recipe, ChipLimits]:
    options = {"search_images": 8, **fields.pop("aocq", {})}
    chip = load_profile(profile)
    widths = {"activation_bits": chip.activation.operand_width}
    return for_chip(chip, **{**widths, **fields, "aocq": options})


def quantized(graph: FloatGraph, count: int = 16, **fields: Any) -> QuantizedModel:
    return METHODS["aocq"](graph, images(count, graph.input.shape), *recipe(**fields))


def assert_same(a: QuantizedModel, b: QuantizedModel) -> None:
    assert a.activations == b.activations
    assert a.log == b.log
    assert a.weights.keys() == b.weights.keys()
    for name, weight in a.weights.items():
        other = b.weights[name]
        assert (weight.bits, weight.alpha) == (other.bits, other.alpha), name
        np.testing.assert_array_equal(weight.codes, other.codes, err_msg=name)
        np.testing.assert_array_equal(weight.scale, other.scale, err_msg=name)
    assert a.graph.parameters.keys() == b.graph.parameters.keys()
    for name, value in a.graph.parameters.items():
        assert torch.equal(value, b.graph.parameters[name]), name
    assert (a.recipe, a.limits, a.calibration_images) == (b.recipe, b.limits, b.calibration_images)


def differs(a: QuantizedModel, b: QuantizedModel) -> tuple[bool, bool]:
    """Whether activations, and whether weights differ."""
    real = [(a.weights[name].dequantized(), b.weights[name].dequantized()) for name in a.weights]
    return a.activations != b.activations, not all(torch.equal(x, y) for x, y in real)


# --- what it yields -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_has_a_quantizer_and_every_layer_integer_weights(
    variant: str, nano: Captured
) -> None:
    graph = nano(variant)[1]
    model = quantized(graph, weight_bits=4)
    onto_the_stream = set(model.fused_layers)
    assert onto_the_stream
    assert not onto_the_stream & set(model.activations)
    arithmetic = {node.name for node in graph.nodes if node.op in ARITHMETIC}
    assert set(model.activations) | onto_the_stream == arithmetic
    assert not model.leaves_floats
    layers = [node for node in graph.nodes if node.op is FloatOp.LINEAR]
    assert set(model.weights) == {node.attributes["weight"] for node in layers}
    for node in layers:
        weight = model.weights[node.attributes["weight"]]
        assert weight.bits == 4
        assert (weight.codes.min() >= -8, weight.codes.max() <= 7) == (True, True)
        assert bool((weight.scale > 0).all())
    assert (model.method, model.calibration_images) == ("aocq", 16)
    passes = [(entry["block"], entry["pass"]) for entry in model.log]
    wanted = [(block.name, number) for block in blocks(graph) for number in range(5)]
    assert passes == wanted


def test_the_float_network_stays_as_it_was(nano: Captured) -> None:
    graph = nano("class_token")[1]
    before = {name: value.clone() for name, value in graph.parameters.items()}
    model = quantized(graph, count=80, weight_bits=4)
    assert graph.parameters.keys() == before.keys()
    for name, value in graph.parameters.items():
        assert torch.equal(value, before[name])
        assert not value.requires_grad
    changed = {n for n, v in model.graph.parameters.items() if not torch.equal(v, before[n])}
    biases = {node.attributes["bias"] for node in graph.nodes if node.op is FloatOp.LINEAR}
    assert changed <= biases


@pytest.mark.parametrize("rounding", ["gptq", "adaround", "reconstruct"])
def test_two_runs_yield_the_same(rounding: str, nano: Captured) -> None:
    graph = nano("class_token")[1]
    options = {"rounding": rounding, "adaround_steps": 20, "reconstruction_steps": 20}
    torch.manual_seed(1)
    first = quantized(graph, weight_bits=4, aocq=options)
    torch.manual_seed(2)
    assert_same(first, quantized(graph, weight_bits=4, aocq=options))


def test_images_of_no_finite_result_are_refused(nano: Captured) -> None:
    x = images(4, input_size(NANO))
    x[2, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="image"):
        METHODS["aocq"](nano("class_token")[1], x, *recipe())


@pytest.mark.parametrize("count", [1, 5, 9])
def test_few_images_are_enough_to_run(count: int, nano: Captured) -> None:
    graph = nano("class_token")[1]
    model = quantized(graph, count=count)
    assert sqnr(model, images(32, input_size(NANO), seed=5), graph) > 5


def test_progress_goes_up_to_its_end(nano: Captured) -> None:
    seen: list[tuple[int, int]] = []
    x = images(16, input_size(NANO))
    METHODS["aocq"](nano("class_token")[1], x, *recipe(), lambda *step: seen.append(step))
    totals = {total for _, total in seen}
    assert len(totals) == 1
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert done[-1] == totals.pop()
    assert len(set(done)) == len(done)


# --- on chips -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "bits"), [(CHIPS[0], 8), *((chip, 4) for chip in CHIPS)])
@pytest.mark.parametrize("variant", ["class_token", "registers", "mean_then_norm", "pre_norm"])
def test_the_chip_computes_fake_quantization(
    variant: str, chip: str, bits: int, nano: Captured
) -> None:
    graph = nano(variant)[1]
    chosen = recipe(chip, weight_bits=bits)
    check_recipe(*chosen, load_profile(chip), leaves_floats=False)
    model = METHODS["aocq"](graph, images(16, input_size(NANO)), *chosen)
    assert lower(model, load_profile(chip)).float_ops == 0
    inputs = images(64, input_size(NANO), seed=2)
    step = model.activations[graph.output.name].scale
    found, fake_quantized = on_chip(model, inputs, chip), logits(model, inputs).numpy()
    assert float((np.abs(found - fake_quantized) / step < 0.5).mean()) > 0.97
    assert float((found.argmax(axis=1) == fake_quantized.argmax(axis=1)).mean()) > 0.95


# --- accuracy -------------------------------------------------------------------------------------


def with_outliers(seed: int) -> FloatGraph:
    """A network of which a few channels of the stream are far larger than the others."""
    built = network("class_token", SMALL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 2:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * parameter.shape[1] ** -0.5)
        large = torch.randperm(48, generator=generator)[:3]
        built.pos_embed[..., large] *= 50
        for block in built.blocks:
            block.attn.proj.weight[large] *= 50
    return capture(built, "outliers", input_size(SMALL))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_outlier_channels_cost_less_than_by_the_plain_method(seed: int) -> None:
    """At 8 bits; at 4, the weights' error hides what the stream gains on random networks."""
    graph = with_outliers(seed)
    calibration, others = (images(n, input_size(SMALL), seed=n) for n in (48, 64))
    found = {name: METHODS[name](graph, calibration, *recipe()) for name in ("base_ptq", "aocq")}
    assert sqnr(found["aocq"], others, graph) > sqnr(found["base_ptq"], others) + 0.5


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "of_activations"),
    [
        ({"alpha": "none"}, True),
        ({"alpha": "pot3"}, True),
        ({"alpha_choice": "range"}, True),
        ({"alpha_sharing": "stage"}, True),
        ({"balance_inputs": False}, True),
        ({"scale_passes": 0}, True),
        ({"search_images": 2}, True),
        ({"rounding": "nearest"}, False),
        ({"rounding": "adaround", "adaround_steps": 30}, False),
        ({"rounding": "reconstruct", "reconstruction_steps": 30}, True),
        ({"loss": "mse"}, True),
        ({"norm_exponent": 1.0}, True),
        ({"class_token_weight": 1.0}, True),
        ({"loss_channels": "alpha"}, True),
        ({"loss_channels": "gamma"}, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_every_option_changes_the_result(
    option: dict[str, Any], of_activations: bool, nano: Captured
) -> None:
    graph = nano("class_token")[1]
    plain = quantized(graph, weight_bits=4)
    activations, weights = differs(plain, quantized(graph, weight_bits=4, aocq=option))
    assert activations or weights
    assert activations == of_activations


def test_options_of_other_levels_leave_factors_alone(nano: Captured) -> None:
    graph = nano("class_token")[1]
    bare = quantized(graph, aocq={"alpha": "none", "balance_inputs": False})
    held = {name for name, quantizer in bare.activations.items() if quantizer.alpha}
    assert held == {"blocks.0.attn.qkv"}
    assert not any(weight.alpha for weight in bare.weights.values())
    inputs = quantized(graph, aocq={"alpha": "none"})
    assert any(weight.alpha for weight in inputs.weights.values())
    assert not inputs.activations["blocks.0.add"].alpha


def test_without_passes_the_log_has_the_first_scales_only(nano: Captured) -> None:
    model = quantized(nano("class_token")[1], aocq={"scale_passes": 0})
    assert [entry["pass"] for entry in model.log] == [0, 0, 0]


# --- interruptions --------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the end of the process."""


def layers_of_blocks(graph: FloatGraph) -> list[str]:
    return [
        name
        for block in blocks(graph)
        for name in block.nodes
        if graph.node(name).op is FloatOp.LINEAR
    ]


@pytest.mark.parametrize(
    ("rounding", "share"),
    [
        *(("gptq", share) for share in (0.2, 0.5, 0.8, 0.97)),
        ("adaround", 0.5),
        ("reconstruct", 0.6),
    ],
)
def test_a_killed_calibration_goes_on_where_it_was(
    share: float, rounding: str, nano: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = nano("class_token")[1]
    x = images(16, input_size(NANO))
    few = {"adaround_steps": 10, "reconstruction_steps": 10}
    chosen = recipe(weight_bits=4, aocq={"rounding": rounding, **few})
    steps: list[tuple[int, int]] = []
    whole = METHODS["aocq"](graph, x, *chosen, lambda *step: steps.append(step))
    stop = int(len(steps) * share)

    calls: list[str] = []
    real_refine, real_round = method.refine, rounding_stage.round_layer

    def refine(state: Any, *rest: Any) -> Any:
        calls.append(f"scales of {state.block.name}")
        return real_refine(state, *rest)

    def round_layer(network: Any, feeds: Any, node: Any, *rest: Any) -> Any:
        calls.append(node.name)
        return real_round(network, feeds, node, *rest)

    monkeypatch.setattr(method, "refine", refine)
    monkeypatch.setattr(rounding_stage, "round_layer", round_layer)
    count = 0

    def kill(done: int, total: int) -> None:
        nonlocal count
        count += 1
        if count == stop:
            raise Killed

    with pytest.raises(Killed):
        METHODS["aocq"](graph, x, *chosen, kill, work=tmp_path)
    begun, calls[:] = list(calls), []
    resumed = METHODS["aocq"](graph, x, *chosen, work=tmp_path)
    assert_same(resumed, whole)

    everything = [f"scales of {block.name}" for block in blocks(graph)] + layers_of_blocks(graph)
    assert begun == everything[: len(begun)]
    again = set(begun) & set(calls)
    assert again <= _unfinished(graph, begun)
    assert set(begun) | set(calls) == set(everything)
    calls.clear()
    assert_same(METHODS["aocq"](graph, x, *chosen, work=tmp_path), whole)
    assert not calls


def _unfinished(graph: FloatGraph, begun: list[str]) -> set[str]:
    """Return what belongs to the block that was under way."""
    for block in blocks(graph):
        if begun and begun[-1] in block.nodes:
            return set(block.nodes)
    return set(begun[-1:])


def test_work_of_a_calibration_survives_as_files_of_blocks(nano: Captured, tmp_path: Path) -> None:
    graph = nano("class_token")[1]
    work = tmp_path / "not" / "there"
    x = images(8, input_size(NANO))
    whole = METHODS["aocq"](graph, x, *recipe())
    assert_same(METHODS["aocq"](graph, x, *recipe(), work=work), whole)
    names = {path.name.split(".scales")[0].split(".weights")[0] for path in work.iterdir()}
    assert names == {"stem", "blocks.0", "head"}
    assert not [path for path in work.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"log": [', b'"log": [{"loss": NaN}, '),
        (b'{"quantizers"', b'{"log": [], "quantizers"'),
    ],
)
def test_work_that_is_no_json_is_made_again(
    before: bytes, after: bytes, nano: Captured, tmp_path: Path
) -> None:
    """Also where it is as it was kept."""
    graph = nano("class_token")[1]
    x = images(8, input_size(NANO))
    whole = METHODS["aocq"](graph, x, *recipe(), work=tmp_path)
    path = tmp_path / "blocks.0.scales.json"
    content = kept(path)
    assert content is not None
    keep(path, content.replace(before, after, 1))
    assert kept(path) not in {content, None}
    assert_same(METHODS["aocq"](graph, x, *recipe(), work=tmp_path), whole)
    assert kept(path) == content


@pytest.mark.parametrize("rounding", ["gptq", "adaround", "reconstruct"])
@pytest.mark.parametrize("which", [slice(0, None, 2), slice(1, None, 2), slice(None)])
def test_damaged_work_is_made_again(
    which: slice, rounding: str, nano: Captured, tmp_path: Path
) -> None:
    """A bit of a scale or of a weight that changed would be another network, without a word."""
    graph = nano("class_token")[1]
    x = images(8, input_size(NANO))
    few = {"adaround_steps": 4, "reconstruction_steps": 4}
    chosen = recipe(weight_bits=4, aocq={"rounding": rounding, **few})
    whole = METHODS["aocq"](graph, x, *chosen, work=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    before = {path: path.read_bytes() for path in files}
    for number, path in enumerate(files[which]):
        content = bytearray(before[path])
        content[-len(content) // 3] ^= 1
        path.write_bytes([bytes(content), b"", before[path][:-1]][number % 3])
    assert_same(METHODS["aocq"](graph, x, *chosen, work=tmp_path), whole)
    assert {path: path.read_bytes() for path in files} == before
