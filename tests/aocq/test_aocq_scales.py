# SPDX-License-Identifier: Apache-2.0
"""Refinement of activation scales: judged by what happens, never for the worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny_models import NANO, images, input_size
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import residual_stream
from aocq.methods.aocq.balance import ChannelRange
from aocq.methods.aocq.block_state import BlockState, Candidate, Quantizers, behind
from aocq.methods.aocq.blocks import Block, blocks
from aocq.methods.aocq.initial_scales import EXPONENT, InitialScales
from aocq.methods.aocq.scale_refinement import (
    EXPONENTS,
    balanced,
    choose_exponents,
    refine,
    searched,
)
from aocq.methods.aocq.token_norm import BlockLoss, block_loss, token_weights
from aocq.methods.aocq.tokens import token_importance
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
VARIANTS = ("class_token", "registers", "distilled", "mean_then_norm", "pre_norm")
# Few bits: then candidates differ by more than the last digits.
RECIPE, LIMITS = Recipe(activation_bits=5), ChipLimits(residual_bits=5)


def initial_scales(graph: FloatGraph, x: Tensor, recipe: Recipe) -> InitialScales:
    nodes = [node for node in graph.nodes if node.op in ARITHMETIC]
    values = run(graph, {"image": x}, [node.name for node in nodes])
    rows = {name: value.reshape(-1, value.shape[-1]).double() for name, value in values.items()}
    seen = {name: ChannelRange(found.amin(0), found.amax(0)) for name, found in rows.items()}
    return InitialScales(graph, seen, recipe, LIMITS)


def unrefined(initial: InitialScales, x: Tensor) -> Quantizers:
    graph = initial.graph
    nodes = [node for node in graph.nodes if node.op in ARITHMETIC]
    values = run(graph, {"image": x}, [node.name for node in nodes])
    sampled = {node.name: values[node.name] for node in nodes if initial.needs_values(node)}
    chosen = {node.name: initial.choose(node, sampled) for node in nodes}
    return chosen | {part: chosen[whole] for part, whole in initial.parts.items()}


class Prepared:
    """A network with its first quantizers, to look at one block after the other."""

    def __init__(self, graph: FloatGraph, recipe: Recipe = RECIPE) -> None:
        self.graph = graph
        self.images = images(8, input_size(NANO))
        self.initial = initial_scales(graph, self.images, recipe)
        self.quantizers = unrefined(self.initial, self.images)
        self.chain = blocks(graph)

    def fake_quantized(self, quantizers: Quantizers, name: str) -> Tensor:
        """The network's values under quantizers, computed from the image on."""

        def fake_quantize(node: FloatNode, x: Tensor) -> Tensor:
            return quantizers[node.name](x) if node.name in quantizers else x

        image = quantizers["image"](self.images)
        return run(self.graph, {"image": image}, [name], transform=fake_quantize)[name]

    def source(self, block: Block) -> Tensor:
        if block.source == "image":
            return self.quantizers["image"](self.images)
        return self.fake_quantized(self.quantizers, block.source)

    def state(self, block: Block) -> BlockState:
        chosen = {name: q for name, q in self.quantizers.items() if name in block.nodes}
        return BlockState.of(self.graph, block, self.source(block), chosen)

    def loss(self, block: Block) -> BlockLoss:
        real = run(self.graph, {"image": self.images}, [block.result])[block.result]
        return block_loss(
            self.graph,
            block.result,
            real,
            self.quantizers.get(block.result),
            self.initial.importance[block.result],
            self.initial.recipe.aocq,
        )


@pytest.fixture(params=VARIANTS)
def prepared(request: pytest.FixtureRequest, nano: Captured) -> Prepared:
    return Prepared(nano(request.param)[1])


def test_first_scales_that_are_not_chosen_by_error_clip_nothing(prepared: Prepared) -> None:
    for node in prepared.graph.nodes:
        if node.op not in ARITHMETIC or node.op is FloatOp.SOFTMAX:
            continue
        if prepared.initial.needs_values(node) or node.name in prepared.initial.parts:
            continue
        real = run(prepared.graph, {"image": prepared.images}, [node.name])[node.name]
        quantizer = prepared.quantizers[node.name]
        error = (quantizer(real) - real).abs() / quantizer.scales()
        within = 1.01 if node.name in prepared.initial.columns else 0.51
        assert float(error.max()) <= within, node.name


