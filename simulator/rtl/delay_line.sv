// SPDX-License-Identifier: Apache-2.0
// A value that moves on by one place per clock, seen at every place: along a row or down a column of
// a systolic array. Place 0 sees it in the clock in which it comes.
`timescale 1ns / 1ps
`default_nettype none

module delay_line #(
    parameter integer PLACES = 4,
    parameter integer BITS = 8
) (
    input wire clock,
    input wire reset,
    input wire [BITS-1:0] value,
    output wire [PLACES*BITS-1:0] seen  // place 0 lowest
);
  generate
    if (PLACES == 1) begin : alone
      wire unused_clock = &{1'b0, clock, reset};
      assign seen = value;
    end else begin : moving
      reg [(PLACES-1)*BITS-1:0] held;
      assign seen = {held, value};
      always_ff @(posedge clock) begin
        held <= reset ? '0 : ((PLACES - 1) * BITS)'({held, value});
      end
    end
  endgenerate
endmodule

`default_nettype wire
