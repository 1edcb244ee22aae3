// SPDX-License-Identifier: Apache-2.0
// Softmax with a table of integer exponentials, one row after the other: docs/ir.md, Softmax.
//
// A row is stored while its maximum is found; then its exponentials are summed up, one per clock;
// then it is divided: 2^RECIPROCAL_BITS by the sum once per row, or each exponential.
`timescale 1ns / 1ps
`default_nettype none

module softmax_exp_table #(
    parameter integer IN_BITS = 8,
    parameter integer IN_SIGNED = 1,
    parameter integer COLUMNS = 64,  // of the longest row
    parameter integer TABLE_BITS = 30,
    parameter TABLE_FILE = "table.hex",  // 2^IN_BITS exponentials, that of distance 0 first
    parameter integer RECIPROCAL_BITS = 60,
    parameter integer SHIFT = 52,
    parameter integer NORMALISATION = 0,  // 0 reciprocal, 1 division
    // 0 floor, 1 toward_zero, 2 half_up, 3 half_down, 4 half_away, 5 half_even
    parameter integer ROUNDING = 2,
    parameter integer OVERFLOW = 0,  // 0 saturate, 1 saturate_symmetric, 2 wrap
    parameter integer OUT_BITS = 8,
    parameter integer OUT_SIGNED = 0,
    parameter integer OUT_ZERO_POINT = 0,
    // Inner registers: sum and reciprocal unsigned, scaled signed.
    parameter integer SUM_WIDTH = TABLE_BITS + $clog2(COLUMNS + 1),
    parameter integer RECIPROCAL_WIDTH = RECIPROCAL_BITS + 1,
    parameter integer SCALED_WIDTH = 64
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
  localparam integer INDEX_BITS = COLUMNS > 1 ? $clog2(COLUMNS) : 1;
  localparam [2:0] LOAD = 3'd0, SUM = 3'd1, DIVIDE = 3'd2, GIVE = 3'd3;

  reg [TABLE_BITS-1:0] exponentials[0:(1 << IN_BITS)-1];
  initial $readmemh(TABLE_FILE, exponentials);
  reg [IN_BITS-1:0] row[0:COLUMNS-1];

  reg [2:0] state;
  reg first;  // the next code begins a row
  reg [INDEX_BITS-1:0] index;  // of the code that is stored or read
  reg [INDEX_BITS-1:0] last;  // of the row
  reg [IN_BITS-1:0] maximum;
  reg [SUM_WIDTH-1:0] sum;

  // From an index to its exponential in two clocks.
  wire step;  // the two registers below take their next values
  wire begins;  // reading starts again at the row's first code
  reg reading;
  reg code_valid, code_last;
  reg [IN_BITS-1:0] code;
  reg exponential_valid, exponential_last;
  reg [TABLE_BITS-1:0] exponential;
  wire [IN_BITS-1:0] distance = maximum - code;

  wire in_sign = IN_SIGNED != 0 && in_code[IN_BITS-1];
  wire maximum_sign = IN_SIGNED != 0 && maximum[IN_BITS-1];
  wire larger = $signed({in_sign, in_code}) > $signed({maximum_sign, maximum});
  wire taken = in_valid && in_ready;
  wire summed = state == SUM && exponential_valid && exponential_last;
  wire divided;  // ends DIVIDE
  wire given;  // the last result of the row has been taken

  assign in_ready = state == LOAD;
  assign begins = (taken && in_last) || divided;

  always_ff @(posedge clock) begin
    if (taken) begin
      row[index] <= in_code;
      index <= in_last ? '0 : index + INDEX_BITS'(1);
      last <= index;
      first <= in_last;
      sum <= '0;
      if (first || larger) maximum <= in_code;
      if (in_last) state <= SUM;
    end
    if (begins) begin
      reading <= 1'b1;
      index <= '0;
    end else if (reading && step) begin
      index <= index == last ? '0 : index + INDEX_BITS'(1);
      if (index == last) reading <= 1'b0;
    end
    if (step) begin
      code_valid <= reading;
      code_last <= index == last;
      code <= row[index];
      exponential_valid <= code_valid;
      exponential_last <= code_last;
      exponential <= exponentials[distance];
    end
    if (state == SUM && exponential_valid) sum <= sum + SUM_WIDTH'(exponential);
    if (summed) state <= DIVIDE;
    if (divided) state <= GIVE;
    if (given) state <= LOAD;
    if (reset) begin
      state <= LOAD;
      first <= 1'b1;
      index <= '0;
      reading <= 1'b0;
      code_valid <= 1'b0;
      exponential_valid <= 1'b0;
    end
  end

  generate
    if (NORMALISATION == 0) begin : by_reciprocal
      localparam integer DIVIDEND_BITS =
          (RECIPROCAL_BITS + 1 > SUM_WIDTH ? RECIPROCAL_BITS + 1 : SUM_WIDTH) + 1;
      localparam [DIVIDEND_BITS-1:0] ONE = DIVIDEND_BITS'(1'b1) << RECIPROCAL_BITS;

      reg start;
      wire [RECIPROCAL_WIDTH-1:0] quotient;
      wire [SUM_WIDTH-1:0] unused_remainder;
      reg [RECIPROCAL_WIDTH-1:0] reciprocal;
      reg scaled_valid, scaled_last;
      reg signed [SCALED_WIDTH-1:0] scaled;
      reg valid, is_last, saturated;
      reg [OUT_BITS-1:0] result;
      wire [OUT_BITS-1:0] stored;
      wire unfit;
      wire advance = !valid || out_ready;
      wire done;

      divider #(
          .DIVIDEND_BITS(DIVIDEND_BITS),
          .DIVISOR_BITS(SUM_WIDTH),
          .QUOTIENT_BITS(RECIPROCAL_WIDTH)
      ) division (
          .clock(clock),
          .reset(reset),
          .start(start),
          .dividend(ONE + DIVIDEND_BITS'(sum >> 1)),
          .divisor(sum),
          .done(done),
          .quotient(quotient),
          .remainder(unused_remainder)
      );

      output_stage #(
          .IN_BITS(SCALED_WIDTH),
          .ZERO_POINT_BITS(32),
          .ROUNDING(ROUNDING),
          .OVERFLOW(OVERFLOW),
          .OUT_BITS(OUT_BITS),
          .OUT_SIGNED(OUT_SIGNED)
      ) stage (
          .value(scaled),
          .shift(6'(SHIFT)),
          .zero_point(OUT_ZERO_POINT),
          .code(stored),
          .saturated(unfit)
      );

      assign divided = done;
      assign step = state == SUM || (state == GIVE && advance);
      assign given = valid && is_last && out_ready;
      assign out_valid = valid;
      assign out_last = is_last;
      assign out_code = result;
      assign out_saturated = saturated;

      always_ff @(posedge clock) begin
        start <= summed;
        if (done) reciprocal <= quotient;
        if (advance) begin
          scaled_valid <= state == GIVE && exponential_valid;
          scaled_last <= exponential_last;
          scaled <= SCALED_WIDTH'($signed({1'b0, exponential}))
              * SCALED_WIDTH'($signed({1'b0, reciprocal}));
          valid <= scaled_valid;
          is_last <= scaled_last;
          result <= stored;
          saturated <= unfit;
        end
        if (reset) begin
          start <= 1'b0;
          scaled_valid <= 1'b0;
          valid <= 1'b0;
        end
      end
    end else begin : by_division
      localparam integer FRACTION_BITS = RECIPROCAL_BITS - SHIFT;
      localparam integer DIVIDEND_BITS = TABLE_BITS + FRACTION_BITS;
      localparam integer ROUNDED_BITS = (DIVIDEND_BITS > 32 ? DIVIDEND_BITS : 32) + 2;

      reg start, busy;
      wire done;
      wire [DIVIDEND_BITS-1:0] scaled = DIVIDEND_BITS'(exponential) << FRACTION_BITS;
      wire [DIVIDEND_BITS-1:0] quotient;
      wire [SUM_WIDTH-1:0] remainder;
      reg valid;
      wire given_one = valid && out_ready;

      divider #(
          .DIVIDEND_BITS(DIVIDEND_BITS),
          .DIVISOR_BITS(SUM_WIDTH)
      ) division (
          .clock(clock),
          .reset(reset),
          .start(start),
          .dividend(scaled),
          .divisor(sum),
          .done(done),
          .quotient(quotient),
          .remainder(remainder)
      );

      // No quotient is negative: twice the rest against the sum, and ties by the mode.
      wire [SUM_WIDTH:0] twice = {remainder, 1'b0};
      wire more = twice > {1'b0, sum};
      wire tie = twice == {1'b0, sum};
      wire up =
          ROUNDING == 2 || ROUNDING == 4 ? more || tie
          : ROUNDING == 3 ? more
          : ROUNDING == 5 && (more || (tie && quotient[0]));
      wire signed [ROUNDED_BITS-1:0] rounded =
          ROUNDED_BITS'($signed({1'b0, quotient})) + ROUNDED_BITS'($signed({1'b0, up}))
          + ROUNDED_BITS'(OUT_ZERO_POINT);

      fit #(
          .IN_BITS(ROUNDED_BITS),
          .OUT_BITS(OUT_BITS),
          .OUT_SIGNED(OUT_SIGNED),
          .OVERFLOW(OVERFLOW)
      ) storing (
          .value(rounded),
          .code(out_code),
          .saturated(out_saturated)
      );

      assign divided = state == DIVIDE;
      assign step = state == SUM || (state == GIVE && !(exponential_valid && !given_one));
      assign given = given_one && exponential_last;
      assign out_valid = valid;
      assign out_last = exponential_last;

      always_ff @(posedge clock) begin
        start <= state == GIVE && exponential_valid && !busy && !start && !valid;
        if (start) busy <= 1'b1;
        if (busy && done) begin
          busy <= 1'b0;
          valid <= 1'b1;
        end
        if (given_one) valid <= 1'b0;
        if (reset) begin
          start <= 1'b0;
          busy <= 1'b0;
          valid <= 1'b0;
        end
      end
    end
  endgenerate
endmodule

`default_nettype wire
