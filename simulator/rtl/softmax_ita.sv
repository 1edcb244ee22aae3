// SPDX-License-Identifier: Apache-2.0
// The streaming softmax of the accelerator ITA, one row after the other: docs/ir.md, SoftmaxIta.
//
// A group of codes is stored while its maximum is found; then the sum is shifted by what the
// maximum has grown and the group's powers of two are added, one per clock; then the next group
// follows. After the last group one division, then the row's codes.
`timescale 1ns / 1ps
`default_nettype none

module softmax_ita #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer COLUMNS = 64,  // of the longest row
    parameter integer OCTAVE_BITS = 5,
    parameter integer GROUP = 16,
    parameter integer LARGEST = 255,  // the code of 1
    parameter integer SUM_WIDTH = 19,
    parameter integer OUT_BITS = 8,
    parameter integer OUT_ZERO_POINT = 0
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [IN_BITS-1:0] in_code,

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code
);
  localparam integer INDEX_BITS = COLUMNS > 1 ? $clog2(COLUMNS) : 1;
  localparam integer MEMBERS = GROUP < COLUMNS ? GROUP : COLUMNS;
  localparam integer OCTAVE_WIDTH = (IN_BITS > OCTAVE_BITS ? IN_BITS : OCTAVE_BITS) + 1;
  localparam [OCTAVE_WIDTH-1:0] HALF = OCTAVE_WIDTH'((32'd1 << OCTAVE_BITS) >> 1);
  localparam [IN_BITS-1:0] LOWEST = IN_SIGNED != 0 ? {1'b1, {(IN_BITS - 1) {1'b0}}} : '0;
  localparam integer DIVIDEND_BITS = 8 + $clog2(LARGEST + 1);
  localparam [DIVIDEND_BITS-1:0] DIVIDEND = DIVIDEND_BITS'(LARGEST) << 8;
  localparam [1:0] LOAD = 2'd0, SUM = 2'd1, DIVIDE = 2'd2, GIVE = 2'd3;

  reg [IN_BITS-1:0] row[0:COLUMNS-1];

  reg [1:0] state;
  reg [INDEX_BITS-1:0] index;  // of the code that is stored or read
  reg [INDEX_BITS-1:0] start_of_group, end_of_group;
  reg complete;  // the group is the last one of its row
  reg [IN_BITS-1:0] earlier, maximum;  // of all earlier groups, and of this one too
  reg [SUM_WIDTH-1:0] sum;
  reg reading, code_valid, code_last, fresh;
  reg [IN_BITS-1:0] code;

  // The octaves between two codes, rounded half up; one more bit, in case the rounding carries.
  wire [IN_BITS-1:0] distance = maximum - code;
  wire [IN_BITS-1:0] growth = maximum - earlier;
  wire [OCTAVE_WIDTH-1:0] octaves = (OCTAVE_WIDTH'(distance) + HALF) >> OCTAVE_BITS;
  wire [OCTAVE_WIDTH-1:0] grown = (OCTAVE_WIDTH'(growth) + HALF) >> OCTAVE_BITS;
  wire [8:0] power = 9'd256 >> octaves;

  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire maximum_sign = IN_SIGNED != 0 && maximum[IN_BITS-1];
  wire larger = $signed({in_sign, in_code}) > $signed({maximum_sign, maximum});
  wire [INDEX_BITS-1:0] member = index - start_of_group;
  wire taken = in_valid && in_ready;
  wire group_ends = taken && (in_last || member == INDEX_BITS'(MEMBERS - 1));
  wire advance = !out_valid || out_ready;
  wire step = state == SUM || (state == GIVE && advance);
  wire summed = state == SUM && code_valid && code_last;
  wire given = out_valid && out_ready && out_last;

  reg start;
  wire done;
  wire [DIVIDEND_BITS-1:0] reciprocal;
  wire [SUM_WIDTH-1:0] unused_remainder;

  divider #(
      .DIVIDEND_BITS(DIVIDEND_BITS),
      .DIVISOR_BITS(SUM_WIDTH)
  ) division (
      .clock(clock),
      .reset(reset),
      .start(start),
      .dividend(DIVIDEND),
      .divisor(sum),
      .done(done),
      .quotient(reciprocal),
      .remainder(unused_remainder)
  );

  assign in_ready = state == LOAD;

  always_ff @(posedge clock) begin
    start <= summed && complete;
    if (taken) begin
      row[index] <= in_code;
      index <= index + INDEX_BITS'(1);
      end_of_group <= index;
      complete <= in_last;
      if (larger) maximum <= in_code;
    end
    if (group_ends) begin
      state <= SUM;
      index <= start_of_group;
      reading <= 1'b1;
      fresh <= 1'b1;
    end
    if (state == SUM) fresh <= 1'b0;
    if (state == SUM && fresh) sum <= sum >> grown;
    else if (state == SUM && code_valid) sum <= sum + SUM_WIDTH'(power);
    if (reading && step) begin
      index <= index + INDEX_BITS'(1);
      if (index == end_of_group) reading <= 1'b0;
    end
    if (step) begin
      code_valid <= reading;
      code_last <= index == end_of_group;
      code <= row[index];
    end
    if (summed) begin
      earlier <= maximum;
      start_of_group <= complete ? '0 : index;
      state <= complete ? DIVIDE : LOAD;
      code_valid <= 1'b0;
    end
    if (done) begin
      state <= GIVE;
      index <= '0;
      reading <= 1'b1;
    end
    if (advance) begin
      out_valid <= state == GIVE && code_valid;
      out_last <= code_last;
      out_code <= OUT_BITS'(reciprocal >> octaves) + OUT_BITS'(OUT_ZERO_POINT);
    end
    if (given) begin
      state <= LOAD;
      index <= '0;
    end
    if (reset || given) begin
      earlier <= LOWEST;
      maximum <= LOWEST;
      sum <= '0;
      code_valid <= 1'b0;
      out_valid <= 1'b0;
    end
    if (reset) begin
      state <= LOAD;
      start <= 1'b0;
      index <= '0;
      start_of_group <= '0;
      reading <= 1'b0;
      fresh <= 1'b0;
    end
  end
endmodule

`default_nettype wire
