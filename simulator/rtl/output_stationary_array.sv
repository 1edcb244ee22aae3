// SPDX-License-Identifier: Apache-2.0
// The processing elements of an output-stationary systolic array and what moves between them.
// Operands enter skewed: row i and column j i and j clocks after the first ones. A pair meets in
// element (i, j) i + j clocks after it met in element (0, 0).
`timescale 1ns / 1ps
`default_nettype none

module output_stationary_array #(
    parameter integer ROWS = 4,
    parameter integer COLUMNS = 4,
    parameter integer A_BITS = 8,
    parameter integer B_BITS = 8,
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer OVERLAP = 0  // 0 none, 1 fold
) (
    input wire clock,
    input wire reset,
    // At the left edge: per row in_a, and {shift, last, first, valid}, which moves with it.
    input wire [ROWS*A_BITS-1:0] in_a,
    input wire [ROWS*4-1:0] in_control,
    input wire [COLUMNS*B_BITS-1:0] in_b,  // at the upper edge
    output wire complete,  // the sum in the last corner gets its last product
    output wire [COLUMNS*ACCUMULATOR_BITS-1:0] out_sums  // of the last row
);
  localparam integer SUM_BITS = ACCUMULATOR_BITS;
  localparam integer CORNER = ROWS * COLUMNS - 1;

  wire [ROWS*COLUMNS*A_BITS-1:0] a;  // element after element, row after row
  wire [ROWS*COLUMNS*4-1:0] control;
  wire [COLUMNS*ROWS*B_BITS-1:0] b;  // column after column
  wire [(ROWS+1)*COLUMNS*SUM_BITS-1:0] sums;  // what comes from above, row after row
  assign sums[COLUMNS*SUM_BITS-1:0] = '0;
  assign out_sums = sums[ROWS*COLUMNS*SUM_BITS+:COLUMNS*SUM_BITS];
  assign complete = control[4*CORNER] && control[4*CORNER+2];

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
          .BITS(4)
      ) with_a (
          .clock(clock),
          .reset(reset),
          .value(in_control[row*4+:4]),
          .seen(control[row*COLUMNS*4+:COLUMNS*4])
      );
    end
    for (column = 0; column < COLUMNS; column = column + 1) begin : columns
      delay_line #(
          .PLACES(ROWS),
          .BITS(B_BITS)
      ) downwards (
          .clock(clock),
          .reset(reset),
          .value(in_b[column*B_BITS+:B_BITS]),
          .seen(b[column*ROWS*B_BITS+:ROWS*B_BITS])
      );
      for (row = 0; row < ROWS; row = row + 1) begin : elements
        localparam integer HERE = row * COLUMNS + column;
        output_stationary_element #(
            .A_BITS(A_BITS),
            .B_BITS(B_BITS),
            .ACCUMULATOR_BITS(SUM_BITS),
            .OVERLAP(OVERLAP)
        ) element (
            .clock(clock),
            .in_a(a[HERE*A_BITS+:A_BITS]),
            .in_b(b[(column*ROWS+row)*B_BITS+:B_BITS]),
            .in_valid(control[4*HERE]),
            .in_first(control[4*HERE+1]),
            .in_last(control[4*HERE+2]),
            .in_shift(control[4*HERE+3]),
            .in_sum(sums[HERE*SUM_BITS+:SUM_BITS]),
            .out_sum(sums[(HERE+COLUMNS)*SUM_BITS+:SUM_BITS])
        );
      end
    end
  endgenerate
endmodule

`default_nettype wire
