// SPDX-License-Identifier: Apache-2.0
// A value a fixed number of clocks later.
`timescale 1ns / 1ps
`default_nettype none

module delay #(
    parameter integer BITS = 8,
    parameter integer CLOCKS = 1  // 0: a wire
) (
    input wire clock,
    input wire reset,
    input wire [BITS-1:0] value,
    output wire [BITS-1:0] delayed
);
  generate
    if (CLOCKS == 0) begin : immediate
      wire unused_clock = &{1'b0, clock, reset};
      assign delayed = value;
    end else begin : later
      reg [CLOCKS*BITS-1:0] held;  // the newest value lowest
      assign delayed = held[(CLOCKS-1)*BITS+:BITS];
      always_ff @(posedge clock) begin
        held <= reset ? '0 : (CLOCKS * BITS)'({held, value});
      end
    end
  endgenerate
endmodule

`default_nettype wire
