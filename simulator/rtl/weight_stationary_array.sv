// SPDX-License-Identifier: Apache-2.0
// The processing elements of a weight-stationary systolic array and what moves between them.
// Vectors enter skewed: row i i clocks after row 0; what meets in column 0 meets in column j j clocks
// later. So weights and sums of column j come j clocks later, too.
`timescale 1ns / 1ps
`default_nettype none

module weight_stationary_array #(
    parameter integer ROWS = 4,
    parameter integer COLUMNS = 4,
    parameter integer A_BITS = 8,
    parameter integer B_BITS = 8,
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer OVERLAP = 0  // 0 none, 1 fold
) (
    input wire clock,
    input wire reset,
    // At the left edge: per row in_a, and {load, first}, which moves with it.
    input wire [ROWS*A_BITS-1:0] in_a,
    input wire [ROWS*2-1:0] in_control,
    // At the upper edge.
    input wire [COLUMNS*B_BITS-1:0] in_weights,
    input wire [COLUMNS*ACCUMULATOR_BITS-1:0] in_sums,
    output wire [COLUMNS*ACCUMULATOR_BITS-1:0] out_sums  // of the last row, not in a register yet
);
  localparam integer SUM_BITS = ACCUMULATOR_BITS;

  wire [ROWS*COLUMNS*A_BITS-1:0] a;  // element after element, row after row
  wire [ROWS*COLUMNS*2-1:0] control;
  // What comes from above; behind the last row nothing takes weights.
  wire [(ROWS+1)*COLUMNS*B_BITS-1:0] weights;
  wire [ROWS*COLUMNS*SUM_BITS-1:0] sums;
  wire [ROWS*COLUMNS*SUM_BITS-1:0] added;
  wire [COLUMNS*B_BITS-1:0] unused_weights = weights[ROWS*COLUMNS*B_BITS+:COLUMNS*B_BITS];
  assign weights[COLUMNS*B_BITS-1:0] = in_weights;
  assign sums[COLUMNS*SUM_BITS-1:0] = in_sums;
  assign out_sums = added[(ROWS-1)*COLUMNS*SUM_BITS+:COLUMNS*SUM_BITS];

  genvar row, column;
  generate
    for (row = 0; row < ROWS; row = row + 1) begin : rows
      delay_line #(
          .PLACES(COLUMNS),
          .BITS(A_BITS)
      ) rightwards (
          .clock(clock),
          .reset(reset),
          .value(in_a[row*A_BITS+:A_BITS]),
          .seen(a[row*COLUMNS*A_BITS+:COLUMNS*A_BITS])
      );
      delay_line #(
          .PLACES(COLUMNS),
          .BITS(2)
      ) with_a (
          .clock(clock),
          .reset(reset),
          .value(in_control[row*2+:2]),
          .seen(control[row*COLUMNS*2+:COLUMNS*2])
      );
      if (row + 1 < ROWS) begin : downwards
        delay #(
            .BITS(COLUMNS * SUM_BITS),
            .CLOCKS(1)
        ) step (
            .clock(clock),
            .reset(reset),
            .value(added[row*COLUMNS*SUM_BITS+:COLUMNS*SUM_BITS]),
            .delayed(sums[(row+1)*COLUMNS*SUM_BITS+:COLUMNS*SUM_BITS])
        );
      end
      for (column = 0; column < COLUMNS; column = column + 1) begin : elements
        localparam integer HERE = row * COLUMNS + column;
        weight_stationary_element #(
            .A_BITS(A_BITS),
            .B_BITS(B_BITS),
            .ACCUMULATOR_BITS(SUM_BITS),
            .OVERLAP(OVERLAP)
        ) element (
            .clock(clock),
            .in_load(control[2*HERE+1]),
            .in_first(control[2*HERE]),
            .in_a(a[HERE*A_BITS+:A_BITS]),
            .in_weight(weights[HERE*B_BITS+:B_BITS]),
            .in_sum(sums[HERE*SUM_BITS+:SUM_BITS]),
            .out_weight(weights[(HERE+COLUMNS)*B_BITS+:B_BITS]),
            .out_sum(added[HERE*SUM_BITS+:SUM_BITS])
        );
      end
    end
  endgenerate
endmodule

`default_nettype wire
