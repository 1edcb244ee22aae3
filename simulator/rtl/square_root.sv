// SPDX-License-Identifier: Apache-2.0
// floor(sqrt(radicand)) of an unsigned integer, one bit of the root per clock, most significant
// first. (RADICAND_BITS + 1) / 2 clocks after start, done is 1 for one clock; the root stays until
// the next start.
`timescale 1ns / 1ps
`default_nettype none

module square_root #(
    parameter integer RADICAND_BITS = 64,
    parameter integer ROOT_BITS = (RADICAND_BITS + 1) / 2  // the root's low bits
) (
    input wire clock,
    input wire reset,
    input wire start,
    input wire [RADICAND_BITS-1:0] radicand,
    output reg done,
    output wire [ROOT_BITS-1:0] root
);
  localparam integer BITS = (RADICAND_BITS + 1) / 2;
  localparam integer COUNT_BITS = $clog2(BITS + 1);

  reg [COUNT_BITS-1:0] left;
  reg [2*BITS-1:0] pairs;  // of radicand's bits, those that are left on top
  reg [BITS-1:0] rest;
  reg [BITS-1:0] found;

  wire [BITS+1:0] partial = {rest, pairs[2*BITS-1-:2]};
  wire [BITS+1:0] trial = {found, 2'b01};
  wire fits = partial >= trial;
  assign root = ROOT_BITS'(found);

  always_ff @(posedge clock) begin
    done <= left == COUNT_BITS'(1);
    if (start) begin
      left <= COUNT_BITS'(BITS);
      pairs <= (2 * BITS)'(radicand);
      rest <= '0;
      found <= '0;
    end else if (left != '0) begin
      left <= left - COUNT_BITS'(1);
      pairs <= pairs << 2;
      rest <= BITS'(fits ? partial - trial : partial);
      found <= {found[BITS-2:0], fits};
    end
    if (reset) begin
      left <= '0;
      done <= 1'b0;
    end
  end
endmodule

`default_nettype wire
