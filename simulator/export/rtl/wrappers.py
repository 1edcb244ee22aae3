# SPDX-License-Identifier: Apache-2.0
"""Our units as one module with the ports of an op's testbench: parameters are the op's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from simulator.errors import InputError
from simulator.export.rtl.bench import Bench, Rom, Wrapper
from simulator.export.rtl.groups import group_codes, group_scale, hadamard
from simulator.export.rtl.instances import (
    CODE,
    SCALED_WIDTH,
    op_unit,
    position,
    result_type,
    stream,
    typed,
    zero_point,
)
from simulator.export.rtl.normalized_sums import normalized_sums
from simulator.export.rtl.scaled_sums import scaled_sums
from simulator.export.rtl.sums import multiplication, rescale, sums_of
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    DeferredSoftmax,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Rescale,
    ScaledMatMul,
    Softmax,
    SoftmaxIta,
)
from simulator.numerics.integer_type import IntType


def wrapper_of(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return the module of our units that computes an op.

    Raises
    ------
    InputError
        If we have no unit for it.
    """
    build = _WRAPPERS.get(type(vectors.op))
    if build is None:
        known = ", ".join(sorted(kind.__name__ for kind in _WRAPPERS))
        raise InputError(
            f"op {vectors.op.name}: there is no unit for {type(vectors.op).__name__}, only for "
            f"{known}; --module NAME writes the testbench around a module of your own"
        )
    return build(bench, vectors)


def _ending(bench: Bench, vectors: OpVectors) -> dict[str, int | str]:
    """Return the parameters of an output stage at the end of a unit."""
    op = vectors.op
    assert isinstance(op, Add | Softmax | LayerNorm)
    return {
        "SHIFT": op.shift,
        "ROUNDING": position(op.rounding),
        "OVERFLOW": position(op.overflow),
        **result_type(bench),
        "OUT_ZERO_POINT": zero_point(vectors),
        "SCALED_WIDTH": SCALED_WIDTH,
    }


def _table(bench: Bench) -> Rom:
    return next(rom for rom in bench.roms if rom.name == "table")


def _add(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, Add)
    multipliers = [stream(bench, name) for name in ("multiplier_a", "multiplier_b")]
    # Never negative, so a signed type's top bit is none.
    bits = min(max(found.kind.bits for found in multipliers), 63)
    kind = IntType(bits=bits, signed=False)
    roms = tuple(Rom(name=found.name, kind=kind, words=found.words) for found in multipliers)
    parameters = {
        **typed("A", stream(bench, "a").kind),
        **typed("B", stream(bench, "b").kind),
        "A_ZERO_POINT": zero_point(vectors, op.a),
        "B_ZERO_POINT": zero_point(vectors, op.b),
        "CHANNELS": bench.loops[-1].extent,
        "MULTIPLIER_BITS": kind.bits,
        "MULTIPLIER_A_FILE": "multiplier_a.hex",
        "MULTIPLIER_B_FILE": "multiplier_b.hex",
        **_ending(bench, vectors),
    }
    return Wrapper(
        body=op_unit("add", parameters, {"in_a": "in_a", "in_b": "in_b"}, CODE),
        units=("add",),
        roms=roms,
        unused=("multiplier_a", "multiplier_b"),
    )


def _lookup(bench: Bench, _: OpVectors) -> Wrapper:
    kind = bench.result_kind
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "OUT_BITS": kind.bits,
        "TABLE_FILE": "table.hex",
    }
    return Wrapper(
        body=op_unit("lookup", parameters, {"in_code": "in_a"}, {"out_code": "out_code"}),
        units=("lookup",),
        roms=(Rom(name="table", kind=kind, words=_table(bench).words),),
    )


