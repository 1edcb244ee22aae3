// SPDX-License-Identifier: Apache-2.0
// LayerNorm with an integer square root, one row after the other: docs/ir.md, LayerNorm.
//
// A row's centred codes are stored while their sum and the sum of their squares grow; then come
// the variance, its root and the reciprocal of that; then one code per clock, through a pipeline
// of deviation, product with the reciprocal, product with gamma, and output stage.
`timescale 1ns / 1ps
`default_nettype none

module layernorm #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer IN_ZERO_POINT = 0,
    parameter integer CHANNELS = 64,
    // Constants per channel: multipliers of 1 and shifts of 0 where the op has none.
    parameter integer CHANNEL_MULTIPLIER_BITS = 8,
    parameter integer CHANNEL_SHIFT_BITS = 1,
    parameter CHANNEL_MULTIPLIER_FILE = "channel_multiplier.hex",
    parameter CHANNEL_SHIFT_FILE = "channel_shift.hex",
    parameter integer GAMMA_BITS = 32,
    parameter GAMMA_FILE = "gamma.hex",
    parameter integer BETA_BITS = 32,
    parameter BETA_FILE = "beta.hex",
    parameter integer BETA_SHIFT = 25,
    parameter [63:0] EPSILON = 64'd1599710,
    parameter integer SQRT_FRACTION_BITS = 11,
    parameter integer RECIPROCAL_BITS = 60,
    parameter integer NORMALIZED_FRACTION_BITS = 26,
    parameter integer ROOT_STEPS = 0,  // 0: an exact root; else Newton's steps
    parameter integer ROOT_START_BITS = 0,  // 0: they start from 2^ceil(bits / 2)
    parameter integer SHIFT = 51,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1,
    parameter integer OUT_ZERO_POINT = 0,
    // Inner registers: the first six signed, the others unsigned.
    parameter integer CENTRED_WIDTH =
        IN_BITS + 1 + CHANNEL_MULTIPLIER_BITS + (1 << CHANNEL_SHIFT_BITS) - 1,
    parameter integer SUM_WIDTH = CENTRED_WIDTH + $clog2(CHANNELS + 1),
    parameter integer DEVIATION_WIDTH = SUM_WIDTH + 1,
    parameter integer NORMALIZED_PRODUCT_WIDTH = 64,
    parameter integer NORMALIZED_WIDTH = 64,
    parameter integer SCALED_WIDTH = 64,
    parameter integer SQUARE_SUM_WIDTH = 2 * CENTRED_WIDTH - 1 + $clog2(CHANNELS + 1),
    parameter integer RADICAND_WIDTH = 64,
    parameter integer ROOT_WIDTH = ROOT_STEPS == 0 ? (RADICAND_WIDTH + 1) / 2 : RADICAND_WIDTH,
    parameter integer RECIPROCAL_WIDTH = RECIPROCAL_BITS + 1
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [IN_BITS-1:0] in_code,

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code,
    output reg out_saturated
);
  localparam integer CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1;
  localparam [CHANNEL_BITS-1:0] LAST = CHANNEL_BITS'(CHANNELS - 1);
  localparam integer SPARE_BITS = RECIPROCAL_BITS - SQRT_FRACTION_BITS - NORMALIZED_FRACTION_BITS;
  localparam [2:0] LOAD = 3'd0, SUM = 3'd1, VARIANCE = 3'd2, ROOT = 3'd3, DIVIDE = 3'd4,
      GIVE = 3'd5;

  reg [CHANNEL_MULTIPLIER_BITS-1:0] channel_multiplier[0:CHANNELS-1];
  reg [CHANNEL_SHIFT_BITS-1:0] channel_shift[0:CHANNELS-1];
  reg signed [GAMMA_BITS-1:0] gamma[0:CHANNELS-1];
  reg signed [BETA_BITS-1:0] beta[0:CHANNELS-1];
  initial $readmemh(CHANNEL_MULTIPLIER_FILE, channel_multiplier);
  initial $readmemh(CHANNEL_SHIFT_FILE, channel_shift);
  initial $readmemh(GAMMA_FILE, gamma);
  initial $readmemh(BETA_FILE, beta);
  reg signed [CENTRED_WIDTH-1:0] row[0:CHANNELS-1];

  reg [2:0] state;
  reg [CHANNEL_BITS-1:0] channel;  // of the code that is taken or read

  // Centred codes, their sum and the sum of their squares.
  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire signed [CENTRED_WIDTH-1:0] difference =
      CENTRED_WIDTH'($signed({in_sign, in_code})) - CENTRED_WIDTH'(IN_ZERO_POINT);
  wire signed [CENTRED_WIDTH-1:0] factor =
      CENTRED_WIDTH'($signed({1'b0, channel_multiplier[channel]}));
  wire signed [CENTRED_WIDTH-1:0] multiplied = difference * factor;
  reg centred_valid, centred_last;
  reg [CHANNEL_BITS-1:0] centred_channel;
  reg signed [CENTRED_WIDTH-1:0] centred;
  reg signed [SUM_WIDTH-1:0] sum;
  reg [SQUARE_SUM_WIDTH-1:0] square_sum;
  wire [SQUARE_SUM_WIDTH-1:0] wide = SQUARE_SUM_WIDTH'($signed(centred));
  wire [SQUARE_SUM_WIDTH-1:0] square = wide * wide;
  wire taken = in_valid && in_ready;
  assign in_ready = state == LOAD;

  // The statistics of the row.
  wire [RADICAND_WIDTH-1:0] wide_sum = RADICAND_WIDTH'($signed(sum));
  reg [RADICAND_WIDTH-1:0] variance;
  wire [RADICAND_WIDTH-1:0] radicand = variance << 2 * SQRT_FRACTION_BITS;
  reg root_start;
  wire root_done;
  wire [ROOT_WIDTH-1:0] root;
  reg [RECIPROCAL_WIDTH-1:0] reciprocal;
  wire divided;
  wire given = out_valid && out_ready && out_last;

  layernorm_root #(
      .RADICAND_WIDTH(RADICAND_WIDTH),
      .ROOT_WIDTH(ROOT_WIDTH),
      .STEPS(ROOT_STEPS),
      .START_BITS(ROOT_START_BITS)
  ) rooting (
      .clock(clock),
      .reset(reset),
      .start(root_start),
      .radicand(radicand),
      .done(root_done),
      .root(root)
  );

  reg divide_start;
  wire [RECIPROCAL_WIDTH-1:0] quotient;
  wire [ROOT_WIDTH-1:0] unused_remainder;
  divider #(
      .DIVIDEND_BITS(RECIPROCAL_BITS + 1),
      .DIVISOR_BITS(ROOT_WIDTH),
      .QUOTIENT_BITS(RECIPROCAL_WIDTH)
  ) division (
      .clock(clock),
      .reset(reset),
      .start(divide_start),
      .dividend((RECIPROCAL_BITS + 1)'(1'b1) << RECIPROCAL_BITS),
      .divisor(root == '0 ? ROOT_WIDTH'(1'b1) : root),
      .done(divided),
      .quotient(quotient),
      .remainder(unused_remainder)
  );

  // The pipeline of results.
  wire advance = !out_valid || out_ready;
  reg reading;
  reg read_valid, deviation_valid, product_valid, scaled_valid;
  reg [CHANNEL_BITS-1:0] read_channel, deviation_channel, product_channel;
  reg scaled_last;
  reg signed [CENTRED_WIDTH-1:0] read;
  reg signed [DEVIATION_WIDTH-1:0] deviation;
  reg signed [NORMALIZED_PRODUCT_WIDTH-1:0] normalized_product;
  reg signed [SCALED_WIDTH-1:0] scaled;
  wire signed [NORMALIZED_WIDTH-1:0] normalized =
      NORMALIZED_WIDTH'($signed(normalized_product >>> SPARE_BITS));
  wire signed [SCALED_WIDTH-1:0] wide_gamma = SCALED_WIDTH'($signed(gamma[product_channel]));
  wire signed [SCALED_WIDTH-1:0] wide_beta = SCALED_WIDTH'($signed(beta[product_channel]));
  wire [OUT_BITS-1:0] code;
  wire saturated;

  output_stage #(
      .IN_BITS(SCALED_WIDTH),
      .ZERO_POINT_BITS(32),
      .ROUNDING(ROUNDING),
      .OVERFLOW(OVERFLOW),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED)
  ) stage (
      .value(scaled),
      .shift(6'(SHIFT)),
      .zero_point(OUT_ZERO_POINT),
      .code(code),
      .saturated(saturated)
  );

  always_ff @(posedge clock) begin
    // Taking a row.
    centred_valid <= taken;
    centred_last <= in_last;
    centred_channel <= channel;
    centred <= multiplied <<< channel_shift[channel];
    if (taken) begin
      channel <= in_last ? '0 : channel + CHANNEL_BITS'(1);
      if (in_last) state <= SUM;
    end
    if (centred_valid) begin
      row[centred_channel] <= centred;
      sum <= sum + SUM_WIDTH'($signed(centred));
      square_sum <= square_sum + square;
      if (centred_last) state <= VARIANCE;
    end
    // Its statistics, one after the other.
    root_start <= state == VARIANCE;
    divide_start <= root_done;
    if (state == VARIANCE) begin
      variance <= RADICAND_WIDTH'(square_sum) * RADICAND_WIDTH'(CHANNELS)
          - wide_sum * wide_sum + RADICAND_WIDTH'(EPSILON);
      state <= ROOT;
    end
    if (root_done) state <= DIVIDE;
    if (divided) begin
      reciprocal <= quotient;
      reading <= 1'b1;
      state <= GIVE;
    end
    // Its results.
    if (advance) begin
      if (reading) begin
        channel <= channel == LAST ? '0 : channel + CHANNEL_BITS'(1);
        if (channel == LAST) reading <= 1'b0;
      end
      read_valid <= reading;
      read_channel <= channel;
      read <= row[channel];
      deviation_valid <= read_valid;
      deviation_channel <= read_channel;
      deviation <= DEVIATION_WIDTH'($signed(read)) * DEVIATION_WIDTH'(CHANNELS)
          - DEVIATION_WIDTH'($signed(sum));
      product_valid <= deviation_valid;
      product_channel <= deviation_channel;
      normalized_product <= NORMALIZED_PRODUCT_WIDTH'($signed(deviation))
          * NORMALIZED_PRODUCT_WIDTH'($signed({1'b0, reciprocal}));
      scaled_valid <= product_valid;
      scaled_last <= product_channel == LAST;
      scaled <= SCALED_WIDTH'($signed(normalized)) * wide_gamma + (wide_beta <<< BETA_SHIFT);
      out_valid <= scaled_valid;
      out_last <= scaled_last;
      out_code <= code;
      out_saturated <= saturated;
    end
    if (given) state <= LOAD;
    if (reset || given) begin
      sum <= '0;
      square_sum <= '0;
    end
    if (reset) begin
      state <= LOAD;
      channel <= '0;
      centred_valid <= 1'b0;
      root_start <= 1'b0;
      divide_start <= 1'b0;
      reading <= 1'b0;
      read_valid <= 1'b0;
      deviation_valid <= 1'b0;
      product_valid <= 1'b0;
      scaled_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
