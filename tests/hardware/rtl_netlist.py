# SPDX-License-Identifier: Apache-2.0
"""Netlists of Yosys beside the units that they were made of, under Icarus."""

from __future__ import annotations

import re
from pathlib import Path

from rtl_units import FOLDER, SOURCES, Elaborated
from simulators import check, icarus

BENCH = """\
`timescale 1ns / 1ps
module bench;
  reg clock = 0, reset = 1, in_valid = 0, out_ready = 0;
  reg [{bits}-1:0] inputs = 0;
  reg started = 0;
  integer element = 0, results = 0, mismatches = 0, clocks = 0;
  wire in_last = element % {row} == {row} - 1;
{wires}
  wire [{out_bits}-1:0] outputs_of_unit = {{{unit_outs}}};
  wire [{out_bits}-1:0] outputs_of_netlist = {{{netlist_outs}}};
  {unit} #({parameters}) unit ({unit_ports});
  netlist synthesized ({netlist_ports});
  always #5 clock = !clock;
  always @(negedge clock) begin
    clocks = clocks + 1;
    if (clocks == 3) reset = 0;
    if (clocks > 3) begin
      if (unit_in_ready !== netlist_in_ready || unit_out_valid !== netlist_out_valid)
        mismatches = mismatches + 1;
      if (unit_out_valid && out_ready) begin
        results = results + 1;
        if (outputs_of_unit !== outputs_of_netlist || ^outputs_of_unit === 1'bx)
          mismatches = mismatches + 1;
      end
    end
    if (results == {results} || clocks == 6000) begin
      $display("%0d results, %0d mismatches", results, mismatches);
      $finish;
    end
  end
  always @(posedge clock) if (!reset) begin
    if (in_valid && unit_in_ready) element <= element + 1;
    if (!in_valid || unit_in_ready) begin
      in_valid <= $urandom % 4 != 0;
      inputs <= {{{random}}};
    end
    out_ready <= $urandom % 4 != 0;
  end
endmodule
"""
CONTROL = {"clock", "reset", "in_valid", "in_last", "out_ready"}
HANDSHAKE = {"in_ready", "out_valid"}
_PORT = re.compile(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", re.MULTILINE)


def read(one: Elaborated, folder: Path = FOLDER) -> str:
    """Return commands of Yosys that read a unit with its parameters."""
    values = dict(one.parameters)
    for name, value in values.items():
        if isinstance(value, int) and value < 0:  # which Yosys does not read
            values[name] = f"32'd{value % (1 << 32)}"
    given = "".join(f" -set {name} {value}" for name, value in values.items())
    chosen = f"chparam{given} {one.unit}; " if given else ""
    return f"read_verilog -sv {' '.join(map(str, one.sources(folder)))}; {chosen}"


def synthesize(one: Elaborated, folder: Path) -> Path:
    """Return the netlist of a unit, a module named ``netlist``."""
    script = f"{read(one)}synth -flatten -top {one.unit}; rename -top netlist; "
    check(["yosys", "-q", "-p", f"{script}write_verilog -noattr netlist.v"], folder)
    return folder / "netlist.v"


def compare(netlist: Path, one: Elaborated, folder: Path, results: int) -> tuple[int, int]:
    """Feed a netlist and a unit with the same random elements; count results and mismatches."""
    ports = {
        name: (way, int(high or 0) + 1) for way, high, name in _PORT.findall(netlist.read_text())
    }
    outs = {name: bits for name, (way, bits) in ports.items() if way == "output"}
    data = {
        name: bits for name, (way, bits) in ports.items() if way == "input" and name not in CONTROL
    }
    text = BENCH.format(
        bits=sum(data.values()),
        row=one.row,
        wires="\n".join(_wires(data, outs)),
        out_bits=sum(bits for name, bits in outs.items() if name not in HANDSHAKE),
        unit_outs=", ".join(f"unit_{name}" for name in outs if name not in HANDSHAKE),
        netlist_outs=", ".join(f"netlist_{name}" for name in outs if name not in HANDSHAKE),
        unit=one.unit,
        parameters=", ".join(f".{name}({value})" for name, value in one.parameters.items()),
        unit_ports=_connections(ports, outs, "unit"),
        netlist_ports=_connections(ports, outs, "netlist"),
        random=", ".join(["$urandom"] * (sum(data.values()) // 32 + 1)),
        results=results,
    )
    folder.joinpath("bench.sv").write_text(text)
    program = icarus(folder, ["bench.sv", netlist, *SOURCES], "bench")
    found = re.search(
        r"^(\d+) results, (\d+) mismatches", check(["vvp", "-n", program], folder), re.MULTILINE
    )
    assert found
    return int(found[1]), int(found[2])


def _wires(data: dict[str, int], outs: dict[str, int]) -> list[str]:
    wires, lowest = [], 0
    for name, bits in data.items():
        wires.append(f"  wire [{bits}-1:0] {name} = inputs[{lowest}+:{bits}];")
        lowest += bits
    for side in ("unit", "netlist"):
        wires += [f"  wire [{bits}-1:0] {side}_{name};" for name, bits in outs.items()]
    return wires


def _connections(ports: dict[str, tuple[str, int]], outs: dict[str, int], side: str) -> str:
    nets = {name: f"{side}_{name}" if name in outs else name for name in ports}
    return ", ".join(f".{port}({net})" for port, net in nets.items())
