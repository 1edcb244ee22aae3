# SPDX-License-Identifier: Apache-2.0
"""Class activation maps (Grad-CAM) of the float and of the fake-quantized network.

Selvaraju et al., arXiv 1610.02391: a channel's weight is the mean over places of the derivative of
a class's logit, and the map is ``ReLU(sum_c w_c A_c)``. A are the tokens that the last attention
reads (``norm1`` of the last block), without class and register tokens. Through quantizers goes the
derivative of the straight-through estimator (:mod:`aocq.methods.aocq.straight_through`); the
quantizer of the logits is left out, since a logit at an end of its type would have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

import torch
from torch import Tensor
from torch.nn import functional

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.last_attention import probabilities, read_by_last_attention
from aocq.capture.token_grid import TokenGrid, token_grid
from aocq.methods.aocq.straight_through import StraightThrough
from aocq.methods.quantized_model import QuantizedModel
from aocq.transforms.stream import mean_keeping_rotation
from simulator.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Where a network's tokens are looked at.

    Attributes
    ----------
    grid
        where the patches are among its tokens
    offset
        what has to be added to its channels, [channels] float64: the share of a normalization that
        a pass over the graph put into the layers that read it; None: nothing
    """

    name: str
    grid: TokenGrid
    offset: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network with derivatives.

    Attributes
    ----------
    feed
        from preprocessed images, float32 [count, channels, height, width], to its input
    transform, parameters
        see :func:`aocq.capture.run`
    """

    graph: FloatGraph
    layer: Layer
    feed: Callable[[Tensor], Tensor] = lambda images: images
    transform: Callable[[FloatNode, Tensor], Tensor] = lambda node, x: x
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """What a network looks at, of some images.

    Attributes
    ----------
    outputs
        of the network, [count, ...]
    chosen
        places in a flattened output whose derivatives were taken, int64 [count]
    activation
        class activation maps, 0..1, float64 [count, rows, columns]
    attention
        probabilities of every softmax, in order, [count, ..., queries, keys]
    """

    outputs: Tensor
    chosen: Tensor
    activation: Tensor
    attention: tuple[Tensor, ...]


def float_network(graph: FloatGraph, name: str | None = None) -> Network:
    """Return the float network.

    Parameters
    ----------
    name
        of the tensor whose tokens are looked at; None: what the last attention reads

    Raises
    ------
    InputError
        If there is no such tensor, or it has no tokens that cover the image.
    """
    return Network(graph=graph, layer=_layer(graph, name))


def fake_quantized_network(
    model: QuantizedModel, graph: FloatGraph, name: str | None = None
) -> Network:
    """Return the fake-quantized network, in float64, with exact operators.

    Parameters
    ----------
    graph
        the float network as it was captured: normalizations that a rotation of the stream took
        apart are looked at as they are there
    name
        see :func:`float_network`
    """
    layer = _layer(model.graph, name)
    parameters = model.fake_quantized_parameters()
    return Network(
        graph=model.graph,
        layer=Layer(
            name=layer.name, grid=layer.grid, offset=folded_offset(model.graph, graph, layer)
        ),
        feed=model.fake_quantized_image,
        transform=StraightThrough(model.graph, model.activations),
        parameters=parameters,
    )


def activation_maps(network: Network, images: Tensor, choose: Callable[[Tensor], Tensor]) -> Maps:
    """Return a network's class activation maps.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    choose
        from outputs [count, ...] to a place in each flattened output, int64 [count]
    """
    graph, layer = network.graph, network.layer
    softmaxes = {node.name for node in probabilities(graph)}
    held: dict[str, Tensor] = {}

    def watch(node: FloatNode, x: Tensor) -> Tensor:
        if node.name != graph.output.name:
            x = network.transform(node, x)
        if node.name == layer.name:  # what is before it needs no derivatives
            x = held[node.name] = x.detach().requires_grad_()
        if node.name in softmaxes:
            held[node.name] = x
        return x

    with torch.enable_grad():
        outputs = run(
            graph,
            {graph.input.name: network.feed(images)},
            [graph.output.name],
            transform=watch,
            parameters=network.parameters,
        )[graph.output.name]
        chosen = choose(outputs.detach())
        logits = outputs.flatten(1).gather(1, chosen[:, None]).sum()
        (slopes,) = torch.autograd.grad(logits, held[layer.name])
    return Maps(
        outputs=outputs.detach(),
        chosen=chosen,
        activation=_map(held[layer.name].detach(), slopes, layer),
        attention=tuple(held[node.name].detach() for node in probabilities(graph)),
    )


def scaled(maps: Tensor) -> Tensor:
    """Return maps that are nowhere below 0, [count, rows, columns], with 1 as their largest value.

    A map of nothing but zeros stays one.
    """
    largest = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, torch.ones_like(largest))


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps [count, rows, columns] on pixels, bilinearly, [count, height, width]."""
    return functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]


