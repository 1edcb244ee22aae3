// SPDX-License-Identifier: Apache-2.0
// Requantization of MatMul, Mean, Rescale and Mul: an accumulator becomes a code.
// Two clocks: the scaled sum, then the code. One element per clock.
`timescale 1ns / 1ps
`default_nettype none

module requantizer #(
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer MULTIPLIER_BITS = 31,
    parameter integer ZERO_POINT_BITS = 17,
    parameter integer SCALED_WIDTH = 64,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer DOUBLE_ROUNDING = 0,  // 0 none, 1 symmetric, 2 asymmetric
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer ZERO_POINT_STAGE = 0,  // 0 after_round, 1 before_round
    parameter integer LEFT_SHIFT = 0,  // 0 widen, 1 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire signed [ACCUMULATOR_BITS-1:0] in_accumulator,
    input  wire [MULTIPLIER_BITS-1:0] in_multiplier,
    input  wire [5:0] in_shift,
    input  wire signed [ZERO_POINT_BITS-1:0] in_zero_point,
    input  wire signed [SCALED_WIDTH-1:0] in_residual_term,

    output reg out_valid,
    input  wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code,
    output reg out_saturated
);
  localparam integer OPERAND_BITS = ACCUMULATOR_BITS > 32 ? ACCUMULATOR_BITS : 32;

  // A shift below 31 may be one to the left in a word of 32 bits, then one by 31.
  wire lossy = LEFT_SHIFT == 1 && in_shift < 6'd31;
  wire signed [OPERAND_BITS-1:0] whole = OPERAND_BITS'($signed(in_accumulator));
  wire [31:0] word = whole[31:0] << (6'd31 - in_shift);
  wire signed [OPERAND_BITS-1:0] operand = lossy ? OPERAND_BITS'($signed(word)) : whole;
  wire [5:0] places = lossy ? 6'd31 : in_shift;

  wire signed [SCALED_WIDTH-1:0] factor = SCALED_WIDTH'($signed({1'b0, in_multiplier}));
  wire signed [SCALED_WIDTH-1:0] product = SCALED_WIDTH'($signed(operand)) * factor;
  wire signed [SCALED_WIDTH-1:0] zero_point = SCALED_WIDTH'($signed(in_zero_point));
  wire signed [SCALED_WIDTH-1:0] early = ZERO_POINT_STAGE == 1 ? zero_point <<< places : '0;

  reg scaled_valid, scaled_last;
  reg signed [SCALED_WIDTH-1:0] scaled;
  reg [5:0] shift;
  reg signed [ZERO_POINT_BITS-1:0] late;

  wire [OUT_BITS-1:0] code;
  wire saturated;
  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  output_stage #(
      .IN_BITS(SCALED_WIDTH),
      .ZERO_POINT_BITS(ZERO_POINT_BITS),
      .ROUNDING(ROUNDING),
      .DOUBLE_ROUNDING(DOUBLE_ROUNDING),
      .OVERFLOW(OVERFLOW),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED)
  ) stage (
      .value(scaled),
      .shift(shift),
      .zero_point(late),
      .code(code),
      .saturated(saturated)
  );

  always_ff @(posedge clock) begin
    if (advance) begin
      scaled_valid <= in_valid;
      scaled_last <= in_last;
      scaled <= product + in_residual_term + early;
      shift <= places;
      late <= ZERO_POINT_STAGE == 1 ? '0 : in_zero_point;
      out_valid <= scaled_valid;
      out_last <= scaled_last;
      out_code <= code;
      out_saturated <= saturated;
    end
    if (reset) begin
      scaled_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
