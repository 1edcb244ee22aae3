// SPDX-License-Identifier: Apache-2.0
// Multiply-accumulate with levels of partial sums, one product per clock: the sums of MatMul.
// Two clocks: the product, then all registers. The sum is there two clocks after its last operands.
// Where blocks of products have exponents (ScaledMatMul), what enters one level is shifted to the left.
`timescale 1ns / 1ps
`default_nettype none

module mac #(
    parameter integer A_BITS = 8,
    parameter integer A_SIGNED = 1,
    parameter integer B_BITS = 8,
    parameter integer B_SIGNED = 1,
    parameter integer BIAS_BITS = 32,
    parameter integer BIAS_STAGE = 0,  // 0 preload, 1 after_last_block
    parameter integer ACCUMULATOR_BITS = 32,  // the outermost register
    parameter integer ACCUMULATOR_OVERFLOW = 2,  // 0 saturate, 2 wrap
    // Levels inside it, the innermost in the lowest 32 bits; groups count products.
    parameter integer INNER_LEVELS = 0,
    parameter [127:0] INNER_GROUPS = 128'd0,
    parameter [127:0] INNER_BITS = 128'd0,
    parameter [127:0] INNER_OVERFLOWS = 128'd0,
    // The level whose addends are shifted: 0 the products, INNER_LEVELS those of the outermost register.
    parameter integer SHIFTED_LEVEL = -1,  // -1: none, and no exponent is read
    parameter integer EXPONENT_BITS = 1
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [A_BITS-1:0] in_a,
    input  wire [B_BITS-1:0] in_b,
    input  wire signed [BIAS_BITS-1:0] in_bias,
    input  wire [EXPONENT_BITS-1:0] in_exponent,  // of the block that the product belongs to

    output reg out_valid,
    input wire out_ready,
    output reg signed [ACCUMULATOR_BITS-1:0] out_accumulator
);
  localparam integer PRODUCT_BITS = A_BITS + B_BITS + 1;
  localparam integer BUS_BITS = 64;  // of sums between levels
  localparam integer WIDEST = BIAS_BITS > BUS_BITS ? BIAS_BITS : BUS_BITS;
  localparam integer EXACT_BITS = (ACCUMULATOR_BITS > WIDEST ? ACCUMULATOR_BITS : WIDEST) + 1;

  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  wire a_sign = A_SIGNED != 0 && in_a[A_BITS-1];
  wire b_sign = B_SIGNED != 0 && in_b[B_BITS-1];
  wire signed [PRODUCT_BITS-1:0] a = PRODUCT_BITS'($signed({a_sign, in_a}));
  wire signed [PRODUCT_BITS-1:0] b = PRODUCT_BITS'($signed({b_sign, in_b}));

  reg first;  // the next operands begin a sum
  reg product_valid, product_first, product_last;
  reg signed [PRODUCT_BITS-1:0] product;
  reg signed [BIAS_BITS-1:0] bias;
  reg [EXPONENT_BITS-1:0] exponent;

  wire signed [BUS_BITS-1:0] sums[0:INNER_LEVELS];
  wire [INNER_LEVELS:0] ready;
  wire signed [BUS_BITS-1:0] wide_product = BUS_BITS'($signed(product));
  assign sums[0] = SHIFTED_LEVEL == 0 ? wide_product <<< exponent : wide_product;
  assign ready[0] = product_valid;

  genvar level;
  generate
    for (level = 0; level < INNER_LEVELS; level = level + 1) begin : levels
      localparam integer GROUP = INNER_GROUPS[32*level+:32];
      localparam integer BITS = INNER_BITS[32*level+:32];
      localparam integer OVERFLOW = INNER_OVERFLOWS[32*level+:32];
      localparam integer INSIDE = level == 0 ? 1 : INNER_GROUPS[32*(level==0?0 : level-1)+:32];
      wire signed [BITS-1:0] sum;
      accumulator_level #(
          .ADDEND_BITS(BUS_BITS),
          .ADDENDS(GROUP / INSIDE),
          .BITS(BITS),
          .OVERFLOW(OVERFLOW)
      ) registers (
          .clock(clock),
          .reset(reset),
          .enable(advance),
          .addend_valid(ready[level]),
          .addend(sums[level]),
          .finish(product_last),
          .sum(sum),
          .complete(ready[level+1])
      );
      wire signed [BUS_BITS-1:0] wide_sum = BUS_BITS'($signed(sum));
      assign sums[level+1] = SHIFTED_LEVEL == level + 1 ? wide_sum <<< exponent : wide_sum;
    end
  endgenerate

  // The outermost register: what it starts with, the addend, and a bias that comes last.
  reg signed [ACCUMULATOR_BITS-1:0] accumulator;
  wire signed [EXACT_BITS-1:0] exact_bias = EXACT_BITS'($signed(bias));
  wire [ACCUMULATOR_BITS-1:0] preloaded, added, finished;
  wire [2:0] unused_saturated;
  wire signed [EXACT_BITS-1:0] start =
      !product_first ? EXACT_BITS'($signed(accumulator))
      : BIAS_STAGE == 0 ? EXACT_BITS'($signed(preloaded)) : '0;
  wire signed [EXACT_BITS-1:0] addend =
      ready[INNER_LEVELS] ? EXACT_BITS'($signed(sums[INNER_LEVELS])) : '0;

  fit #(
      .IN_BITS(EXACT_BITS),
      .OUT_BITS(ACCUMULATOR_BITS),
      .OUT_SIGNED(1),
      .OVERFLOW(ACCUMULATOR_OVERFLOW)
  ) preload (
      .value(exact_bias),
      .code(preloaded),
      .saturated(unused_saturated[0])
  );

  fit #(
      .IN_BITS(EXACT_BITS),
      .OUT_BITS(ACCUMULATOR_BITS),
      .OUT_SIGNED(1),
      .OVERFLOW(ACCUMULATOR_OVERFLOW)
  ) addition (
      .value(start + addend),
      .code(added),
      .saturated(unused_saturated[1])
  );

  fit #(
      .IN_BITS(EXACT_BITS),
      .OUT_BITS(ACCUMULATOR_BITS),
      .OUT_SIGNED(1),
      .OVERFLOW(ACCUMULATOR_OVERFLOW)
  ) last_addition (
      .value(EXACT_BITS'($signed(added)) + exact_bias),
      .code(finished),
      .saturated(unused_saturated[2])
  );

  always_ff @(posedge clock) begin
    if (advance) begin
      if (in_valid) first <= in_last;
      product_valid <= in_valid;
      product_first <= first;
      product_last <= in_last;
      product <= a * b;
      bias <= in_bias;
      exponent <= in_exponent;
      if (product_valid) accumulator <= $signed(added);
      out_valid <= product_valid && product_last;
      out_accumulator <= $signed(BIAS_STAGE == 0 ? added : finished);
    end
    if (reset) begin
      first <= 1'b1;
      product_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
