# SPDX-License-Identifier: Apache-2.0
"""timm model → FloatGraph, through ``torch.export`` before decompositions.

torch.export keeps attention as matmul, softmax, matmul when it is not fused, and names the module
of every operator. The batch dimension, which may wander through permutations, is tracked and left
out: a FloatGraph describes one image.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from aocq.capture.float_graph import ARITHMETIC, FloatGraph, FloatNode, FloatOp
from aocq.capture.simplify import simplify
from simulator.errors import InputError

# torch.fx.Node; its arguments are a union of everything, which the rules know better.
FxNode = Any

# An unusual batch size, so that it is not mistaken for a dimension of the network.
_BATCH = 3


class UnsupportedOperatorError(InputError):
    """An operator of the network cannot be lowered; the message names it and its place."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A torch tensor as a node plus the position of its batch dimension."""

    name: str
    batch_axis: int


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
        If an operator has no lowering; the message names it and its module.
    """
    model.eval()
    with _unfused_attention(model), torch.no_grad():
        program = torch.export.export(model, (torch.zeros(_BATCH, *input_size),))
    return simplify(_Translator(model, program, name, input_size).translate())


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


class _Translator:
    """The state of one translation: nodes so far, and what each torch value became."""

    def __init__(
        self,
        model: nn.Module,
        program: torch.export.ExportedProgram,
        name: str,
        input_size: tuple[int, int, int],
    ) -> None:
        self.name = name
        self.program = program
        self.input_size = input_size
        self.nodes: dict[str, FloatNode] = {}
        self.values: dict[str, Any] = {}  # torch value name -> _Value, or list of _Value
        self.parameters: dict[str, torch.Tensor] = {}
        self.leaves = {path for path, module in model.named_modules() if not any(module.children())}

    def translate(self) -> FloatGraph:
        signature = self.program.graph_signature
        stored = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        everything = {**self.program.state_dict, **self.program.constants}
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in stored:
                target = stored[node.name]
                self.values[node.name] = everything[target].detach().to(torch.float32)
                self.parameters[target] = self.values[node.name]
            elif node.op == "placeholder":
                self.add_node("image", FloatOp.INPUT, (), {}, self.input_size)
                self.values[node.name] = _Value("image", 0)
            elif node.op == "call_function":
                self.values[node.name] = self._rule(node)(self, node)
            elif node.op == "output":
                result = self.value(node.args[0][0])
                return FloatGraph(
                    name=self.name,
                    nodes=_up_to(self.nodes, result.name),
                    parameters=self.parameters,
                )
        raise AssertionError("torch.export gave a graph without an output")

    def _rule(self, node: FxNode) -> Callable[[_Translator, FxNode], Any]:
        rule = _RULES.get(str(node.target).removeprefix("aten."))
        if rule is None and node.target is operator.getitem:
            rule = _getitem
        if rule is None:
            raise self.unsupported(node, "has no lowering")
        return rule

    def unsupported(self, node: FxNode, why: str) -> UnsupportedOperatorError:
        place = _path(node) or "the model itself"
        return UnsupportedOperatorError(
            f"{self.name}: operator {node.target} in {place}: {why}; choose a plain vision "
            "transformer (`aocq models` lists what is known to work)"
        )

    # --- what rules need ---

    def value(self, argument: Any) -> _Value:
        """The value of a data argument; a parameter used as data becomes a constant node."""
        found = self.values[argument.name]
        if isinstance(found, torch.Tensor):
            name = next(key for key, tensor in self.parameters.items() if tensor is found)
            shape = (
                tuple(found.shape[1:])
                if found.ndim > 2 and found.shape[0] == 1
                else tuple(found.shape)
            )
            self.add_node(name, FloatOp.CONSTANT, (), {"parameter": name}, shape)
            return _Value(name, 0)
        assert isinstance(found, _Value)
        return found

    def parameter(self, argument: Any) -> str | None:
        """The name of a weight or bias argument."""
        if argument is None:
            return None
        tensor = self.values[argument.name]
        return next(key for key, stored in self.parameters.items() if stored is tensor)

    def add_node(
        self,
        name: str,
        op: FloatOp,
        inputs: tuple[str, ...],
        attributes: dict[str, Any],
        shape: tuple[int, ...],
    ) -> str:
        """Append a node; a second constant of one name is the same node."""
        if op is FloatOp.CONSTANT and name in self.nodes:
            return name
        unique, count = name, 0
        while unique in self.nodes:
            count += 1
            unique = f"{name}_{count}"
        self.nodes[unique] = FloatNode(
            name=unique,
            op=op,
            inputs=inputs,
            attributes=MappingProxyType(attributes),
            shape=shape,
        )
        return unique

    def emit(
        self,
        node: FxNode,
        op: FloatOp,
        inputs: tuple[_Value, ...],
        *,
        batch_axis: int = 0,
        shape: tuple[int, ...] | None = None,
        **attributes: Any,
    ) -> _Value:
        """Append a node for a torch node and return its value."""
        path = _path(node)
        is_module = path in self.leaves and op in ARITHMETIC
        name = path if is_module else f"{path}.{op}".strip(".")
        full = tuple(node.meta["val"].shape) if shape is None else ()
        image_shape = full[:batch_axis] + full[batch_axis + 1 :] if shape is None else shape
        added = self.add_node(
            name, op, tuple(value.name for value in inputs), attributes, image_shape
        )
        return _Value(added, batch_axis)

    def front(self, node: FxNode, argument: Any) -> _Value:
        """A data argument whose batch dimension must stand in front."""
        value = self.value(argument)
        if value.batch_axis != 0:
            raise self.unsupported(node, "reads a tensor whose batch dimension is not in front")
        return value


def _path(node: FxNode) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _up_to(nodes: dict[str, FloatNode], last: str) -> tuple[FloatNode, ...]:
    """The nodes with the result last, whatever came after it."""
    ordered = [node for name, node in nodes.items() if name != last]
    return (*ordered, nodes[last])


def _dimension(node: FxNode, value: _Value, dimension: int) -> int:
    """The axis of one image that a torch dimension means (-1 for the batch dimension)."""
    rank = node.args[0].meta["val"].ndim
    dimension %= rank
    if dimension == value.batch_axis:
        return -1
    return dimension - (dimension > value.batch_axis)


def _with_defaults(node: FxNode, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments after the first, the left-out ones by their defaults."""
    given = node.args[1:]
    return (*given, *defaults[len(given) :])


