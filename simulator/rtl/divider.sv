// SPDX-License-Identifier: Apache-2.0
// Division of unsigned integers, one bit of the quotient per clock, most significant first.
// DIVIDEND_BITS clocks after start, done is 1 for one clock; results stay until the next start.
// The divisor is not 0.
`timescale 1ns / 1ps
`default_nettype none

module divider #(
    parameter integer DIVIDEND_BITS = 61,
    parameter integer DIVISOR_BITS = 37,
    parameter integer QUOTIENT_BITS = DIVIDEND_BITS  // the quotient's low bits
) (
    input wire clock,
    input wire reset,
    input wire start,
    input wire [DIVIDEND_BITS-1:0] dividend,
    input wire [DIVISOR_BITS-1:0] divisor,
    output reg done,
    output wire [QUOTIENT_BITS-1:0] quotient,
    output reg [DIVISOR_BITS-1:0] remainder
);
  localparam integer COUNT_BITS = $clog2(DIVIDEND_BITS + 1);

  reg [COUNT_BITS-1:0] left;  // bits of the quotient that are missing
  reg [DIVIDEND_BITS-1:0] word;  // the rest of the dividend, and the quotient behind it
  reg [DIVISOR_BITS-1:0] held;

  wire [DIVISOR_BITS:0] partial = {remainder, word[DIVIDEND_BITS-1]};
  wire [DIVISOR_BITS:0] subtracted = {1'b0, held};
  wire fits = partial >= subtracted;
  assign quotient = QUOTIENT_BITS'(word);

  always_ff @(posedge clock) begin
    done <= left == COUNT_BITS'(1);
    if (start) begin
      left <= COUNT_BITS'(DIVIDEND_BITS);
      word <= dividend;
      remainder <= '0;
      held <= divisor;
    end else if (left != '0) begin
      left <= left - COUNT_BITS'(1);
      word <= DIVIDEND_BITS'({word, fits});
      remainder <= DIVISOR_BITS'(fits ? partial - subtracted : partial);
    end
    if (reset) begin
      left <= '0;
      done <= 1'b0;
    end
  end
endmodule

`default_nettype wire
