# SPDX-License-Identifier: Apache-2.0
"""State of a capture: nodes so far, and the value of each torch node.

A FloatGraph describes one image. The batch dimension, which may wander through permutations, is
tracked and left out. It may also carry parts of each image: windows of attention are counted in
one dimension of ``images * windows``. That dimension then stays, with the extent of one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from aocq.capture.float_graph import ARITHMETIC, FloatNode, FloatOp
from simulator.errors import InputError

# torch.fx.Node; its arguments are a union of everything, which the rules know better.
FxNode = Any

# An unusual batch size, so that it is not mistaken for a dimension of the network.
BATCH = 13


OTHERS = (
    "docs/families.md has the networks that come through, "
    "`aocq models 'PATTERN' --check` tries others"
)


class UnsupportedOperatorError(InputError):
    """An operator of a network that capture has no rule for; the message names it and its place.

    ``plainly`` does so without the network's name and without advice.
    """

    def __init__(self, network: str, plainly: str, way_out: str = OTHERS) -> None:
        super().__init__(f"{network}: {plainly}; {way_out}")
        self.plainly = plainly


@dataclass(frozen=True, slots=True)
class Value:
    """The node of a torch tensor, and the place of images in its dimensions.

    Attributes
    ----------
    batch_axis
        the dimension of the torch tensor that counts images
    parts
        how many entries of that dimension belong to one image; where more than one, the node has
        the dimension too, with this extent
    """

    name: str
    batch_axis: int
    parts: int = 1

    def axis(self, dimension: int) -> int:
        """Return the axis of one image that a torch dimension (not negative) means.

        -1 for the batch dimension, whether or not it counts parts of images.
        """
        if dimension == self.batch_axis:
            return -1
        return dimension if self.parts > 1 else dimension - (dimension > self.batch_axis)

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image of a torch tensor of ``shape``."""
        own = (self.parts,) if self.parts > 1 else ()
        return (*shape[: self.batch_axis], *own, *shape[self.batch_axis + 1 :])


@dataclass(frozen=True, slots=True)
class Constant:
    """A parameter, a buffer, or what the network computes from nothing but these.

    Attributes
    ----------
    name
        of the parameter; of a computed one, with the first operator that changed it
    tensor
        its values; a view of the parameter's where only the shape is another
    computed
        whether it holds other values than the parameter, or in another order
    """

    name: str
    tensor: torch.Tensor
    computed: bool = False

    def become(self, tensor: torch.Tensor, operator: str) -> Constant:
        """Return the result of an operator on this constant."""
        if _same_values(self.tensor, tensor):
            return Constant(self.name, tensor, self.computed)
        name = self.name if self.computed else f"{self.name}.{operator}"
        return Constant(name, tensor.contiguous(), computed=True)