# --- rules: one per operator ----------------------------------------------------------------------


def _same(t: _Translator, node: FxNode) -> Any:
    return t.value(node.args[0])


def _conv2d(t: _Translator, node: FxNode) -> _Value:
    """A patch embedding: cut into patches, then one linear layer."""
    x = t.front(node, node.args[0])
    weight_arg, bias, stride, padding, dilation, groups = _with_defaults(
        node, (None, None, [1, 1], [0, 0], [1, 1], 1)
    )
    weight_name = t.parameter(weight_arg)
    assert weight_name is not None
    weight = t.parameters[weight_name]
    outputs, channels, height, width = weight.shape
    _, rows, columns = t.nodes[x.name].shape
    if [height, width] != list(stride) or any(padding) or set(dilation) != {1} or groups != 1:
        raise t.unsupported(node, "only convolutions whose kernel equals their stride are patches")
    if rows % height or columns % width:
        raise t.unsupported(
            node, f"{rows} x {columns} pixels are not whole {height} x {width} patches"
        )
    down, across = rows // height, columns // width
    grid = t.emit(node, FloatOp.RESHAPE, (x,), shape=(channels, down, height, across, width))
    moved = t.emit(
        node,
        FloatOp.TRANSPOSE,
        (grid,),
        shape=(down, across, channels, height, width),
        permutation=(1, 3, 0, 2, 4),
    )
    size = channels * height * width
    patches = t.emit(node, FloatOp.RESHAPE, (moved,), shape=(down * across, size))
    t.parameters[weight_name] = weight.reshape(outputs, size)
    linear = t.add_node(
        _path(node),
        FloatOp.LINEAR,
        (patches.name,),
        {"weight": weight_name, "bias": t.parameter(bias)},
        (down * across, outputs),
    )
    channel_first = t.emit(
        node,
        FloatOp.TRANSPOSE,
        (_Value(linear, 0),),
        shape=(outputs, down * across),
        permutation=(1, 0),
    )
    return t.emit(node, FloatOp.RESHAPE, (channel_first,), shape=(outputs, down, across))


def _reshape(t: _Translator, node: FxNode) -> _Value:
    x = t.front(node, node.args[0])
    if node.meta["val"].shape[0] != _BATCH:
        raise t.unsupported(node, "merges the batch dimension with another")
    return t.emit(node, FloatOp.RESHAPE, (x,))


def _permuted(t: _Translator, node: FxNode, permutation: list[int]) -> _Value:
    x = t.value(node.args[0])
    batch_axis = permutation.index(x.batch_axis)
    image = tuple(_dimension(node, x, axis) for axis in permutation if axis != x.batch_axis)
    return t.emit(node, FloatOp.TRANSPOSE, (x,), batch_axis=batch_axis, permutation=image)


