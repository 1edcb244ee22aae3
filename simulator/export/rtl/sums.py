# SPDX-License-Identifier: Apache-2.0
"""Modules of ``mac`` and ``requantizer``: sums of products and Mean, Rescale and Mul."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.export.rtl.bench import Bench, Part, Stream, Wrapper
from simulator.export.rtl.instances import (
    CLOCK,
    CODE,
    INPUT,
    OUTPUT,
    SCALED_WIDTH,
    Parameters,
    centred,
    instance,
    position,
    result_type,
    rule_parameters,
    stream,
    typed,
    zero_point,
)
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.bounds import bounds
from simulator.graph.ops import AnyMatMul, MatMul, Mean, NormalizedMatMul
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.integer_type import IntType, Overflow

# Of a mac whose products have no exponents: parameters and ports.
NOT_SHIFTED: tuple[dict[str, int | str], dict[str, str]] = (
    {"SHIFTED_LEVEL": -1, "EXPONENT_BITS": 1},
    {"in_exponent": "1'b0"},
)
_NO_TERM = f"{SCALED_WIDTH}'d0"
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


def sums_of(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return MatMul or Mean, or one of its parts."""
    if bench.part is Part.REQUANTIZATION:
        return _requantization(bench, vectors)
    before, parameters, operands = _operands(bench, vectors)
    registers = accumulator_parameters(vectors)
    parameters, operands = {**parameters, **NOT_SHIFTED[0]}, {**operands, **NOT_SHIFTED[1]}
    if bench.part is Part.SUMS:
        ports = {**CLOCK, **INPUT, "in_last": "in_last", **operands, **OUTPUT}
        ports["out_accumulator"] = "out_code"
        body = before + instance("mac", "sum_unit", {**parameters, **registers}, ports)
        return Wrapper(body=body, units=("mac",))
    kept = [found for found in bench.streams if found.name not in ("a", "b", "bias")]
    nets, term, units = residual_term(bench, vectors)
    bits = registers["ACCUMULATOR_BITS"]
    assert isinstance(bits, int)
    sums = {"out_valid": "sum_valid", "out_ready": "sum_ready", "out_accumulator": "sum"}
    ports = {**CLOCK, **INPUT, "in_last": "in_last", **operands, **sums}
    rescaled = {"in_valid": "sum_valid", "in_ready": "sum_ready", "in_last": "1'b1"}
    rescaled |= {"in_accumulator": "sum", "in_multiplier": "multiplier"}
    body = (
        f"  wire sum_valid, sum_ready;\n  wire signed [{bits - 1}:0] sum;\n{before}"
        + beside_sums(kept)
        + instance("mac", "sum_unit", {**parameters, **registers}, ports)
        + nets
        + requantizer(bench, vectors, bits, {**rescaled, "in_shift": "6'(shift)"}, term)
    )
    return Wrapper(body=body, units=("mac", "requantizer", *units))


def _operands(bench: Bench, vectors: OpVectors) -> tuple[str, Parameters, Mapping[str, str]]:
    """Return nets, parameters and connections of what a ``mac`` multiplies."""
    a = stream(bench, "a").kind
    if isinstance(vectors.op, Mean):
        nets, bits = centred(vectors, "a", a)
        operand, one = IntType(bits=bits), IntType(bits=2)
        parameters = {**typed("A", operand), **typed("B", one), "BIAS_BITS": 2}
        return nets, parameters, {"in_a": "centred_a", "in_b": "2'd1", "in_bias": "2'd0"}
    op = vectors.op
    assert isinstance(op, MatMul)
    bias = stream(bench, "bias").kind.bits if op.bias else 2
    parameters = {**typed("A", a), **typed("B", stream(bench, "b").kind), "BIAS_BITS": bias}
    ports = {"in_a": "in_a", "in_b": "in_b", "in_bias": "in_bias" if op.bias else "2'd0"}
    return "", parameters, ports


def accumulator_parameters(vectors: OpVectors) -> dict[str, int | str]:
    """Return the registers of a ``mac``; sums that stay exact have one register, wide enough."""
    op = vectors.op
    assert isinstance(op, AnyMatMul | Mean | NormalizedMatMul)
    levels = op.accumulator.levels
    outer, overflow, inner = levels[-1].bits, levels[-1].overflow, levels[:-1]
    if op.accumulator.policy is OverflowPolicy.REPORT:
        exact = bounds(vectors.graph, op).accumulator
        assert exact is not None
        outer, overflow, inner = max(outer, signed_bits(*exact)), Overflow.WRAP, ()
    packed = {
        "INNER_GROUPS": [level.group for level in inner],
        "INNER_BITS": [level.bits for level in inner],
        "INNER_OVERFLOWS": [position(level.overflow) for level in inner],
    }
    found: dict[str, int | str] = {
        "ACCUMULATOR_BITS": outer,
        "ACCUMULATOR_OVERFLOW": position(overflow),
        "BIAS_STAGE": position(op.accumulator.bias),
        "INNER_LEVELS": len(inner),
    }
    for name, numbers in packed.items():
        found[name] = sum(number << 32 * level for level, number in enumerate(numbers))
    return found


