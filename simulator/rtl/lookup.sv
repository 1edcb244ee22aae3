// SPDX-License-Identifier: Apache-2.0
// Lookup: a function by a table with one entry per code, such as GELU. One clock.
`timescale 1ns / 1ps
`default_nettype none

module lookup #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer OUT_BITS = 8,
    parameter TABLE_FILE = "table.hex"  // lowest code first
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
    output reg [OUT_BITS-1:0] out_code
);
  localparam integer ENTRIES = 1 << IN_BITS;
  localparam [IN_BITS-1:0] LOWEST = IN_SIGNED != 0 ? {1'b1, {(IN_BITS - 1) {1'b0}}} : '0;

  reg [OUT_BITS-1:0] entries[0:ENTRIES-1];
  initial $readmemh(TABLE_FILE, entries);

  wire [IN_BITS-1:0] index = in_code - LOWEST;
  wire advance = !out_valid || out_ready;
  assign in_ready = advance;

  always_ff @(posedge clock) begin
    if (advance) begin
      out_valid <= in_valid;
      out_last <= in_last;
      out_code <= entries[index];
    end
    if (reset) out_valid <= 1'b0;
  end
endmodule

`default_nettype wire
