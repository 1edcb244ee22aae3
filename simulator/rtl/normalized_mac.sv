// SPDX-License-Identifier: Apache-2.0
// Sums of levels times values, over the sum of their levels: docs/ir.md, NormalizedMatMul.
//
// Codes are decoded in front of a mac; beside it their levels are summed up. One division makes the
// reciprocal, which the sum is multiplied by: here for every sum, since sums come one by one; an
// array with all sums of a row divides once.
`timescale 1ns / 1ps
`default_nettype none

module normalized_mac #(
    parameter integer A_BITS = 4,
    parameter integer LEVEL_BITS = 8,
    parameter LEVELS_FILE = "levels.hex",  // 2^A_BITS levels, that of code 0 first
    parameter integer B_BITS = 8,
    parameter integer B_SIGNED = 1,
    parameter integer ACCUMULATOR_BITS = 32,  // and what follows: see mac
    parameter integer ACCUMULATOR_OVERFLOW = 2,
    parameter integer INNER_LEVELS = 0,
    parameter [127:0] INNER_GROUPS = 128'd0,
    parameter [127:0] INNER_BITS = 128'd0,
    parameter [127:0] INNER_OVERFLOWS = 128'd0,
    parameter integer RECIPROCAL_BITS = 32,
    parameter integer SUM_WIDTH = 16,  // unsigned
    parameter integer RECIPROCAL_WIDTH = RECIPROCAL_BITS + 1,  // unsigned
    parameter integer NORMALIZED_WIDTH = 41
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [A_BITS-1:0] in_a,
    input  wire [B_BITS-1:0] in_b,

    output reg out_valid,
    input wire out_ready,
    output reg signed [NORMALIZED_WIDTH-1:0] out_normalized
);
  localparam integer DIVIDEND_BITS =
      (RECIPROCAL_BITS + 1 > SUM_WIDTH ? RECIPROCAL_BITS + 1 : SUM_WIDTH) + 1;
  localparam [DIVIDEND_BITS-1:0] ONE = DIVIDEND_BITS'(1'b1) << RECIPROCAL_BITS;

  reg [LEVEL_BITS-1:0] levels[0:(1 << A_BITS)-1];
  initial $readmemh(LEVELS_FILE, levels);
  wire [LEVEL_BITS-1:0] level = levels[in_a];

  reg first;  // the next operands begin a sum
  reg dividing, start, divided;
  reg [SUM_WIDTH-1:0] sum;
  wire mac_ready, mac_valid, done;
  wire signed [ACCUMULATOR_BITS-1:0] accumulator;
  wire [SUM_WIDTH-1:0] divisor = sum == '0 ? SUM_WIDTH'(1) : sum;
  wire [RECIPROCAL_WIDTH-1:0] reciprocal;
  wire [SUM_WIDTH-1:0] unused_remainder;
  // Of the product, as many bits as the register keeps.
  wire signed [NORMALIZED_WIDTH-1:0] normalized =
      NORMALIZED_WIDTH'($signed(accumulator)) * NORMALIZED_WIDTH'($signed({1'b0, reciprocal}));

  wire open = !dividing && !out_valid;
  wire taken = in_valid && in_ready;
  wire finish = divided && mac_valid && !out_valid;
  assign in_ready = open && mac_ready;

  mac #(
      .A_BITS(LEVEL_BITS),
      .A_SIGNED(0),
      .B_BITS(B_BITS),
      .B_SIGNED(B_SIGNED),
      .BIAS_BITS(2),
      .ACCUMULATOR_BITS(ACCUMULATOR_BITS),
      .ACCUMULATOR_OVERFLOW(ACCUMULATOR_OVERFLOW),
      .INNER_LEVELS(INNER_LEVELS),
      .INNER_GROUPS(INNER_GROUPS),
      .INNER_BITS(INNER_BITS),
      .INNER_OVERFLOWS(INNER_OVERFLOWS),
      .SHIFTED_LEVEL(-1),
      .EXPONENT_BITS(1)
  ) sum_unit (
      .clock(clock),
      .reset(reset),
      .in_valid(in_valid && open),
      .in_ready(mac_ready),
      .in_last(in_last),
      .in_a(level),
      .in_b(in_b),
      .in_bias(2'd0),
      .in_exponent(1'b0),
      .out_valid(mac_valid),
      .out_ready(finish),
      .out_accumulator(accumulator)
  );

  divider #(
      .DIVIDEND_BITS(DIVIDEND_BITS),
      .DIVISOR_BITS(SUM_WIDTH),
      .QUOTIENT_BITS(RECIPROCAL_WIDTH)
  ) division (
      .clock(clock),
      .reset(reset),
      .start(start),
      .dividend(ONE + DIVIDEND_BITS'(divisor >> 1)),
      .divisor(divisor),
      .done(done),
      .quotient(reciprocal),
      .remainder(unused_remainder)
  );

  always_ff @(posedge clock) begin
    start <= taken && in_last;
    if (taken) begin
      sum <= (first ? '0 : sum) + SUM_WIDTH'(level);
      first <= in_last;
      dividing <= in_last;
    end
    if (done) divided <= 1'b1;
    if (finish) begin
      divided <= 1'b0;
      dividing <= 1'b0;
      out_valid <= 1'b1;
      out_normalized <= normalized;
    end
    if (out_valid && out_ready) out_valid <= 1'b0;
    if (reset) begin
      first <= 1'b1;
      start <= 1'b0;
      dividing <= 1'b0;
      divided <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
