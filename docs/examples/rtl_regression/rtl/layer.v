// Our own units: a multiply-accumulate step and a requantizer.
`timescale 1ns / 1ps

// One step of a 20-bit accumulator that saturates.
module mac (
    input  wire signed [19:0] sum,
    input  wire signed [7:0]  a,
    input  wire signed [7:0]  b,
    output wire signed [19:0] next
);
  localparam signed [21:0] HIGH = 22'sd524287;
  localparam signed [21:0] LOW = -22'sd524288;
  wire signed [15:0] product = a * b;
  wire signed [21:0] exact = sum + product;
  assign next = exact > HIGH ? HIGH[19:0] : exact < LOW ? LOW[19:0] : exact[19:0];
endmodule

// code = clip(round(sum * multiplier / 2^shift)), ties away from zero.
module requantizer (
    input  wire signed [19:0] sum,
    input  wire        [7:0]  multiplier,
    input  wire        [7:0]  shift,
    output wire signed [7:0]  code
);
  localparam signed [29:0] HIGH = 30'sd127;
  localparam signed [29:0] LOW = -30'sd128;
  wire signed [29:0] scaled = sum * $signed({1'b0, multiplier});
  wire signed [29:0] half = shift == 8'd0 ? 30'sd0 : 30'sd1 <<< (shift - 8'd1);
  wire signed [29:0] ties = scaled < 30'sd0 ? 30'sd1 : 30'sd0;  // half_away
  wire signed [29:0] rounded = (scaled + half - ties) >>> shift;
  assign code = rounded > HIGH ? HIGH[7:0] : rounded < LOW ? LOW[7:0] : rounded[7:0];
endmodule