def _softmax(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, Softmax)
    table = _table(bench)
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "COLUMNS": bench.loops[-1].extent,
        "TABLE_FILE": "table.hex",
        "TABLE_BITS": table.kind.bits,
        "RECIPROCAL_BITS": op.reciprocal_bits,
        "NORMALISATION": position(op.normalisation),
        **_ending(bench, vectors),
    }
    return Wrapper(
        body=op_unit("softmax_exp_table", parameters, {"in_code": "in_a"}, CODE),
        units=("softmax_exp_table",),
        roms=(table,),
    )


def _softmax_ita(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, SoftmaxIta)
    columns = bench.loops[-1].extent
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "COLUMNS": columns,
        "OCTAVE_BITS": op.octave_bits,
        "GROUP": min(op.group, columns),
        "LARGEST": op.largest,
        "OUT_BITS": bench.result_kind.bits,
        "OUT_ZERO_POINT": zero_point(vectors),
    }
    return Wrapper(
        body=op_unit("softmax_ita", parameters, {"in_code": "in_a"}, {"out_code": "out_code"}),
        units=("softmax_ita",),
    )


def _deferred_softmax(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, DeferredSoftmax)
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "COLUMNS": bench.loops[-1].extent,
        "MULTIPLIER": op.multiplier,
        "SHIFT": op.shift,
        "OUT_BITS": bench.result_kind.bits,
    }
    ports = {"in_code": "in_a"}, {"out_code": "out_code"}
    return Wrapper(
        body=op_unit("deferred_softmax", parameters, *ports), units=("deferred_softmax",)
    )


def _layernorm(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, LayerNorm)
    roms = _channel_roms(bench)
    parameters = {
        **typed("IN", stream(bench, "a").kind),
        "IN_ZERO_POINT": zero_point(vectors, op.a),
        "CHANNELS": bench.loops[-1].extent,
        "BETA_SHIFT": op.beta_shift,
        "EPSILON": op.epsilon,
        "SQRT_FRACTION_BITS": op.sqrt_fraction_bits,
        "RECIPROCAL_BITS": op.reciprocal_bits,
        "NORMALIZED_FRACTION_BITS": op.normalized_fraction_bits,
        "ROOT_STEPS": op.root_steps,
        "ROOT_START_BITS": op.root_start_bits,
        **_ending(bench, vectors),
    }
    for rom in roms:
        parameters[f"{rom.name.upper()}_BITS"] = rom.kind.bits
        parameters[f"{rom.name.upper()}_FILE"] = f"{rom.name}.hex"
    return Wrapper(
        body=op_unit("layernorm", parameters, {"in_code": "in_a"}, CODE),
        units=("layernorm",),
        roms=roms,
        unused=tuple(found.name for found in bench.streams if found.name != "a"),
    )


def _channel_roms(bench: Bench) -> tuple[Rom, ...]:
    """Return the four memories of a LayerNorm: factors of 1 and shifts of 0 where it has none."""
    found = {
        given.name: Rom(name=given.name, kind=given.kind, words=given.words)
        for given in bench.streams
        if given.name != "a"
    }
    for name, without in (("channel_multiplier", 1), ("channel_shift", 0)):
        channels = bench.loops[-1].extent
        words = found[name].words if name in found else np.full(channels, without)
        kind = IntType(bits=max(int(words.max()).bit_length(), 1), signed=False)
        found[name] = Rom(name=name, kind=kind, words=words)
    return tuple(found.values())


_WRAPPERS: Mapping[type[Op], Callable[[Bench, OpVectors], Wrapper]] = MappingProxyType(
    {
        MatMul: sums_of,
        ScaledMatMul: scaled_sums,
        Mean: sums_of,
        Rescale: rescale,
        Mul: multiplication,
        Add: _add,
        Lookup: _lookup,
        Softmax: _softmax,
        SoftmaxIta: _softmax_ita,
        DeferredSoftmax: _deferred_softmax,
        NormalizedMatMul: normalized_sums,
        LayerNorm: _layernorm,
        Hadamard: hadamard,
        GroupMaximum: group_scale,
        GroupExponent: group_scale,
        GroupQuantize: group_codes,
        GroupShift: group_codes,
    }
)
