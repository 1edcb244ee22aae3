// SPDX-License-Identifier: Apache-2.0
// Factors of a sum's row and column, and its bias: between mac and requantizer in ScaledMatMul.
// Two clocks: the sum times the factor of its row, then times that of its column, and the bias.
// What else belongs to a sum (the constants of its requantization) goes beside it, as it is.
`timescale 1ns / 1ps
`default_nettype none

module sum_scaler #(
    parameter integer ACCUMULATOR_BITS = 32,
    parameter integer ROW_FACTOR_BITS = 8,  // unsigned; 1 and a factor of 1 where there is none
    parameter integer COLUMN_FACTOR_BITS = 8,  // unsigned
    parameter integer BIAS_BITS = 32,
    parameter integer BESIDE_BITS = 1,
    // Registers, which keep their low bits.
    parameter integer ROW_SCALED_WIDTH = 64,
    parameter integer BIASED_WIDTH = 64
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire signed [ACCUMULATOR_BITS-1:0] in_accumulator,
    input  wire [ROW_FACTOR_BITS-1:0] in_row_factor,
    input  wire [COLUMN_FACTOR_BITS-1:0] in_column_factor,
    input  wire signed [BIAS_BITS-1:0] in_bias,
    input  wire [BESIDE_BITS-1:0] in_beside,

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg signed [BIASED_WIDTH-1:0] out_sum,
    output reg [BESIDE_BITS-1:0] out_beside
);
  localparam integer ROW_BITS = ROW_SCALED_WIDTH;
  localparam integer SUM_BITS = BIASED_WIDTH;

  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  wire signed [ROW_BITS-1:0] sum = ROW_BITS'($signed(in_accumulator));
  wire signed [ROW_BITS-1:0] row_factor = ROW_BITS'($signed({1'b0, in_row_factor}));

  reg row_valid, row_last;
  reg signed [ROW_BITS-1:0] row_scaled;
  reg [COLUMN_FACTOR_BITS-1:0] column;
  reg signed [BIAS_BITS-1:0] bias;
  reg [BESIDE_BITS-1:0] beside;

  wire signed [SUM_BITS-1:0] column_factor = SUM_BITS'($signed({1'b0, column}));
  wire signed [SUM_BITS-1:0] column_scaled = SUM_BITS'($signed(row_scaled)) * column_factor;

  always_ff @(posedge clock) begin
    if (advance) begin
      row_valid <= in_valid;
      row_last <= in_last;
      row_scaled <= sum * row_factor;
      column <= in_column_factor;
      bias <= in_bias;
      beside <= in_beside;
      out_valid <= row_valid;
      out_last <= row_last;
      out_sum <= column_scaled + SUM_BITS'($signed(bias));
      out_beside <= beside;
    end
    if (reset) begin
      row_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
