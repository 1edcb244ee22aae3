// SPDX-License-Identifier: Apache-2.0
// Logarithms of a softmax's exponentials, one row after the other: docs/ir.md, DeferredSoftmax.
//
// A row is stored while its maximum is found; then each code's distance from it is multiplied and
// shifted, one per clock.
`timescale 1ns / 1ps
`default_nettype none

module deferred_softmax #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer COLUMNS = 64,  // of the longest row
    parameter integer MULTIPLIER = 1131746993,
    parameter integer SHIFT = 33,
    parameter integer OUT_BITS = 4,
    parameter integer SCALED_WIDTH = IN_BITS + 31
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
  localparam integer INDEX_BITS = COLUMNS > 1 ? $clog2(COLUMNS) : 1;
  // Room for half a step and for its carry.
  localparam integer WIDER = (SCALED_WIDTH > SHIFT ? SCALED_WIDTH : SHIFT) + 1;
  localparam integer ROUNDED_BITS = WIDER > OUT_BITS ? WIDER : OUT_BITS + 1;
  localparam [ROUNDED_BITS-1:0] HALF =
      SHIFT == 0 ? '0 : ROUNDED_BITS'(1'b1) << (SHIFT == 0 ? 0 : SHIFT - 1);

  reg [IN_BITS-1:0] row[0:COLUMNS-1];

  reg giving;  // the row is complete
  reg first;  // the next code begins a row
  reg [INDEX_BITS-1:0] index;  // of the code that is stored or read
  reg [INDEX_BITS-1:0] last;  // of the row
  reg [IN_BITS-1:0] maximum;
  reg reading, scaled_valid, scaled_last;
  reg [SCALED_WIDTH-1:0] scaled;

  wire [IN_BITS-1:0] distance = maximum - row[index];
  wire [ROUNDED_BITS-1:0] logarithm = (ROUNDED_BITS'(scaled) + HALF) >> SHIFT;
  wire beyond = logarithm[ROUNDED_BITS-1:OUT_BITS] != '0;

  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire maximum_sign = IN_SIGNED != 0 && maximum[IN_BITS-1];
  wire larger = $signed({in_sign, in_code}) > $signed({maximum_sign, maximum});
  wire taken = in_valid && in_ready;
  wire advance = !out_valid || out_ready;
  wire given = out_valid && out_ready && out_last;

  assign in_ready = !giving;

  always_ff @(posedge clock) begin
    if (taken) begin
      row[index] <= in_code;
      index <= in_last ? '0 : index + INDEX_BITS'(1);
      last <= index;
      first <= in_last;
      if (first || larger) maximum <= in_code;
      giving <= in_last;
      reading <= in_last;
    end
    if (giving && advance) begin
      if (reading) index <= index == last ? '0 : index + INDEX_BITS'(1);
      if (index == last) reading <= 1'b0;
      scaled_valid <= reading;
      scaled_last <= index == last;
      scaled <= SCALED_WIDTH'(distance) * SCALED_WIDTH'(MULTIPLIER);
    end
    if (advance) begin
      out_valid <= giving && scaled_valid;
      out_last <= scaled_last;
      out_code <= beyond ? '1 : logarithm[OUT_BITS-1:0];
    end
    if (given) giving <= 1'b0;
    if (reset || given) begin
      scaled_valid <= 1'b0;
      out_valid <= 1'b0;
    end
    if (reset) begin
      giving <= 1'b0;
      first <= 1'b1;
      index <= '0;
      reading <= 1'b0;
    end
  end
endmodule

`default_nettype wire
