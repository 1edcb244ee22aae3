# SPDX-License-Identifier: Apache-2.0
"""The module of NormalizedMatMul: ``normalized_mac``, ``requantizer``."""

from __future__ import annotations

from simulator.export.rtl.bench import Bench, Wrapper
from simulator.export.rtl.instances import CLOCK, INPUT, SCALED_WIDTH, instance, stream, typed
from simulator.export.rtl.sums import accumulator_parameters, requantizer
from simulator.export.rtl.vectors import OpVectors
from simulator.graph.bounds import intermediates
from simulator.graph.ops import NormalizedMatMul
from simulator.graph.ranges import signed_bits

# A sum's factors are those of its last product; no other product comes before its result.
_LAST = """\
  reg [{top}:0] multiplier;
  reg [5:0] shift;
  always_ff @(posedge clock) begin
    if (in_valid && in_ready && in_last) begin
      multiplier <= in_multiplier;
      shift <= 6'(in_shift);
    end
  end
"""


def normalized_sums(bench: Bench, vectors: OpVectors) -> Wrapper:
    """Return NormalizedMatMul."""
    op = vectors.op
    assert isinstance(op, NormalizedMatMul)
    (levels,) = (rom for rom in bench.roms if rom.name == "levels")
    held = {found.name: signed_bits(*found.interval) for found in intermediates(vectors.graph, op)}
    registers = accumulator_parameters(vectors)
    del registers["BIAS_STAGE"]
    bits = held["normalized"]
    parameters = {
        "A_BITS": stream(bench, "a").kind.bits,
        **typed("B", stream(bench, "b").kind),
        **registers,
        "LEVEL_BITS": levels.kind.bits,
        "LEVELS_FILE": "levels.hex",
        "RECIPROCAL_BITS": op.reciprocal_bits,
        "SUM_WIDTH": held["sum"] - 1,
        "NORMALIZED_WIDTH": bits,
    }
    ports = {**CLOCK, **INPUT, "in_last": "in_last", "in_a": "in_a", "in_b": "in_b"}
    ports |= {"out_valid": "sum_valid", "out_ready": "sum_ready", "out_normalized": "sum"}
    rescaled = {"in_valid": "sum_valid", "in_ready": "sum_ready", "in_last": "1'b1"}
    rescaled |= {"in_accumulator": "sum", "in_multiplier": "multiplier", "in_shift": "shift"}
    body = (
        f"  wire sum_valid, sum_ready;\n  wire signed [{bits - 1}:0] sum;\n"
        + _LAST.format(top=stream(bench, "multiplier").kind.bits - 1)
        + instance("normalized_mac", "sum_unit", parameters, ports)
        + requantizer(bench, vectors, bits, rescaled, f"{SCALED_WIDTH}'d0")
    )
    return Wrapper(body=body, units=("normalized_mac", "requantizer"), roms=(levels,))
