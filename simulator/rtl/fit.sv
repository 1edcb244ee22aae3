// SPDX-License-Identifier: Apache-2.0
// An integer stored in a narrower type: docs/ir.md, "Storing and rounding".
`timescale 1ns / 1ps
`default_nettype none

module fit #(
    parameter integer IN_BITS = 66,
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1,
    parameter integer OVERFLOW = 0  // 0 saturate, 1 saturate_symmetric, 2 wrap
) (
    input  wire signed [IN_BITS-1:0] value,
    output wire [OUT_BITS-1:0] code,
    output wire saturated  // the value does not fit, also where it wraps
);
  localparam integer COMPARED_BITS = (IN_BITS > OUT_BITS ? IN_BITS : OUT_BITS) + 2;
  localparam signed [COMPARED_BITS-1:0] ONE = COMPARED_BITS'(2'sd1);
  localparam signed [COMPARED_BITS-1:0] HIGH =
      (ONE <<< (OUT_SIGNED != 0 ? OUT_BITS - 1 : OUT_BITS)) - ONE;
  localparam signed [COMPARED_BITS-1:0] LOW =
      OUT_SIGNED == 0 ? ONE - ONE : (OVERFLOW == 1 ? -HIGH : -HIGH - ONE);

  wire signed [COMPARED_BITS-1:0] compared = COMPARED_BITS'($signed(value));
  wire above = compared > HIGH;
  wire below = compared < LOW;

  assign saturated = above || below;
  assign code =
      OVERFLOW == 2 || !saturated ? OUT_BITS'(compared)
      : above ? OUT_BITS'(HIGH) : OUT_BITS'(LOW);
endmodule

`default_nettype wire
