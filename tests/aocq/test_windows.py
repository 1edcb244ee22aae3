# SPDX-License-Identifier: Apache-2.0
"""Windows of attention: captured for any image, masked as the network masks, moved exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from asked import asked
from fake_quantized import logits
from tiny_models import images, with_random_parameters
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, capture, run
from aocq.capture.float_graph import LAYOUT
from aocq.capture.interpreter import run as run_nodes
from aocq.capture.passes import MASKED
from aocq.lowering import lower
from aocq.lowering.softmax import SHORT_RANGES
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.masks import lowest_code_wanted, quantizer_of, scores_of
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.scales import moved
from aocq.zoo.models import timm
from simulator.boundary import dequantize, quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import SPECS, Add, Op
from simulator.numerics.integer_type import IntType, Overflow
from simulator.profile import load_profile, profile_paths

SWIN: dict[str, Any] = {
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 12,
    "depths": (2, 2),
    "num_heads": (3, 3),
    "num_classes": 10,
}


def swin(**options: Any) -> tuple[nn.Module, FloatGraph, tuple[int, int, int]]:
    arguments = {**SWIN, **options}
    built = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **arguments)
    network = with_random_parameters(built)
    height, width = arguments["img_size"]
    return network, capture(network, "swin", (3, height, width)), (3, height, width)


@pytest.mark.parametrize(
    ("options", "operations"),
    [
        ({"img_size": (16, 16)}, {FloatOp.ROLL, FloatOp.MASK}),
        ({"img_size": (16, 24), "window_size": (2, 3)}, {FloatOp.ROLL, FloatOp.MASK}),
        ({"img_size": (12, 14)}, {FloatOp.ROLL, FloatOp.MASK, FloatOp.PAD}),
        ({"img_size": (10, 18)}, {FloatOp.ROLL, FloatOp.MASK, FloatOp.PAD}),  # odd: merging pads
        ({"img_size": (8, 8)}, set()),  # one window
        ({"img_size": (16, 8), "window_size": (4, 4)}, {FloatOp.ROLL, FloatOp.MASK}),
    ],
    ids=["even", "oblong_windows", "padded", "odd_merging", "one_window", "a_column_of_windows"],
)
def test_any_image_and_any_window_are_captured(
    options: dict[str, Any], operations: set[FloatOp]
) -> None:
    network, graph, size = swin(**options)
    for batch in (1, 4):
        inputs = images(batch, size)
        found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
        expected = network(inputs)
        torch.testing.assert_close(
            found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )
    seen = {node.op for node in graph.nodes}
    assert seen & {FloatOp.ROLL, FloatOp.MASK, FloatOp.PAD} == operations


# --- what a mask is -------------------------------------------------------------------------------


class Attention(nn.Module):
    """Softmax of scores to which a constant is added; optionally another reader of the sum."""

    def __init__(self, added: Tensor, *, read_twice: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, 8)
        self.register_buffer("added", added)
        self.read_twice = read_twice

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        scores = tokens @ tokens.transpose(1, 2) + self.added
        y = scores.softmax(-1) @ tokens
        return y + scores if self.read_twice else y


CORNER = torch.tensor([[0.0, -100.0, 0, 0]] * 4)


@pytest.mark.parametrize(
    ("added", "read_twice", "is_mask"),
    [
        (CORNER, False, True),
        (CORNER * 1e7, False, True),
        (CORNER.masked_fill(CORNER < 0, float("-inf")), False, True),
        (CORNER * MASKED / -100 * 0.99, False, False),  # a score that may still count
        (CORNER + 0.5, False, False),  # makes new scores
        (CORNER * 0, False, False),  # switches nothing off
        (-CORNER, False, False),
        (torch.diag(torch.tensor([0.0, 0, 0, -100])), False, True),
        (CORNER.new_tensor([[0.0] * 4, [-100.0] * 4] * 2), False, False),  # a row keeps no score
        (CORNER.new_tensor([[0.0], [-100.0]] * 2), False, False),  # nor here
        (CORNER, True, False),  # something reads the sum for what it is
    ],
    ids=[
        "-100",
        "-1e9",
        "-inf",
        "-22",
        "shifted",
        "zeros",
        "positive",
        "one_score",
        "rows",
        "repeated_rows",
        "read_twice",
    ],
)
def test_a_mask_is_known_by_its_values_and_its_readers(
    added: Tensor, read_twice: bool, is_mask: bool
) -> None:
    model = Attention(added, read_twice=read_twice).eval()
    graph = capture(model, "attention", (3, 16, 16))
    masks = [node for node in graph.nodes if node.op is FloatOp.MASK]
    assert bool(masks) == is_mask
    inputs = images(2, (3, 16, 16))
    found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    torch.testing.assert_close(found, model(inputs))


# --- masked scores in integers --------------------------------------------------------------------


@cache
def padded() -> tuple[FloatGraph, Tensor]:
    """A network with padded, shifted and masked windows, and images."""
    _, graph, size = swin(img_size=(12, 14))
    return graph, images(8, size)


def quantized(method: str = "base_ptq", **options: Any) -> tuple[QuantizedModel, Tensor]:
    graph, calibration = padded()
    return METHODS[method](graph, calibration, *asked(**options)), calibration


@pytest.mark.parametrize("zero_point", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("activation_range", ["minmax", "mse"])
def test_what_is_switched_off_has_no_probability_on_the_chip(
    zero_point: str, activation_range: str
) -> None:
    model, inputs = quantized(zero_point=zero_point, activation_range=activation_range)
    graph = lower(model, load_profile("edge_npu_int8"))
    masks = [node for node in model.graph.nodes if node.op is FloatOp.MASK]
    assert len(masks) == 1
    probabilities = [node.name.replace("mask", "probabilities") for node in masks]
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    output = Executor(graph, gemm="numba", threads=1).run(
        codes, taps=[*probabilities, *(node.name for node in masks)]
    )
    taps = output.taps
    # What is meant to be the lowest code has not left its type.
    assert [output.counts[node.name].saturated for node in masks] == [0]
    for node, name in zip(masks, probabilities, strict=True):
        off = (model.graph.parameters[node.attributes["parameter"]] != 0).expand(node.shape).numpy()
        assert 0 < off.sum() < off.size
        assert (taps[node.name][:, off] == graph.tensors[node.name].code_type.low).all()
        # "mse" may clip the distance that the range leaves: one code, in rows of low scores.
        assert taps[name][:, off].max() <= (activation_range == "mse")
        assert taps[name][:, ~off].max() > 100


def softmax_sections() -> dict[str, Any]:
    """Integer softmax algorithms of the shipped profiles, one section of each."""
    sections = [load_profile(name).softmax for name in profile_paths()]
    return {found.algorithm: found for found in sections if found.algorithm != "float32"}


def with_softmax(algorithm: str) -> Any:
    profile = load_profile("edge_npu_int8")
    return profile.model_copy(update={"softmax": softmax_sections()[algorithm]})


@cache
def for_eight_bits() -> tuple[QuantizedModel, Tensor]:
    return quantized()


@pytest.mark.parametrize(
    "algorithm",
    [
        name
        for name, section in softmax_sections().items()
        if name not in SHORT_RANGES and section.output_bits == 8
    ],
)
def test_no_algorithm_gives_what_is_switched_off_a_probability(algorithm: str) -> None:
    model, inputs = for_eight_bits()
    graph = lower(model, with_softmax(algorithm))
    (node,) = [node for node in model.graph.nodes if node.op is FloatOp.MASK]
    name = node.name.replace("mask", "probabilities")
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    found = Executor(graph, gemm="numba", threads=1).run(codes, taps=[name]).taps[name]
    off = (model.graph.parameters[node.attributes["parameter"]] != 0).expand(node.shape).numpy()
    values = found.astype(int) - graph.tensors[name].zero_point
    assert values[:, off].max() == 0
    assert values[:, ~off].max() > 100


def test_a_softmax_whose_lowest_code_counts_has_no_masks() -> None:
    model, _ = for_eight_bits()
    with pytest.raises(InputError, match=r"attn\.mask: .* softmax\.algorithm = \"ita_shift\""):
        lower(model, with_softmax("ita_shift"))


def test_the_range_of_scores_leaves_a_distance_below_the_lowest_row() -> None:
    masked = torch.tensor([[3.0, 1.0, -97.0], [-8.0, -110.0, -9.0]])
    found = lowest_code_wanted(masked, 1.0, 8)
    assert found.shape == (2, 1)
    for row, low in zip(masked, found, strict=True):
        others = 3 * torch.exp(low - row.max())
        assert float(others) == pytest.approx(2**-9)
    assert torch.equal(lowest_code_wanted(masked, 0.5, 8), 2 * found)


def test_a_mask_is_a_bit_for_each_score_and_changes_no_other_code() -> None:
    model, inputs = quantized()
    graph = lower(model, load_profile("edge_npu_int8"))
    (op, *_) = [op for op in graph.ops if op.name.endswith("mask")]
    assert isinstance(op, Add)
    constant = graph.tensors[op.b]
    assert constant.type == IntType(bits=1)
    assert constant.shape == (4, 1, 16, 16)  # windows, every head alike
    assert constant.bytes == 4 * 16 * 16 // 8
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    taps = Executor(graph, gemm="numba", threads=1).run(codes, taps=[op.a, op.name]).taps
    off = np.broadcast_to(graph.constants[op.b] != 0, taps[op.a].shape)
    assert np.array_equal(taps[op.name][~off], taps[op.a][~off])
    low = graph.tensors[op.name].code_type.low
    assert np.array_equal(taps[op.name], np.where(off, low, taps[op.a]))


def is_mask(graph: IntGraph, op: Op) -> bool:
    return SPECS[type(op)].is_mask(graph, op)


def test_no_other_sum_is_taken_for_a_mask() -> None:
    graph = lower(for_eight_bits()[0], load_profile("edge_npu_int8"))
    sums = [op for op in graph.ops if isinstance(op, Add)]
    (op,) = [op for op in sums if is_mask(graph, op)]
    assert op.name.endswith("mask")
    assert len(sums) > 3
    for other in (replace(op, shift=1), replace(op, overflow=Overflow.WRAP)):
        assert not is_mask(graph, other)
    for factor in (op.multiplier_a, op.multiplier_b):
        constants = {**graph.constants, factor: graph.constants[factor] + 1}
        assert not is_mask(replace(graph, constants=constants), op)


def test_a_chip_whose_sums_wrap_has_no_masks() -> None:
    model, _ = quantized(zero_point="symmetric", weight_granularity="per_tensor")
    with pytest.raises(InputError, match=r"attn\.mask: .* rescale\.overflow = \"wrap\""):
        lower(model, wrapping("edge_npu_int8"))


def wrapping(name: str) -> Any:
    profile = load_profile(name)
    return profile.model_copy(
        update={"rescale": profile.rescale.model_copy(update={"overflow": Overflow.WRAP})}
    )


@pytest.mark.parametrize("method", ["base_ptq", "fq_vit"])
def test_the_chip_follows_fake_quantization(method: str) -> None:
    model, inputs = quantized(method, float_ops="integer")
    graph = lower(model, load_profile("edge_npu_int8"))
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    output = Executor(graph, gemm="numba", threads=1).run(codes).outputs[graph.outputs[0]]
    integer = dequantize(output, graph.tensors[graph.outputs[0]])
    scale = float(model.activations[model.graph.output.name].scale)
    assert abs(integer - logits(model, inputs).numpy()).max() <= 2.5 * scale


def test_a_scaled_mask_has_the_scaled_quantizer() -> None:
    def node(name: str, op: FloatOp, *inputs: str, **attributes: Any) -> FloatNode:
        return FloatNode(name=name, op=op, inputs=inputs, attributes=attributes, shape=(2, 2))

    nodes = (
        node("image", FloatOp.INPUT),
        node("scale", FloatOp.SCALE, "image", factor=0.25),
        node("mask", FloatOp.MASK, "scale", parameter="off"),
    )
    parameters = {"off": torch.tensor([[0.0, -100.0], [0.0, 0.0]])}
    graph = FloatGraph(name="scaled", nodes=nodes, parameters=parameters)
    assert scores_of(graph, nodes[2]) == ("image", 0.25)
    quantizer = ActivationQuantizer(type=IntType(bits=8), scale=0.5, zero_point=3)
    found = quantizer_of(graph, {"image": quantizer}, nodes[2])
    assert isinstance(found, ActivationQuantizer)
    assert (found.scale, found.zero_point) == (0.125, 3)
    assert quantizer_of(graph, {}, nodes[2]) is None


# --- scales move with codes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"op": FloatOp.ROLL, "axis": 0, "shift": 1, "shape": (3, 4)},
        {"op": FloatOp.ROLL, "axis": 1, "shift": 3, "shape": (3, 4)},
        {"op": FloatOp.SLICE, "axis": 1, "start": 1, "stop": 3, "shape": (3, 2)},
        {"op": FloatOp.TRANSPOSE, "permutation": (1, 0), "shape": (4, 3)},
        {"op": FloatOp.RESHAPE, "shape": (2, 6)},
    ],
    ids=lambda attributes: f"{attributes['op']}",
)
@pytest.mark.parametrize("scales", [(3, 4), (1, 4), (3, 1), (1, 1)])
def test_scales_move_with_codes(attributes: dict[str, Any], scales: tuple[int, int]) -> None:
    given = np.arange(1.0, 1 + scales[0] * scales[1]).reshape(scales)
    node = _layout(attributes)
    everywhere = np.broadcast_to(given, (3, 4))
    found = np.broadcast_to(moved(given, (3, 4), node), node.shape)
    assert np.array_equal(found, _run(node, everywhere))


def test_scales_of_zeros_that_come_in_are_those_beside_them() -> None:
    node = _layout({"op": FloatOp.PAD, "axis": 0, "before": 1, "after": 2, "shape": (6, 4)})
    channels = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert np.array_equal(moved(channels, (3, 4), node), channels)
    rows = np.array([[1.0], [2.0], [3.0]])
    assert moved(rows, (3, 4), node).flatten().tolist() == [1, 1, 2, 3, 3, 3]


def _layout(attributes: dict[str, Any]) -> FloatNode:
    own = dict(attributes)
    op, shape = own.pop("op"), own.pop("shape")
    assert op in LAYOUT
    return FloatNode(name="y", op=op, inputs=("x",), attributes=own, shape=shape)


def _run(node: FloatNode, x: Any) -> Any:
    source = FloatNode(name="x", op=FloatOp.INPUT, inputs=(), attributes={}, shape=x.shape)
    graph = FloatGraph(name="one", nodes=(source, node), parameters={})
    return run_nodes(graph, {"x": torch.tensor(x)[None]}, ["y"])["y"][0].numpy()


def test_a_mask_has_the_chip_s_smallest_shift() -> None:
    """Both of its multipliers are larger by as much: no other code, and nothing is saturated."""
    chip = load_profile("edge_npu_int8")
    other = chip.model_copy(update={"rescale": chip.rescale.model_copy(update={"shift": [2, 62]})})
    model, inputs = quantized()
    graphs = [lower(model, profile) for profile in (chip, other)]
    masks = [op for op in graphs[1].ops if is_mask(graphs[1], op)]
    assert [op.shift for op in masks] == [2]
    assert [int(graphs[1].constants[op.multiplier_b][0]) for op in masks] == [255 << 2]
    codes = quantize(inputs.numpy(), graphs[0].tensors["image"])
    found = [Executor(graph, gemm="numba", threads=1).run(codes) for graph in graphs]
    output = graphs[0].outputs[0]
    assert np.array_equal(found[0].outputs[output], found[1].outputs[output])
    assert [found[1].counts[op.name].saturated for op in masks] == [0]