def on_patches(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Return what stands on patches, [count, rows, columns, channels], of all tokens."""
    flat = tokens.flatten(1, -2)[:, grid.prefix :]
    return flat.reshape(len(flat), grid.rows, grid.columns, -1)


def _map(tokens: Tensor, slopes: Tensor, layer: Layer) -> Tensor:
    activations, derivatives = (on_patches(x.double(), layer.grid) for x in (tokens, slopes))
    weights = derivatives.mean((1, 2), keepdim=True)
    if layer.offset is not None:
        activations = activations + layer.offset
    return scaled((weights * activations).sum(-1).relu())


def _layer(graph: FloatGraph, name: str | None) -> Layer:
    node = read_by_last_attention(graph) if name is None else _named(graph, name)
    grid = token_grid(graph, node.name)
    if grid is None:
        raise InputError(
            f"{graph.name}: {node.name} is {' x '.join(map(str, node.shape))}, no tokens that "
            "cover the image; name a tensor that has a token for each patch with --layer"
        )
    return Layer(name=node.name, grid=grid)


def _named(graph: FloatGraph, name: str) -> FloatNode:
    nodes = {node.name: node for node in graph.nodes}
    if name not in nodes:
        near = ", ".join(get_close_matches(name, nodes))
        way = f"nearest: {near}" if near else "`aocq inspect` lists them"
        raise InputError(f"{graph.name}: has no tensor {name}; {way}")
    return nodes[name]


def folded_offset(own: FloatGraph, captured: FloatGraph, layer: Layer) -> Tensor | None:
    """Return what a LayerNorm lacks whose γ and β a rotation put into the layers behind it.

    Such a one yields ``norm(x) R``, of which the captured one's result is ``norm(x) diag(γ) + β``.
    Sums over channels of weight times activation are the same of both but for the weights' sum
    over ``β diag(γ)⁻¹ R``. A channel with γ = 0 is the same for all tokens, and its β is lost.
    """
    before = next((node for node in captured.nodes if node.name == layer.name), None)
    if before is None or before.op is not FloatOp.LAYERNORM or not before.attributes["bias"]:
        return None
    if not _is_plain(own, layer.name) or _is_plain(captured, layer.name):
        return None
    gamma = _parameter(captured, before, "weight")
    beta = _parameter(captured, before, "bias")
    shift = torch.where(gamma == 0, torch.zeros_like(beta), beta / gamma)
    return shift @ mean_keeping_rotation(len(shift))


def _is_plain(graph: FloatGraph, name: str) -> bool:
    node = graph.node(name)
    gamma, beta = (_parameter(graph, node, key) for key in ("weight", "bias"))
    return bool((gamma == 1).all() and (beta == 0).all())


def _parameter(graph: FloatGraph, node: FloatNode, key: str) -> Tensor:
    name = node.attributes[key]
    if not name:
        return torch.full(node.shape[-1:], float(key == "weight"), dtype=torch.float64)
    value: Tensor = graph.parameters[name].double()
    return value
