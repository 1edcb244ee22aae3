// SPDX-License-Identifier: Apache-2.0
// What a residual adds to the products of a MatMul before they are shifted:
// (residual - zero point) * multiplier << (shift - fraction bits). Combinational.
`timescale 1ns / 1ps
`default_nettype none

module residual_term #(
    parameter integer RESIDUAL_BITS = 8,
    parameter integer RESIDUAL_SIGNED = 1,
    parameter integer RESIDUAL_ZERO_POINT = 0,
    parameter integer MULTIPLIER_BITS = 31,
    parameter integer FRACTION_BITS = 30,
    parameter integer SCALED_WIDTH = 64
) (
    input  wire [RESIDUAL_BITS-1:0] residual,
    input  wire [MULTIPLIER_BITS-1:0] multiplier,
    input  wire [5:0] shift,  // that of the requantization, at least FRACTION_BITS
    output wire signed [SCALED_WIDTH-1:0] term
);
  wire sign = RESIDUAL_SIGNED != 0 && residual[RESIDUAL_BITS-1];
  wire signed [SCALED_WIDTH-1:0] centred =
      SCALED_WIDTH'($signed({sign, residual})) - SCALED_WIDTH'(RESIDUAL_ZERO_POINT);
  wire signed [SCALED_WIDTH-1:0] factor = SCALED_WIDTH'($signed({1'b0, multiplier}));
  wire [5:0] places = shift - 6'(FRACTION_BITS);
  wire signed [SCALED_WIDTH-1:0] product = centred * factor;

  assign term = product <<< places;
endmodule

`default_nettype wire
