// SPDX-License-Identifier: Apache-2.0
// A processing element of an output-stationary array: one sum stays, pairs of operands pass.
//
// A finished sum leaves downwards: with out_sum of the element above as in_sum, in_shift moves the
// sums of a column on by one element. OVERLAP adds a second register, in which the finished sum
// waits while the next one is added up.
`timescale 1ns / 1ps
`default_nettype none

module output_stationary_element #(
    parameter integer A_BITS = 8,
    parameter integer B_BITS = 8,
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer OVERLAP = 0  // 0 none, 1 fold
) (
    input wire clock,
    input wire signed [A_BITS-1:0] in_a,
    input wire signed [B_BITS-1:0] in_b,
    input wire in_valid,  // there is a pair of operands
    input wire in_first,  // it begins a sum
    input wire in_last,  // it ends a sum
    input wire in_shift,
    input wire signed [ACCUMULATOR_BITS-1:0] in_sum,
    output wire signed [ACCUMULATOR_BITS-1:0] out_sum
);
  localparam integer PRODUCT_BITS = A_BITS + B_BITS;
  wire signed [PRODUCT_BITS-1:0] product =
      PRODUCT_BITS'($signed(in_a)) * PRODUCT_BITS'($signed(in_b));

  reg signed [ACCUMULATOR_BITS-1:0] sum;
  wire signed [ACCUMULATOR_BITS-1:0] kept = in_first ? '0 : sum;
  wire signed [ACCUMULATOR_BITS-1:0] added = kept + ACCUMULATOR_BITS'($signed(product));

  generate
    if (OVERLAP == 0) begin : alone
      wire unused_last = in_last;
      assign out_sum = sum;
      always_ff @(posedge clock) begin
        if (in_valid) sum <= added;
        else if (in_shift) sum <= in_sum;
      end
    end else begin : second
      reg signed [ACCUMULATOR_BITS-1:0] finished;
      assign out_sum = finished;
      always_ff @(posedge clock) begin
        if (in_valid) sum <= added;
        if (in_valid && in_last) finished <= added;
        else if (in_shift) finished <= in_sum;
      end
    end
  endgenerate
endmodule

`default_nettype wire
