# SPDX-License-Identifier: Apache-2.0
"""The module of ScaledMatMul: ``mac`` that shifts sums, ``sum_scaler``, ``requantizer``."""

from __future__ import annotations

from simulator.export.rtl.bench import Bench, Stream, Wrapper
from simulator.export.rtl.instances import CLOCK, INPUT, instance, stream, typed
from simulator.export.rtl.sums import (
    NOT_SHIFTED,
    accumulator_parameters,
    beside_sums,
    requantizer,
    residual_term,
)
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.bounds import intermediates
from simulator.graph.ops import ScaledMatMul
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator_kernels import first_shifted_level

_OF_PRODUCTS = frozenset({"a", "b", "block_exponent"})
_OF_SCALER = ("row_factor", "column_factor", "bias")


def scaled_sums(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return ScaledMatMul."""
    registers = accumulator_parameters(vectors)
    bits = registers["ACCUMULATOR_BITS"]
    assert isinstance(bits, int)
    kept = [found for found in bench.streams if found.name not in _OF_PRODUCTS]
    behind = [found for found in kept if found.name not in _OF_SCALER]
    width = _scaled_bits(vectors, bits)
    nets, term, units = residual_term(bench, vectors, "scaled_")
    rescaled = {"in_valid": "scaled_valid", "in_ready": "scaled_ready", "in_last": "1'b1"}
    rescaled |= {"in_accumulator": "scaled_sum", "in_multiplier": "scaled_multiplier"}
    body = (
        f"  wire sum_valid, sum_ready;\n  wire signed [{bits - 1}:0] sum;\n"
        + beside_sums(kept)
        + _mac(bench, vectors, registers)
        + _scaler(bench, behind, bits, width)
        + nets
        + requantizer(bench, vectors, width, {**rescaled, "in_shift": "6'(scaled_shift)"}, term)
    )
    return Wrapper(body=body, units=("mac", "sum_scaler", "requantizer", *units))


def _mac(bench: Bench, vectors: OpVectors, registers: dict[str, int | str]) -> str:
    """Return the sums: products of codes, shifted where blocks have exponents."""
    op = vectors.op
    assert isinstance(op, ScaledMatMul)
    parameters, exponents = NOT_SHIFTED
    if op.block_exponent is not None:
        level = min(first_shifted_level(op.accumulator, op.block), _inner_levels(registers))
        exponent = stream(bench, "block_exponent").kind
        parameters = {"SHIFTED_LEVEL": level, "EXPONENT_BITS": exponent.bits}
        exponents = {"in_exponent": "in_block_exponent"}
    operands = {**typed("A", stream(bench, "a").kind), **typed("B", stream(bench, "b").kind)}
    ports = {**CLOCK, **INPUT, "in_last": "in_last", "in_a": "in_a", "in_b": "in_b"}
    ports |= {"in_bias": "2'd0", **exponents, "out_valid": "sum_valid"}
    ports |= {"out_ready": "sum_ready", "out_accumulator": "sum"}
    return instance(
        "mac", "sum_unit", {**operands, "BIAS_BITS": 2, **registers, **parameters}, ports
    )


def _inner_levels(registers: dict[str, int | str]) -> int:
    """Return how many levels a mac has: none where sums stay exact."""
    levels = registers["INNER_LEVELS"]
    assert isinstance(levels, int)
    return levels


def _scaled_bits(vectors: OpVectors, accumulator_bits: int) -> int:
    """Return the width of a scaled sum: what any input can make, no less than the sums have."""
    found = {each.name: each for each in intermediates(vectors.graph, vectors.op)}
    names = ("row_scaled", "column_scaled", "biased")
    widths = [signed_bits(*found[name].interval) for name in names if name in found]
    return max([accumulator_bits, *widths])


def _scaler(bench: Bench, behind: list[Stream], bits: int, width: int) -> str:
    """Return the factors and the bias, and the streams that go on to the requantizer."""
    present = {found.name: found.kind.bits for found in bench.streams}
    parameters: dict[str, int | str] = {
        "ACCUMULATOR_BITS": bits,
        "ROW_FACTOR_BITS": present.get("row_factor", 1),
        "COLUMN_FACTOR_BITS": present.get("column_factor", 1),
        "BIAS_BITS": present.get("bias", 2),
        "BESIDE_BITS": sum(found.kind.bits for found in behind),
        "ROW_SCALED_WIDTH": width,
        "BIASED_WIDTH": width,
    }
    neutral = {"row_factor": "1'd1", "column_factor": "1'd1", "bias": "2'd0"}
    ports = {**CLOCK, "in_valid": "sum_valid", "in_ready": "sum_ready", "in_last": "1'b1"}
    ports |= {"in_accumulator": "sum"}
    ports |= {f"in_{name}": name if name in present else net for name, net in neutral.items()}
    names = ", ".join(found.name for found in reversed(behind))
    ports |= {"in_beside": f"{{{names}}}", "out_valid": "scaled_valid"}
    ports |= {"out_ready": "scaled_ready", "out_last": "", "out_sum": "scaled_sum"}
    ports |= {"out_beside": "beside_scaled"}
    text = (
        f"  wire scaled_valid, scaled_ready;\n  wire signed [{width - 1}:0] scaled_sum;\n"
        f"  wire [{parameters['BESIDE_BITS']}-1:0] beside_scaled;\n"
    )
    low = 0
    for found in behind:
        size = found.kind.bits
        text += f"  wire [{size - 1}:0] scaled_{found.name} = beside_scaled[{low}+:{size}];\n"
        low += size
    return text + instance("sum_scaler", "scale_unit", parameters, ports)
