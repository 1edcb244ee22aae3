# SPDX-License-Identifier: Apache-2.0
"""Our units as one module with the ports of an op's testbench: parameters are the op's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType

import numpy as np

from simulator.errors import InputError
from simulator.export.rtl.bench import Bench, Rom, Stream, Wrapper
from simulator.export.rtl.one_op import OpVectors
from simulator.graph.bounds import bounds
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import (
    Add,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Rescale,
    Softmax,
    SoftmaxIta,
)
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic

Parameters = Mapping[str, int | str]
CLOCK = {"clock": "clock", "reset": "reset"}
_INPUT = {"in_valid": "in_valid", "in_ready": "in_ready"}
_OUTPUT = {"out_valid": "out_valid", "out_ready": "out_ready"}
_CODE = {"out_code": "out_code", "out_saturated": ""}


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
    for requantization in vectors.op.requantizations:
        if requantization.arithmetic is not Arithmetic.FIXED_POINT:
            raise InputError(
                f"op {vectors.op.name}: rescales in {requantization.arithmetic}, the requantizer "
                "in fixed point; --module NAME writes the testbench around a module of your own"
            )
    return build(bench, vectors)


def position(choice: Enum) -> int:
    """Return the number by which units know a choice: its place in the enumeration."""
    return list(type(choice)).index(choice)


def instance(unit: str, name: str, parameters: Parameters, ports: Mapping[str, str]) -> str:
    """Return SystemVerilog of an instance; ports without a net stay open."""
    given = ",\n".join(
        f"      .{key}({_literal(value)})" for key, value in sorted(parameters.items())
    )
    connected = ",\n".join(f"      .{port}({net})" for port, net in ports.items())
    return f"  {unit} #(\n{given}\n  ) {name} (\n{connected}\n  );\n"


def _literal(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if -(1 << 31) <= value < 1 << 31:
        return str(value)
    return f"{64 if value < 1 << 64 else 128}'d{value}"


def _typed(prefix: str, kind: IntType) -> dict[str, int | str]:
    return {f"{prefix}_BITS": kind.bits, f"{prefix}_SIGNED": int(kind.signed)}


def _out(vectors: OpVectors) -> dict[str, int | str]:
    return _typed("OUT", vectors.tensor(vectors.op.name).code_type)


def _zero_point(vectors: OpVectors, name: str | None = None) -> int:
    return vectors.tensor(name or vectors.op.name).zero_point


def _stream(bench: Bench, name: str) -> Stream:
    return next(stream for stream in bench.streams if stream.name == name)


def _rom(stream: Stream) -> Rom:
    return Rom(name=stream.name, kind=stream.kind, words=stream.words)


def _requantizer(
    bench: Bench,
    vectors: OpVectors,
    rule: Requantization,
    accumulator_bits: int,
    ports: Mapping[str, str],
) -> str:
    zero_point = _zero_point(vectors)
    zero_point_bits = max(signed_bits(zero_point, zero_point), 2)
    value = zero_point & ((1 << zero_point_bits) - 1)
    parameters = {
        "ACCUMULATOR_BITS": accumulator_bits,
        "MULTIPLIER_BITS": _stream(bench, "multiplier").kind.bits,
        "ZERO_POINT_BITS": zero_point_bits,
        "SCALED_WIDTH": 64,
        "ROUNDING": position(rule.rounding),
        "DOUBLE_ROUNDING": position(rule.double_rounding),
        "OVERFLOW": position(rule.overflow),
        "ZERO_POINT_STAGE": position(rule.zero_point_stage),
        "LEFT_SHIFT": position(rule.left_shift),
        **_out(vectors),
    }
    fixed = {"in_zero_point": f"{zero_point_bits}'d{value}", "out_last": ""}
    return instance(
        "requantizer", "rescale_unit", parameters, {**CLOCK, **ports, **fixed, **_OUTPUT, **_CODE}
    )


def _accumulator_parameters(accumulator: Accumulator, exact_bits: int) -> dict[str, int | str]:
    """Return the registers of a ``mac``; sums that stay exact have one register, wide enough."""
    levels = accumulator.levels
    outer_bits, overflow = levels[-1].bits, levels[-1].overflow
    inner = levels[:-1]
    if accumulator.policy is OverflowPolicy.REPORT:
        outer_bits, overflow, inner = max(outer_bits, exact_bits), Overflow.WRAP, ()
    packed = {
        "INNER_GROUPS": [level.group for level in inner],
        "INNER_BITS": [level.bits for level in inner],
        "INNER_OVERFLOWS": [position(level.overflow) for level in inner],
    }
    found: dict[str, int | str] = {
        "ACCUMULATOR_BITS": outer_bits,
        "ACCUMULATOR_OVERFLOW": position(overflow),
        "BIAS_STAGE": position(accumulator.bias),
        "INNER_LEVELS": len(inner),
    }
    for name, numbers in packed.items():
        found[name] = sum(number << 32 * level for level, number in enumerate(numbers))
    return found


# What belongs to a sum goes beside the two registers that its last product passes.
_KEPT = """\
  localparam integer KEPT_BITS = {bits};
  wire [KEPT_BITS-1:0] kept_in = {{{nets}}};
  reg [KEPT_BITS-1:0] kept_at_product, kept;
  always_ff @(posedge clock) begin
    if (in_ready) begin
      kept_at_product <= kept_in;
      kept <= kept_at_product;
    end
  end
