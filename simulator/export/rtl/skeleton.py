# SPDX-License-Identifier: Apache-2.0
"""The module under test: its ports, around our units or left for somebody to fill in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.export.rtl.bench import Bench


def module_text(bench: Bench, module: str, body: str, unused: Sequence[str]) -> str:
    """Return our units as one module."""
    return (
        f"// Op {bench.op} ({bench.formula}) by our units; parameters are the op's fields.\n"
        "`timescale 1ns / 1ps\n"
        "/* verilator lint_off DECLFILENAME */\n"
        "/* verilator lint_off PINCONNECTEMPTY */\n"
        "/* verilator lint_off UNUSEDSIGNAL */\n"
        f"{_header(bench, module, unused)}{body}endmodule\n"
    )


def skeleton_text(bench: Bench, module: str) -> str:
    """Return a module without contents, and what its ports carry as a comment."""
    comment = "\n".join(f"// {line}".rstrip() for line in _meaning(bench))
    header = _header(bench, module, ())
    return f"{comment}\n`timescale 1ns / 1ps\n{header}\n  // Your RTL.\nendmodule\n"


def _header(bench: Bench, module: str, unused: Sequence[str]) -> str:
    ports = [
        "input wire clock",
        "input wire reset",
        "input wire in_valid",
        "output wire in_ready",
        "input wire in_last",
        *(
            f"input wire [{stream.kind.bits - 1}:0] in_{stream.name}"
            for stream in bench.streams
            if stream.name not in unused
        ),
        "output wire out_valid",
        "input wire out_ready",
        f"output wire [{bench.result_kind.bits - 1}:0] out_code",
    ]
    return f"module {module} (\n" + ",\n".join(f"    {port}" for port in ports) + "\n);\n"


def _meaning(bench: Bench) -> Iterator[str]:
    last = bench.loops[-1].extent
    yield f"Op {bench.op}: {bench.formula}, as docs/ir.md of aocq defines it."
    yield ""
    yield "An element is taken at a rising edge of clock at which in_valid and in_ready are 1, a"
    yield "result is given away where out_valid and out_ready are. reset is synchronous and high."
    if bench.sums:
        yield f"{last} elements make a sum, the last with in_last, and each sum gives one result."
    else:
        yield f"{last} elements make a row, the last with in_last; each element gives one result."
    yield ""
    for stream in bench.streams:
        yield f"in_{stream.name}: {stream.kind}"
    yield f"out_code: {bench.result_kind}"
    for rom in bench.roms:
        yield f"{rom.name}.hex: {rom.words.size} words {rom.kind}, for $readmemh"
    yield ""
    for name, value in bench.numbers.items():
        yield f"{name} = {value}"
