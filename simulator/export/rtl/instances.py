# SPDX-License-Identifier: Apache-2.0
"""Instances of our units as SystemVerilog: parameters by name, ports by net."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from simulator.export.rtl.bench import Bench, Stream
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.ranges import signed_bits
from simulator.numerics.integer_type import IntType
from simulator.numerics.rescaling import RescaleRule

Parameters = Mapping[str, int | str]
CLOCK = {"clock": "clock", "reset": "reset"}
INPUT = {"in_valid": "in_valid", "in_ready": "in_ready"}
OUTPUT = {"out_valid": "out_valid", "out_ready": "out_ready"}
CODE = {"out_code": "out_code", "out_saturated": ""}
SCALED_WIDTH = 64  # what the emulator computes in


def position(choice: Enum) -> int:
    """Return the number by which units know a choice: its place in the enumeration."""
    return list(type(choice)).index(choice)


def instance(unit: str, name: str, parameters: Parameters, ports: Mapping[str, str]) -> str:
    """Return an instance; ports without a net stay open."""
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


def op_unit(
    unit: str, parameters: Parameters, operands: Mapping[str, str], results: Mapping[str, str]
) -> str:
    """Return a unit that is a whole op: its handshake is that of the testbench."""
    ports = {**CLOCK, **INPUT, "in_last": "in_last", **operands, **OUTPUT, "out_last": ""}
    return instance(unit, "op_unit", parameters, {**ports, **results})


def typed(prefix: str, kind: IntType) -> dict[str, int | str]:
    """Return the parameters of a type."""
    return {f"{prefix}_BITS": kind.bits, f"{prefix}_SIGNED": int(kind.signed)}


def result_type(bench: Bench) -> dict[str, int | str]:
    """Return the parameters of the result's type."""
    return typed("OUT", bench.result_kind)


def rule_parameters(rule: RescaleRule) -> dict[str, int | str]:
    """Return the parameters of a requantization's choices."""
    return {
        "ROUNDING": position(rule.rounding),
        "DOUBLE_ROUNDING": position(rule.double_rounding),
        "OVERFLOW": position(rule.overflow),
        "ZERO_POINT_STAGE": position(rule.zero_point_stage),
        "LEFT_SHIFT": position(rule.left_shift),
    }


def stream(bench: Bench, name: str) -> Stream:
    """Return the stream of a name."""
    return next(found for found in bench.streams if found.name == name)


def zero_point(vectors: OpVectors, name: str | None = None) -> int:
    """Return the zero point of a tensor, or of the result."""
    return vectors.tensor(name or vectors.op.name).zero_point


def centred(vectors: OpVectors, field: str, kind: IntType) -> tuple[str, int]:
    """Return the net ``centred_FIELD``, an operand less its zero point, and its width."""
    zero = zero_point(vectors, getattr(vectors.op, field))
    bits = max(
        signed_bits(kind.low - zero, kind.high - zero), kind.bits + 1, signed_bits(zero, zero)
    )
    sign = f"in_{field}[{kind.bits - 1}]" if kind.signed else "1'b0"
    minus = zero & ((1 << bits) - 1)
    text = (
        f"  wire signed [{bits - 1}:0] centred_{field} =\n"
        f"      {bits}'($signed({{{sign}, in_{field}}})) - $signed({bits}'d{minus});\n"
    )
    return text, bits