def _permute(t: _Translator, node: FxNode) -> _Value:
    rank = node.args[0].meta["val"].ndim
    return _permuted(t, node, [axis % rank for axis in node.args[1]])


def _transpose(t: _Translator, node: FxNode) -> _Value:
    rank = node.args[0].meta["val"].ndim
    permutation = list(range(rank))
    first, second = node.args[1] % rank, node.args[2] % rank
    permutation[first], permutation[second] = second, first
    return _permuted(t, node, permutation)


def _take(t: _Translator, node: FxNode, source: FxNode, dimension: int, index: int) -> _Value:
    """Element ``index`` of a dimension, which disappears."""
    x = t.value(source)
    rank = source.meta["val"].ndim
    dimension %= rank
    axis = dimension - (dimension > x.batch_axis)
    if dimension == x.batch_axis:
        raise t.unsupported(node, "takes one image of the batch")
    shape = t.nodes[x.name].shape
    index %= shape[axis]
    part = t.emit(
        node,
        FloatOp.SLICE,
        (x,),
        shape=(*shape[:axis], 1, *shape[axis + 1 :]),
        axis=axis,
        start=index,
        stop=index + 1,
    )
    batch_axis = x.batch_axis - (dimension < x.batch_axis)
    dropped = t.emit(node, FloatOp.RESHAPE, (part,), shape=shape[:axis] + shape[axis + 1 :])
    return _Value(dropped.name, batch_axis)


def _select(t: _Translator, node: FxNode) -> _Value:
    return _take(t, node, node.args[0], node.args[1], node.args[2])


def _unbind(_: _Translator, node: FxNode) -> FxNode:
    return node  # resolved by _getitem, which knows the index


def _getitem(t: _Translator, node: FxNode) -> _Value:
    source = node.args[0]
    if str(source.target) != "aten.unbind.int":
        raise t.unsupported(node, f"takes one result of {source.target}")
    dimension = source.args[1] if len(source.args) > 1 else 0
    return _take(t, node, source.args[0], dimension, node.args[1])


def _slice(t: _Translator, node: FxNode) -> _Value:
    dimension, start, stop, step = _with_defaults(node, (0, None, None, 1))
    x = t.value(node.args[0])
    axis = _dimension(node, x, dimension)
    extent = node.args[0].meta["val"].shape[dimension]
    start, stop, step = slice(start, stop, step).indices(extent)
    if (start, stop, step) == (0, extent, 1):
        return x
    if axis < 0 or step != 1:
        raise t.unsupported(node, "slices the batch or takes every n-th element")
    return t.emit(
        node, FloatOp.SLICE, (x,), batch_axis=x.batch_axis, axis=axis, start=start, stop=stop
    )


def _expand(t: _Translator, node: FxNode) -> _Value:
    x = t.value(node.args[0])
    if t.nodes[x.name].op is not FloatOp.CONSTANT or (
        tuple(node.meta["val"].shape[1:]) != t.nodes[x.name].shape
    ):
        raise t.unsupported(node, "repeats something else than a token along the batch")
    return x


def _cat(t: _Translator, node: FxNode) -> _Value:
    inputs = tuple(t.front(node, argument) for argument in node.args[0])
    dimension = (node.args[1] if len(node.args) > 1 else 0) % node.meta["val"].ndim
    if dimension == 0:
        raise t.unsupported(node, "concatenates along the batch")
    return t.emit(node, FloatOp.CONCAT, inputs, axis=dimension - 1)


def _add(t: _Translator, node: FxNode) -> _Value:
    if not all(isinstance(argument, torch.fx.Node) for argument in node.args) or node.kwargs:
        raise t.unsupported(node, "adds a number")
    a, b = (t.front(node, argument) for argument in node.args)
    if t.nodes[a.name].op is FloatOp.CONSTANT:
        a, b = b, a
    if t.nodes[a.name].shape != tuple(node.meta["val"].shape[1:]):
        raise t.unsupported(node, "broadcasts both operands")
    return t.emit(node, FloatOp.ADD, (a, b))


def _scaled(t: _Translator, node: FxNode, factor: float) -> _Value:
    x = t.value(node.args[0])
    if not factor > 0:
        raise t.unsupported(node, f"scales by {factor}, which is not positive")
    return t.emit(node, FloatOp.SCALE, (x,), batch_axis=x.batch_axis, factor=float(factor))


