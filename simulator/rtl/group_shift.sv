// SPDX-License-Identifier: Apache-2.0
// GroupShift: codes shifted right by the exponent of their group, which comes with every code.
// One clock.
`timescale 1ns / 1ps
`default_nettype none

module group_shift #(
    parameter integer A_BITS = 8,
    parameter integer A_SIGNED = 1,
    parameter integer A_ZERO_POINT = 0,
    parameter integer EXPONENT_BITS = 4,  // at most 6
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
    input  wire [EXPONENT_BITS-1:0] in_exponent,

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code,
    output reg out_saturated
);
  wire a_sign = A_SIGNED != 0 && in_a[A_BITS-1];
  wire signed [A_BITS:0] centred = $signed({a_sign, in_a}) - (A_BITS + 1)'(A_ZERO_POINT);
  wire [OUT_BITS-1:0] code;
  wire saturated;
  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  output_stage #(
      .IN_BITS(A_BITS + 1),
      .ZERO_POINT_BITS(32),
      .ROUNDING(ROUNDING),
      .OVERFLOW(OVERFLOW),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED)
  ) stage (
      .value(centred),
      .shift(6'(in_exponent)),
      .zero_point(OUT_ZERO_POINT),
      .code(code),
      .saturated(saturated)
  );

  always_ff @(posedge clock) begin
    if (advance) begin
      out_valid <= in_valid;
      out_last <= in_last;
      out_code <= code;
      out_saturated <= saturated;
    end
    if (reset) out_valid <= 1'b0;
  end
endmodule

`default_nettype wire
