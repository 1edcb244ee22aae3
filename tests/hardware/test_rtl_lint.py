# SPDX-License-Identifier: Apache-2.0
"""The RTL units through Verilator's lint and Yosys: no warning, no latch, no lost sign."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from rtl_netlist import compare, read, synthesize
from rtl_units import DEFAULTS, FOLDER, NAMES, OTHERS, PARTS, SOURCES, false_extensions
from simulators import check, run

RESULTS = 200
ARITHMETIC = [one for one in [*DEFAULTS.values(), *OTHERS] if one.unit not in PARTS]


def named(one):
    """Return a short name; parameters are in the failure's text."""
    return f"{one.unit}-{OTHERS.index(one) if one in OTHERS else 'defaults'}"


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


@pytest.mark.parametrize("one", ARITHMETIC, ids=named)
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
        ("output_stationary_element", "BITS'($signed(product))", "BITS'($unsigned(product))"),
        ("weight_stationary_element", "BITS'($signed(weight))", "BITS'($unsigned(weight))"),
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


@pytest.mark.parametrize("one", OTHERS, ids=named)
def test_what_yosys_makes_computes_the_same(needs, tmp_path, one):
    needs("verilator", "yosys", "iverilog")
    one.write_memories(tmp_path)
    results, mismatches = compare(synthesize(one, tmp_path), one, tmp_path, RESULTS)
    assert results >= RESULTS // 2  # of units that divide for each result
    assert mismatches == 0


@pytest.mark.parametrize(
    ("unit", "name", "value"),
    [
        ("mac", "INNER_OVERFLOWS", f"128'd{(2 << 32) + 2}"),
        ("mac", "BIAS_STAGE", 0),
        ("requantizer", "ROUNDING", 2),
        ("requantizer", "OVERFLOW", 2),
    ],
)
def test_another_netlist_would_be_seen(needs, tmp_path, unit, name, value):
    needs("verilator", "yosys", "iverilog")
    one = next(other for other in OTHERS if other.unit == unit)
    other = replace(one, parameters={**one.parameters, name: value})
    assert compare(synthesize(one, tmp_path), other, tmp_path, RESULTS)[1] > 0
