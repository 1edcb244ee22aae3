// SPDX-License-Identifier: Apache-2.0
// GroupQuantize: codes at the scale of their group's largest magnitude, by one reciprocal.
// A group's first code waits for the division, one clock for each bit of the reciprocal; then one
// code per clock, three clocks each: the code is held, scaled, rounded.
`timescale 1ns / 1ps
`default_nettype none

module group_quantize #(
    parameter integer A_BITS = 8,
    parameter integer A_SIGNED = 1,
    parameter integer A_ZERO_POINT = 0,
    parameter integer MAXIMUM_BITS = 8,
    parameter [63:0] NUMERATOR = 64'd117440512,  // 7 * 2^SHIFT fills four bits
    parameter integer RECIPROCAL_WIDTH = 27,  // bits of the numerator
    parameter integer SHIFT = 24,
    parameter integer SCALED_WIDTH = 64,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer OUT_BITS = 4,
    parameter integer OUT_SIGNED = 1,
    parameter integer OUT_ZERO_POINT = 0
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [A_BITS-1:0] in_a,
    input  wire [MAXIMUM_BITS-1:0] in_maximum,  // read with a group's first code

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code,
    output reg out_saturated
);
  wire advance = !out_valid || out_ready;
  reg fresh;  // the next code begins a group
  reg divided;  // the reciprocal is that of the code that is held
  reg held_valid, held_last;
  reg [A_BITS-1:0] held;
  wire taken = in_valid && in_ready;
  wire start = taken && fresh;
  wire moves = held_valid && divided && advance;
  wire done;
  wire [RECIPROCAL_WIDTH-1:0] reciprocal;  // stays until the next division
  wire [MAXIMUM_BITS-1:0] unused_remainder;
  assign in_ready = !held_valid || moves;

  divider #(
      .DIVIDEND_BITS(RECIPROCAL_WIDTH),
      .DIVISOR_BITS(MAXIMUM_BITS)
  ) division (
      .clock(clock),
      .reset(reset),
      .start(start),
      .dividend(RECIPROCAL_WIDTH'(NUMERATOR)),
      .divisor(in_maximum == '0 ? MAXIMUM_BITS'(1) : in_maximum),
      .done(done),
      .quotient(reciprocal),
      .remainder(unused_remainder)
  );

  wire a_sign = A_SIGNED != 0 && held[A_BITS-1];
  wire signed [SCALED_WIDTH-1:0] centred =
      SCALED_WIDTH'($signed({a_sign, held})) - SCALED_WIDTH'(A_ZERO_POINT);
  wire signed [SCALED_WIDTH-1:0] factor = SCALED_WIDTH'($signed({1'b0, reciprocal}));

  reg scaled_valid, scaled_last;
  reg signed [SCALED_WIDTH-1:0] scaled;
  wire [OUT_BITS-1:0] code;
  wire saturated;

  output_stage #(
      .IN_BITS(SCALED_WIDTH),
      .ZERO_POINT_BITS(32),
      .ROUNDING(ROUNDING),
      .OVERFLOW(OVERFLOW),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED)
  ) stage (
      .value(scaled),
      .shift(6'(SHIFT)),
      .zero_point(OUT_ZERO_POINT),
      .code(code),
      .saturated(saturated)
  );

  always_ff @(posedge clock) begin
    if (moves) held_valid <= 1'b0;
    if (taken) begin
      held_valid <= 1'b1;
      held_last <= in_last;
      held <= in_a;
      fresh <= in_last;
    end
    if (done) divided <= 1'b1;
    if (start) divided <= 1'b0;
    if (advance) begin
      scaled_valid <= moves;
      scaled_last <= held_last;
      scaled <= centred * factor;
      out_valid <= scaled_valid;
      out_last <= scaled_last;
      out_code <= code;
      out_saturated <= saturated;
    end
    if (reset) begin
      fresh <= 1'b1;
      divided <= 1'b0;
      held_valid <= 1'b0;
      scaled_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
