# SPDX-License-Identifier: Apache-2.0
"""An IntGraph op by op: for the lowering, for tests and for graphs written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import ArrayLike

from simulator.errors import InputError
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import SPECS, op_name
from simulator.graph.ranges import signed_bits
from simulator.graph.storage import refuse_problems
from simulator.graph.verify import verify
from simulator.graph.verify_shapes import result_shape
from simulator.numerics.float_type import FLOAT32, FLOAT64, Array, FloatType, TensorType
from simulator.numerics.integer_type import IntType
from simulator.numerics.rescaling import Arithmetic

Shape = tuple[int, ...]

NOTHING: Mapping[str, Any] = MappingProxyType({})
FACTORS = frozenset({"multiplier", "shift"})  # constants of a requantization


def narrowest(codes: ArrayLike, *, signed: bool | None = None) -> IntType:
    """Narrowest integer type that holds whole numbers: of at least one bit and its sign.

    Parameters
    ----------
    codes
        whole numbers of any numeric type
    signed
        left out: only if a number is negative
    """
    array = np.asarray(codes)
    low, high = int(array.min()), int(array.max())
    if signed is None:
        signed = low < 0
    magnitude_bits = max(signed_bits(low, high) - 1, 1)
    return IntType(bits=magnitude_bits + signed, signed=signed)


@dataclass
class GraphBuilder:
    """An IntGraph under construction: tensors, constants and ops so far.

    Every method that adds a tensor returns its name, which is how ops refer to it.

    Attributes
    ----------
    name, profile
        of the graph; the profile by name
    defaults
        values of fields that calls of :meth:`op` leave out, by the field's name: a chip's
        ``rounding``, ``overflow``, ``accumulator``
    types
        types of the constants that :meth:`op` makes of arrays, by the field's name: a chip's
        ``multiplier`` and ``shift``. Others have the narrowest type that holds them.

    Examples
    --------
    A layer of two features, and GELU by a table, on a chip with 32-bit accumulators:

    >>> import numpy as np
    >>> from simulator.executor import Executor
    >>> from simulator.graph import GraphBuilder
    >>> from simulator.graph.ops import Lookup, MatMul
    >>> from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
    >>> from simulator.numerics.integer_type import IntType, Overflow
    >>> from simulator.numerics.rounding import Rounding
    >>> s8, s32 = IntType(bits=8), IntType(bits=32)
    >>> level = AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP)
    >>> chip = {
    ...     "accumulator": Accumulator(levels=(level,)),
    ...     "rounding": Rounding.HALF_UP,
    ...     "overflow": Overflow.SATURATE,
    ... }
    >>> builder = GraphBuilder("by_hand", defaults=chip, types={"b": s8, "bias": s32})
    >>> x = builder.input("x", (3,), s8, zero_point=-3, scale=(0.1,))
    >>> y = builder.op(
    ...     MatMul, "layer", x, b=[[1, -2], [3, 4], [5, 6]], bias=[27, 24], transpose_b=False,
    ...     multiplier=[5], shift=[3], type=s8,
    ... )
    >>> curve = [max(code, 0) for code in range(-128, 128)]
    >>> table = builder.constant("gelu.table", curve, s8)
    >>> y = builder.op(Lookup, "gelu", y, table=table, type=s8, scale=(0.02,))
    >>> graph = builder.build()
    >>> Executor(graph, gemm="numba").run(np.array([[10, -20, 30]], np.int8)).outputs["gelu"]
    array([[79, 65]], dtype=int8)
    """

    name: str
    profile: str = "by_hand"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, TensorType] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def declare(
        self,
        name: str,
        shape: Shape,
        type: TensorType,
        zero_point: int = 0,
        scale: tuple[float, ...] = (),
        role: Role = Role.ACTIVATION,
    ) -> str:
        """Add a tensor, of shape ``shape`` without the batch dimension.

        Raises
        ------
        InputError
            If there is one of that name.
        """
        if name in self.tensors:
            raise InputError(f"graph {self.name}: has two tensors {name}; give each its own name")
        self.tensors[name] = Tensor(
            name=name, shape=shape, type=type, role=role, zero_point=zero_point, scale=scale
        )
        return name

    def input(
        self,
        name: str,
        shape: Shape,
        type: TensorType,
        zero_point: int = 0,
        scale: tuple[float, ...] = (),
    ) -> str:
        """Add the graph's input, of shape ``shape`` without the batch dimension."""
        return self.declare(name, shape, type, zero_point, scale, Role.INPUT)

    def constant(
        self,
        name: str,
        values: ArrayLike,
        type: TensorType | None = None,
        zero_point: int = 0,
        scale: tuple[float, ...] = (),
    ) -> str:
        """Add a constant.

        Parameters
        ----------
        values
            whole numbers in any numeric type, or real values where ``type`` is a float type; a
            number is a vector of one element
        type
            left out: float32 of an array of floats, else the narrowest integer type that holds
            the values

        Raises
        ------
        InputError
            If a value is no whole number or does not fit an integer type.
        """
        array = np.atleast_1d(np.asarray(values))
        if type is None:
            type = FLOAT32 if array.dtype.kind == "f" else narrowest(array)
        if isinstance(type, IntType) and array.size:
            if array.dtype.kind == "f" and not (array == np.floor(array)).all():
                raise InputError(f"constant {name}: has values that are not whole numbers")
            if not (type.low <= int(array.min()) and int(array.max()) <= type.high):
                raise InputError(
                    f"constant {name}: does not fit {type}, it needs {narrowest(array)}"
                )
        self.declare(name, array.shape, type, zero_point, scale, Role.CONSTANT)
        self.constants[name] = np.ascontiguousarray(array, type.dtype)
        return name

    def op(
        self,
        op_type: type[Op],
        name: str,
        /,
        *operands: str,
        type: TensorType | None = None,
        zero_point: int | None = None,
        scale: tuple[float, ...] | None = None,
        shape: Shape = (),
        **given: Any,
    ) -> str:
        """Append an op and declare its result, whose shape follows from the operands.

        Parameters
        ----------
        operands
            names of tensors, in the order of the op's operand fields
        type, zero_point, scale
            of the result; left out: 0 and no scale, but the first operand's, and its type, of an
            op that only moves codes. The type may be left out of real values, too.
        shape
            of the result where operands leave it open: of a Reshape, and of a linear FloatFunction
        given
            the op's fields by name, and those of its requantization beside them. Arrays for
            constants, operands, ``multiplier`` and ``shift`` become constants NAME.FIELD. Fields
            that are left out have the value of ``defaults``, else their own default,
            which is None of those that are optional.

        Raises
        ------
        InputError
            If a field is unknown or missing, an operand is not there, or shapes do not go together;
            if a constant's values do not fit its type.
        """
        op = op_type(name=name, **self._fields(op_type, name, operands, given))
        implied = self.implied_shape(op, shape)
        source, spec = self.tensors[op.operands[0]], SPECS[op_type]
        if type is None:
            type = FLOAT32 if "result" in spec.real else source.type if spec.moves_codes else None
        if type is None:
            raise InputError(f"op {name} ({op_name(op)}): needs the type of its result")
        if zero_point is None:
            zero_point = source.zero_point if spec.moves_codes else 0
        if scale is None:
            scale = source.scale if spec.moves_codes and len(source.scale) == 1 else ()
        self.declare(name, implied, type, zero_point, scale)
        self.ops.append(op)
        return name

    def implied_shape(self, op: Op, declared: Shape = ()) -> Shape:
        """Return the shape of an op's result, as the shapes of its operands imply it.

        Parameters
        ----------
        declared
            the shape where operands leave it open: of a Reshape and of a linear FloatFunction

        Raises
        ------
        InputError
            If an operand is not there, or the operands do not go together.
        """
        place = f"op {op.name} ({op_name(op)})"
        for operand in op.operands:
            if operand not in self.tensors:
                raise InputError(f"{place}: there is no tensor {operand}; add it first")
        shapes = [self.tensors[operand].shape for operand in op.operands]
        try:
            return result_shape(op, shapes, declared)
        except (ValueError, IndexError) as error:
            raise InputError(f"{place}: {error} (operands {shapes}, shape {declared})") from error

    def append(self, op: Op) -> None:
        """Append an op whose result is declared and whose constants are there."""
        self.ops.append(op)

    def drop_unread_constants(self) -> None:
        """Remove the constants that no op reads."""
        read = {name for op in self.ops for name in (*op.operands, *op.constants)}
        for name in self.constants.keys() - read:
            del self.constants[name], self.tensors[name]

    def unverified(self, *outputs: str, meta: Mapping[str, str] = NOTHING) -> IntGraph:
        """Return the graph as it stands, valid or not; see :meth:`build` for the outputs."""
        read = {name for op in self.ops for name in op.operands}
        inputs = (name for name, tensor in self.tensors.items() if tensor.role is Role.INPUT)
        return IntGraph(
            name=self.name,
            profile=self.profile,
            inputs=tuple(inputs),
            outputs=outputs or tuple(op.name for op in self.ops if op.name not in read),
            tensors=MappingProxyType(dict(self.tensors)),
            ops=tuple(self.ops),
            constants=MappingProxyType(dict(self.constants)),
            meta=MappingProxyType(dict(meta)),
        )

    def build(self, *outputs: str, meta: Mapping[str, str] = NOTHING) -> IntGraph:
        """Return the graph, verified.

        Parameters
        ----------
        outputs
            left out: all results that no op reads
        meta
            see "Meta" in docs/ir.md

        Raises
        ------
        InputError
            If the graph is not valid, naming what is wrong.
        """
        graph = self.unverified(*outputs, meta=meta)
        refuse_problems(f"graph {self.name}", verify(graph))
        return graph

    def _fields(
        self, op_type: type[Op], name: str, operands: Sequence[str], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the op's fields, with constants for its arrays."""
        place = f"op {name} ({op_type.__name__})"
        values = _by_field(op_type, operands, place) | dict(given)
        own = _left_out(op_type)
        ends_in_one = "requantize" in own and "requantize" not in values
        nested = _left_out(Requantization) if ends_in_one else NOTHING
        _refuse_unknown(place, values, [*own, *nested])
        values = {**self._defaults_of(own), **self._defaults_of(nested), **values}
        constants = {*op_type.constant_fields, *op_type.operand_fields, *FACTORS & nested.keys()}
        for key in sorted(constants & values.keys() - {"inputs"}):
            if values[key] is not None and not isinstance(values[key], str):
                type = _real_type(op_type, key, values) or self.types.get(key)
                values[key] = self.constant(f"{name}.{key}", values[key], type)
        missing = [key for key, value in values.items() if value is MISSING]
        if missing and missing != ["requantize"]:
            raise InputError(f"{place}: needs {', '.join(missing)}; give them or set defaults")
        if nested:
            parts = {key: values.pop(key) for key in nested}
            values["requantize"] = Requantization(**parts)
        return values

    def _defaults_of(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of fields that a call leaves out."""
        return {key: self.defaults.get(key, value) for key, value in known.items()}


def _left_out(described: type[Op] | type[Requantization]) -> Mapping[str, Any]:
    """Return the fields by name, each with its value where it is left out; MISSING if it cannot."""
    hints = get_type_hints(described)
    found = {}
    for declared in fields(described):
        optional = declared.default is MISSING and NoneType in get_args(hints[declared.name])
        found[declared.name] = None if optional else declared.default
    found.pop("name", None)
    return MappingProxyType(found)


def _by_field(op_type: type[Op], operands: Sequence[str], place: str) -> dict[str, Any]:
    """Return operands under the names of their fields."""
    if not operands:
        return {}
    if op_type.operand_fields == ("inputs",):
        return {"inputs": tuple(operands)}
    if len(operands) > len(op_type.operand_fields):
        raise InputError(
            f"{place}: has {len(operands)} operands, wanted {', '.join(op_type.operand_fields)}"
        )
    return dict(zip(op_type.operand_fields, operands, strict=False))


def _refuse_unknown(place: str, values: Iterable[str], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise InputError(f"{place}: has no field {key}; {hint}")


def _real_type(op_type: type[Op], key: str, values: Mapping[str, Any]) -> FloatType | None:
    """Return the type of a constant of real values; None of one of integers."""
    if "constant" in SPECS[op_type].real:
        return FLOAT32
    return _REAL_FACTORS.get(str(values.get("arithmetic"))) if key == "multiplier" else None


_REAL_FACTORS: Mapping[str, FloatType] = MappingProxyType(
    {Arithmetic.FLOAT32: FLOAT32, Arithmetic.FLOAT64: FLOAT64}
)