def beside_sums(streams: list[Stream]) -> str:
    """Return SystemVerilog that keeps streams beside the sum that they belong to."""
    text = _KEPT.format(
        bits=sum(found.kind.bits for found in streams),
        nets=", ".join(f"in_{found.name}" for found in reversed(streams)),
    )
    low = 0
    for found in streams:
        bits = found.kind.bits
        text += f"  wire [{bits - 1}:0] {found.name} = kept[{low}+:{bits}];\n"
        low += bits
    return text


def residual_term(
    bench: Bench, vectors: OpVectors, prefix: str = ""
) -> tuple[str, str, tuple[str, ...]]:
    """Return SystemVerilog of a residual's term, its net, and the unit."""
    op = vectors.op
    if not isinstance(op, AnyMatMul) or op.residual is None:
        return "", _NO_TERM, ()
    parameters = {
        **typed("RESIDUAL", stream(bench, "residual").kind),
        "RESIDUAL_ZERO_POINT": zero_point(vectors, op.residual),
        "MULTIPLIER_BITS": stream(bench, "residual_multiplier").kind.bits,
        "FRACTION_BITS": op.residual_fraction_bits,
        "SCALED_WIDTH": SCALED_WIDTH,
    }
    ports = {"residual": f"{prefix}residual", "multiplier": f"{prefix}residual_multiplier"}
    ports |= {"shift": f"6'({prefix}shift)", "term": "term"}
    nets = f"  wire signed [{SCALED_WIDTH - 1}:0] term;\n"
    text = nets + instance("residual_term", "residual_unit", parameters, ports)
    return text, "term", ("residual_term",)


def _requantization(bench: Bench, vectors: OpVectors) -> Wrapper:
    nets, term, units = residual_term(bench, vectors, "in_")
    bits = stream(bench, "accumulator").kind.bits
    return rescaling(bench, vectors, (nets, "in_accumulator", bits), term, units)


def rescaling(
    bench: Bench,
    vectors: OpVectors,
    value: tuple[str, str, int],
    term: str = _NO_TERM,
    others: tuple[str, ...] = (),
) -> Wrapper:
    """Return a ``requantizer`` of a value of every element: its nets, its name and its bits."""
    nets, name, bits = value
    ports = {**INPUT, "in_last": "in_last", "in_accumulator": name}
    ports |= {"in_multiplier": "in_multiplier", "in_shift": "6'(in_shift)"}
    body = nets + requantizer(bench, vectors, bits, ports, term)
    return Wrapper(body=body, units=("requantizer", *others))


def requantizer(
    bench: Bench, vectors: OpVectors, bits: int, ports: Mapping[str, str], term: str
) -> str:
    """Return a ``requantizer`` of sums of so many bits."""
    (rule,) = vectors.op.requantizations
    zero = zero_point(vectors)
    zero_bits = max(signed_bits(zero, zero), 2)
    parameters = {
        "ACCUMULATOR_BITS": bits,
        "MULTIPLIER_BITS": stream(bench, "multiplier").kind.bits,
        "ZERO_POINT_BITS": zero_bits,
        "SCALED_WIDTH": SCALED_WIDTH,
        **rule_parameters(rule),
        **result_type(bench),
    }
    fixed = {"in_residual_term": term, "out_last": ""}
    fixed["in_zero_point"] = f"{zero_bits}'d{zero & ((1 << zero_bits) - 1)}"
    return instance(
        "requantizer", "rescale_unit", parameters, {**CLOCK, **ports, **fixed, **OUTPUT, **CODE}
    )


def rescale(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return Rescale."""
    nets, bits = centred(vectors, "a", stream(bench, "a").kind)
    return rescaling(bench, vectors, (nets, "centred_a", bits))


def multiplication(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return Mul."""
    parts = [centred(vectors, field, stream(bench, field).kind) for field in ("a", "b")]
    bits = sum(width for _, width in parts)
    nets = "".join(text for text, _ in parts)
    nets += f"  wire signed [{bits - 1}:0] product = centred_a * centred_b;\n"
    return rescaling(bench, vectors, (nets, "product", bits))
