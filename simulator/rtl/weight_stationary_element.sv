// SPDX-License-Identifier: Apache-2.0
// A processing element of a weight-stationary array: one weight stays, sums pass.
//
// Weights come from above: in_load moves those of a column on by one element. OVERLAP adds a second
// register, which is loaded while the first one multiplies; in_first takes the weight over from it.
`timescale 1ns / 1ps
`default_nettype none

module weight_stationary_element #(
    parameter integer A_BITS = 8,
    parameter integer B_BITS = 8,
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer OVERLAP = 0  // 0 none, 1 fold
) (
    input wire clock,
    input wire in_load,
    input wire in_first,  // in_a is the first one that meets the new weight
    input wire signed [A_BITS-1:0] in_a,
    input wire signed [B_BITS-1:0] in_weight,
    input wire signed [ACCUMULATOR_BITS-1:0] in_sum,
    output wire signed [B_BITS-1:0] out_weight,
    output wire signed [ACCUMULATOR_BITS-1:0] out_sum
);
  localparam integer PRODUCT_BITS = A_BITS + B_BITS;

  reg signed [B_BITS-1:0] loaded;
  wire signed [B_BITS-1:0] weight;
  wire signed [PRODUCT_BITS-1:0] product =
      PRODUCT_BITS'($signed(in_a)) * PRODUCT_BITS'($signed(weight));
  assign out_weight = loaded;
  assign out_sum = in_sum + ACCUMULATOR_BITS'($signed(product));

  always_ff @(posedge clock) if (in_load) loaded <= in_weight;

  generate
    if (OVERLAP == 0) begin : alone
      wire unused_first = in_first;
      assign weight = loaded;
    end else begin : second
      reg signed [B_BITS-1:0] used;
      assign weight = in_first ? loaded : used;
      always_ff @(posedge clock) used <= weight;
    end
  endgenerate
endmodule

`default_nettype wire
