# SPDX-License-Identifier: Apache-2.0
"""Units with constants of their own: the modes and widths of an op, other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simulator.golden.manifest import array_names
from simulator.golden.one_op import OneOp
from simulator.golden.variants.trial import Trial
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.verify import verify_one_op
from simulator.graph.verify_shapes import result_shape
from simulator.numerics.float_type import Array, FloatType
from simulator.numerics.integer_type import IntArray, IntType

Shape = tuple[int, ...]
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stimulus:
    """One set of directed vectors: a unit and its operands.

    Attributes
    ----------
    operands
        activations [cases, ...] by the names of tensors
    about
        what they are directed at
    stands_for
        the ops of a graph that the unit is made for; none of a profile
    """

    one: OneOp
    operands: Mapping[str, Array]
    about: str
    stands_for: tuple[str, ...] = ()

    @property
    def trial(self) -> Trial:
        """The operands on the unit."""
        return Trial.of(self.one.graph, self.operands)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a unit has of its own; everything else is the op's.

    Attributes
    ----------
    shapes
        of activations, by the op's field
    constants
        by the op's field, ``multiplier`` and ``shift`` included
    fields
        other fields of the op
    zero_points
        by field; ``result`` is the result's
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    constants: Mapping[str, ArrayLike] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    zero_points: Mapping[str, int] = field(default_factory=dict)


def remade(base: OneOp, name: str, changes: Changes) -> OneOp:
    """Return a unit with the modes and types of ``base`` and numbers of its own.

    Tensors are called NAME.FIELD.

    Raises
    ------
    ValueError
        If no chip could have such a unit: a mistake of who made the changes.
    """
    tensors: dict[str, Tensor] = {}
    constants: dict[str, Array] = {}
    names: dict[str, str] = {}
    for key, old in array_names(base.op).items():
        new = name if key == "result" else f"{name}.{key}"
        names[old] = names.get(old, new)
        declared = base.graph.tensors[old]
        zero_point = changes.zero_points.get(key, declared.zero_point)
        tensor = replace(declared, name=names[old], zero_point=zero_point, scale=())
        if tensor.role is Role.CONSTANT:
            values = _values(changes.constants.get(key, base.graph.constants[old]), tensor)
            constants[names[old]] = values
            tensor = replace(tensor, shape=values.shape)
        elif key in changes.shapes:
            tensor = replace(tensor, shape=changes.shapes[key])
        tensors[names[old]] = tensor
    op = _renamed(replace(base.op, **changes.fields), names)
    shapes = [tensors[operand].shape for operand in op.operands]
    shape = result_shape(op, shapes, base.result.shape)
    tensors[name] = replace(tensors[name], shape=shape, role=Role.ACTIVATION)
    graph = IntGraph(
        name=name,
        profile=base.graph.profile,
        inputs=tuple(dict.fromkeys(n for n in op.operands if n not in constants)),
        outputs=(name,),
        tensors=MappingProxyType(tensors),
        ops=(op,),
        constants=MappingProxyType(constants),
    )
    problems = list(verify_one_op(graph))
    if problems:
        raise ValueError("; ".join(problems))
    return OneOp(op=op, graph=graph)


def _values(values: ArrayLike, tensor: Tensor) -> Array:
    array = np.atleast_1d(np.asarray(values))
    kind = tensor.type
    if isinstance(kind, IntType) and not (
        kind.low <= int(array.min()) and int(array.max()) <= kind.high
    ):
        raise ValueError(f"{tensor.name}: {array.min()}..{array.max()} does not fit {kind}")
    return np.ascontiguousarray(array, kind.dtype)


def _renamed(op: Any, names: Mapping[str, str]) -> Any:
    """Return the op with other names of tensors."""
    changed: dict[str, Any] = {"name": names[op.name]}
    for key in (*op.operand_fields, *op.constant_fields):
        value = getattr(op, key)
        if isinstance(value, str):
            changed[key] = names[value]
    if op.requantizations:
        (parameters,) = op.requantizations
        changed["requantize"] = replace(
            parameters,
            multiplier=names[parameters.multiplier],
            shift=None if parameters.shift is None else names[parameters.shift],
        )
    return replace(op, **changed)


def stimulus(one: OneOp, about: str, **codes: ArrayLike) -> Stimulus:
    """Return a set of vectors from codes [cases, ...] by the op's field."""
    operands = {}
    for key, values in codes.items():
        tensor = one.graph.tensors[getattr(one.op, key)]
        array = np.asarray(values).reshape(-1, *tensor.shape)
        if not tensor.is_float:
            kind = tensor.code_type
            assert kind.low <= array.min()
            assert array.max() <= kind.high
        operands[tensor.name] = np.ascontiguousarray(array, tensor.type.dtype)
    return Stimulus(one=one, operands=operands, about=about)


def every_code(kind: IntType, most: int = 1 << 8, seed: int = 0) -> IntArray:
    """Return all codes of a type, or of a wide one its ends, its middle and some at random."""
    if 1 << kind.bits <= most:
        return np.arange(kind.low, kind.high + 1)
    near = np.arange(-8, 9)
    chosen = [kind.low + near[8:], kind.high + near[:9], (kind.low + kind.high) // 2 + near]
    if kind.signed:
        chosen += [np.array([1 << bit, -(1 << bit)]) for bit in range(kind.bits - 1)]
    random = np.random.default_rng(seed).integers(kind.low, kind.high, most, endpoint=True)
    found: IntArray = np.unique(np.concatenate([*chosen, random]))
    return found


def kind_of(base: OneOp, key: str) -> IntType:
    """Return the type of a tensor by the op's field."""
    names = array_names(base.op)
    kind = base.graph.tensors[names[key]].type
    assert not isinstance(kind, FloatType)
    return kind
