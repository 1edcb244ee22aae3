// SPDX-License-Identifier: Apache-2.0
// A matrix product [m, k] x [k, n] on a weight-stationary systolic array: the feeder and the array.
// With the operands transposed it is input stationary.
//
// A fold holds ROWS x COLUMNS weights while all m vectors pass; folds along k are added up. Weights
// move down from the upper edge, those of the last row first. Without overlap a fold's weights come
// when the last sum of the fold before is complete; overlapped, as soon as the first vector of the
// fold before has set out, right behind it.
`timescale 1ns / 1ps
`default_nettype none

module systolic_weight_stationary #(
    parameter integer ROWS = 4,
    parameter integer COLUMNS = 4,
    parameter integer A_BITS = 8,  // signed
    parameter integer B_BITS = 8,  // signed
    parameter integer ACCUMULATOR_BITS = 32,  // wraps
    parameter integer OVERLAP = 0,  // 0 none, 1 fold: a second set of weights
    parameter integer VECTORS = 16,  // the largest m: partial sums of so many are kept
    parameter integer EXTENT_BITS = 16  // of m, k, n, rounded up to whole folds
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,  // a product, its extents at least 1
    output wire in_ready,
    input  wire [EXTENT_BITS-1:0] in_m,
    input  wire [EXTENT_BITS-1:0] in_k,
    input  wire [EXTENT_BITS-1:0] in_n,

    // Operands, in the clock in which they are asked for: ROWS of a's columns, COLUMNS of b's
    // columns, 0 outside of a and b.
    output wire [EXTENT_BITS-1:0] a_row,
    output wire [EXTENT_BITS-1:0] a_column,
    input  wire [ROWS*A_BITS-1:0] in_a,  // a[a_row][a_column + i]
    output wire [EXTENT_BITS-1:0] b_row,
    output wire [EXTENT_BITS-1:0] b_column,
    input  wire [COLUMNS*B_BITS-1:0] in_b,  // b[b_row][b_column + j]

    output wire out_valid,  // COLUMNS of a vector's sums
    output wire [COLUMNS*ACCUMULATOR_BITS-1:0] out_sums,
    output reg [31:0] cycles  // from the first weights to the last sum that is complete
);
  localparam integer SUM_BITS = ACCUMULATOR_BITS;
  localparam integer INDEX_BITS = VECTORS > 1 ? $clog2(VECTORS) : 1;
  localparam integer ROW_BITS = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam integer FLIGHT_BITS = $clog2(ROWS + COLUMNS);
  localparam integer WIDE = EXTENT_BITS + 1;
  localparam integer TOKEN_BITS = INDEX_BITS + 3;

  reg [EXTENT_BITS-1:0] m, k, n;
  reg [31:0] elapsed;
  reg [FLIGHT_BITS-1:0] in_flight;  // vectors with products to come
  // The weights that are loaded next, where they are in b, and whether they are there.
  reg pending, loading, loaded;
  reg [ROW_BITS-1:0] load_row;
  reg [EXTENT_BITS-1:0] load_k, load_n;
  // The vectors that stream.
  reg streaming, first_fold, last_fold;
  reg [EXTENT_BITS-1:0] vector, stream_k;

  wire taken = in_valid && in_ready;
  wire last_k = WIDE'(load_k) + WIDE'(ROWS) >= WIDE'(k);
  wire last_n = WIDE'(load_n) + WIDE'(COLUMNS) >= WIDE'(n);
  wire load_ends = loading && load_row == ROW_BITS'(ROWS - 1);
  wire stream_ends = streaming && vector == m - EXTENT_BITS'(1);
  wire stream_begins = (loaded || load_ends) && (!streaming || stream_ends);
  wire leaves;  // a vector gets its last product
  wire [FLIGHT_BITS-1:0] remaining =
      in_flight + FLIGHT_BITS'(streaming) - FLIGHT_BITS'(leaves);
  wire fold_ends = leaves && remaining == '0 && (!streaming || stream_ends);
  wire load_begins =
      OVERLAP == 0 ? pending && fold_ends : stream_begins && !(last_k && last_n);

  assign in_ready = !pending && !streaming && in_flight == '0;
  assign a_row = vector;
  assign a_column = stream_k;
  assign b_row = load_k + EXTENT_BITS'(ROWS - 1) - EXTENT_BITS'(load_row);
  assign b_column = load_n;

  always_ff @(posedge clock) begin
    elapsed <= elapsed + 32'd1;
    if (leaves) cycles <= elapsed + 32'd1;
    in_flight <= remaining;
    if (loading) load_row <= load_ends ? '0 : load_row + ROW_BITS'(1);
    if (load_ends) loading <= 1'b0;
    if (load_begins) loading <= 1'b1;
    loaded <= (loaded || load_ends) && !stream_begins;
    if (streaming) vector <= vector + EXTENT_BITS'(1);
    if (stream_ends) streaming <= 1'b0;
    if (stream_begins) begin
      streaming <= 1'b1;
      vector <= '0;
      stream_k <= load_k;
      first_fold <= load_k == '0;
      last_fold <= last_k;
      load_k <= last_k ? '0 : load_k + EXTENT_BITS'(ROWS);
      if (last_k) load_n <= load_n + EXTENT_BITS'(COLUMNS);
      if (last_k && last_n) pending <= 1'b0;
    end
    if (taken) begin
      pending <= 1'b1;
      loading <= 1'b1;
      elapsed <= '0;
      m <= in_m;
      k <= in_k;
      n <= in_n;
      load_row <= '0;
      load_k <= '0;
      load_n <= '0;
    end
    if (reset) begin
      pending <= 1'b0;
      loading <= 1'b0;
      loaded <= 1'b0;
      streaming <= 1'b0;
      in_flight <= '0;
    end
  end

  wire [ROWS-1:0] firsts;
  wire [ROWS*2-1:0] control;
  wire [ROWS*A_BITS-1:0] skewed_a;
  wire [COLUMNS*B_BITS-1:0] skewed_b;
  wire [COLUMNS*TOKEN_BITS-1:0] tokens;
  wire [COLUMNS*SUM_BITS-1:0] partial, sums;
  wire [COLUMNS*(SUM_BITS+1)-1:0] leaving, aligned;
  wire [ROW_BITS:0] given = (ROW_BITS + 1)'(load_row) + (ROW_BITS + 1)'(1);  // rows of weights

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
      .LANES(ROWS),
      .BITS(1)
  ) skew_first (
      .clock(clock),
      .reset(reset),
      .values({ROWS{streaming && vector == '0}}),
      .skewed(firsts)
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
  delay_line #(
      .PLACES(COLUMNS),
      .BITS(TOKEN_BITS)
  ) vectors (
      .clock(clock),
      .reset(reset),
      .value({vector[INDEX_BITS-1:0], last_fold, first_fold, streaming}),
      .seen(tokens)
  );

  genvar row, column;
  generate
    // Row i takes no weight before one has come down to it: its old one may still be needed.
    for (row = 0; row < ROWS; row = row + 1) begin : rows
      assign control[row*2+:2] = {loading && given > (ROW_BITS + 1)'(row), firsts[row]};
    end
    for (column = 0; column < COLUMNS; column = column + 1) begin : columns
      wire added;
      partial_sums #(
          .VECTORS(VECTORS),
          .INDEX_BITS(INDEX_BITS),
          .BITS(SUM_BITS),
          .LATENCY(ROWS - 1)
      ) memory (
          .clock(clock),
          .reset(reset),
          .in_valid(tokens[column*TOKEN_BITS]),
          .in_first(tokens[column*TOKEN_BITS+1]),
          .in_last(tokens[column*TOKEN_BITS+2]),
          .in_index(tokens[column*TOKEN_BITS+3+:INDEX_BITS]),
          .out_partial(partial[column*SUM_BITS+:SUM_BITS]),
          .in_sum(sums[column*SUM_BITS+:SUM_BITS]),
          .added(added),
          .out_valid(leaving[column*(SUM_BITS+1)+SUM_BITS]),
          .out_sum(leaving[column*(SUM_BITS+1)+:SUM_BITS])
      );
      assign out_sums[column*SUM_BITS+:SUM_BITS] = aligned[column*(SUM_BITS+1)+:SUM_BITS];
      if (column == COLUMNS - 1) begin : corner
        assign leaves = added;
        assign out_valid = aligned[column*(SUM_BITS+1)+SUM_BITS];
      end else begin : earlier
        wire unused_added = added && aligned[column*(SUM_BITS+1)+SUM_BITS];
      end
    end
  endgenerate

  weight_stationary_array #(
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
      .in_weights(skewed_b),
      .in_sums(partial),
      .out_sums(sums)
  );

  skew #(
      .LANES(COLUMNS),
      .BITS(SUM_BITS + 1),
      .REVERSED(1)
  ) align_sums (
      .clock(clock),
      .reset(reset),
      .values(leaving),
      .skewed(aligned)
  );
endmodule

`default_nettype wire
