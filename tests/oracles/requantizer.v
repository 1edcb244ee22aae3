// SPDX-License-Identifier: Apache-2.0
// A requantizer as hardware builds it, one per rounding mode, all fed with the same vectors.
//
// The quotient is the product's upper part; the discarded bits, compared with half of their range,
// decide an increment. Double rounding is two such steps, at bit 31 and at what is left.

`define FLOOR 0
`define TOWARD_ZERO 1
`define HALF_UP 2
`define HALF_DOWN 3
`define HALF_AWAY 4
`define HALF_EVEN 5
`define DOUBLE_SYMMETRIC 6
`define DOUBLE_ASYMMETRIC 7

`define SATURATE 0
`define SATURATE_SYMMETRIC 1
`define WRAP 2

module requantizer #(
    parameter ROUNDING = `HALF_UP,
    parameter OVERFLOW = `SATURATE,
    parameter ZERO_POINT_FIRST = 0,
    parameter BITS = 8
) (
    input signed [63:0] product,
    input [5:0] shift,
    input signed [15:0] zero_point,
    output reg signed [BITS-1:0] code
);
  localparam TWICE = ROUNDING == `DOUBLE_SYMMETRIC || ROUNDING == `DOUBLE_ASYMMETRIC;
  localparam [63:0] HALF = 64'h8000000000000000;
  localparam signed [63:0] HIGH = (64'sd1 <<< (BITS - 1)) - 64'sd1;
  localparam signed [63:0] LOW = OVERFLOW == `SATURATE_SYMMETRIC ? -HIGH : -HIGH - 64'sd1;

  reg signed [63:0] value, quotient;
  reg [63:0] rest;
  reg [5:0] places;
  reg up;

  always @* begin
    value = ZERO_POINT_FIRST ? product + (zero_point <<< shift) : product;
    places = shift;
    if (TWICE && shift > 31) begin
      value = (value + 64'sh40000000) >>> 31;
      places = shift - 6'd31;
    end
    quotient = value >>> places;
    // The discarded bits, moved to the top of a word: half of their range is its highest bit.
    rest = places == 0 ? 64'd0 : value << (7'd64 - places);
    if (ROUNDING == `FLOOR) up = 0;
    else if (ROUNDING == `TOWARD_ZERO) up = value[63] && rest != 0;
    else if (ROUNDING == `HALF_DOWN) up = rest > HALF;
    else if (ROUNDING == `HALF_EVEN) up = quotient[0] ? rest >= HALF : rest > HALF;
    else if (ROUNDING == `HALF_AWAY) up = value[63] ? rest > HALF : rest[63];
    // Up to 31 places there is one step only, the first, whose ties go up.
    else if (ROUNDING == `DOUBLE_SYMMETRIC && shift > 31 && value[63]) up = rest > HALF;
    else up = rest[63];
    if (up) quotient = quotient + 64'sd1;
    if (!ZERO_POINT_FIRST) quotient = quotient + zero_point;
    if (OVERFLOW == `WRAP) code = quotient[BITS-1:0];
    else if (quotient > HIGH) code = HIGH[BITS-1:0];
    else if (quotient < LOW) code = LOW[BITS-1:0];
    else code = quotient[BITS-1:0];
  end
endmodule

// Reads COUNT vectors of 120 bits from vectors.hex: accumulator (48), multiplier (32), shift (8),
// zero point (16), 16 bits unused. Writes one line of eight codes per vector, in the order of the
// modes above.
module bench;
  parameter COUNT = 1;
  parameter OVERFLOW = `SATURATE;
  parameter ZERO_POINT_FIRST = 0;
  parameter BITS = 8;

  reg [119:0] vectors[0:COUNT-1];
  reg [119:0] vector;
  reg signed [63:0] product;
  reg [5:0] shift;
  reg signed [15:0] zero_point;
  wire [8*BITS-1:0] line;

  genvar mode;
  generate
    for (mode = 0; mode < 8; mode = mode + 1) begin : modes
      requantizer #(
          .ROUNDING(mode), .OVERFLOW(OVERFLOW), .ZERO_POINT_FIRST(ZERO_POINT_FIRST), .BITS(BITS)
      ) unit (
          .product(product), .shift(shift), .zero_point(zero_point),
          .code(line[BITS*(7-mode)+:BITS]));
    end
  endgenerate

  integer index, file;
  reg signed [47:0] accumulator;
  reg signed [31:0] multiplier;
  initial begin
    $readmemh("vectors.hex", vectors);
    file = $fopen("codes.hex", "w");
    for (index = 0; index < COUNT; index = index + 1) begin
      vector = vectors[index];
      accumulator = vector[119:72];
      multiplier = vector[71:40];
      shift = vector[37:32];
      zero_point = vector[31:16];
      product = accumulator * multiplier;
      #1 $fdisplay(file, "%h", line);
    end
    $fclose(file);
  end
endmodule
