# SPDX-License-Identifier: Apache-2.0
"""An op by itself with operands at hand, on which changed ops are tried.

Most changes touch only how sums become codes. Sums are therefore made once for a trial, and each
such change costs one requantization of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import EnvironmentProblem
from simulator.gemm import Gemm, backend
from simulator.golden.one_op import of_op
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.op import Op, Requantization, residual_of
from simulator.graph.ops import SPECS, AnyMatMul, GroupShift, ScaledMatMul
from simulator.graph.ops.onto_residual import residual_factors
from simulator.graph.ops.scaled_product import by_field
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntArray, IntType, Overflow
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import Arithmetic, LeftShift
from simulator.numerics.rounding import FIRST_STEP, Rounding
from simulator.ops import BEHAVIOURS
from simulator.ops.requantizing import requantizer

WIDE = IntType(bits=64)
MANY_MACS = 1 << 27  # products that a plain loop still makes in a moment
_ONE, _ZERO = "identity.multiplier", "identity.shift"


def unit_of(graph: IntGraph, op: Op) -> IntGraph:
    """Return the graph of one op alone: its tensors and constants, its activations as inputs."""
    return of_op(op, graph).graph


def requantization_of(op: Op) -> Requantization | None:
    """Return the requantization that an op ends with; None of an op with a shift of its own."""
    found = op.requantizations
    return found[0] if found else None


def products_backend(unit: IntGraph, images: int) -> Gemm:
    """Return the backend of matrix products: one that needs no torch.

    For small products the plain loop: the others are first tried for exactness.
    """
    (op,) = unit.ops
    if SPECS[type(op)].macs(unit, op) * images < MANY_MACS:
        return backend("numba")
    try:
        return backend("avx2")
    except EnvironmentProblem:
        return backend("numba")


def run_unit(unit: IntGraph, operands: Sequence[Array]) -> Array:
    """Return the codes of a one-op graph's result, by the op's portable kernel.

    Parameters
    ----------
    operands
        in the order of the op's operands: activations [images, ...], constants without images
    """
    (op,) = unit.ops
    kernel = BEHAVIOURS[type(op)].build(op, unit, products_backend(unit, len(operands[0])))
    return kernel([np.ascontiguousarray(operand) for operand in operands]).codes


@dataclass(frozen=True)
class Trial:
    """A one-op graph and operands for it.

    Attributes
    ----------
    unit
        the graph of one op, see :func:`unit_of`
    operands
        in the order of the op's operands: activations [images, ...], constants without images
    """

    unit: IntGraph
    operands: tuple[Array, ...]

    @classmethod
    def of(cls, unit: IntGraph, activations: Mapping[str, Array]) -> Trial:
        """Return a trial from activations by the operands' names; constants are the unit's."""
        values = {**unit.constants, **activations}
        return cls(unit, tuple(values[name] for name in unit.ops[0].operands))

    @property
    def op(self) -> Op:
        """The one op."""
        return self.unit.ops[0]

    @property
    def result(self) -> Tensor:
        """The tensor that the op writes."""
        return self.unit.result(self.op)

    @cached_property
    def truth(self) -> Array:
        """The codes of the op as it is."""
        return self.codes_of(self.unit)

    @cached_property
    def sums(self) -> IntArray:
        """What the op's requantization takes, [images, ..., channels]; int64."""
        unit = without_requantization(self.unit)
        return run_unit(unit, self.operands[: len(unit.ops[0].operands)])  # a residual is the last

    @cached_property
    def scaled(self) -> NDArray[np.int64]:
        """What enters the op's last right shift, [images, ..., channels].

        Products with the multiplier, and the residual's term; of an op with a shift of its own,
        what it shifts. Without zero point and rounding.
        """
        if requantization_of(self.op) is None:
            return run_unit(_without_shift(self.unit), self.operands).astype(np.int64)
        return scaled_sums(self.unit, self.sums, self.operands)

    @property
    def shifts(self) -> NDArray[np.int64]:
        """The places of the last right shift, [channels] or [1]; the most of a GroupShift."""
        parameters = requantization_of(self.op)
        if isinstance(self.op, GroupShift):
            return np.array([self.unit.tensors[self.op.exponent].code_type.high], np.int64)
        if parameters is None:
            return np.array([getattr(self.op, "shift", 0)], np.int64)
        assert parameters.shift is not None
        shifts = self.unit.constants[parameters.shift].astype(np.int64)
        wraps = parameters.left_shift is LeftShift.WRAP
        return np.maximum(shifts, FIRST_STEP) if wraps else shifts

    def codes_of(self, unit: IntGraph, operands: Sequence[Array] | None = None) -> Array:
        """Return the codes of a changed unit, on the trial's operands or others."""
        if operands is None and requantization_of(self.op) is not None and self.same_sums(unit):
            return finished(unit, self.sums, self.operands)
        return run_unit(unit, self.operands if operands is None else operands)

    def same_sums(self, unit: IntGraph) -> bool:
        """Tell whether a changed unit's requantization takes what this one's takes."""
        (op,) = unit.ops
        if requantization_of(op) is None or type(op) is not type(self.op):
            return False
        for declared in fields(op):
            if declared.name not in _FINISHING and (
                getattr(op, declared.name) != getattr(self.op, declared.name)
            ):
                return False
        finishing = {op.name, residual_of(op), *_finishing_constants(op)}
        names = {*op.operands, *op.constants} - finishing
        return all(
            unit.constants.get(name) is self.unit.constants.get(name)
            and unit.tensors[name] == self.unit.tensors[name]
            for name in names
        )


