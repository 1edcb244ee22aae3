# SPDX-License-Identifier: Apache-2.0
"""A bench of one unit in many configurations side by side, fed with the same stimuli.

All take an element at the same clock, and all results are taken once the last one is there. What
came is written to a file and compared in numpy; the stimuli come from a file as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from simulators import check, icarus, verilate

from simulator.export.rtl.folder import unit_files

Integers = NDArray[np.integer]

_BENCH = """\
`timescale 1ns / 1ps
module bench;
  localparam integer UNITS = {units};
  localparam integer COUNT = {count};
  reg [{high}:0] stimuli [0:COUNT-1];
  reg [{high}:0] word = '0;
  reg clock = 1'b0;
  reg reset = 1'b1;
  reg waiting = 1'b0;
  wire [UNITS-1:0] in_ready, out_valid;
  wire in_valid = waiting && (&in_ready);
  wire out_ready = &out_valid;
  wire in_last = word[0];
{fields}
{results}
  integer fed = 0;
  integer file = 0;
  integer quiet = 0;
{instances}
  always #5 clock = !clock;
  initial begin
    $readmemh("stimuli.hex", stimuli);
    file = $fopen("results.hex", "w");
    repeat (4) @(negedge clock);
    reset = 1'b0;
  end
  always @(posedge clock) begin
    if (!reset) begin
      if (!waiting || in_valid) begin
        waiting <= fed != COUNT;
        if (fed != COUNT) begin
          word <= stimuli[fed];
          fed <= fed + 1;
        end
      end
      if (out_ready) $fdisplay(file, "%h", {{{line}}});
      quiet <= in_valid || out_ready ? 0 : quiet + 1;
      if (quiet == 5000) begin
        $fclose(file);
        $finish;
      end
    end
  end
endmodule
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input of the unit, in the place of the words where ``field`` is.

    ``bits`` are the bits of its field in a word, whole bytes; the port takes the low ones.
    """

    name: str
    bits: int
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One instance: parameters, widths of its ports, its result."""

    parameters: Mapping[str, int | str]
    widths: Mapping[str, int]
    out_port: str = "out_code"
    out_bits: int = 8
    out_signed: bool = True

    @property
    def bytes(self) -> int:
        """Bytes of a result in the file."""
        return (self.out_bits + 7) // 8


def _literal(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"128'd{value}"


def _instance(
    unit: str, number: int, configuration: Configuration, has_last: bool, extra: Mapping[str, str]
) -> str:
    given = ", ".join(f".{k}({_literal(v)})" for k, v in configuration.parameters.items())
    ports = {
        "clock": "clock",
        "reset": "reset",
        "in_valid": "in_valid",
        "in_ready": f"in_ready[{number}]",
        "in_last": "in_last",
        **{
            name: f"{name}_field[{bits - 1}:0]" for name, bits in configuration.widths.items()
        },
        **extra,
        "out_valid": f"out_valid[{number}]",
        "out_ready": "out_ready",
        configuration.out_port: f"result_{number}[{configuration.out_bits - 1}:0]",
    }
    if has_last:
        ports["out_last"] = ""
    connected = ", ".join(f".{port}({net})" for port, net in ports.items())
    spare = 8 * configuration.bytes - configuration.out_bits
    filled = f"  assign result_{number}[{8 * configuration.bytes - 1}-:{spare}] = '0;\n" if spare else ""
    return f"  {unit} #({given}) unit_{number} ({connected});\n{filled}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyUnits:
    """Configurations of one unit; ``others`` are units that ``extra_nets`` need."""

    unit: str
    ports: tuple[Port, ...]
    configurations: tuple[Configuration, ...]
    has_last: bool = True
    others: tuple[str, ...] = ()
    extra_nets: str = ""
    extra_ports: tuple[Mapping[str, str], ...] = ()
    roms: Mapping[str, str] = None  # type: ignore[assignment]

    def bench(self, count: int) -> str:
        """Return the SystemVerilog for ``count`` elements."""
        fields, low = [], 8
        for port in self.ports:
            fields.append(f"  wire [{port.bits - 1}:0] {port.name}_field = word[{low}+:{port.bits}];")
            low += port.bits
        units = range(len(self.configurations))
        extra = self.extra_ports or ({},) * len(self.configurations)
        return _BENCH.format(
            units=len(self.configurations),
            count=count,
            high=low - 1,
            fields="\n".join(fields) + "\n" + self.extra_nets,
            results="\n".join(
                f"  wire [{8 * one.bytes - 1}:0] result_{number};"
                for number, one in enumerate(self.configurations)
            ),
            instances="".join(
                _instance(self.unit, number, self.configurations[number], self.has_last, extra[number])
                for number in units
            ),
            line=", ".join(f"result_{number}" for number in units),
        )

    def run(
        self,
        folder: Path,
        simulator: str,
        runtime: Path | None,
        fields: Mapping[str, Integers],
        last: NDArray[np.bool_],
    ) -> list[NDArray[np.int64]]:
        """Feed elements [count] and return the results of each configuration, int64."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (self.roms or {}).items():
            (folder / name).write_text(text)
        (folder / "bench.sv").write_text(self.bench(len(last)))
        self._write_stimuli(folder / "stimuli.hex", fields, last)
        sources = ["bench.sv"]
        for name, text in unit_files([self.unit, *self.others]).items():
            (folder / name).write_text(text)
            sources.append(name)
        if simulator == "iverilog":
            check(["vvp", "-n", icarus(folder, sources, "bench")], folder)
        else:
            assert runtime is not None
            options = ["-Wno-fatal", "-Wno-WIDTH", "-O3"]
            check([verilate(folder, sources, "bench", runtime, options=options)], folder)
        return self._read_results(folder / "results.hex")

    def _write_stimuli(
        self, path: Path, fields: Mapping[str, Integers], last: NDArray[np.bool_]
    ) -> None:
        parts = [last.astype(np.uint8).reshape(-1, 1)]
        for port in self.ports:
            values = np.ascontiguousarray(fields[port.name]).astype("<i8").reshape(-1, 1)
            parts.append(values.view(np.uint8)[:, : port.bits // 8])
        rows = np.concatenate(parts, axis=1)[:, ::-1]  # the highest byte first
        text = rows.tobytes().hex()
        digits = 2 * rows.shape[1]
        lines = [text[start : start + digits] for start in range(0, len(text), digits)]
        path.write_text("\n".join(lines) + "\n")

    def _read_results(self, path: Path) -> list[NDArray[np.int64]]:
        """Return what each unit gave; an undefined digit (x) is an error."""
        width = sum(one.bytes for one in self.configurations)
        table = np.frombuffer(bytes.fromhex(path.read_text()), np.uint8).reshape(-1, width)
        found, start = [], 0
        for one in self.configurations:
            column = np.zeros((len(table), 8), np.uint8)
            column[:, 8 - one.bytes :] = table[:, start : start + one.bytes]
            values = column.view(">u8").astype(np.int64)[:, 0]
            if one.out_signed and one.out_bits < 64:
                sign = 1 << (one.out_bits - 1)
                values = (values ^ sign) - sign
            found.append(values)
            start += one.bytes
        return found


def all_different(results: Sequence[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """Return pairs of configurations whose results do not differ anywhere."""
    return [
        (left, right)
        for right in range(len(results))
        for left in range(right)
        if np.array_equal(results[left], results[right])
    ]
