// SPDX-License-Identifier: Apache-2.0
// The partial sums of one column of a weight-stationary array: one per vector. A vector takes its
// sum along at the top, with 0 in the first of the folds that are added up, and brings it back with
// the last row's product, LATENCY clocks later. There is no collision: a vector comes again after
// at least LATENCY + 1 clocks.
`timescale 1ns / 1ps
`default_nettype none

module partial_sums #(
    parameter integer VECTORS = 16,
    parameter integer INDEX_BITS = 4,
    parameter integer BITS = 32,
    parameter integer LATENCY = 3
) (
    input wire clock,
    input wire reset,

    input wire in_valid,
    input wire in_first,  // nothing has been added up
    input wire in_last,  // with this fold the sum is complete
    input wire [INDEX_BITS-1:0] in_index,
    output wire [BITS-1:0] out_partial,  // in the same clock

    input wire [BITS-1:0] in_sum,  // LATENCY clocks after in_valid
    output wire added,  // in_sum is a vector's
    output reg out_valid,
    output reg [BITS-1:0] out_sum
);
  reg [BITS-1:0] sums[0:VECTORS-1];
  wire last;
  wire [INDEX_BITS-1:0] index;
  assign out_partial = in_first ? '0 : sums[in_index];

  delay #(
      .BITS(INDEX_BITS + 2),
      .CLOCKS(LATENCY)
  ) with_vector (
      .clock(clock),
      .reset(reset),
      .value({in_index, in_last, in_valid}),
      .delayed({index, last, added})
  );

  always_ff @(posedge clock) begin
    if (added) sums[index] <= in_sum;
    out_valid <= added && last && !reset;
    out_sum <= in_sum;
  end
endmodule

`default_nettype wire
