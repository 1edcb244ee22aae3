// SPDX-License-Identifier: Apache-2.0
// Accumulators of up to two registers, as a MAC array has them, all fed with the same products.
//
// GROUP products are added up in the inner register, whose sum is then added to the outer one;
// with GROUP = 0 there is no inner register. Every register wraps or saturates at every addition.

module accumulator #(
    parameter GROUP = 0,
    parameter INNER_BITS = 20,
    parameter INNER_SATURATES = 0,
    parameter BITS = 32,
    parameter SATURATES = 0,
    parameter BIAS_LAST = 0
) (
    input clock,
    input start,  // the first product of an output
    input finish,  // the last one
    input signed [15:0] product,
    input signed [31:0] bias,
    output reg signed [BITS-1:0] result
);
  localparam signed [63:0] INNER_HIGH = (64'sd1 <<< (INNER_BITS - 1)) - 64'sd1;
  localparam signed [63:0] HIGH = (64'sd1 <<< (BITS - 1)) - 64'sd1;

  reg signed [63:0] exact;
  reg signed [INNER_BITS-1:0] inner;
  reg signed [BITS-1:0] outer;
  integer filled;

  task store_inner;
    if (INNER_SATURATES && exact > INNER_HIGH) inner = INNER_HIGH;
    else if (INNER_SATURATES && exact < -INNER_HIGH - 64'sd1) inner = -INNER_HIGH - 64'sd1;
    else inner = exact;
  endtask

  task store_outer;
    if (SATURATES && exact > HIGH) outer = HIGH;
    else if (SATURATES && exact < -HIGH - 64'sd1) outer = -HIGH - 64'sd1;
    else outer = exact;
  endtask

  always @(posedge clock) begin
    if (start) begin
      inner = 0;
      filled = 0;
      exact = BIAS_LAST ? 64'sd0 : bias;
      store_outer;
    end
    exact = product;
    if (GROUP) begin
      exact = exact + inner;
      store_inner;
      filled = filled + 1;
    end
    if (!GROUP || filled == GROUP || finish) begin
      if (GROUP) exact = inner;
      exact = exact + outer;
      store_outer;
      inner = 0;
      filled = 0;
    end
    if (finish && BIAS_LAST) begin
      exact = outer;
      exact = exact + bias;
      store_outer;
    end
    result = outer;
  end
endmodule

// Reads COUNT outputs of LENGTH pairs of signed bytes each from operands.hex and their biases from
// biases.hex; writes one line per output: the results of all units, 64 bits each, the last unit's
// first. units.vh defines UNITS and, per unit and 48 bits wide, CONFIGURATIONS.
module bench;
  parameter COUNT = 1;
  parameter LENGTH = 1;
  `include "units.vh"

  reg [15:0] operands[0:COUNT*LENGTH-1];
  reg [31:0] biases[0:COUNT-1];
  reg clock, start, finish;
  reg signed [7:0] a, b;
  reg signed [15:0] product;
  reg signed [31:0] bias;
  wire signed [63:0] result[0:UNITS-1];
  wire [64*UNITS-1:0] line;

  genvar u;
  generate
    for (u = 0; u < UNITS; u = u + 1) begin : units
      localparam [47:0] CHOSEN = CONFIGURATIONS[48*u+:48];
      wire signed [CHOSEN[15:8]-1:0] register;
      accumulator #(
          .GROUP(CHOSEN[39:24]), .INNER_BITS(CHOSEN[23:16]), .BITS(CHOSEN[15:8]),
          .INNER_SATURATES(CHOSEN[0]), .SATURATES(CHOSEN[1]), .BIAS_LAST(CHOSEN[2])
      ) unit (clock, start, finish, product, bias, register);
      assign result[u] = register;
      assign line[64*u+:64] = result[u];
    end
  endgenerate

  integer index, k, file;
  initial begin
    $readmemh("operands.hex", operands);
    $readmemh("biases.hex", biases);
    file = $fopen("results.hex", "w");
    clock = 0;
    for (index = 0; index < COUNT; index = index + 1) begin
      bias = biases[index];
      for (k = 0; k < LENGTH; k = k + 1) begin
        {a, b} = operands[index*LENGTH+k];
        product = a * b;
        start = k == 0;
        finish = k == LENGTH - 1;
        #1 clock = 1;
        #1 clock = 0;
      end
      $fdisplay(file, "%h", line);
    end
    $fclose(file);
  end
endmodule
