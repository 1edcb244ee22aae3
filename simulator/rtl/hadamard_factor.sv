// SPDX-License-Identifier: Apache-2.0
// Paley's factor of a Hadamard matrix on the columns of a block, one after the other.
//
// With the values of a column as pairs (a, b): PAIR makes p = a + b, q = a - b and their sums P and Q
// over all pairs but the first; FIRST writes P + q_0 and Q - p_0, and adds p_0 to P, q_0 to Q; for
// each other pair TERM adds up what is taken away twice, beginning with b and a, and WRITE writes
// P - 2 (b + ...) and Q - 2 (a + ...).
`timescale 1ns / 1ps
`default_nettype none

module hadamard_factor #(
    parameter integer PALEY = 12,  // 12 or 20
    parameter integer SYLVESTER = 16,  // columns: a power of two
    parameter SUBTRACTED_FILE = "subtracted_12.hex",  // pairs, of which 1 is the second, by rows
    parameter integer SUM_WIDTH = 17
) (
    input wire clock,
    input wire reset,
    input wire enable,  // a block lies ready, until done
    output wire done,  // with the last write of a block

    output wire [$clog2(PALEY * SYLVESTER)-1:0] first,  // of the pair at hand
    output wire [$clog2(PALEY * SYLVESTER)-1:0] second,
    input wire signed [SUM_WIDTH-1:0] a,
    input wire signed [SUM_WIDTH-1:0] b,
    output wire write,
    output wire signed [SUM_WIDTH-1:0] value_first,
    output wire signed [SUM_WIDTH-1:0] value_second
);
  localparam integer INDEX_BITS = $clog2(PALEY * SYLVESTER);
  localparam integer PAIRS = PALEY / 2;
  localparam integer TERMS = (PAIRS - 2) / 2;
  localparam integer ENTRIES = (PAIRS - 1) * TERMS;
  localparam integer PAIR_BITS = $clog2(PAIRS);
  localparam integer TERM_BITS = TERMS > 1 ? $clog2(TERMS) : 1;
  localparam integer ENTRY_BITS = $clog2(ENTRIES);
  localparam integer COLUMN_BITS = SYLVESTER > 1 ? $clog2(SYLVESTER) : 1;
  localparam [1:0] PAIR = 2'd0, FIRST = 2'd1, TERM = 2'd2, WRITE = 2'd3;

  reg [PAIR_BITS-1:0] subtracted[0:ENTRIES-1];
  initial $readmemh(SUBTRACTED_FILE, subtracted);
  reg signed [SUM_WIDTH-1:0] sums[0:PAIRS-1];
  reg signed [SUM_WIDTH-1:0] differences[0:PAIRS-1];

  reg [1:0] state;
  reg [COLUMN_BITS-1:0] column;
  reg [PAIR_BITS-1:0] pair;
  reg [TERM_BITS-1:0] term;
  reg [ENTRY_BITS-1:0] entry;
  reg signed [SUM_WIDTH-1:0] all_sums, all_differences;  // P and Q
  reg signed [SUM_WIDTH-1:0] taken_sums, taken_differences;

  assign first = (INDEX_BITS'(pair) * INDEX_BITS'(2 * SYLVESTER)) | INDEX_BITS'(column);
  assign second = first + INDEX_BITS'(SYLVESTER);

  wire signed [SUM_WIDTH-1:0] sum = a + b;
  wire signed [SUM_WIDTH-1:0] difference = a - b;
  wire signed [SUM_WIDTH-1:0] first_sum = sums[0];
  wire signed [SUM_WIDTH-1:0] first_difference = differences[0];
  wire [PAIR_BITS-1:0] other = subtracted[entry];
  wire signed [SUM_WIDTH-1:0] other_sum = sums[other];
  wire signed [SUM_WIDTH-1:0] other_difference = differences[other];
  wire signed [SUM_WIDTH-1:0] before_sums = term == '0 ? b : taken_sums;
  wire signed [SUM_WIDTH-1:0] before_differences = term == '0 ? a : taken_differences;
  wire pair_is_last = pair == PAIR_BITS'(PAIRS - 1);
  wire column_is_last = column == COLUMN_BITS'(SYLVESTER - 1);

  assign write = enable && (state == FIRST || state == WRITE);
  assign value_first = state == FIRST
      ? all_sums + first_difference : all_sums - (taken_sums <<< 1);
  assign value_second = state == FIRST
      ? all_differences - first_sum : all_differences - (taken_differences <<< 1);
  assign done = enable && state == WRITE && pair_is_last && column_is_last;

  always_ff @(posedge clock) begin
    if (enable) begin
      case (state)
        PAIR: begin
          sums[pair] <= sum;
          differences[pair] <= difference;
          if (pair != '0) begin
            all_sums <= all_sums + sum;
            all_differences <= all_differences + difference;
          end
          pair <= pair_is_last ? '0 : pair + PAIR_BITS'(1);
          if (pair_is_last) state <= FIRST;
        end
        FIRST: begin
          all_sums <= all_sums + first_sum;
          all_differences <= all_differences + first_difference;
          pair <= PAIR_BITS'(1);
          state <= TERM;
        end
        TERM: begin
          taken_sums <= before_sums + other_sum;
          taken_differences <= before_differences + other_difference;
          entry <= entry == ENTRY_BITS'(ENTRIES - 1) ? '0 : entry + ENTRY_BITS'(1);
          term <= term == TERM_BITS'(TERMS - 1) ? '0 : term + TERM_BITS'(1);
          if (term == TERM_BITS'(TERMS - 1)) state <= WRITE;
        end
        default: begin
          pair <= pair_is_last ? '0 : pair + PAIR_BITS'(1);
          state <= pair_is_last ? PAIR : TERM;
          if (pair_is_last) begin
            column <= column_is_last ? '0 : column + COLUMN_BITS'(1);
            all_sums <= '0;
            all_differences <= '0;
          end
        end
      endcase
    end
    if (reset) begin
      state <= PAIR;
      column <= '0;
      pair <= '0;
      term <= '0;
      entry <= '0;
      all_sums <= '0;
      all_differences <= '0;
    end
  end
endmodule

`default_nettype wire
