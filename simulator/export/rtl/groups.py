# SPDX-License-Identifier: Apache-2.0
"""Modules of rotations, and of codes with a scale for each group; their testbenches' loops."""

from __future__ import annotations

from typing import Any

from simulator.export.rtl.bench import Bench, Loop, Rom, Wrapper, loops_over, strides_of
from simulator.export.rtl.instances import (
    CLOCK,
    CODE,
    INPUT,
    OUTPUT,
    SCALED_WIDTH,
    instance,
    op_unit,
    position,
    result_type,
    rule_parameters,
    stream,
    typed,
    zero_point,
)
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.bounds import intermediates
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.graph.ranges import signed_bits
from simulator.numerics.hadamard import factors, subtracted_pairs
from simulator.numerics.integer_type import IntType

_SHIFT = IntType(bits=6, signed=False)


def hadamard(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return Hadamard; its factors per channel are memories."""
    op = vectors.op
    assert isinstance(op, Hadamard)
    kind = stream(bench, "a").kind
    found = {one.name: one for one in intermediates(vectors.graph, op)}
    paley, sylvester = factors(op.order)
    # Never negative, so a signed type's top bit is none.
    bits = min(stream(bench, "multiplier").kind.bits, 63)
    roms = [
        Rom(name=name, kind=kind, words=stream(bench, name).words)
        for name, kind in (("multiplier", IntType(bits=bits, signed=False)), ("shift", _SHIFT))
    ]
    parameters: dict[str, int | str] = {
        **typed("IN", kind),
        "IN_ZERO_POINT": zero_point(vectors, op.a),
        "CHANNELS": bench.loops[-1].extent,
        "PALEY": paley,
        "SYLVESTER": sylvester,
        "SUM_WIDTH": max(signed_bits(*found["sum"].interval), kind.bits + 1),
        "MULTIPLIER_BITS": bits,
        "MULTIPLIER_FILE": "multiplier.hex",
        "SHIFT_FILE": "shift.hex",
        "SCALED_WIDTH": SCALED_WIDTH,
        **rule_parameters(op.requantize),
        **result_type(bench),
        "OUT_ZERO_POINT": zero_point(vectors),
    }
    if paley > 1:
        pairs = subtracted_pairs(paley) + 1  # the unit counts the first pair too
        name, width = f"subtracted_{paley}", int(pairs.max()).bit_length()
        roms.append(Rom(name=name, kind=IntType(bits=width, signed=False), words=pairs.reshape(-1)))
        parameters["SUBTRACTED_FILE"] = f"{name}.hex"
    return Wrapper(
        body=op_unit("hadamard", parameters, {"in_code": "in_a"}, CODE),
        units=("hadamard",),
        roms=tuple(roms),
        unused=("multiplier", "shift"),
    )


def group_scale(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return GroupMaximum or GroupExponent: one result for each group."""
    op = vectors.op
    assert isinstance(op, GroupMaximum | GroupExponent)
    bits, trim = (op.bits, op.trim) if isinstance(op, GroupExponent) else (0, 0)
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "IN_ZERO_POINT": zero_point(vectors, op.a),
        "BITS": bits,
        "TRIM": trim,
        "OUT_BITS": bench.result_kind.bits,
    }
    ports = {**CLOCK, **INPUT, "in_last": "in_last", "in_code": "in_a", **OUTPUT}
    ports["out_code"] = "out_code"
    return Wrapper(
        body=instance("group_scale", "op_unit", parameters, ports), units=("group_scale",)
    )


def group_codes(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return GroupQuantize or GroupShift."""
    op = vectors.op
    assert isinstance(op, GroupQuantize | GroupShift)
    parameters: dict[str, int | str] = {
        **typed("A", stream(bench, "a").kind),
        "A_ZERO_POINT": zero_point(vectors, op.a),
        "ROUNDING": position(op.rounding),
        "OVERFLOW": position(op.overflow),
        **result_type(bench),
        "OUT_ZERO_POINT": zero_point(vectors),
    }
    if isinstance(op, GroupShift):
        unit, scale = "group_shift", "exponent"
        parameters["EXPONENT_BITS"] = stream(bench, scale).kind.bits
    else:
        unit, scale = "group_quantize", "maximum"
        parameters |= {
            "MAXIMUM_BITS": stream(bench, scale).kind.bits,
            "NUMERATOR": op.numerator,
            "RECIPROCAL_WIDTH": op.numerator.bit_length(),
            "SHIFT": op.shift,
            "SCALED_WIDTH": SCALED_WIDTH,
        }
    operands = {"in_a": "in_a", f"in_{scale}": f"in_{scale}"}
    return Wrapper(body=op_unit(unit, parameters, operands, CODE), units=(unit,))


def group_loops(vectors: OpVectors, last: str) -> tuple[tuple[Loop, ...], dict[str, Any]]:
    """Return loops over groups and what is in one, and the strides of operands by their fields.

    ``last`` is the name of the innermost loop.
    """
    op: Any = vectors.op
    shape = vectors.tensor(op.a).shape
    groups = (vectors.images, *shape[:-1], shape[-1] // op.group)
    loops = (*loops_over(groups), Loop(name=last, extent=op.group))
    each = strides_of(groups)
    strides = dict.fromkeys(op.operand_fields[1:], (*each, 0))
    strides["a"] = (*(stride * op.group for stride in each), 1)
    return loops, strides