def _mul(t: _Translator, node: FxNode) -> _Value:
    x, factor = node.args
    if isinstance(factor, (int, float)):
        return _scaled(t, node, factor)
    gamma = t.values[factor.name]
    source = t.nodes[t.value(x).name]
    scalable = source.op is FloatOp.LINEAR and _is_read_once(x)
    if not isinstance(gamma, torch.Tensor) or gamma.ndim != 1 or not scalable:
        raise t.unsupported(node, "only LayerScale behind a linear layer can be multiplied in")
    # LayerScale: y * γ = x (γ W)ᵀ + γ b. Exact in real arithmetic, and free on the chip.
    weight, bias = source.attributes["weight"], source.attributes["bias"]
    t.parameters[weight] = t.parameters[weight] * gamma[:, None]
    if bias:
        t.parameters[bias] = t.parameters[bias] * gamma
    return t.value(x)


def _is_read_once(node: FxNode) -> bool:
    """Whether a linear layer's result, behind dropouts that do nothing, has this one reader."""
    while len(node.users) == 1 and str(node.target) == "aten.dropout.default":
        node = node.args[0]
    return len(node.users) == 1


def _div(t: _Translator, node: FxNode) -> _Value:
    if not isinstance(node.args[1], (int, float)):
        raise t.unsupported(node, "divides by a tensor")
    return _scaled(t, node, 1 / node.args[1])


def _linear(t: _Translator, node: FxNode) -> _Value:
    x = t.front(node, node.args[0])
    bias = node.args[2] if len(node.args) > 2 else None
    return t.emit(
        node, FloatOp.LINEAR, (x,), weight=t.parameter(node.args[1]), bias=t.parameter(bias)
    )


def _matmul(t: _Translator, node: FxNode) -> _Value:
    a, b = (t.front(node, argument) for argument in node.args)
    return t.emit(node, FloatOp.MATMUL, (a, b), transpose_b=False)


def _softmax(t: _Translator, node: FxNode) -> _Value:
    x = t.front(node, node.args[0])
    if node.args[1] % node.meta["val"].ndim != node.meta["val"].ndim - 1:
        raise t.unsupported(node, "is not over the last dimension")
    return t.emit(node, FloatOp.SOFTMAX, (x,))


def _unary(function: str) -> Callable[[_Translator, FxNode], _Value]:
    def rule(t: _Translator, node: FxNode) -> _Value:
        chosen = "gelu_tanh" if node.kwargs.get("approximate") == "tanh" else function
        return t.emit(node, FloatOp.UNARY, (t.front(node, node.args[0]),), function=chosen)

    return rule


def _layer_norm(t: _Translator, node: FxNode) -> _Value:
    x = t.front(node, node.args[0])
    normalized, weight, bias, epsilon, _ = _with_defaults(node, ((), None, None, 1e-5, True))
    if len(normalized) != 1:
        raise t.unsupported(node, "normalizes more than the last dimension")
    return t.emit(
        node,
        FloatOp.LAYERNORM,
        (x,),
        weight=t.parameter(weight),
        bias=t.parameter(bias),
        epsilon=float(epsilon),
    )


def _mean(t: _Translator, node: FxNode) -> _Value:
    x = t.front(node, node.args[0])
    keep = len(node.args) > 2 and node.args[2]
    if len(node.args[1]) != 1 or keep:
        raise t.unsupported(node, "averages several dimensions or keeps one")
    return t.emit(node, FloatOp.MEAN, (x,), axis=_dimension(node, x, node.args[1][0]))


_RULES: Mapping[str, Callable[[_Translator, FxNode], Any]] = MappingProxyType(
    {
        "conv2d.default": _conv2d,
        "flatten.using_ints": _reshape,
        "reshape.default": _reshape,
        "view.default": _reshape,
        "permute.default": _permute,
        "transpose.int": _transpose,
        "select.int": _select,
        "unbind.int": _unbind,
        "slice.Tensor": _slice,
        "expand.default": _expand,
        "cat.default": _cat,
        "add.Tensor": _add,
        "mul.Tensor": _mul,
        "div.Tensor": _div,
        "linear.default": _linear,
        "matmul.default": _matmul,
        "softmax.int": _softmax,
        "gelu.default": _unary("gelu"),
        "relu.default": _unary("relu"),
        "silu.default": _unary("silu"),
        "layer_norm.default": _layer_norm,
        "mean.dim": _mean,
        "dropout.default": _same,
        "contiguous.default": _same,
        "clone.default": _same,
        "alias.default": _same,
    }
)
