// Runs the layer on golden operands and writes what comes out: +vectors=FOLDER +dump=FOLDER.
`timescale 1ns / 1ps

module layer_tb;
  localparam ROWS = 30, INPUTS = 12, OUTPUTS = 8;  // 6 images of 5 tokens

  reg signed [7:0]  a[0:ROWS*INPUTS-1];
  reg signed [7:0]  weights[0:INPUTS*OUTPUTS-1];
  reg signed [31:0] bias[0:OUTPUTS-1];
  reg        [7:0]  multiplier[0:OUTPUTS-1];
  reg        [7:0]  shift[0:OUTPUTS-1];

  reg signed [19:0] sum;
  reg signed [7:0] operand, weight;
  reg [7:0] factor, places;
  wire signed [19:0] next;
  wire signed [7:0] code;
  mac mac (.sum(sum), .a(operand), .b(weight), .next(next));
  requantizer requantizer (.sum(sum), .multiplier(factor), .shift(places), .code(code));

  reg [1023:0] vectors, dump;
  integer row, channel, k, results, sums;

  initial begin
    if (!$value$plusargs("vectors=%s", vectors) || !$value$plusargs("dump=%s", dump)) $finish;
    $readmemh({vectors, "/tensors/a.hex"}, a);
    $readmemh({vectors, "/constants/layer.b.hex"}, weights);
    $readmemh({vectors, "/constants/layer.bias.hex"}, bias);
    $readmemh({vectors, "/constants/layer.multiplier.hex"}, multiplier);
    $readmemh({vectors, "/constants/layer.shift.hex"}, shift);
    results = $fopen({dump, "/layer.hex"}, "w");
    sums = $fopen({dump, "/layer.accumulator.hex"}, "w");
    for (row = 0; row < ROWS; row = row + 1)
      for (channel = 0; channel < OUTPUTS; channel = channel + 1) begin
        sum = bias[channel][19:0];
        factor = multiplier[channel];
        places = shift[channel];
        for (k = 0; k < INPUTS; k = k + 1) begin
          operand = a[row*INPUTS+k];
          weight = weights[k*OUTPUTS+channel];
          #1 sum = next;
        end
        #1 $fdisplay(results, "%h", code);
        $fdisplay(sums, "%h", sum);
      end
    $fclose(results);
    $fclose(sums);
    $finish;
  end
endmodule
