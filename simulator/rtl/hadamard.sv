// SPDX-License-Identifier: Apache-2.0
// Hadamard: blocks of channels times a matrix of +-1, by additions: docs/ir.md, Hadamard.
//
// A block is stored less its zero point. Where the matrix has Paley's factor, the columns of the
// block go through it one after the other: sums and differences of pairs, then for each pair the
// terms that are taken away twice, as subtracted_pairs in simulator/numerics/hadamard.py has them.
// Then one butterfly per clock, in place. Then the sums leave through a requantizer.
`timescale 1ns / 1ps
`default_nettype none

module hadamard #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer IN_ZERO_POINT = 0,
    parameter integer CHANNELS = 64,  // of a row: whole blocks of PALEY * SYLVESTER channels
    parameter integer PALEY = 1,  // order of Paley's factor: 1, 12 or 20
    parameter integer SYLVESTER = 64,  // order of Sylvester's factor: a power of two
    parameter SUBTRACTED_FILE = "subtracted_12.hex",  // pairs row by row; not read where PALEY is 1
    parameter integer SUM_WIDTH = IN_BITS + 1 + $clog2(PALEY * SYLVESTER),
    // Constants per channel.
    parameter integer MULTIPLIER_BITS = 31,
    parameter MULTIPLIER_FILE = "multiplier.hex",
    parameter SHIFT_FILE = "shift.hex",
    parameter integer SCALED_WIDTH = 64,
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer DOUBLE_ROUNDING = 0,  // 0 none, 1 symmetric, 2 asymmetric
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer ZERO_POINT_STAGE = 0,  // 0 after_round, 1 before_round
    parameter integer LEFT_SHIFT = 0,  // 0 widen, 1 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 1,
    parameter integer OUT_ZERO_POINT = 0
) (
    input wire clock,
    input wire reset,

    input  wire in_valid,
    output wire in_ready,
    input  wire in_last,
    input  wire [IN_BITS-1:0] in_code,

    output wire out_valid,
    input wire out_ready,
    output wire out_last,
    output wire [OUT_BITS-1:0] out_code,
    output wire out_saturated
);
  localparam integer ORDER = PALEY * SYLVESTER;
  localparam integer STEPS = $clog2(SYLVESTER);
  localparam integer INDEX_BITS = ORDER > 1 ? $clog2(ORDER) : 1;
  localparam integer PLACE_BITS = STEPS > 1 ? $clog2(STEPS) : 1;
  localparam integer CHANNEL_BITS = CHANNELS > 1 ? $clog2(CHANNELS) : 1;
  localparam [INDEX_BITS-1:0] LAST = INDEX_BITS'(ORDER - 1);
  localparam [INDEX_BITS-1:0] LAST_PAIR = INDEX_BITS'(ORDER / 2 - 1);
  localparam [INDEX_BITS-1:0] ONE = INDEX_BITS'(1);
  localparam [1:0] LOAD = 2'd0, FACTOR = 2'd1, STEP = 2'd2, GIVE = 2'd3;
  localparam [1:0] AFTER_FACTOR = STEPS > 0 ? STEP : GIVE;
  localparam [1:0] AFTER_LOAD = PALEY > 1 ? FACTOR : AFTER_FACTOR;

  reg [MULTIPLIER_BITS-1:0] multiplier[0:CHANNELS-1];
  reg [5:0] shift[0:CHANNELS-1];
  initial $readmemh(MULTIPLIER_FILE, multiplier);
  initial $readmemh(SHIFT_FILE, shift);
  reg signed [SUM_WIDTH-1:0] values[0:ORDER-1];

  reg [1:0] state;
  reg [INDEX_BITS-1:0] index;  // of the value that is taken or given, or of the butterfly
  reg [PLACE_BITS-1:0] place;  // the distance of a butterfly's values is 2^place
  reg [CHANNEL_BITS-1:0] channel;  // of the sum that is given

  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire signed [SUM_WIDTH-1:0] centred =
      SUM_WIDTH'($signed({in_sign, in_code})) - SUM_WIDTH'(IN_ZERO_POINT);
  wire taken = in_valid && in_ready;
  wire loaded = taken && (in_last || index == LAST);
  assign in_ready = state == LOAD;

  // A butterfly: a zero goes into its number at the place in which both of its indices differ.
  wire [INDEX_BITS-1:0] below = index & ((ONE << place) - ONE);
  wire [INDEX_BITS-1:0] above = (index >> place) << place;
  wire [INDEX_BITS-1:0] first = (above << 1) | below;
  wire [INDEX_BITS-1:0] second = first | (ONE << place);
  wire signed [SUM_WIDTH-1:0] a = values[first];
  wire signed [SUM_WIDTH-1:0] b = values[second];
  wire stepped = state == STEP && index == LAST_PAIR;

  // What Paley's factor writes.
  wire factored;  // the last column has been written
  wire write;
  wire [INDEX_BITS-1:0] write_first, write_second;
  wire signed [SUM_WIDTH-1:0] value_first, value_second;

  wire requantizer_ready;
  wire given = state == GIVE && requantizer_ready;
  wire channel_is_last = channel == CHANNEL_BITS'(CHANNELS - 1);

  requantizer #(
      .ACCUMULATOR_BITS(SUM_WIDTH),
      .MULTIPLIER_BITS(MULTIPLIER_BITS),
      .ZERO_POINT_BITS(32),
      .SCALED_WIDTH(SCALED_WIDTH),
      .ROUNDING(ROUNDING),
      .DOUBLE_ROUNDING(DOUBLE_ROUNDING),
      .OVERFLOW(OVERFLOW),
      .ZERO_POINT_STAGE(ZERO_POINT_STAGE),
      .LEFT_SHIFT(LEFT_SHIFT),
      .OUT_BITS(OUT_BITS),
      .OUT_SIGNED(OUT_SIGNED)
  ) ending (
      .clock(clock),
      .reset(reset),
      .in_valid(state == GIVE),
      .in_ready(requantizer_ready),
      .in_last(channel_is_last),
      .in_accumulator(values[index]),
      .in_multiplier(multiplier[channel]),
      .in_shift(shift[channel]),
      .in_zero_point(OUT_ZERO_POINT),
      .in_residual_term({SCALED_WIDTH{1'b0}}),
      .out_valid(out_valid),
      .out_ready(out_ready),
      .out_last(out_last),
      .out_code(out_code),
      .out_saturated(out_saturated)
  );

  always_ff @(posedge clock) begin
    if (taken) begin
      values[index] <= centred;
      index <= loaded ? '0 : index + ONE;
      if (loaded) state <= AFTER_LOAD;
    end
    if (write) begin
      values[write_first] <= value_first;
      values[write_second] <= value_second;
    end
    if (factored) state <= AFTER_FACTOR;
    if (state == STEP) begin
      values[first] <= a + b;
      values[second] <= a - b;
      index <= stepped ? '0 : index + ONE;
      if (stepped) place <= place + PLACE_BITS'(1);
      if (stepped && place == PLACE_BITS'(STEPS - 1)) begin
        place <= '0;
        state <= GIVE;
      end
    end
    if (given) begin
      index <= index == LAST ? '0 : index + ONE;
      channel <= channel_is_last ? '0 : channel + CHANNEL_BITS'(1);
      if (index == LAST) state <= LOAD;
    end
    if (reset) begin
      state <= LOAD;
      index <= '0;
      place <= '0;
      channel <= '0;
    end
  end

  generate
    if (PALEY > 1) begin : with_factor
      hadamard_factor #(
          .PALEY(PALEY),
          .SYLVESTER(SYLVESTER),
          .SUBTRACTED_FILE(SUBTRACTED_FILE),
          .SUM_WIDTH(SUM_WIDTH)
      ) factor (
          .clock(clock),
          .reset(reset),
          .enable(state == FACTOR),
          .done(factored),
          .first(write_first),
          .second(write_second),
          .a(values[write_first]),
          .b(values[write_second]),
          .write(write),
          .value_first(value_first),
          .value_second(value_second)
      );
    end else begin : without_factor
      assign factored = 1'b0;
      assign write = 1'b0;
      assign write_first = '0;
      assign write_second = '0;
      assign value_first = '0;
      assign value_second = '0;
    end
  endgenerate
endmodule

`default_nettype wire
