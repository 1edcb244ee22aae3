// SPDX-License-Identifier: Apache-2.0
// Values side by side, each one clock later than its neighbour: how operands enter a systolic array.
// Reversed it makes the values of one clock of what left an array one after the other.
`timescale 1ns / 1ps
`default_nettype none

module skew #(
    parameter integer LANES = 4,
    parameter integer BITS = 8,
    parameter integer REVERSED = 0  // 0 lane 0 is not delayed, 1 the last lane is not
) (
    input wire clock,
    input wire reset,
    input wire [LANES*BITS-1:0] values,  // lane 0 lowest
    output wire [LANES*BITS-1:0] skewed
);
  genvar lane;
  generate
    for (lane = 0; lane < LANES; lane = lane + 1) begin : lanes
      delay #(
          .BITS(BITS),
          .CLOCKS(REVERSED == 0 ? lane : LANES - 1 - lane)
      ) steps (
          .clock(clock),
          .reset(reset),
          .value(values[lane*BITS+:BITS]),
          .delayed(skewed[lane*BITS+:BITS])
      );
    end
  endgenerate
endmodule

`default_nettype wire