_FINISHING = frozenset({"requantize", "residual", "residual_multiplier", "residual_fraction_bits"})


def _finishing_constants(op: Op) -> set[str | None]:
    (parameters,) = op.requantizations
    return {
        parameters.multiplier,
        parameters.shift,
        getattr(op, "residual_multiplier", None),
    }


def without_requantization(unit: IntGraph) -> IntGraph:
    """Return the unit whose results are the sums that its requantization would take."""
    (op,) = unit.ops
    identity = Requantization(
        multiplier=_ONE, shift=_ZERO, rounding=Rounding.FLOOR, overflow=Overflow.SATURATE
    )
    changes: dict[str, Any] = {"requantize": identity}
    if isinstance(op, AnyMatMul):
        changes |= {"residual": None, "residual_multiplier": None, "residual_fraction_bits": 0}
    made = {
        name: Tensor(name=name, shape=(1,), type=IntType(bits=1, signed=False), role=Role.CONSTANT)
        for name in (_ONE, _ZERO)
    }
    wide = replace(unit.result(op), type=WIDE, zero_point=0)
    return replace(
        unit,
        ops=(replace(op, **changes),),
        tensors={**unit.tensors, **made, op.name: wide},
        constants={
            **unit.constants,
            _ONE: np.ones(1, np.int64),
            _ZERO: np.zeros(1, np.int64),
        },
    )


def _without_shift(unit: IntGraph) -> IntGraph:
    """Return the unit of an op with a shift of its own, its results what it would shift."""
    (op,) = unit.ops
    # Nothing is rounded by 0 places; roundings on the way there stay.
    changes: dict[str, Any] = {"shift": 0, "overflow": Overflow.SATURATE}
    changed = replace(op, **changes)
    wide = replace(unit.result(op), type=WIDE, zero_point=0)
    return replace(unit, ops=(changed,), tensors={**unit.tensors, op.name: wide})


def scaled_sums(unit: IntGraph, sums: IntArray, operands: Sequence[Array]) -> NDArray[np.int64]:
    """Return what a requantization in fixed point shifts to the right, without its zero point."""
    (op,) = unit.ops
    (parameters,) = op.requantizations
    assert parameters.shift is not None
    values = sums.astype(np.int64)
    shifts = unit.constants[parameters.shift].astype(np.int64)
    if parameters.left_shift is LeftShift.WRAP:
        left = np.maximum(FIRST_STEP - shifts, 0)
        values = np.where(left > 0, (values << left).astype(np.int32), values)
    scaled: NDArray[np.int64] = values * unit.constants[parameters.multiplier].astype(np.int64)
    return scaled + residual_terms(unit, operands)


def with_factors(unit: IntGraph, sums: IntArray, operands: Sequence[Array]) -> IntArray:
    """Return what a requantization takes of the sums in an accumulator [images, ..., channels].

    It is the sums, but of products with factors of rows and columns.
    """
    (op,) = unit.ops
    if not isinstance(op, ScaledMatMul):
        return sums
    given = by_field(op, operands)
    values = sums.astype(np.int64)
    if op.row_factor is not None:
        values = values * given["row_factor"].astype(np.int64)
    if op.column_factor is not None:
        values = values * given["column_factor"].astype(np.int64).swapaxes(-1, -2)
    return values if op.bias is None else values + unit.constants[op.bias].astype(np.int64)


def accumulating(unit: IntGraph) -> IntGraph:
    """Return the unit of an op with a requantization whose results are its accumulator's sums."""
    plain = without_requantization(unit)
    (op,) = plain.ops
    if not isinstance(op, ScaledMatMul):
        return plain
    return replace(plain, ops=(replace(op, row_factor=None, column_factor=None, bias=None),))


def residual_terms(unit: IntGraph, operands: Sequence[Array]) -> NDArray[np.int64]:
    """Return what a residual adds to the products before the shift; a zero without one."""
    (op,) = unit.ops
    if not isinstance(op, AnyMatMul) or op.residual is None:
        return np.zeros(1, np.int64)
    residual = operands[op.operands.index(op.residual)]
    codes = residual.astype(np.int64) - unit.tensors[op.residual].zero_point
    return codes * residual_factors(unit, op)


def finished(unit: IntGraph, sums: IntArray, operands: Sequence[Array]) -> Array:
    """Return the codes that a unit's requantization makes of sums [images, ..., channels]."""
    (op,) = unit.ops
    (parameters,) = op.requantizations
    requantize = requantizer(unit, parameters, unit.result(op))
    if not isinstance(op, AnyMatMul) or op.residual is None:
        return requantize(sums)[0]
    assert isinstance(requantize, Requantizer)
    zero_point = unit.tensors[op.residual].zero_point
    residual = operands[op.operands.index(op.residual)]
    return requantize.onto(sums, None, residual, zero_point, residual_factors(unit, op))[0]


def is_fixed_point(op: Op) -> bool:
    """Tell whether an op ends in a right shift of integers."""
    parameters = requantization_of(op)
    if parameters is not None:
        return parameters.arithmetic is Arithmetic.FIXED_POINT
    return op.computes_in == "integer" and hasattr(op, "shift") and hasattr(op, "rounding")