class Translator:
    """The state of one translation."""

    def __init__(self, name: str, leaves: frozenset[str]) -> None:
        """Start without nodes; ``leaves`` are the paths of modules without others inside."""
        self.name = name
        self.leaves = leaves
        self.nodes: dict[str, FloatNode] = {}
        self.values: dict[str, Any] = {}  # torch value name -> Value, Constant or Constants
        self.parameters: dict[str, torch.Tensor] = {}
        # Factors and offsets that the next layer takes in, by node, with their operator.
        self.affine: dict[str, tuple[torch.Tensor, torch.Tensor, FxNode]] = {}
        self.sources: dict[str, torch.Tensor] = {}  # of the parameters: what the network holds
        self.origins: dict[str, str] = {}  # parameters that layers changed -> those they were

    def image(self, input_size: tuple[int, int, int]) -> Value:
        """Append the node of the network's input, of channels, height and width."""
        return Value(self.add_node("image", FloatOp.INPUT, (), {}, input_size), 0)

    def unsupported(self, node: FxNode, why: str) -> UnsupportedOperatorError:
        """Return the error that names an operator and its module."""
        place = path(node) or "the model itself"
        return UnsupportedOperatorError(self.name, f"operator {node.target} in {place}: {why}")

    def value(self, argument: Any) -> Value:
        """Return the value of a data argument; a parameter used as data becomes a constant node."""
        found = self.values[argument.name]
        if isinstance(found, Constant):
            shape = tuple(found.tensor.shape)
            return self.constant(found, shape[1:] if len(shape) > 2 and shape[0] == 1 else shape)
        assert isinstance(found, Value)
        return found

    def constant(self, found: Constant, shape: tuple[int, ...]) -> Value:
        """Return the node of a constant, under the shape of one image.

        A second use is the same node where it has the same shape.
        """
        name = self.registered(found, as_shaped=False)
        for node in self.nodes.values():
            is_same = node.op is FloatOp.CONSTANT and node.attributes["parameter"] == name
            if is_same and node.shape == shape:
                return Value(node.name, 0)
        unique = self.add_node(name, FloatOp.CONSTANT, (), {"parameter": name}, shape)
        return Value(unique, 0)

    def registered(self, found: Constant, *, as_shaped: bool = True) -> str:
        """Return the name under which ``parameters`` holds a constant's values, in their order.

        In its shape too, where that counts (``as_shaped``).
        """

        def is_other(source: torch.Tensor) -> bool:
            reshaped = as_shaped and source.shape != found.tensor.shape
            return reshaped or not _same_values(source, found.tensor)

        unique, count = found.name, 0
        while unique in self.sources and is_other(self.sources[unique]):
            count += 1
            unique = f"{found.name}_{count}"
        if unique not in self.sources:
            self.sources[unique] = found.tensor
            self.parameters[unique] = found.tensor.to(torch.float32)
        return unique

    def changed(self, name: str, value: torch.Tensor) -> str:
        """Return the name of what one layer makes of a parameter that others may read as it is."""
        origin = self.origins.get(name, name)
        unique = self.registered(Constant(origin, value.to(torch.float32), computed=True))
        self.origins[unique] = origin
        return unique

    def parameter(self, argument: Any) -> str | None:
        """Return the name of a weight or bias argument."""
        return None if argument is None else self.registered(self.values[argument.name])

    def add_node(
        self,
        name: str,
        op: FloatOp,
        inputs: tuple[str, ...],
        attributes: dict[str, Any],
        shape: tuple[int, ...],
    ) -> str:
        """Append a node and return its name, which has a number behind it where it was taken."""
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
        inputs: tuple[Value, ...],
        *,
        batch_axis: int = 0,
        parts: int | None = None,
        shape: tuple[int, ...] | None = None,
        **attributes: Any,
    ) -> Value:
        """Append a node for a torch node and return its value.

        ``parts`` are those of the first input and ``shape`` (of one image) that of the torch node,
        where they are not given.
        """
        place = path(node)
        is_module = place in self.leaves and op in ARITHMETIC
        name = place if is_module else f"{place}.{op}".strip(".")
        value = Value("", batch_axis, inputs[0].parts if parts is None else parts)
        if shape is None:
            shape = value.image_shape(tuple(node.meta["val"].shape))
        names = tuple(source.name for source in inputs)
        return Value(self.add_node(name, op, names, attributes, shape), batch_axis, value.parts)

    def front(self, node: FxNode, argument: Any) -> Value:
        """Return a data argument whose batch dimension must stand in front."""
        value = self.value(argument)
        if value.batch_axis != 0:
            raise self.unsupported(node, "reads a tensor whose batch dimension is not in front")
        return value


def _same_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are the same memory, read in the same order."""
    alike = a.data_ptr() == b.data_ptr() and a.numel() == b.numel() and a.dtype == b.dtype
    return alike and a.is_contiguous() and b.is_contiguous()


def path(node: FxNode) -> str:
    """Return the path of the module that a torch node belongs to, empty for the model itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def is_operator(node: Any, name: str) -> bool:
    """Whether an argument is the result of an operator, ``name`` without ``aten.``."""
    return isinstance(node, torch.fx.Node) and str(node.target) == f"aten.{name}"


def rank(argument: FxNode) -> int:
    """Return how many dimensions a torch tensor has."""
    return int(argument.meta["val"].ndim)


def with_defaults(node: FxNode, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments after the first, the left-out ones by their defaults."""
    given = node.args[1:]
    return (*given, *defaults[len(given) :])
