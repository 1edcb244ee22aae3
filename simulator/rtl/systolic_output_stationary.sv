// SPDX-License-Identifier: Apache-2.0
// A matrix product [m, k] x [k, n] on an output-stationary systolic array: the feeder and the array.
//
// A fold computes ROWS x COLUMNS sums. Without overlap a fold starts when the last sum of the one
// before is complete; its sums leave while the next fold's operands come in. Overlapped, folds are
// fed one after the other, and the last pair of a fold waits where sums of the one before are not
// complete in the whole first column: they leave through the last row, one row per clock.
`timescale 1ns / 1ps
`default_nettype none

module systolic_output_stationary #(
    parameter integer ROWS = 4,
    parameter integer COLUMNS = 4,
    parameter integer A_BITS = 8,  // signed
    parameter integer B_BITS = 8,  // signed
    parameter integer ACCUMULATOR_BITS = 32,  // wraps
    parameter integer OVERLAP = 0,  // 0 none, 1 fold: a second set of sums
    parameter integer EXTENT_BITS = 16  // of m, k, n, rounded up to whole folds
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,  // a product, its extents at least 1
    output wire in_ready,
    input  wire [EXTENT_BITS-1:0] in_m,
    input  wire [EXTENT_BITS-1:0] in_k,
    input  wire [EXTENT_BITS-1:0] in_n,

    // Operands, in the clock in which they are asked for: ROWS of a's rows, COLUMNS of b's columns.
    output wire [EXTENT_BITS-1:0] a_row,
    output wire [EXTENT_BITS-1:0] a_column,
    input  wire [ROWS*A_BITS-1:0] in_a,  // a[a_row + i][a_column]
    output wire [EXTENT_BITS-1:0] b_row,
    output wire [EXTENT_BITS-1:0] b_column,
    input  wire [COLUMNS*B_BITS-1:0] in_b,  // b[b_row][b_column + j]

    output wire out_valid,  // rows of a fold's sums, the last row first
    output wire [COLUMNS*ACCUMULATOR_BITS-1:0] out_sums,
    output reg [31:0] cycles  // from the first operands to the last sum that is complete
);
  localparam integer SUM_BITS = ACCUMULATOR_BITS;
  localparam integer PASSED_BITS = 2 * ROWS - 1;
  localparam integer FLIGHT_BITS = $clog2(ROWS + COLUMNS + 1) + 1;
  localparam integer WIDE = EXTENT_BITS + 1;

  reg running, waiting;
  reg [EXTENT_BITS-1:0] m, k, n, step, first_row, first_column;
  reg [31:0] elapsed;
  reg [FLIGHT_BITS-1:0] in_flight;  // folds whose sums have not left
  // The last pair of a fold in column 0: in rows 1 to ROWS - 1, then the clocks since it has left.
  reg [PASSED_BITS-1:0] passed;
  localparam [PASSED_BITS-1:0] IN_COLUMN = (PASSED_BITS'(1) << (ROWS - 1)) - PASSED_BITS'(1);

  wire complete, left;
  wire last_step = step == k - EXTENT_BITS'(1);
  wire last_column = WIDE'(first_column) + WIDE'(COLUMNS) >= WIDE'(n);
  wire last_row = WIDE'(first_row) + WIDE'(ROWS) >= WIDE'(m);
  wire blocked = OVERLAP == 0 ? waiting : last_step && (passed & IN_COLUMN) != '0;
  wire feed = running && !blocked;
  wire feed_last = feed && last_step;
  wire taken = in_valid && in_ready;

  assign in_ready = !running && in_flight == '0;
  assign a_row = first_row;
  assign a_column = step;
  assign b_row = step;
  assign b_column = first_column;

  always_ff @(posedge clock) begin
    elapsed <= elapsed + 32'd1;
    if (complete) cycles <= elapsed + 32'd1;
    passed <= PASSED_BITS'({passed, feed_last});
    in_flight <= in_flight + FLIGHT_BITS'(feed_last) - FLIGHT_BITS'(left);
    if (feed) step <= last_step ? '0 : step + EXTENT_BITS'(1);
    if (feed_last) begin
      waiting <= 1'b1;
      first_column <= last_column ? '0 : first_column + EXTENT_BITS'(COLUMNS);
      if (last_column) first_row <= first_row + EXTENT_BITS'(ROWS);
      if (last_column && last_row) running <= 1'b0;
    end
    if (complete) waiting <= 1'b0;
    if (taken) begin
      running <= 1'b1;
      elapsed <= '0;
      m <= in_m;
      k <= in_k;
      n <= in_n;
      step <= '0;
      first_row <= '0;
      first_column <= '0;
    end
    if (reset) begin
      running <= 1'b0;
      waiting <= 1'b0;
      passed <= '0;
      in_flight <= '0;
    end
  end

  wire [ROWS*3-1:0] tokens;
  wire [ROWS*4-1:0] control;
  wire [ROWS*A_BITS-1:0] skewed_a;
  wire [COLUMNS*B_BITS-1:0] skewed_b;
  wire [COLUMNS*SUM_BITS-1:0] leaving;
  wire moving;  // sums leave column 0

  skew #(
      .LANES(ROWS),
      .BITS(3)
  ) skew_tokens (
      .clock(clock),
      .reset(reset),
      .values({ROWS{feed_last, feed && step == '0, feed}}),
      .skewed(tokens)
  );
  skew #(
      .LANES(ROWS),
      .BITS(A_BITS)
  ) skew_a (
      .clock(clock),
      .reset(reset),
      .values(in_a),
      .skewed(skewed_a)
  );
  skew #(
      .LANES(COLUMNS),
      .BITS(B_BITS)
  ) skew_b (
      .clock(clock),
      .reset(reset),
      .values(in_b),
      .skewed(skewed_b)
  );

  // ROWS clocks in which sums move down; a row is not refilled when what came from above has gone.
  genvar row;
  generate
    for (row = 0; row < ROWS; row = row + 1) begin : rows
      localparam [PASSED_BITS-1:0] ABOVE = (PASSED_BITS'(1) << row) - PASSED_BITS'(1);
      wire shift = (passed & (ABOVE << (ROWS - 1))) != '0;
      assign control[row*4+:4] = {shift, tokens[row*3+:3]};
    end
  endgenerate
  assign moving = (passed & ~IN_COLUMN) != '0;

  output_stationary_array #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .A_BITS(A_BITS),
      .B_BITS(B_BITS),
      .ACCUMULATOR_BITS(SUM_BITS),
      .OVERLAP(OVERLAP)
  ) array (
      .clock(clock),
      .reset(reset),
      .in_a(skewed_a),
      .in_control(control),
      .in_b(skewed_b),
      .complete(complete),
      .out_sums(leaving)
  );

  skew #(
      .LANES(COLUMNS),
      .BITS(SUM_BITS),
      .REVERSED(1)
  ) align_sums (
      .clock(clock),
      .reset(reset),
      .values(leaving),
      .skewed(out_sums)
  );
  delay #(
      .BITS(2),
      .CLOCKS(COLUMNS - 1)
  ) with_sums (
      .clock(clock),
      .reset(reset),
      .value({passed[PASSED_BITS-1], moving}),
      .delayed({left, out_valid})
  );
endmodule

`default_nettype wire
