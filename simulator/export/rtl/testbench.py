# SPDX-License-Identifier: Apache-2.0
"""The text of a self-checking testbench in SystemVerilog.

One clocked process feeds the device, one compares what it gives away; both look at ports as they
were before the clock's edge. Icarus Verilog 11 and Verilator 5 run the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import Template

from simulator.export.rtl.bench import Bench, Stream
from simulator.numerics.integer_type import IntType

# Clocks without a transfer after which the device is given up.
PATIENCE = 100_000
# Clocks behind the last result in which no other may come.
SILENCE = 256
SHOWN = 5

_TEXT = Template("""\
// Self-checking testbench of op $op ($formula): feeds the device, compares every result.
// Files: one word a line, two's complement, as many words as stated here. Plusargs: +stalls puts
// random pauses on both sides, +seed=N chooses other ones, +results=FILE writes what came.
`timescale 1ns / 1ps
/* verilator lint_off BLKSEQ */
/* verilator lint_off UNUSEDSIGNAL */
module testbench;
  localparam integer RESULTS = $results;
  localparam integer PATIENCE = $patience;
  localparam integer SILENCE = $silence;
  localparam integer SHOWN = $shown;

  // The memories.
$memories
  reg clock;
  reg reset;
  always #5 clock = !clock;

  // The device.
  reg in_valid;
  wire in_ready;
  reg in_last;
$nets
  wire out_valid;
  reg out_ready;
  wire [$out_high:0] out_code;
  $module device (
      .clock(clock),
      .reset(reset),
      .in_valid(in_valid),
      .in_ready(in_ready),
      .in_last(in_last),
$ports
      .out_valid(out_valid),
      .out_ready(out_ready),
      .out_code(out_code)
  );

  // A file must have as many words as its memory: $$readmemh only warns of missing ones.
  integer problems;
  integer handle, lines, characters;
  reg [511:0] line;
  task check_words(input [255:0] name, input integer words);
    begin
      lines = 0;
      handle = $$fopen(name, "r");
      if (handle != 0) begin
        characters = $$fgets(line, handle);
        while (characters != 0) begin
          lines = lines + 1;
          characters = $$fgets(line, handle);
        end
        $$fclose(handle);
      end
      if (lines != words) begin
        $$display("FILE %0s: has %0d words, wanted %0d", name, lines, words);
        problems = problems + 1;
      end
    end
  endtask

  // Random pauses by a shift register with feedback.
  reg stalls;
  integer seed;
  reg [31:0] noise;
  wire pause_in = stalls && noise[3] && !noise[11];
  wire pause_out = stalls && noise[7] && !noise[20];
  reg [2047:0] results_name;
  integer results;

  integer checked, mismatches, extra, quiet, clocks;
  reg running, exhausted;
$counters

  initial begin
    clock = 1'b0;
    reset = 1'b1;
    {in_valid, in_last, out_ready, running, exhausted} = 5'b00000;
    problems = 0;
    results = 0;
    checked = 0;
    mismatches = 0;
    extra = 0;
    quiet = 0;
    clocks = 0;
$starts
$loads
    stalls = $$test$$plusargs("stalls") != 0;
    if ($$value$$plusargs("seed=%d", seed) == 0) seed = 1;
    noise = {seed[15:0], 16'hace1};
    if (problems != 0) begin
      $$display("FAIL %0d files have another number of words", problems);
      $$finish;
    end else begin
      if ($$value$$plusargs("results=%s", results_name) != 0) begin
        results = $$fopen(results_name, "w");
      end
      repeat (4) @(negedge clock);
      reset = 1'b0;
      running = 1'b1;
    end
  end

  // Feed one element after the other.
  always @(posedge clock) begin
    if (running && (!in_valid || in_ready)) begin
      if (exhausted || pause_in) begin
        in_valid <= 1'b0;
      end else begin
        in_valid <= 1'b1;
        in_last <= $is_last;
$drives
$advance
      end
    end
    out_ready <= running && !pause_out;
    if (running) noise <= {noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]};
  end

  task report(input integer number);
    begin
      $$display("MISMATCH result %0d at [$place]: expected %0d (%h), got %0d (%h)", number,
$coordinates
                $expected_signed, expected[number], $code_signed, out_code);
    end
  endtask

  // Compare.
  always @(posedge clock) begin
    if (running) begin
      clocks <= clocks + 1;
      quiet <= (in_valid && in_ready) || (out_valid && out_ready) ? 0 : quiet + 1;
      if (^{out_valid, in_ready} === 1'bx) begin
        $$display("FAIL out_valid or in_ready is undefined after %0d results", checked);
        $$finish;
      end else if (out_valid && out_ready) begin
        if (results != 0) $$fdisplay(results, "%h", out_code);
        if (checked == RESULTS) begin
          extra <= extra + 1;
        end else begin
          if (out_code !== expected[checked]) begin
            if (mismatches < SHOWN) report(checked);
            mismatches <= mismatches + 1;
          end
          checked <= checked + 1;
        end
      end
      if (quiet > PATIENCE || extra > SILENCE || (checked == RESULTS && quiet > SILENCE)) begin
        if (results != 0) $$fclose(results);
        $$display("%0d words checked, %0d mismatches, %0d clocks", checked, mismatches, clocks);
        if (checked == RESULTS && mismatches == 0 && extra == 0 && exhausted) begin
          $$display("PASS");
        end else begin
          $$display("FAIL %0d of %0d results came, %0d too many", checked, RESULTS, extra);
        end
        $$finish;
      end
    end
  end
endmodule
""")


def bench_text(bench: Bench, module: str, unused: Sequence[str] = ()) -> str:
    """Return the testbench around ``module``, which has no ports for ``unused`` streams."""
    streams = [stream for stream in bench.streams if stream.name not in unused]
    last = bench.loops[-1]
    result = bench.result_kind
    return _TEXT.substitute(
        op=bench.op,
        formula=bench.formula,
        results=bench.result.size,
        patience=PATIENCE,
        silence=SILENCE,
        shown=SHOWN,
        memories=_lines(_memories(bench, streams), 2),
        nets=_lines((f"reg [{stream.kind.bits - 1}:0] in_{stream.name};" for stream in streams), 2),
        out_high=result.bits - 1,
        module=module,
        ports=_lines((f".in_{stream.name}(in_{stream.name})," for stream in streams), 6),
        starts=_lines(_starts(bench, streams), 4),
        loads=_lines(_loads(streams), 4),
        counters=_lines(_counters(bench, streams), 2),
        is_last=f"{last.name} == {last.extent - 1}",
        drives=_lines(
            (f"in_{stream.name} <= {stream.name}[at_{stream.name}];" for stream in streams), 8
        ),
        advance=_lines(_advance(bench, streams, len(bench.loops) - 1), 8),
        place=", ".join(["%0d"] * bench.result.ndim),
        coordinates=_lines((f"{part}," for part in _coordinates(bench.result.shape)), 16),
        expected_signed=_value("expected[number]", result),
        code_signed=_value("out_code", result),
    )


def _lines(lines: Iterator[str], indent: int) -> str:
    return "\n".join(" " * indent + line for line in lines)


def _value(net: str, kind: IntType) -> str:
    return f"$signed({net})" if kind.signed else net


def _memories(bench: Bench, streams: Sequence[Stream]) -> Iterator[str]:
    for stream in streams:
        yield f"reg [{stream.kind.bits - 1}:0] {stream.name} [0:{stream.words.size - 1}];"
    yield f"reg [{bench.result_kind.bits - 1}:0] expected [0:RESULTS-1];"


def _loads(streams: Sequence[Stream]) -> Iterator[str]:
    for stream in streams:
        yield f'check_words("{stream.name}.hex", {stream.words.size});'
        yield f'$readmemh("{stream.name}.hex", {stream.name});'
    yield 'check_words("expected.hex", RESULTS);'
    yield '$readmemh("expected.hex", expected);'


def _counters(bench: Bench, streams: Sequence[Stream]) -> Iterator[str]:
    for loop in bench.loops:
        yield f"integer {loop.name};  // of {loop.extent}"
    for stream in streams:
        yield f"integer at_{stream.name};"


def _starts(bench: Bench, streams: Sequence[Stream]) -> Iterator[str]:
    for loop in bench.loops:
        yield f"{loop.name} = 0;"
    for stream in streams:
        yield f"at_{stream.name} = 0;"
        yield f"in_{stream.name} = '0;"


def _advance(bench: Bench, streams: Sequence[Stream], at: int) -> Iterator[str]:
    """Yield what goes to the next element: the loop ``at`` moves on, or those outside it."""
    if at < 0:
        yield "exhausted <= 1'b1;"
        return
    loop = bench.loops[at]
    yield f"if ({loop.name} != {loop.extent - 1}) begin"
    yield f"  {loop.name} <= {loop.name} + 1;"
    for stream in streams:
        step = _step(bench, stream, at)
        if step:
            sign = "+" if step > 0 else "-"
            yield f"  at_{stream.name} <= at_{stream.name} {sign} {abs(step)};"
    yield "end else begin"
    yield f"  {loop.name} <= 0;"
    for line in _advance(bench, streams, at - 1):
        yield f"  {line}"
    yield "end"


def _step(bench: Bench, stream: Stream, at: int) -> int:
    """Return how far a stream moves when loop ``at`` moves on and those inside it start again."""
    inside = range(at + 1, len(bench.loops))
    back = sum(stream.strides[place] * (bench.loops[place].extent - 1) for place in inside)
    return stream.strides[at] - back


def _coordinates(shape: Sequence[int]) -> Iterator[str]:
    size = 1
    parts = []
    for extent in reversed(shape):
        parts.append(f"number / {size} % {extent}" if size > 1 else f"number % {extent}")
        size *= extent
    return reversed(parts)
