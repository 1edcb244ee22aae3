# SPDX-License-Identifier: Apache-2.0
"""The float graph is the network: every value, every name, and nothing left behind in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import SMALL, VARIANTS, images, input_size, network
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, capture, run

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def assert_equal_in_float32(actual: Tensor, expected: Tensor) -> None:
    largest = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=3e-6 * largest)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_computes_what_the_network_does(
    variant: str, batch: int, small: Captured
) -> None:
    model, graph = small(variant)
    inputs = images(batch, input_size())
    result = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    assert result.shape == (batch, 10)
    assert_equal_in_float32(result, model(inputs))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"img_size": (21, 35), "patch_size": 7},
        {"img_size": (8, 24), "patch_size": (8, 4)},
        {"img_size": 8, "patch_size": 8},
    ],
    ids=["3x5_patches_of_7", "1x6_patches", "a_single_patch"],
)
def test_grids_that_are_not_square_are_cut_rightly(options: dict[str, Any], batch: int) -> None:
    model = network(**options)
    graph = capture(model, "grid", input_size(**options))
    inputs = images(batch, input_size(**options))
    assert_equal_in_float32(
        run(graph, {"image": inputs}, [graph.output.name])[graph.output.name], model(inputs)
    )


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"layer_scale"}))
def test_nodes_named_as_modules_hold_what_the_modules_give(variant: str, small: Captured) -> None:
    model, graph = small(variant)
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, result, path=path: seen.update({path: result}))
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.LayerNorm, nn.GELU, nn.ReLU, nn.SiLU))
    ]
    inputs = images(2, input_size())
    model(inputs)
    for hook in hooks:
        hook.remove()
    names = {node.name for node in graph.nodes}
    assert len(seen) >= 10
    assert seen.keys() <= names
    values = run(graph, {"image": inputs}, seen.keys())
    for path, expected in seen.items():
        assert_equal_in_float32(values[path].reshape(expected.shape), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_node_has_the_shape_it_declares(variant: str, small: Captured) -> None:
    _, graph = small(variant)
    names = [node.name for node in graph.nodes]
    values = run(graph, {"image": images(2, input_size())}, names)
    for node in graph.nodes:
        assert values[node.name].shape == (2, *node.shape), node.name


@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_have_unique_names_and_come_after_what_they_read(
    variant: str, small: Captured
) -> None:
    _, graph = small(variant)
    known: set[str] = set()
    for node in graph.nodes:
        assert node.name not in known
        assert known.issuperset(node.inputs), node.name
        known.add(node.name)
    read = {name for node in graph.nodes for name in node.inputs}
    assert known - read == {graph.output.name}, "every result is read, but for the logits"


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_has_its_usual_names(variant: str, small: Captured) -> None:
    _, graph = small(variant)
    for block in ("blocks.0", "blocks.1"):
        assert graph.node(f"{block}.attn.qkv").op is FloatOp.LINEAR
        scores = graph.node(f"{block}.attn.scores")
        assert scores.op is FloatOp.MATMUL
        assert scores.attributes["transpose_b"] is True
        probabilities = graph.node(f"{block}.attn.probabilities")
        assert probabilities.op is FloatOp.SOFTMAX
        context = graph.node(f"{block}.attn.context")
        assert context.op is FloatOp.MATMUL
        assert context.inputs[0] == probabilities.name
        assert context.attributes["transpose_b"] is False
        assert graph.node(f"{block}.mlp.fc1").shape[-1] == 4 * 48


def test_the_scale_of_the_scores_is_the_root_of_the_head_size(small: Captured) -> None:
    _, graph = small("class_token")
    factors = [node.attributes["factor"] for node in graph.nodes if node.op is FloatOp.SCALE]
    assert factors == [pytest.approx(16**-0.5)] * 2


def test_layout_operations_are_merged_and_their_idle_ones_dropped(small: Captured) -> None:
    _, graph = small("class_token")
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        for name in node.inputs:
            if node.op in {FloatOp.RESHAPE, FloatOp.TRANSPOSE}:
                assert nodes[name].op is not node.op, f"{name} and {node.name} are one"
        if node.op is FloatOp.RESHAPE:
            assert node.shape != nodes[node.inputs[0]].shape, node.name


def test_parameters_have_the_names_and_values_of_the_network(small: Captured) -> None:
    model, graph = small("class_token")
    state = model.state_dict()
    assert graph.parameters.keys() == state.keys()
    for name, value in graph.parameters.items():
        assert torch.equal(value.flatten(), state[name].flatten()), name


def test_layer_scale_is_folded_into_the_layer_before_it(small: Captured) -> None:
    model, graph = small("layer_scale")
    state = model.state_dict()
    assert bool((state["blocks.0.ls1.gamma"] < 0).any())
    for layer, scale in (("attn.proj", "ls1"), ("mlp.fc2", "ls2")):
        for block in ("blocks.0", "blocks.1"):
            gamma = state[f"{block}.{scale}.gamma"]
            weight, bias = f"{block}.{layer}.weight", f"{block}.{layer}.bias"
            torch.testing.assert_close(graph.parameters[weight], state[weight] * gamma[:, None])
            torch.testing.assert_close(graph.parameters[bias], state[bias] * gamma)
    scales = [node for node in graph.nodes if node.op is FloatOp.SCALE]
    assert len(scales) == 2, "only the scores are scaled"


def test_capturing_leaves_the_network_as_it_was() -> None:
    model = network("layer_scale")
    inputs = images(2, input_size())
    before, weights = (
        model(inputs),
        {key: value.clone() for key, value in model.state_dict().items()},
    )
    capture(model, "kept", input_size())
    assert torch.equal(model(inputs), before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def attention_flags(model: nn.Module) -> list[bool]:
    return [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")]


def test_fused_attention_is_switched_back_on_and_only_where_it_was_on() -> None:
    model = network()
    model.blocks[0].attn.fused_attn = True
    model.blocks[1].attn.fused_attn = False
    capture(model, "flags", input_size())
    assert attention_flags(model) == [True, False]


def test_fused_attention_is_switched_back_on_after_a_refusal() -> None:
    model = network(act_layer="sigmoid")
    for block in model.blocks:
        block.attn.fused_attn = True
    with pytest.raises(Exception, match="sigmoid"):
        capture(model, "flags", input_size())
    assert attention_flags(model) == [True, True]


def test_a_network_in_training_mode_is_captured_without_its_dropout() -> None:
    model = network(drop_rate=0.5, attn_drop_rate=0.5, drop_path_rate=0.5).train()
    graph = capture(model, "dropout", input_size())
    inputs = images(2, input_size())
    assert_equal_in_float32(
        run(graph, {"image": inputs}, [graph.output.name])[graph.output.name], model.eval()(inputs)
    )


def test_a_network_of_half_precision_weights_is_captured_in_float32() -> None:
    model = network().half().float()
    graph = capture(model, "half", input_size())
    assert {value.dtype for value in graph.parameters.values()} == {torch.float32}


def test_a_network_without_a_classifier_ends_in_its_features() -> None:
    model = network(num_classes=0)
    graph = capture(model, "features", input_size())
    inputs = images(2, input_size())
    result = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    assert graph.output.shape == (SMALL["embed_dim"],)
    assert_equal_in_float32(result, model(inputs))


class Shuffled(nn.Module):
    """Dimensions permuted several times in a row, the batch among them, and a class chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 24, 8, 8)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).reshape(x.shape[0], 4, 6, 4, 4)
        x = x.permute(0, 2, 3, 1, 4).transpose(1, 4)  # a cycle and a swap do not commute
        x = x.transpose(0, 3).permute(1, 2, 3, 4, 0).permute(2, 0, 1, 4, 3)
        return self.head(x.flatten(1).reshape(x.shape[0], 16, 24)[:, -3])


def test_permutations_in_a_row_are_joined_in_their_order() -> None:
    torch.manual_seed(0)
    model = Shuffled().eval().requires_grad_(requires_grad=False)
    graph = capture(model, "shuffled", input_size())
    inputs = images(2, input_size())
    result = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    assert_equal_in_float32(result, model(inputs))
    assert sum(node.op is FloatOp.TRANSPOSE for node in graph.nodes) <= 3
