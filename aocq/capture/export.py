# SPDX-License-Identifier: Apache-2.0
"""Capture of a timm model as a FloatGraph, through ``torch.export`` before decompositions.

torch.export keeps attention as matmul, softmax, matmul when it is not fused, and names the module
of every operator. What a network computes from parameters alone (a table of relative positions,
looked up) is computed here, once.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from aocq.capture import arithmetic_rules as arithmetic
from aocq.capture import convolution_rules as convolution
from aocq.capture import l2norm_rules as l2norm
from aocq.capture import layout_rules as layout
from aocq.capture.float_graph import PARAMETER_ATTRIBUTES, FloatGraph, FloatNode
from aocq.capture.simplify import simplify
from aocq.capture.translator import (
    BATCH,
    Constant,
    FxNode,
    Translator,
    UnsupportedOperatorError,
    Value,
)

__all__ = ["UnsupportedOperatorError", "capture"]

Rule = Callable[[Translator, FxNode], Any]

# What torch.export makes sure of, and yields nothing.
CHECKS = frozenset({"aten._assert_tensor_metadata.default"})


def capture(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> FloatGraph:
    """Capture a model in evaluation mode.

    Parameters
    ----------
    model
        a timm vision transformer on the CPU
    name
        the graph's name
    input_size
        channels, height, width

    Raises
    ------
    UnsupportedOperatorError
        If an operator has no lowering (the message names it and its module), torch.export cannot
        follow the model, or it cannot be run on images of this size.
    """
    model.eval()
    with _unfused_attention(model), _without_caches(model), torch.no_grad():
        program = _exported(model, name, input_size)
        leaves = frozenset(path for path, part in model.named_modules() if not any(part.children()))
        return simplify(_translate(Translator(name, leaves), program, input_size))


def _exported(
    model: nn.Module, name: str, input_size: tuple[int, int, int]
) -> torch.export.ExportedProgram:
    images = torch.zeros(BATCH, *input_size)
    try:
        return torch.export.export(model, (images,))
    except MemoryError:
        raise
    except Exception as error:  # whatever a network's own checks raise, and torch.export itself
        size = " x ".join(map(str, input_size))
        try:
            model(images[:1])
        except Exception as failure:
            channels, height, width = input_size
            sides = str(height) if height == width else f"{height},{width}"
            raise UnsupportedOperatorError(
                name,
                f"cannot be run on images of {size} ({_first_line(failure)})",
                "input_size of --preprocessing changes the images only, --model-kwargs the network "
                f"(img_size={sides}, in_chans={channels})",
            ) from failure
        raise UnsupportedOperatorError(
            name, f"torch.export cannot follow it on images of {size} ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no details'}"


@contextmanager
def _unfused_attention(model: nn.Module) -> Iterator[None]:
    """Make timm's attention modules spell out matmul, softmax, matmul."""
    fused: list[Any] = [m for m in model.modules() if getattr(m, "fused_attn", False)]
    for module in fused:
        module.fused_attn = False
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True


