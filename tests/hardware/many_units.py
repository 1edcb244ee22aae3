# SPDX-License-Identifier: Apache-2.0
"""A bench of one unit in many configurations side by side, fed with the same stimuli.

All take an element at the same clock, and all results are taken once the last one is there. What
came is written to a file and compared in numpy; the stimuli come from a file as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from simulators import check, icarus, verilate

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
class Field:
    """A field of a word: a net ``NAME_field`` of ``bits`` bits, whole bytes."""

    name: str
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One instance: its module, parameters, what its inputs are connected to, its result."""

    module: str
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    inputs: Mapping[str, str]
    out_port: str = "out_code"
    out_bits: int = 8
    out_signed: bool = True

    @property
    def bytes(self) -> int:
        """Bytes of a result in the file."""
        return (self.out_bits + 7) // 8

    def instance(self, number: int) -> str:
        """Return its SystemVerilog."""
        given = ", ".join(f".{name}({_literal(value)})" for name, value in self.parameters.items())
        ports = {
            "clock": "clock",
            "reset": "reset",
            "in_valid": "in_valid",
            "in_ready": f"in_ready[{number}]",
            "in_last": "in_last",
            **self.inputs,
            "out_valid": f"out_valid[{number}]",
            "out_ready": "out_ready",
            self.out_port: f"result_{number}[{self.out_bits - 1}:0]",
        }
        connected = ", ".join(f".{port}({net})" for port, net in ports.items())
        spare = 8 * self.bytes - self.out_bits
        text = f"  wire [{8 * self.bytes - 1}:0] result_{number};\n"
        if spare:
            text += f"  assign result_{number}[{8 * self.bytes - 1}-:{spare}] = '0;\n"
        parameters = f" #({given})" if given else ""
        return f"{text}  {self.module}{parameters} unit_{number} ({connected});\n"


def _literal(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"128'd{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyUnits:
    """Configurations that take the same words.

    Attributes
    ----------
    files
        SystemVerilog and memories, by name
    nets
        SystemVerilog of what their inputs are connected to, beside the fields
    """

    fields: tuple[Field, ...]
    configurations: tuple[Configuration, ...]
    files: Mapping[str, str]
    nets: str = ""

    def bench(self, count: int) -> str:
        """Return the SystemVerilog for ``count`` words."""
        fields, low = [], 8
        for one in self.fields:
            fields.append(f"  wire [{one.bits - 1}:0] {one.name}_field = word[{low}+:{one.bits}];")
            low += one.bits
        return _BENCH.format(
            units=len(self.configurations),
            count=count,
            high=low - 1,
            fields="\n".join([*fields, self.nets]),
            instances="".join(one.instance(i) for i, one in enumerate(self.configurations)),
            line=", ".join(f"result_{number}" for number in range(len(self.configurations))),
        )

    def run(
        self,
        folder: Path,
        simulator: str,
        runtime: Path | None,
        fields: Mapping[str, Integers],
        last: NDArray[np.bool_],
    ) -> list[NDArray[np.int64]]:
        """Feed words [count] and return the results of each configuration, int64."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {**self.files, "bench.sv": self.bench(len(last))}.items():
            (folder / name).write_text(text)
        self._write_stimuli(folder / "stimuli.hex", fields, last)
        sources = ["bench.sv", *(name for name in self.files if name.endswith(".sv"))]
        if simulator == "iverilog":
            check(["vvp", "-n", icarus(folder, sources, "bench")], folder)
        else:
            assert runtime is not None
            options = ["-Wno-fatal", "-Wno-WIDTH", "-Wno-PINMISSING"]
            check([verilate(folder, sources, "bench", runtime, options=options)], folder)
        return self._read_results(folder / "results.hex")

    def _write_stimuli(
        self, path: Path, fields: Mapping[str, Integers], last: NDArray[np.bool_]
    ) -> None:
        parts = [last.astype(np.uint8).reshape(-1, 1)]
        for one in self.fields:
            values = np.ascontiguousarray(fields[one.name]).astype("<i8").reshape(-1, 1)
            parts.append(values.view(np.uint8)[:, : one.bits // 8])
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
