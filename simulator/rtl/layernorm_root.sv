// SPDX-License-Identifier: Apache-2.0
// The root of LayerNorm: exact, or what a number of Newton's steps make of it. done is 1 for one
// clock; the root stays until the next start.
`timescale 1ns / 1ps
`default_nettype none

module layernorm_root #(
    parameter integer RADICAND_WIDTH = 64,
    parameter integer ROOT_WIDTH = 32,
    parameter integer STEPS = 0,  // 0: exact
    parameter integer START_BITS = 0  // 0: from 2^ceil(bits / 2)
) (
    input wire clock,
    input wire reset,
    input wire start,
    input wire [RADICAND_WIDTH-1:0] radicand,
    output wire done,
    output wire [ROOT_WIDTH-1:0] root
);
  generate
    if (STEPS == 0) begin : exact
      square_root #(
          .RADICAND_BITS(RADICAND_WIDTH),
          .ROOT_BITS(ROOT_WIDTH)
      ) rooting (
          .clock(clock),
          .reset(reset),
          .start(start),
          .radicand(radicand),
          .done(done),
          .root(root)
      );
    end else begin : newton
      localparam integer LEFT_BITS = $clog2(STEPS + 1);

      reg [LEFT_BITS-1:0] left;
      reg [ROOT_WIDTH-1:0] estimate;
      reg divide, finished;
      wire divided;
      wire [ROOT_WIDTH-1:0] quotient;
      wire [ROOT_WIDTH-1:0] unused_remainder;
      wire [ROOT_WIDTH:0] twice = {1'b0, estimate} + {1'b0, quotient};

      // 2^ceil(bits / 2): one pair of bits after the other, from the lowest.
      wire [ROOT_WIDTH-1:0] first[0:(RADICAND_WIDTH+1)/2];
      assign first[0] = START_BITS == 0 ? ROOT_WIDTH'(1'b1) : ROOT_WIDTH'(1'b1) << START_BITS;
      genvar pair;
      for (pair = 0; pair < (RADICAND_WIDTH + 1) / 2; pair = pair + 1) begin : pairs
        wire any = START_BITS == 0 && radicand >> (2 * pair) != '0;
        assign first[pair+1] = any ? ROOT_WIDTH'(1'b1) << (pair + 1) : first[pair];
      end

      divider #(
          .DIVIDEND_BITS(RADICAND_WIDTH),
          .DIVISOR_BITS(ROOT_WIDTH),
          .QUOTIENT_BITS(ROOT_WIDTH)
      ) division (
          .clock(clock),
          .reset(reset),
          .start(divide),
          .dividend(radicand),
          .divisor(estimate),
          .done(divided),
          .quotient(quotient),
          .remainder(unused_remainder)
      );

      assign done = finished;
      assign root = estimate;

      always_ff @(posedge clock) begin
        divide <= 1'b0;
        finished <= 1'b0;
        if (start) begin
          left <= LEFT_BITS'(STEPS);
          estimate <= radicand == '0 ? '0 : first[(RADICAND_WIDTH+1)/2];
          divide <= radicand != '0;
          finished <= radicand == '0;
        end else if (divided) begin
          left <= left - LEFT_BITS'(1'b1);
          estimate <= ROOT_WIDTH'(twice >> 1);
          divide <= left != LEFT_BITS'(1'b1);
          finished <= left == LEFT_BITS'(1'b1);
        end
        if (reset) begin
          divide <= 1'b0;
          finished <= 1'b0;
        end
      end
    end
  endgenerate
endmodule

`default_nettype wire