@contextmanager
def _without_caches(model: nn.Module) -> Iterator[None]:
    """Let timm's modules forget what they computed during the export: it has no values.

    LeViT keeps its biases of relative positions until its mode is set again.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export")
        try:
            yield
        finally:
            model.eval()


def _translate(
    t: Translator, program: torch.export.ExportedProgram, input_size: tuple[int, int, int]
) -> FloatGraph:
    signature = program.graph_signature
    stored = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    everything = {**program.state_dict, **program.constants}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in stored:
            target = stored[node.name]
            t.values[node.name] = Constant(target, everything[target].detach())
        elif node.op == "placeholder":
            t.values[node.name] = t.image(input_size)
        elif str(node.target) in CHECKS:
            continue
        elif node.op == "call_function":
            computed = _of_constants(t, node)
            t.values[node.name] = _rule(t, node)(t, node) if computed is None else computed
        elif node.op == "output":
            return _finished(t, node.args[0][0])
    raise AssertionError("torch.export gave a graph without an output")


def _rule(t: Translator, node: FxNode) -> Rule:
    rule = _RULES.get(str(node.target).removeprefix("aten."))
    if rule is None and node.target is operator.getitem:
        rule = layout.getitem
    if rule is None and (rule := _RULES.get(_out_of_place(node))):
        source = node.args[0]
        if len(source.users) > 1 or getattr(source.target, "is_view", True):
            raise t.unsupported(node, "changes a tensor that may be read elsewhere")
    if rule is None:
        raise t.unsupported(node, "has no lowering")
    return rule


def _out_of_place(node: FxNode) -> str:
    """Return the operator that gives the same result without writing it over its operand."""
    operator_name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    return f"{operator_name.removesuffix('_')}.{overload}"


def _of_constants(t: Translator, node: FxNode) -> Constant | tuple[Constant, ...] | None:
    """Compute an operator that reads constants only; None of any other.

    Several where its result is several tensors. Not a token that is repeated for every image: it
    becomes a node, which has no batch dimension.
    """
    read = [t.values.get(source.name) for source in node.all_input_nodes]
    if node.target is operator.getitem and isinstance(read[0], tuple):
        chosen: Constant = read[0][node.args[1]]
        return chosen
    if not read or not all(isinstance(found, Constant) for found in read):
        return None
    kind = str(node.target).removeprefix("aten.").partition(".")[0]
    if kind == "expand" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    source = read[0]
    assert isinstance(source, Constant)
    arguments = torch.fx.map_arg((node.args, node.kwargs), lambda n: t.values[n.name].tensor)
    result = node.target(*arguments[0], **arguments[1])
    if isinstance(result, torch.Tensor):
        return source.become(result, kind)
    if isinstance(result, (list, tuple)) and all(isinstance(x, torch.Tensor) for x in result):
        return tuple(source.become(part, kind) for part in result)
    raise t.unsupported(node, "makes something else than tensors of parameters")


def _finished(t: Translator, output: FxNode) -> FloatGraph:
    """Return the graph up to its result, with the parameters that its nodes name."""
    result = t.value(output)
    for _, _, node in t.affine.values():
        raise t.unsupported(node, "only BatchNorm beside a layer that alone reads it can be folded")
    if not isinstance(result, Value) or result.batch_axis or result.parts > 1:
        raise t.unsupported(output, "yields a result that is not one row for each image")
    ordered = [node for name, node in t.nodes.items() if name != result.name]
    nodes: tuple[FloatNode, ...] = (*ordered, t.nodes[result.name])
    named = {node.attributes.get(key) for node in nodes for key in PARAMETER_ATTRIBUTES}
    # The first of what layers made of a parameter bears its name, where nothing reads the parameter
    # as it was.
    first: dict[str, str] = {}
    for name, origin in t.origins.items():
        if name in named and origin not in named:
            first.setdefault(origin, name)
    renamed = {name: origin for origin, name in first.items()}
    parameters = {
        name: t.parameters[first.get(name, name)]
        for name in t.parameters
        if name in first or (name in named and name not in renamed)
    }
    nodes = tuple(_with_parameters(node, renamed) for node in nodes)
    return FloatGraph(name=t.name, nodes=nodes, parameters=parameters)


def _with_parameters(node: FloatNode, renamed: Mapping[str, str]) -> FloatNode:
    """Return a node that reads its parameters under other names."""
    changed = {
        key: renamed.get(value, value) if key in PARAMETER_ATTRIBUTES else value
        for key, value in node.attributes.items()
    }
    return replace(node, attributes=MappingProxyType(changed))


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "conv2d.default": convolution.conv2d,
        "batch_norm.default": convolution.batch_norm,
        "add.Tensor": arithmetic.add,
        "mul.Tensor": arithmetic.mul,
        "div.Tensor": arithmetic.div,
        "linear.default": arithmetic.linear,
        "matmul.default": arithmetic.matmul,
        "softmax.int": arithmetic.softmax,
        "gelu.default": arithmetic.unary("gelu"),
        "relu.default": arithmetic.unary("relu"),
        "silu.default": arithmetic.unary("silu"),
        "sigmoid.default": arithmetic.sigmoid,
        "hardswish.default": arithmetic.unary("hardswish"),
        "layer_norm.default": arithmetic.layer_norm,
        "linalg_vector_norm.default": l2norm.part,
        "clamp_min.default": l2norm.part,
        "expand_as.default": l2norm.part,
        "mean.dim": arithmetic.mean,
        "flatten.using_ints": layout.reshape,
        "reshape.default": layout.reshape,
        "view.default": layout.reshape,
        "reshape_as.default": layout.reshape,
        "permute.default": layout.permute,
        "transpose.int": layout.transpose,
        "select.int": layout.select,
        "unsqueeze.default": layout.unsqueeze,
        "unbind.int": layout.several,
        "split.Tensor": layout.several,
        "split_with_sizes.default": layout.several,
        "chunk.default": layout.several,
        "slice.Tensor": layout.slice_,
        "expand.default": layout.expand,
        "cat.default": layout.cat,
        "roll.default": layout.roll,
        "pad.default": layout.pad,
        "dropout.default": layout.same,
        "contiguous.default": layout.same,
        "clone.default": layout.same,
        "alias.default": layout.same,
    }
)
