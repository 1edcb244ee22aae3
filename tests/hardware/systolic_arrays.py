# SPDX-License-Identifier: Apache-2.0
"""Many systolic arrays in RTL side by side, each with the same matrix products to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rtl_units import SOURCES
from simulators import check, icarus, verilate

from simulator.profile import SystolicEngine

BENCH = Path(__file__).parent / "systolic_bench.sv"
_TOP = """\
`timescale 1ns / 1ps
module bench;
  reg clock = 1'b0;
  reg reset = 1'b1;
  wire [{high}:0] finished;
{instances}
  always #5 clock = !clock;
  initial begin
    repeat (4) @(negedge clock);
    reset = 1'b0;
    wait (&finished);
    $finish;
  end
  initial begin
    #{limit} $display("no end");
    $finish;
  end
endmodule
"""
Matrix = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A systolic array: its engine in a profile's words, and the widths of its registers."""

    engine: SystolicEngine
    a_bits: int = 8
    b_bits: int = 8
    accumulator_bits: int = 32

    def parameters(self) -> dict[str, int]:
        """Return the RTL's parameters."""
        return {
            "STATIONARY": int(self.engine.dataflow == "weight_stationary"),
            "OVERLAP": int(self.engine.overlap == "fold"),
            "ROWS": self.engine.rows,
            "COLUMNS": self.engine.columns,
            "A_BITS": self.a_bits,
            "B_BITS": self.b_bits,
            "ACCUMULATOR_BITS": self.accumulator_bits,
        }

    def expected(self, a: Matrix, b: Matrix) -> Matrix:
        """Return what numpy makes of the low bits of the operands, in the accumulator's width."""
        exact = signed(a, self.a_bits) @ signed(b, self.b_bits)
        return signed(exact, self.accumulator_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What an array made of one product: its sums, and clocks from the first operands on.

    Attributes
    ----------
    product
        the sums [m, n], or None where rows are missing, too many or undefined
    cycles
        the array's own count: until the last sum was complete
    last
        the clock in which the last sums left the array
    """

    product: Matrix | None
    cycles: int
    last: int


def signed(values: Matrix, bits: int) -> Matrix:
    """Return the low bits of integers as two's complement."""
    half = 1 << (bits - 1)
    return ((values + half) & (2 * half - 1)) - half


def run_arrays(
    folder: Path,
    arrays: Sequence[Array],
    operands: Sequence[tuple[Matrix, Matrix]],
    runtime: Path | None = None,
    *,
    sources: Sequence[Path] = SOURCES,
) -> list[list[Computed]]:
    """Compute products on every array: under Verilator with its runtime, else under Icarus.

    Returns
    -------
    list
        for every array, what it made of each of the operands
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_operands(folder, operands)
    sizes = {
        "VECTORS": max(len(a) for a, _ in operands),
        "PRODUCTS": len(operands),
        "A_WORDS": sum(a.size for a, _ in operands),
        "B_WORDS": sum(b.size for _, b in operands),
    }
    instances = [
        _instance(number, array.parameters() | sizes) for number, array in enumerate(arrays)
    ]
    # Far longer than it takes; 10 units of time are a clock.
    limit = 1000 * sum(10 + len(a) * b.size for a, b in operands)
    top = _TOP.format(high=len(arrays) - 1, instances="\n".join(instances), limit=limit)
    (folder / "bench.sv").write_text(top)
    files = ["bench.sv", BENCH, *sources]
    if runtime is None:
        check(["vvp", "-n", icarus(folder, files, "bench")], folder)
    else:
        options = ["-Wno-fatal", "-Wno-WIDTH"]
        check([verilate(folder, files, "bench", runtime, options=options)], folder)
    return [
        _read(folder / f"results_{number}.txt", array, operands)
        for number, array in enumerate(arrays)
    ]


def _instance(number: int, parameters: dict[str, int]) -> str:
    given = ", ".join(f".{name}({value})" for name, value in parameters.items())
    ports = f".clock(clock), .reset(reset), .finished(finished[{number}])"
    return f"  systolic_bench #(.NUMBER({number}), {given}) array_{number} ({ports});"


def _write_operands(folder: Path, operands: Sequence[tuple[Matrix, Matrix]]) -> None:
    shapes, starts = [], [0, 0]
    for a, b in operands:
        shapes += [*a.shape, b.shape[1], *starts]
        starts = [starts[0] + a.size, starts[1] + b.size]
    (folder / "shapes.hex").write_text("".join(f"{value:x}\n" for value in shapes))
    for name, matrices in zip("ab", zip(*operands, strict=True), strict=True):
        codes = np.concatenate([matrix.ravel() for matrix in matrices]) & 0xFFFF
        (folder / f"{name}.hex").write_text("".join(f"{code:x}\n" for code in codes.tolist()))


def _read(path: Path, array: Array, operands: Sequence[tuple[Matrix, Matrix]]) -> list[Computed]:
    lines = path.read_text().splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith("=")]
    assert len(ends) == len(operands), path
    found, start = [], 0
    for end, (a, b) in zip(ends, operands, strict=True):
        cycles, last = map(int, lines[end].split()[1:])
        rows = _sums(lines[start:end], array)
        product = _assemble(rows, array.engine, a.shape[0], b.shape[1])
        found.append(Computed(product=product, cycles=cycles, last=last))
        start = end + 1
    return found


def _sums(lines: Sequence[str], array: Array) -> Matrix | None:
    """Return [rows, columns]: a word of a row has column 0 in its low bits."""
    if any("x" in line for line in lines):
        return None
    bits, columns = array.accumulator_bits, array.engine.columns
    words = [int(line, 16) for line in lines]
    codes = [[word >> (bits * j) & ((1 << bits) - 1) for j in range(columns)] for word in words]
    return signed(np.array(codes, np.int64).reshape(len(words), columns), bits)


def _assemble(sums: Matrix | None, engine: SystolicEngine, m: int, n: int) -> Matrix | None:
    """Put rows of sums, in the order in which they leave an array, into the product [m, n]."""
    rows, columns = engine.rows, engine.columns
    across, down = -(-n // columns), -(-m // rows)
    weights_stay = engine.dataflow == "weight_stationary"
    if sums is None or len(sums) != across * (m if weights_stay else down * rows):
        return None
    if weights_stay:  # all vectors, columns by columns
        tiles = sums.reshape(across, m, columns)
        return tiles.transpose(1, 0, 2).reshape(m, -1)[:, :n]
    tiles = sums.reshape(down, across, rows, columns)[:, :, ::-1]  # the last row leaves first
    return tiles.transpose(0, 2, 1, 3).reshape(down * rows, -1)[:m, :n]
