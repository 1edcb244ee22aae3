// SPDX-License-Identifier: Apache-2.0
// The end of most ops: an exact integer is shifted right, rounded, moved by the zero point and
// stored as a code. Combinational.
//
// The shifter has one place below the point: its last bit is the first of those that are
// discarded, "half". Whether any other of them is set, and the sign, decide the rest.
`timescale 1ns / 1ps
`default_nettype none

module output_stage #(
    parameter integer IN_BITS = 64,
    parameter integer ZERO_POINT_BITS = 17,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer DOUBLE_ROUNDING = 0,  // 0 none, 1 symmetric, 2 asymmetric
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1
) (
    input  wire signed [IN_BITS-1:0] value,
    input  wire [5:0] shift,
    input  wire signed [ZERO_POINT_BITS-1:0] zero_point,
    output wire [OUT_BITS-1:0] code,
    output wire saturated
);
  localparam integer VALUE_BITS = IN_BITS > 33 ? IN_BITS : 33;
  localparam integer ROUNDED_BITS =
      (VALUE_BITS > ZERO_POINT_BITS ? VALUE_BITS : ZERO_POINT_BITS) + 2;

  // The first of two roundings, half_up at bit 31.
  wire signed [VALUE_BITS-1:0] once = VALUE_BITS'($signed(value));
  wire twice = DOUBLE_ROUNDING != 0 && shift > 6'd31;
  wire signed [VALUE_BITS-1:0] high =
      (once >>> 31) + VALUE_BITS'($signed({1'b0, once[30]}));
  wire signed [VALUE_BITS-1:0] dividend = twice ? high : once;
  wire [5:0] places = twice ? shift - 6'd31 : shift;

  wire signed [VALUE_BITS:0] widened = $signed({dividend, 1'b0});
  wire signed [VALUE_BITS:0] shifted = widened >>> places;
  wire [VALUE_BITS:0] kept = {(VALUE_BITS + 1) {1'b1}} << places;
  wire half = shifted[0];
  wire more = (widened & ~kept) != '0;
  wire odd = shifted[1];
  wire negative = dividend[VALUE_BITS-1];

  // Beside DOUBLE_ROUNDING, both roundings are half_up; the second of "symmetric" is half_away.
  wire away = DOUBLE_ROUNDING == 0 ? ROUNDING == 4 : (DOUBLE_ROUNDING == 1 && twice);
  wire upper = DOUBLE_ROUNDING != 0 || ROUNDING == 2;
  wire decided =
      ROUNDING == 1 ? negative && (half || more)
      : ROUNDING == 3 ? half && more
      : ROUNDING == 5 && half && (more || odd);
  wire up = away ? half && (more || !negative) : (upper ? half : decided);

  wire signed [ROUNDED_BITS-1:0] quotient = ROUNDED_BITS'($signed(shifted[VALUE_BITS:1]));
  wire signed [ROUNDED_BITS-1:0] rounded =
      quotient + ROUNDED_BITS'($signed({1'b0, up})) + ROUNDED_BITS'($signed(zero_point));

  fit #(
      .IN_BITS(ROUNDED_BITS),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED),
      .OVERFLOW(OVERFLOW)
  ) storing (
      .value(rounded),
      .code(code),
      .saturated(saturated)
  );
endmodule

`default_nettype wire
