// SPDX-License-Identifier: Apache-2.0
// One inner level of an accumulator: a register that adds up a group of addends.
`timescale 1ns / 1ps
`default_nettype none

module accumulator_level #(
    parameter integer ADDEND_BITS = 18,
    parameter integer ADDENDS = 16,  // of a whole group
    parameter integer BITS = 20,
    parameter integer OVERFLOW = 2  // 0 saturate, 2 wrap
) (
    input wire clock,
    input wire reset,
    input wire enable,
    input wire addend_valid,
    input wire signed [ADDEND_BITS-1:0] addend,
    input wire finish,  // the addend is the last one, the group may be shorter
    output wire signed [BITS-1:0] sum,
    output wire complete  // the sum is that of a group
);
  localparam integer EXACT_BITS = (ADDEND_BITS > BITS ? ADDEND_BITS : BITS) + 1;
  localparam integer COUNT_BITS = $clog2(ADDENDS + 1);

  reg signed [BITS-1:0] register;
  reg [COUNT_BITS-1:0] filled;
  wire signed [EXACT_BITS-1:0] exact =
      EXACT_BITS'($signed(register)) + EXACT_BITS'($signed(addend));
  wire [BITS-1:0] fitted;
  wire unused_saturated;

  fit #(
      .IN_BITS(EXACT_BITS),
      .OUT_BITS(BITS),
      .OUT_SIGNED(1),
      .OVERFLOW(OVERFLOW)
  ) storing (
      .value(exact),
      .code(fitted),
      .saturated(unused_saturated)
  );

  assign sum = $signed(fitted);
  assign complete = addend_valid && (finish || filled == COUNT_BITS'(ADDENDS - 1));

  always_ff @(posedge clock) begin
    if (enable && addend_valid) begin
      register <= complete ? '0 : sum;
      filled <= complete ? '0 : filled + COUNT_BITS'(1);
    end
    if (reset) begin
      register <= '0;
      filled <= '0;
    end
  end
endmodule

`default_nettype wire