def test_behind_is_what_depends_on_a_tensor(nano: Captured) -> None:
    graph = nano("class_token")[1]
    block = blocks(graph)[1]
    found = behind(graph, block, ["blocks.0.mlp.act"])
    assert found == {"blocks.0.mlp.act", "blocks.0.mlp.fc2", "blocks.0.add_1"}
    assert behind(graph, block, [block.nodes[0]]) == set(block.nodes)


def names(state: BlockState) -> list[str]:
    return searched(state.graph, state.block, frozenset())


def test_a_state_holds_what_the_network_yields(prepared: Prepared) -> None:
    for block in prepared.chain:
        state = prepared.state(block)
        for name in block.nodes:
            assert torch.equal(
                state.value(name), prepared.fake_quantized(prepared.quantizers, name)
            )


@pytest.mark.parametrize("factor", [0.6, 1.1])
def test_a_candidate_is_judged_by_what_it_would_yield(factor: float, prepared: Prepared) -> None:
    """As if the whole block ran again."""
    for block in prepared.chain:
        state = prepared.state(block)
        for name in names(state):
            now = state.quantizers[name]
            candidate = replace(now, scale=now.scale * factor)
            changed = state.quantizers | {name: candidate}
            again = BlockState.of(prepared.graph, block, prepared.source(block), changed)
            state.prepare(name)
            found = [state.result_with(name, Candidate(candidate), part) for part in state.parts]
            assert torch.equal(torch.cat(found), again.value(block.result)), name
            assert state.quantizers[name] is now


class _PleasedByClipping(BlockLoss):
    """A loss that falls with the result itself."""

    @classmethod
    def of(cls, loss: BlockLoss) -> _PleasedByClipping:
        return cls(loss.target, loss.weights, loss.channels)

    def error(self, result: Tensor, images: Tensor | slice = slice(None)) -> Tensor:
        return result.abs().sum()


def test_sums_of_the_stream_keep_their_scales_and_their_parts_too(nano: Captured) -> None:
    """Even under a loss that is pleased by clipping."""
    prepared = Prepared(nano("registers")[1])
    kept = residual_stream(prepared.graph) | prepared.initial.parts.keys()
    assert prepared.initial.parts == {"cls_token": "concat", "reg_token": "concat"}
    changed = False
    for block in prepared.chain:
        state = prepared.state(block)
        before = dict(state.quantizers)
        refine(state, names(state), _PleasedByClipping.of(prepared.loss(block)), 1, lambda: None)
        assert not kept & set(names(state))
        assert all(state.quantizers[name] == before[name] for name in before if name in kept)
        changed |= state.quantizers != before
    assert changed


def loss_of(state: BlockState, loss: BlockLoss) -> float:
    return sum(state.errors(loss)) / state.power(loss)


def test_refinement_never_raises_the_loss_and_logs_what_it_is(prepared: Prepared) -> None:
    for block in prepared.chain:
        state, loss = prepared.state(block), prepared.loss(block)
        losses = [loss_of(state, loss)]
        assert losses[0] == pytest.approx(float(loss(state.value(block.result))), rel=1e-5)
        taken: list[int] = []
        log = refine(state, names(state), loss, 4, lambda taken=taken: taken.append(1))
        losses += [entry["loss"] for entry in log[1:]]
        assert [entry["pass"] for entry in log] == [0, 1, 2, 3, 4]
        assert {(entry["stage"], entry["block"]) for entry in log} == {("scales", block.name)}
        assert log[0]["loss"] == losses[0]
        assert losses == sorted(losses, reverse=True)
        assert (losses[-1] < losses[0]) == bool(names(state))
        assert len(taken) == 4 * len(names(state))
        again = BlockState.of(prepared.graph, block, prepared.source(block), state.quantizers)
        assert torch.equal(again.value(block.result), state.value(block.result))
        assert loss_of(again, loss) == losses[-1]


