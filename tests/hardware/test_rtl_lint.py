# SPDX-License-Identifier: Apache-2.0
"""The RTL units through Verilator's lint and Yosys: no warning, no latch, no lost sign."""

from __future__ import annotations

import re
import shutil

import pytest
from rtl_units import DEFAULTS, FOLDER, NAMES, OTHERS, PARTS, SOURCES, false_extensions
from simulators import check, icarus, run

ARITHMETIC = [one for one in [*DEFAULTS.values(), *OTHERS] if one.unit not in PARTS]


def read(one, folder=FOLDER):
    values = dict(one.parameters)
    for name, value in values.items():
        if isinstance(value, int) and value < 0:  # which Yosys does not read
            values[name] = f"32'd{value % (1 << 32)}"
    given = "".join(f" -set {name} {value}" for name, value in values.items())
    chosen = f"chparam{given} {one.unit}; " if given else ""
    files = " ".join(map(str, one.sources(folder)))
    return f"read_verilog -sv {files}; {chosen}"


@pytest.mark.parametrize("unit", NAMES)
def test_verilator_has_nothing_to_say(needs, tmp_path, unit):
    needs("verilator")
    for one in [DEFAULTS[unit], *(other for other in OTHERS if other.unit == unit)]:
        one.write_memories(tmp_path)
        given = [f"-G{name}={value}" for name, value in one.parameters.items()]
        command = ["verilator", "--lint-only", "-Wall", *given, "-y", FOLDER]
        text = check([*command, FOLDER / f"{unit}.sv", "--top-module", unit], tmp_path)
        assert "Warning" not in text, (str(one), text)


def test_lint_finds_what_it_should(needs, tmp_path):
    needs("verilator")
    for source in SOURCES:
        text = source.read_text()
        if source.name == "requantizer.sv":
            text = text.replace("scaled <= product + in_residual_term", "scaled <= in_accumulator")
            assert text != source.read_text()
        tmp_path.joinpath(source.name).write_text(text)
    done = run(["verilator", "--lint-only", "-Wall", "requantizer.sv"], tmp_path)
    assert done.returncode
    assert "WIDTHEXPAND" in done.stdout


def test_no_suppressed_warning_and_a_timescale():
    for source in SOURCES:
        text = source.read_text()
        assert "lint_off" not in text
        assert text.count("`timescale 1ns / 1ps\n") == 1
        assert "`default_nettype none\n" in text


@pytest.mark.parametrize("unit", NAMES)
def test_yosys_makes_no_latch(needs, tmp_path, capsys, unit):
    needs("verilator", "yosys")
    one = DEFAULTS[unit]
    one.write_memories(tmp_path)
    script = f"{read(one)}synth -flatten -top {unit}; check -assert; tee -o cells.txt stat"
    check(["yosys", "-q", "-p", script], tmp_path)
    text = tmp_path.joinpath("cells.txt").read_text()
    found = re.search(r"Number of cells: +(\d+)", text)
    assert found
    assert "latch" not in text.lower()
    with capsys.disabled():
        print(f"\nYosys: {unit} {found[1]} cells")


def test_a_latch_would_be_seen(needs, tmp_path):
    needs("verilator", "yosys")
    tmp_path.joinpath("one.sv").write_text(
        "module one (input wire a, input wire b, output reg y);\n"
        "  always @* if (a) y = b;\nendmodule\n"
    )
    script = "read_verilog -sv one.sv; synth -top one; tee -o cells.txt stat"
    check(["yosys", "-q", "-p", script], tmp_path)
    assert "latch" in tmp_path.joinpath("cells.txt").read_text().lower()


def elaborate(one, folder, sources=FOLDER):
    one.write_memories(folder)
    script = f"{read(one, sources)}hierarchy -top {one.unit}; proc; write_json design.json"
    check(["yosys", "-q", "-p", script], folder)
    return folder / "design.json"


