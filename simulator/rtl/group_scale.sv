// SPDX-License-Identifier: Apache-2.0
// GroupMaximum and GroupExponent: one scale for each group of codes, whose last one has in_last.
// One clock after the last code: the largest magnitude, at least 1, or the exponent that makes
// codes of BITS bits, by the place of the leading one, of m - (m >> TRIM) where TRIM is not 0.
`timescale 1ns / 1ps
`default_nettype none

module group_scale #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer IN_ZERO_POINT = 0,
    parameter integer BITS = 0,  // 0: the maximum
    parameter integer TRIM = 0,  // of an exponent
    parameter integer OUT_BITS = 8
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [IN_BITS-1:0] in_code,

    output reg out_valid,
    input wire out_ready,
    output reg [OUT_BITS-1:0] out_code
);
  localparam integer LENGTH_BITS = $clog2(IN_BITS + 1);
  localparam integer KEPT_BITS = BITS > 1 ? BITS - 1 : 0;

  reg [IN_BITS-1:0] largest;  // of the group so far

  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire signed [IN_BITS:0] centred =
      $signed({in_sign, in_code}) - (IN_BITS + 1)'(IN_ZERO_POINT);
  wire [IN_BITS-1:0] low_bits = centred[IN_BITS-1:0];
  wire [IN_BITS-1:0] magnitude = centred[IN_BITS] ? -low_bits : low_bits;
  wire [IN_BITS-1:0] chosen = magnitude > largest ? magnitude : largest;

  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  wire [OUT_BITS-1:0] code;
  generate
    if (BITS == 0) begin : maximum
      assign code = chosen == '0 ? OUT_BITS'(1) : OUT_BITS'(chosen);
    end else begin : exponent
      wire [IN_BITS-1:0] trimmed = TRIM == 0 ? chosen : chosen - (chosen >> TRIM);
      reg [LENGTH_BITS-1:0] length;
      integer place;
      always @* begin
        length = '0;
        for (place = 0; place < IN_BITS; place = place + 1) begin
          if (trimmed[place]) length = LENGTH_BITS'(place + 1);
        end
      end
      assign code = 32'(length) > KEPT_BITS ? OUT_BITS'(32'(length) - KEPT_BITS) : '0;
    end
  endgenerate

  always_ff @(posedge clock) begin
    if (advance) begin
      if (in_valid) largest <= in_last ? '0 : chosen;
      out_valid <= in_valid && in_last;
      out_code <= code;
    end
    if (reset) begin
      largest <= '0;
      out_valid <= 1'b0;
    end
  end
endmodule

`default_nettype wire
