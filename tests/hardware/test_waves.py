# SPDX-License-Identifier: Apache-2.0
"""Signals of a simulator's own waveforms, VCD and FST, beside golden vectors."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simulator.executor import Executor
from simulator.golden.check.check import check_dump
from simulator.golden.check.verdict import Status
from simulator.golden.dump.folder import find_dump
from simulator.golden.dump.mapping import read_mapping
from simulator.golden.record import Recording, record
from simulator.graph import GraphBuilder
from simulator.graph.ops import Rescale
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

WORDS = 32
BENCH = """
`timescale 1ns / 1ps
module bench;
  reg clk = 0, valid = 0;
  reg [31:0] words[0:31], out;
  integer i = 0, waiting = 0;
  always #5 clk = ~clk;
  always @(posedge clk) begin
    waiting <= waiting + 1;
    valid <= waiting % 3 != 1 && i < 32;
    out <= waiting % 3 != 1 ? words[i] : 32'hdeadbeef;
    if (waiting % 3 != 1) i <= i + 1;
    if (i == 40) $finish;
  end
  initial begin
    $readmemh("words.hex", words);
    $dumpfile("run.wave");
    $dumpvars(0, bench);
  end
endmodule
"""
MAPPING = """
[[array]]
op = "half"
file = "run.wave"
format = "wave"
signal = "bench.out"
clock = "bench.clk"
when = ["bench.valid"]
lanes = 4
"""


@pytest.mark.parametrize("form", ["vcd", "fst"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "a lane wrong"])
def test_a_stream_of_words_is_read_from_the_wave(
    needs: Callable[..., None], tmp_path: Path, form: str, right: bool
) -> None:
    needs("iverilog")
    builder, s8 = GraphBuilder("halves"), IntType(bits=8)
    a = builder.input("a", (8, 8), s8)
    rule = {"rounding": Rounding.HALF_UP, "overflow": Overflow.SATURATE, "type": s8}
    builder.op(Rescale, "half", a, multiplier=[1], shift=[1], **rule)
    graph = builder.build()
    codes = np.random.default_rng(1).integers(-128, 128, (2, 8, 8)).astype(np.int8)
    golden = tmp_path / "golden"
    golden.mkdir()
    recording = Recording(graph=graph, ops=graph.ops, images=2, source="a test")
    manifest = record(recording, Executor(graph, gemm="numba", threads=1), [codes], golden)

    result = np.load(golden / "tensors" / "half.npy")
    if not right:
        result[1, 3, 6] ^= 1
    words = result.reshape(WORDS, 4).view("<u4").ravel()
    (tmp_path / "words.hex").write_text("".join(f"{word:08x}\n" for word in words))
    (tmp_path / "bench.v").write_text(BENCH)
    (tmp_path / "map.toml").write_text(MAPPING)
    subprocess.run(["iverilog", "-g2012", "-o", "bench", "bench.v"], cwd=tmp_path, check=True)
    subprocess.run(["vvp", "bench", f"-{form}"], cwd=tmp_path, check=True, capture_output=True)

    found = find_dump(manifest, tmp_path, read_mapping(tmp_path / "map.toml"))
    (verdict,) = check_dump(golden, found).arrays
    assert verdict.values == WORDS * 4
    if right:
        assert verdict.status is Status.EQUAL
        return
    assert verdict.differing == 1
    assert verdict.mismatches[0].index == (1, 3, 6)
    assert verdict.findings[0].sentence == "bit 0 of the value at [1, 3, 6] alone is inverted"