def test_more_passes_go_on_where_fewer_end(nano: Captured) -> None:
    prepared = Prepared(nano("class_token")[1])
    block = prepared.chain[1]
    logs, results = [], []
    for passes in range(5):
        state = prepared.state(block)
        logs.append(refine(state, names(state), prepared.loss(block), passes, lambda: None))
        results.append(dict(state.quantizers))
    for passes in range(5):
        assert logs[passes] == logs[4][: passes + 1]
    assert results[0] == {n: q for n, q in prepared.quantizers.items() if n in block.nodes}
    assert logs[4][1]["loss"] < 0.98 * logs[4][0]["loss"]


def test_refinement_changes_scales_and_nothing_else(nano: Captured) -> None:
    prepared = Prepared(nano("class_token")[1])
    block = prepared.chain[1]
    state = prepared.state(block)
    refine(state, names(state), prepared.loss(block), 4, lambda: None)
    changed = 0
    for name, before in prepared.quantizers.items():
        if name not in block.nodes:
            continue
        after = state.quantizers[name]
        if name not in names(state):
            assert after == before
        ratio = after.scale / before.scale
        assert 0.3 < ratio < 1.4
        assert after.table_scale == pytest.approx(before.table_scale * ratio)
        assert after == replace(before, scale=after.scale, table_scale=after.table_scale)
        changed += after != before
    assert changed > 2


def test_the_exponent_is_the_one_of_least_loss_with_rounded_weights(nano: Captured) -> None:
    prepared = Prepared(nano("class_token")[1], replace(RECIPE, weight_bits=3))
    block, initial = prepared.chain[1], prepared.initial
    loss = prepared.loss(block)
    names = balanced(block, initial.readers)
    assert names == ["blocks.0.norm1", "blocks.0.norm2", "blocks.0.mlp.act"]
    done: list[int] = []
    state = prepared.state(block)
    choose_exponents(state, initial, loss, lambda: done.append(1))
    assert len(done) == len(names)
    again = prepared.state(block)
    exponents = []
    for name in names:
        losses = {}
        for exponent in EXPONENTS:
            candidate = initial.input_quantizer(prepared.graph.node(name), exponent)
            weights = initial.rounded_readers(name, candidate.alpha)
            again.prepare(name)
            judged = Candidate(candidate, weights)
            losses[exponent] = sum(again.error_with(name, judged, loss, p) for p in again.parts)
        best = min(losses, key=losses.__getitem__)
        assert state.quantizers[name] == initial.input_quantizer(prepared.graph.node(name), best), (
            name
        )
        again.take(name, state.quantizers[name])
        exponents.append(best)
    # Some other exponent than the one at the start, so that a choice was made.
    assert any(exponent != EXPONENT for exponent in exponents)


def test_weights_are_rounded_with_the_factors_of_their_inputs(nano: Captured) -> None:
    prepared = Prepared(nano("class_token")[1])
    name = "blocks.0.norm2"
    alpha = tuple(torch.linspace(0.1, 1, 24).tolist())
    plain = prepared.initial.rounded_readers(name, ())["blocks.0.mlp.fc1.weight"]
    found = prepared.initial.rounded_readers(name, alpha)["blocks.0.mlp.fc1.weight"]
    real = prepared.graph.parameters["blocks.0.mlp.fc1.weight"]
    errors = [(weight - real).abs().double() for weight in (plain, found)]
    assert float(errors[0].max()) > 0
    # Columns of small factors are held coarsely, those of large ones finely.
    assert float(errors[1][:, :6].mean()) > 2 * float(errors[1][:, -6:].mean())


