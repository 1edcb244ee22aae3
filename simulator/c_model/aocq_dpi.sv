// SPDX-License-Identifier: Apache-2.0
// The C model in SystemVerilog by DPI-C: a reference for scoreboards. Formulas: docs/ir.md.
//
// All codes, multipliers, shifts and tables are longint, whatever width the chip has; results are codes
// of `bits` bits. Compile aocq_dpi.c along with it. Arrays are one-dimensional and unpacked; results have
// the length of their operands. Functions return how many codes did not fit.
package aocq_dpi;

  // The same numbers as in the headers.
  typedef enum int {
    ROUND_FLOOR = 0,
    ROUND_TOWARD_ZERO = 1,
    ROUND_HALF_UP = 2,
    ROUND_HALF_DOWN = 3,
    ROUND_HALF_AWAY = 4,
    ROUND_HALF_EVEN = 5
  } rounding_t;

  typedef enum int {
    DOUBLE_NONE = 0,
    DOUBLE_SYMMETRIC = 1,
    DOUBLE_ASYMMETRIC = 2
  } double_rounding_t;

  typedef enum int {
    OVERFLOW_SATURATE = 0,
    OVERFLOW_SATURATE_SYMMETRIC = 1,
    OVERFLOW_WRAP = 2
  } overflow_t;

  typedef enum int {
    ZERO_POINT_AFTER_ROUND = 0,
    ZERO_POINT_BEFORE_ROUND = 1
  } zero_point_stage_t;

  typedef enum int {
    LEFT_SHIFT_WIDEN = 0,
    LEFT_SHIFT_WRAP = 1
  } left_shift_t;

  typedef enum int {
    BIAS_PRELOAD = 0,
    BIAS_AFTER_LAST_BLOCK = 1
  } bias_stage_t;

  typedef enum int {
    NORMALISATION_RECIPROCAL = 0,
    NORMALISATION_DIVISION = 1
  } normalisation_t;

  // result[i] = fit(round(value[i] * multiplier[c] >> shift[c]) + zero_point), c = i or 0
  import "DPI-C" function int aocq_dpi_requantize(
      input longint value[],
      input longint multiplier[],
      input longint shift[],
      input int rounding,
      input int double_rounding,
      input int overflow,
      input int zero_point_stage,
      input int left_shift,
      input int bits,
      input int is_signed,
      input longint zero_point,
      output longint result[]
  );

  // The accumulator of bias and a[k] * b[k], ascending k; one element of group, level_bits and
  // level_overflow per level, innermost first, the last group 0.
  import "DPI-C" function longint aocq_dpi_mac_row(
      input longint a[],
      input longint b[],
      input longint bias,
      input int bias_stage,
      input longint group[],
      input longint level_bits[],
      input longint level_overflow[]
  );

  // One row of scores; exponential[d] is that of the distance d from the largest score.
  import "DPI-C" function int aocq_dpi_softmax_row(
      input longint score[],
      input longint exponential[],
      input int reciprocal_bits,
      input int shift,
      input int normalisation,
      input int rounding,
      input int overflow,
      input int bits,
      input int is_signed,
      input longint zero_point,
      output longint result[]
  );

  // One row of ITA's softmax; score_bits and score_is_signed: the type of the scores.
  import "DPI-C" function int aocq_dpi_softmax_ita_row(
      input longint score[],
      input int score_bits,
      input int score_is_signed,
      input int octave_bits,
      input int group,
      input longint largest,
      input int bits,
      input int is_signed,
      input longint zero_point,
      output longint result[]
  );

  // One row; channel_factor is the channel's multiplier shifted up by its shift, 1 without either.
  import "DPI-C" function int aocq_dpi_layernorm_row(
      input longint code[],
      input longint code_zero_point,
      input longint channel_factor[],
      input longint gamma[],
      input longint beta[],
      input int beta_shift,
      input longint epsilon,
      input int sqrt_fraction_bits,
      input int reciprocal_bits,
      input int normalized_fraction_bits,
      input int root_steps,
      input int root_start_bits,
      input int shift,
      input int rounding,
      input int overflow,
      input int bits,
      input int is_signed,
      input longint zero_point,
      output longint result[]
  );

endpackage