"""


def _kept(streams: tuple[Stream, ...]) -> str:
    text = _KEPT.format(
        bits=sum(stream.kind.bits for stream in streams),
        nets=", ".join(f"in_{stream.name}" for stream in reversed(streams)),
    )
    low = 0
    for stream in streams:
        bits = stream.kind.bits
        text += f"  wire [{bits - 1}:0] {stream.name} = kept[{low}+:{bits}];\n"
        low += bits
    return text


def _summing(
    bench: Bench,
    vectors: OpVectors,
    parameters: Parameters,
    operands: Mapping[str, str],
    kept: tuple[str, ...],
    term: str = "64'd0",
) -> str:
    """Return a ``mac`` and a ``requantizer`` behind it."""
    op = vectors.op
    assert isinstance(op, MatMul | Mean)
    known = bounds(vectors.graph, op).accumulator
    registers = _accumulator_parameters(op.accumulator, signed_bits(*known) if known else 0)
    bits = registers["ACCUMULATOR_BITS"]
    assert isinstance(bits, int)
    sums = instance(
        "mac",
        "sum_unit",
        {**parameters, **registers},
        {
            **CLOCK,
            **_INPUT,
            "in_last": "in_last",
            **operands,
            "out_valid": "sum_valid",
            "out_ready": "sum_ready",
            "out_accumulator": "sum",
        },
    )
    rescale = _requantizer(
        bench,
        vectors,
        op.requantize,
        bits,
        {
            "in_valid": "sum_valid",
            "in_ready": "sum_ready",
            "in_last": "1'b1",
            "in_accumulator": "sum",
            "in_multiplier": "multiplier",
            "in_shift": "6'(shift)",
            "in_residual_term": term,
        },
    )
    nets = f"  wire sum_valid, sum_ready;\n  wire signed [{bits - 1}:0] sum;\n"
    return nets + _kept(tuple(_stream(bench, name) for name in kept)) + sums + rescale


def _matmul(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, MatMul)
    bias = _stream(bench, "bias").kind if op.bias else IntType(bits=2)
    parameters = {
        **_typed("A", _stream(bench, "a").kind),
        **_typed("B", _stream(bench, "b").kind),
        "BIAS_BITS": bias.bits,
    }
    operands = {"in_a": "in_a", "in_b": "in_b", "in_bias": "in_bias" if op.bias else "2'd0"}
    if op.residual is None:
        kept = ("multiplier", "shift")
        body = _summing(bench, vectors, parameters, operands, kept)
        return Wrapper(body=body, units=("mac", "requantizer"))
    residual = _stream(bench, "residual").kind
    term = instance(
        "residual_term",
        "residual_unit",
        {
            **_typed("RESIDUAL", residual),
            "RESIDUAL_ZERO_POINT": _zero_point(vectors, op.residual),
            "MULTIPLIER_BITS": _stream(bench, "residual_multiplier").kind.bits,
            "FRACTION_BITS": op.residual_fraction_bits,
            "SCALED_WIDTH": 64,
        },
        {
            "residual": "residual",
            "multiplier": "residual_multiplier",
            "shift": "6'(shift)",
            "term": "term",
        },
    )
    kept = ("multiplier", "shift", "residual", "residual_multiplier")
    body = "  wire signed [63:0] term;\n" + _summing(
        bench, vectors, parameters, operands, kept, "term"
    )
    return Wrapper(body=body + term, units=("mac", "requantizer", "residual_term"))


def _centred(vectors: OpVectors, field: str, kind: IntType) -> tuple[str, int]:
    """Return a net of an operand less its zero point, and its width."""
    zero_point = _zero_point(vectors, getattr(vectors.op, field))
    bits = signed_bits(kind.low - zero_point, kind.high - zero_point)
    wide = max(bits, kind.bits + 1, signed_bits(zero_point, zero_point))
    sign = f"in_{field}[{kind.bits - 1}]" if kind.signed else "1'b0"
    minus = zero_point & ((1 << wide) - 1)
    text = (
        f"  wire signed [{wide - 1}:0] centred_{field} =\n"
        f"      {wide}'($signed({{{sign}, in_{field}}})) - $signed({wide}'d{minus});\n"
    )
    return text, wide


def _mean(bench: Bench, vectors: OpVectors) -> Wrapper:
    centred, wide = _centred(vectors, "a", _stream(bench, "a").kind)
    parameters = {"A_BITS": wide, "A_SIGNED": 1, "B_BITS": 2, "B_SIGNED": 1, "BIAS_BITS": 2}
    operands = {"in_a": "centred_a", "in_b": "2'd1", "in_bias": "2'd0"}
    body = _summing(bench, vectors, parameters, operands, ("multiplier", "shift"))
    return Wrapper(body=centred + body, units=("mac", "requantizer"))


def _rescaling(bench: Bench, vectors: OpVectors, nets: str, value: str, bits: int) -> Wrapper:
    """Return a ``requantizer`` of what is computed from an element."""
    (rule,) = vectors.op.requantizations
    ports = {
        **_INPUT,
        "in_last": "in_last",
        "in_accumulator": value,
        "in_multiplier": "in_multiplier",
        "in_shift": "6'(in_shift)",
        "in_residual_term": "64'd0",
    }
    body = nets + _requantizer(bench, vectors, rule, bits, ports)
    return Wrapper(body=body, units=("requantizer",))


def _rescale(bench: Bench, vectors: OpVectors) -> Wrapper:
    centred, wide = _centred(vectors, "a", _stream(bench, "a").kind)
    return _rescaling(bench, vectors, centred, "centred_a", wide)


def _mul(bench: Bench, vectors: OpVectors) -> Wrapper:
    parts = [_centred(vectors, field, _stream(bench, field).kind) for field in ("a", "b")]
    bits = sum(wide for _, wide in parts)
    nets = "".join(text for text, _ in parts)
    nets += f"  wire signed [{bits - 1}:0] product = centred_a * centred_b;\n"
    return _rescaling(bench, vectors, nets, "product", bits)


def _add(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, Add)
    multipliers = [_stream(bench, name) for name in ("multiplier_a", "multiplier_b")]
    bits = max(stream.kind.bits for stream in multipliers)
    kind = IntType(bits=min(bits, 63), signed=False)
    roms = tuple(Rom(name=stream.name, kind=kind, words=stream.words) for stream in multipliers)
    parameters = {
        **_typed("A", _stream(bench, "a").kind),
        **_typed("B", _stream(bench, "b").kind),
        "A_ZERO_POINT": _zero_point(vectors, op.a),
        "B_ZERO_POINT": _zero_point(vectors, op.b),
        "CHANNELS": bench.loops[-1].extent,
        "MULTIPLIER_BITS": kind.bits,
        "MULTIPLIER_A_FILE": "multiplier_a.hex",
        "MULTIPLIER_B_FILE": "multiplier_b.hex",
        "SHIFT": op.shift,
        "SCALED_WIDTH": 64,
        **_ending(vectors),
    }
    ports = {"in_a": "in_a", "in_b": "in_b"}
    return Wrapper(
        body=_unit("add", parameters, ports, _CODE),
        units=("add",),
        roms=roms,
        unused=("multiplier_a", "multiplier_b"),
    )


def _ending(vectors: OpVectors) -> dict[str, int | str]:
    """Return the parameters of an output stage at the end of a unit."""
    op = vectors.op
    assert isinstance(op, Add | Softmax | LayerNorm)
    return {
        "ROUNDING": position(op.rounding),
        "OVERFLOW": position(op.overflow),
        **_out(vectors),
        "OUT_ZERO_POINT": _zero_point(vectors),
    }


def _unit(
    unit: str, parameters: Parameters, operands: Mapping[str, str], results: Mapping[str, str]
) -> str:
    """Return a unit whose handshake is that of the testbench."""
    ports = {**CLOCK, **_INPUT, "in_last": "in_last", **operands, **_OUTPUT, "out_last": ""}
    return instance(unit, "op_unit", parameters, {**ports, **results})


def _lookup(bench: Bench, vectors: OpVectors) -> Wrapper:
    kind = _stream(bench, "a").kind
    table = next(rom for rom in bench.roms if rom.name == "table")
    out = vectors.tensor(vectors.op.name).code_type
    parameters = {**_typed("IN", kind), "OUT_BITS": out.bits, "TABLE_FILE": "table.hex"}
    return Wrapper(
        body=_unit("lookup", parameters, {"in_code": "in_a"}, {"out_code": "out_code"}),
        units=("lookup",),
        roms=(Rom(name="table", kind=out, words=table.words),),
    )


def _softmax(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, Softmax)
    table = next(rom for rom in bench.roms if rom.name == "table")
    parameters = {
        **_typed("IN", _stream(bench, "a").kind),
        "COLUMNS": bench.loops[-1].extent,
        "TABLE_FILE": "table.hex",
        "TABLE_BITS": table.kind.bits,
        "RECIPROCAL_BITS": op.reciprocal_bits,
        "SHIFT": op.shift,
        "NORMALISATION": position(op.normalisation),
        **_ending(vectors),
    }
    return Wrapper(
        body=_unit("softmax_exp_table", parameters, {"in_code": "in_a"}, _CODE),
        units=("softmax_exp_table",),
        roms=(table,),
    )


def _softmax_ita(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, SoftmaxIta)
    parameters = {
        **_typed("IN", _stream(bench, "a").kind),
        "COLUMNS": bench.loops[-1].extent,
        "OCTAVE_BITS": op.octave_bits,
        "GROUP": min(op.group, bench.loops[-1].extent),
        "LARGEST": op.largest,
        "OUT_BITS": vectors.tensor(op.name).code_type.bits,
        "OUT_ZERO_POINT": _zero_point(vectors),
    }
    return Wrapper(
        body=_unit("softmax_ita", parameters, {"in_code": "in_a"}, {"out_code": "out_code"}),
        units=("softmax_ita",),
    )


def _layernorm(bench: Bench, vectors: OpVectors) -> Wrapper:
    op = vectors.op
    assert isinstance(op, LayerNorm)
    channels = bench.loops[-1].extent
    given = {stream.name: _rom(stream) for stream in bench.streams if stream.name != "a"}
    for name, without in (("channel_multiplier", 1), ("channel_shift", 0)):
        words = given[name].words if name in given else np.full(channels, without)
        kind = IntType(bits=max(int(words.max()).bit_length(), 1), signed=False)
        given[name] = Rom(name=name, kind=kind, words=words)
    parameters = {
        **_typed("IN", _stream(bench, "a").kind),
        "IN_ZERO_POINT": _zero_point(vectors, op.a),
        "CHANNELS": channels,
        "BETA_SHIFT": op.beta_shift,
        "EPSILON": op.epsilon,
        "SQRT_FRACTION_BITS": op.sqrt_fraction_bits,
        "RECIPROCAL_BITS": op.reciprocal_bits,
        "NORMALIZED_FRACTION_BITS": op.normalized_fraction_bits,
        "ROOT_STEPS": op.root_steps,
        "ROOT_START_BITS": op.root_start_bits,
        "SHIFT": op.shift,
        **_ending(vectors),
    }
    for name, rom in given.items():
        parameters[f"{name.upper()}_BITS"] = rom.kind.bits
        parameters[f"{name.upper()}_FILE"] = f"{name}.hex"
    return Wrapper(
        body=_unit("layernorm", parameters, {"in_code": "in_a"}, _CODE),
        units=("layernorm",),
        roms=tuple(given.values()),
        unused=tuple(stream.name for stream in bench.streams if stream.name != "a"),
    )


_WRAPPERS: Mapping[type[Op], Callable[[Bench, OpVectors], Wrapper]] = MappingProxyType(
    {
        MatMul: _matmul,
        Mean: _mean,
        Rescale: _rescale,
        Mul: _mul,
        Add: _add,
        Lookup: _lookup,
        Softmax: _softmax,
        SoftmaxIta: _softmax_ita,
        LayerNorm: _layernorm,
    }
)