@pytest.mark.parametrize("alpha_choice", ["range", "mse"])
def test_the_stream_is_balanced_and_the_rest_is_not(alpha_choice: str, nano: Captured) -> None:
    graph = nano("class_token")[1]
    recipe = replace(RECIPE, aocq=AocqOptions(**{"alpha_choice": alpha_choice}))
    prepared = Prepared(graph, recipe)
    held = {name for name, quantizer in prepared.quantizers.items() if quantizer.alpha}
    stream = {"patch_embed.proj", "cls_token", "concat", "pos_embed", "add", "blocks.0.add"}
    stream |= {"blocks.0.attn.proj", "blocks.0.mlp.fc2", "blocks.0.add_1"}
    inputs = {"blocks.0.norm1", "blocks.0.norm2", "blocks.0.mlp.act", "norm"}
    assert held == stream | inputs | {"blocks.0.attn.qkv"}
    assert {name for name, q in prepared.quantizers.items() if q.table_scale} == {
        "blocks.0.mlp.act"
    }
    magnitude = prepared.initial.seen["blocks.0.add"].magnitude
    alpha = torch.tensor(prepared.quantizers["blocks.0.add"].alpha, dtype=torch.float64)
    relative = magnitude / magnitude.max()
    if alpha_choice == "range":
        assert bool((alpha >= relative * (1 - 1e-6)).all())
    else:
        assert bool((alpha < relative).any())


def test_one_scale_for_the_stream_is_that_of_least_error_of_tokens_by_their_norm(
    nano: Captured,
) -> None:
    graph = nano("class_token")[1]
    node = graph.node("blocks.0.add")
    # One token is larger than the others, as in trained networks.
    values = torch.randn(64, *node.shape, generator=torch.Generator().manual_seed(3))
    values[0, 0] *= 3
    rows = values.flatten(0, -2).double()
    seen = ChannelRange(rows.amin(0), rows.amax(0))

    def chosen(options: AocqOptions) -> ActivationQuantizer:
        initial = InitialScales(graph, {node.name: seen}, replace(RECIPE, aocq=options), LIMITS)
        assert initial.needs_values(node) == (options.alpha_choice == "mse")
        found = initial.choose(node, {node.name: values} if initial.needs_values(node) else {})
        assert isinstance(found, ActivationQuantizer)
        assert found.alpha == ()
        return found

    by_norm = chosen(AocqOptions(alpha="none"))
    alike = chosen(AocqOptions(alpha="none", loss="mse"))
    whole = chosen(AocqOptions(alpha="none", alpha_choice="range"))
    assert whole.scale == float(seen.high.max() - seen.low.min()) / 31
    assert by_norm.scale < alike.scale < whole.scale
    # No other scale of the neighbourhood is better.
    importance = token_importance(graph, AocqOptions())[node.name]
    weights = token_weights(values, AocqOptions(), importance)

    def error(scale: float) -> float:
        return float((weights * (replace(by_norm, scale=scale)(values) - values) ** 2).sum())

    assert all(
        error(by_norm.scale) < error(by_norm.scale * factor) for factor in (0.8, 0.9, 1.1, 1.25)
    )


def test_queries_keys_and_values_have_a_scale_each(nano: Captured) -> None:
    prepared = Prepared(nano("class_token")[1])
    quantizer = prepared.quantizers["blocks.0.attn.qkv"]
    seen = prepared.initial.seen["blocks.0.attn.qkv"].magnitude
    assert quantizer.zero_point == 0
    for start in (0, 24, 48):
        part = slice(start, start + 24)
        assert len(set(quantizer.alpha[part])) == 1
        reach = quantizer.alpha[start] * quantizer.scale * quantizer.type.high
        assert reach == pytest.approx(float(seen[part].max()), rel=1e-6)


def test_a_stage_shares_its_factors(nano: Captured) -> None:
    shared = replace(RECIPE, aocq=AocqOptions(alpha_sharing="stage"))
    prepared = Prepared(nano("class_token")[1], shared)
    sums: list[ActivationQuantizer] = [
        prepared.quantizers[name] for name in ("concat", "add", "blocks.0.add", "blocks.0.add_1")
    ]
    assert len({quantizer.alpha for quantizer in sums}) == 1
    assert len({quantizer.scale for quantizer in sums}) == 4
    for name in ("add", "blocks.0.add", "blocks.0.add_1"):
        quantizer, seen = prepared.quantizers[name], prepared.initial.seen[name]
        reach = quantizer.scales() * quantizer.type.high
        assert bool((reach >= seen.magnitude * (1 - 1e-6)).all())
        assert bool((reach <= seen.magnitude * (1 + 1e-6)).any())