@pytest.mark.parametrize("one", ARITHMETIC, ids=str)
def test_no_sign_is_lost(needs, tmp_path, one):
    needs("verilator", "yosys")
    assert not false_extensions(elaborate(one, tmp_path))


@pytest.mark.parametrize(
    ("unit", "right", "wrong"),
    [
        # The concatenation is unsigned: its shift is no longer arithmetic.
        ("output_stage", "= widened >>> places", "= {dividend, 1'b0} >>> places"),
        ("requantizer", "($signed(in_zero_point))", "({in_zero_point})"),
        ("requantizer", "product + in_residual_term", "product + {1'b0, in_accumulator}"),
        ("mac", "EXACT_BITS'($signed(accumulator))", "EXACT_BITS'($unsigned(accumulator))"),
    ],
)
def test_a_lost_sign_would_be_seen(needs, tmp_path, unit, right, wrong):
    needs("verilator", "yosys")
    folder = tmp_path / "sources"
    folder.mkdir()
    for source in SOURCES:
        shutil.copy(source, folder)
    text = folder.joinpath(f"{unit}.sv").read_text()
    assert right in text
    folder.joinpath(f"{unit}.sv").write_text(text.replace(right, wrong))
    assert false_extensions(elaborate(DEFAULTS[unit], tmp_path, folder))


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
    if (clocks == {clocks}) begin
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
CONTROL = {"clock": 1, "reset": 1, "in_valid": 1, "in_last": 1, "out_ready": 1}
NETLISTS = [one for one in OTHERS if one.unit not in PARTS]


@pytest.mark.parametrize("one", NETLISTS, ids=str)
def test_what_yosys_makes_computes_the_same(needs, tmp_path, one):
    needs("verilator", "yosys", "iverilog")
    one.write_memories(tmp_path)
    script = (
        f"{read(one)}synth -flatten -top {one.unit}; rename -top netlist; "
        "write_verilog -noattr netlist.v"
    )
    check(["yosys", "-q", "-p", script], tmp_path)
    netlist = tmp_path / "netlist.v"
    ports = {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in re.findall(
            r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", netlist.read_text(), re.M
        )
    }
    outs = {name: bits for name, (way, bits) in ports.items() if way == "output"}
    data = {n: b for n, (way, b) in ports.items() if way == "input" and n not in CONTROL}
    wires, lowest = [], 0
    for name, bits in data.items():
        wires.append(f"  wire [{bits}-1:0] {name} = inputs[{lowest}+:{bits}];")
        lowest += bits
    for side in ("unit", "netlist"):
        wires += [f"  wire [{bits}-1:0] {side}_{name};" for name, bits in outs.items()]
    controls = {name: name for name in (*CONTROL, *data) if name in ports}
    results = [name for name in outs if name not in ("in_ready", "out_valid")]

    def connected(side):
        nets = {**controls, **{name: f"{side}_{name}" for name in outs}}
        return ", ".join(f".{port}({net})" for port, net in nets.items())

    bench = BENCH.format(
        bits=lowest,
        row=one.row,
        wires="\n".join(wires),
        out_bits=sum(outs[name] for name in results),
        unit_outs=", ".join(f"unit_{name}" for name in results),
        netlist_outs=", ".join(f"netlist_{name}" for name in results),
        unit=one.unit,
        parameters=", ".join(f".{name}({value})" for name, value in one.parameters.items()),
        unit_ports=connected("unit"),
        netlist_ports=connected("netlist"),
        clocks=2000,
        random=", ".join(["$urandom"] * (lowest // 32 + 1)),
    )
    tmp_path.joinpath("bench.sv").write_text(bench)
    program = icarus(tmp_path, ["bench.sv", netlist, *SOURCES], "bench")
    text = check(["vvp", "-n", program], tmp_path)
    found = re.search(r"^(\d+) results, (\d+) mismatches", text, re.M)
    assert found, text
    assert int(found[1]) > 100
    assert found[2] == "0"
