// SPDX-License-Identifier: Apache-2.0
// One systolic array and its memories: computes the products of shapes.hex one after the other and
// writes what comes to results_NUMBER.txt: rows of sums as they leave the array and, at the end of a
// product, `= cycles last`, where last is the clock in which the last sums left.
`timescale 1ns / 1ps

module systolic_bench #(
    parameter integer NUMBER = 0,
    parameter integer STATIONARY = 0,  // 0 output, 1 weight
    parameter integer OVERLAP = 0,
    parameter integer ROWS = 4,
    parameter integer COLUMNS = 4,
    parameter integer A_BITS = 8,
    parameter integer B_BITS = 8,
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer VECTORS = 32,
    parameter integer PRODUCTS = 1,
    parameter integer A_WORDS = 1,
    parameter integer B_WORDS = 1
) (
    input wire clock,
    input wire reset,
    output reg finished
);
  // Outside of the matrices an output-stationary array may be given anything.
  localparam [15:0] OUTSIDE = STATIONARY == 0 ? 16'h5a5a : 16'd0;
  reg [31:0] shapes[0:5*PRODUCTS-1];  // m, k, n, where a and b begin
  reg [15:0] a[0:A_WORDS-1];
  reg [15:0] b[0:B_WORDS-1];
  reg [31:0] m, k, n, a_start, b_start;
  integer product, file, clocks, last;
  reg in_valid, busy;
  wire in_ready, out_valid;
  wire [15:0] a_row, a_column, b_row, b_column;
  wire [ROWS*A_BITS-1:0] in_a;
  wire [COLUMNS*B_BITS-1:0] in_b;
  wire [COLUMNS*ACCUMULATOR_BITS-1:0] out_sums;
  wire [31:0] cycles;

  genvar lane;
  generate
    for (lane = 0; lane < ROWS; lane = lane + 1) begin : a_lanes
      wire [31:0] row = 32'(a_row) + (STATIONARY == 0 ? lane : 0);
      wire [31:0] column = 32'(a_column) + (STATIONARY == 0 ? 0 : lane);
      wire [15:0] code = row < m && column < k ? a[a_start+row*k+column] : OUTSIDE;
      assign in_a[lane*A_BITS+:A_BITS] = code[A_BITS-1:0];
    end
    for (lane = 0; lane < COLUMNS; lane = lane + 1) begin : b_lanes
      wire [31:0] row = 32'(b_row);
      wire [31:0] column = 32'(b_column) + lane;
      wire [15:0] code = row < k && column < n ? b[b_start+row*n+column] : OUTSIDE;
      assign in_b[lane*B_BITS+:B_BITS] = code[B_BITS-1:0];
    end
    if (STATIONARY == 0) begin : outputs
      systolic_output_stationary #(
          .ROWS(ROWS), .COLUMNS(COLUMNS), .A_BITS(A_BITS), .B_BITS(B_BITS),
          .ACCUMULATOR_BITS(ACCUMULATOR_BITS), .OVERLAP(OVERLAP)
      ) array (
          .clock(clock), .reset(reset), .in_valid(in_valid), .in_ready(in_ready),
          .in_m(m[15:0]), .in_k(k[15:0]), .in_n(n[15:0]),
          .a_row(a_row), .a_column(a_column), .in_a(in_a),
          .b_row(b_row), .b_column(b_column), .in_b(in_b),
          .out_valid(out_valid), .out_sums(out_sums), .cycles(cycles)
      );
    end else begin : weights
      systolic_weight_stationary #(
          .ROWS(ROWS), .COLUMNS(COLUMNS), .A_BITS(A_BITS), .B_BITS(B_BITS),
          .ACCUMULATOR_BITS(ACCUMULATOR_BITS), .OVERLAP(OVERLAP), .VECTORS(VECTORS)
      ) array (
          .clock(clock), .reset(reset), .in_valid(in_valid), .in_ready(in_ready),
          .in_m(m[15:0]), .in_k(k[15:0]), .in_n(n[15:0]),
          .a_row(a_row), .a_column(a_column), .in_a(in_a),
          .b_row(b_row), .b_column(b_column), .in_b(in_b),
          .out_valid(out_valid), .out_sums(out_sums), .cycles(cycles)
      );
    end
  endgenerate

  reg [8*32-1:0] name;
  initial begin
    $readmemh("shapes.hex", shapes);
    $readmemh("a.hex", a);
    $readmemh("b.hex", b);
    $sformat(name, "results_%0d.txt", NUMBER);
    file = $fopen(name, "w");
    {product, clocks, last} = 0;
    {in_valid, busy, finished} = 0;
  end

  always @(posedge clock) if (!reset && !finished) begin
    clocks <= clocks + 1;
    if (out_valid) begin
      $fdisplay(file, "%h", out_sums);
      last = clocks;
    end
    if (in_valid && in_ready) begin
      in_valid <= 1'b0;
      busy <= 1'b1;
      clocks <= 1;
    end else if (!in_valid && in_ready) begin
      if (busy) $fdisplay(file, "= %0d %0d", cycles, last);
      busy <= 1'b0;
      if (product == PRODUCTS) begin
        $fclose(file);
        finished <= 1'b1;
      end else begin
        {m, k, n} <= {shapes[5*product], shapes[5*product+1], shapes[5*product+2]};
        {a_start, b_start} <= {shapes[5*product+3], shapes[5*product+4]};
        product <= product + 1;
        in_valid <= 1'b1;
      end
    end
  end
endmodule
