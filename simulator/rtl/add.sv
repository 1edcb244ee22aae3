// SPDX-License-Identifier: Apache-2.0
// Add: two tensors of different scales, with a multiplier per channel each (Add_α), one rounding.
// Two clocks: the scaled sum, then the code. One element per clock, channel after channel.
`timescale 1ns / 1ps
`default_nettype none

module add #(
    parameter integer A_BITS = 8,
    parameter integer A_SIGNED = 1,
    parameter integer A_ZERO_POINT = 0,
    parameter integer B_BITS = 8,
    parameter integer B_SIGNED = 1,
    parameter integer B_ZERO_POINT = 0,
    parameter integer CHANNELS = 1,  // 1 where both multipliers serve all channels
    parameter integer MULTIPLIER_BITS = 31,
    parameter MULTIPLIER_A_FILE = "multiplier_a.hex",
    parameter MULTIPLIER_B_FILE = "multiplier_b.hex",
    parameter integer SHIFT = 30,
    parameter integer SCALED_WIDTH = 64,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1,
    parameter integer OUT_ZERO_POINT = 0
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [A_BITS-1:0] in_a,
    input  wire [B_BITS-1:0] in_b,

    output reg out_valid,
    input wire out_ready,
    output reg out_last,
    output reg [OUT_BITS-1:0] out_code,
    output reg out_saturated
);
  localparam integer CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1;

  reg [MULTIPLIER_BITS-1:0] multiplier_a[0:CHANNELS-1];
  reg [MULTIPLIER_BITS-1:0] multiplier_b[0:CHANNELS-1];
  initial $readmemh(MULTIPLIER_A_FILE, multiplier_a);
  initial $readmemh(MULTIPLIER_B_FILE, multiplier_b);

  reg [CHANNEL_BITS-1:0] channel;
  wire a_sign = A_SIGNED != 0 && in_a[A_BITS-1];
  wire b_sign = B_SIGNED != 0 && in_b[B_BITS-1];
  wire signed [SCALED_WIDTH-1:0] centred_a =
      SCALED_WIDTH'($signed({a_sign, in_a})) - SCALED_WIDTH'(A_ZERO_POINT);
  wire signed [SCALED_WIDTH-1:0] centred_b =
      SCALED_WIDTH'($signed({b_sign, in_b})) - SCALED_WIDTH'(B_ZERO_POINT);
  wire signed [SCALED_WIDTH-1:0] factor_a =
      SCALED_WIDTH'($signed({1'b0, multiplier_a[channel]}));
  wire signed [SCALED_WIDTH-1:0] factor_b =
      SCALED_WIDTH'($signed({1'b0, multiplier_b[channel]}));

  reg scaled_valid, scaled_last;
  reg signed [SCALED_WIDTH-1:0] scaled;
  wire [OUT_BITS-1:0] code;
  wire saturated;
  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

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
    if (advance) begin
      if (in_valid) begin
        channel <= in_last || channel == CHANNEL_BITS'(CHANNELS - 1)
            ? '0 : channel + CHANNEL_BITS'(1);
      end
      scaled_valid <= in_valid;
      scaled_last <= in_last;
      scaled <= centred_a * factor_a + centred_b * factor_b;
      out_valid <= scaled_valid;
      out_last <= scaled_last;
      out_code <= code;
      out_saturated <= saturated;
    end
    if (reset) begin
      channel <= '0;
      scaled_valid <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
