// SPDX-License-Identifier: Apache-2.0
// Calls each function of aocq_dpi for rows of vectors.txt and writes what it returns to results.txt.
module dpi_bench;
  import aocq_dpi::*;

  localparam int CHANNELS = 64;
  localparam int DEPTH = 11;
  localparam int SCORES = 16;
  localparam int STREAM = 32;
  localparam int NORM = 8;

  int vectors;
  int results;

  function automatic longint next();
    longint value;
    if ($fscanf(vectors, "%d", value) != 1) $fatal(1, "vectors.txt ends too early");
    return value;
  endfunction

  function automatic int number();
    return int'(next());
  endfunction

  task automatic requantize();
    longint value[CHANNELS];
    longint multiplier[CHANNELS];
    longint shift[CHANNELS];
    longint y[CHANNELS];
    int rounding, twice, overflow, stage, left, bits, with_sign, rows, misfits;
    longint zero_point;
    rounding = number();
    twice = number();
    overflow = number();
    stage = number();
    left = number();
    bits = number();
    with_sign = number();
    zero_point = next();
    for (int c = 0; c < CHANNELS; c++) multiplier[c] = next();
    for (int c = 0; c < CHANNELS; c++) shift[c] = next();
    rows = number();
    for (int row = 0; row < rows; row++) begin
      for (int c = 0; c < CHANNELS; c++) value[c] = next();
      misfits = aocq_dpi_requantize(value, multiplier, shift, rounding, twice, overflow, stage,
                                    left, bits, with_sign, zero_point, y);
      $fwrite(results, "%0d", misfits);
      for (int c = 0; c < CHANNELS; c++) $fwrite(results, " %0d", y[c]);
      $fwrite(results, "\n");
    end
  endtask

  // As many levels as there are sizes of an array: one of each.
  task automatic mac();
    longint a[DEPTH];
    longint b[DEPTH];
    longint group1[1];
    longint bits1[1];
    longint overflow1[1];
    longint group2[2];
    longint bits2[2];
    longint overflow2[2];
    longint group3[3];
    longint bits3[3];
    longint overflow3[3];
    longint bias, sum;
    longint group[3];
    longint bits[3];
    longint overflow[3];
    int stage, levels, rows;
    stage = number();
    levels = number();
    for (int level = 0; level < levels; level++) begin
      group[level] = next();
      bits[level] = next();
      overflow[level] = next();
    end
    for (int level = 0; level < 3; level++) begin
      if (level < 1) begin
        group1[level] = group[level];
        bits1[level] = bits[level];
        overflow1[level] = overflow[level];
      end
      if (level < 2) begin
        group2[level] = group[level];
        bits2[level] = bits[level];
        overflow2[level] = overflow[level];
      end
      group3[level] = group[level];
      bits3[level] = bits[level];
      overflow3[level] = overflow[level];
    end
    rows = number();
    for (int row = 0; row < rows; row++) begin
      bias = next();
      for (int k = 0; k < DEPTH; k++) a[k] = next();
      for (int k = 0; k < DEPTH; k++) b[k] = next();
      if (levels == 1) sum = aocq_dpi_mac_row(a, b, bias, stage, group1, bits1, overflow1);
      else if (levels == 2) sum = aocq_dpi_mac_row(a, b, bias, stage, group2, bits2, overflow2);
      else sum = aocq_dpi_mac_row(a, b, bias, stage, group3, bits3, overflow3);
      $fwrite(results, "%0d\n", sum);
    end
  endtask

  task automatic softmax();
    longint score[SCORES];
    longint exponential[256];
    longint y[SCORES];
    int reciprocal_bits, shift, normalisation, rounding, overflow, bits, with_sign, rows, misfits;
    longint zero_point;
    reciprocal_bits = number();
    shift = number();
    normalisation = number();
    rounding = number();
    overflow = number();
    bits = number();
    with_sign = number();
    zero_point = next();
    for (int d = 0; d < 256; d++) exponential[d] = next();
    rows = number();
    for (int row = 0; row < rows; row++) begin
      for (int j = 0; j < SCORES; j++) score[j] = next();
      misfits = aocq_dpi_softmax_row(score, exponential, reciprocal_bits, shift, normalisation,
                                     rounding, overflow, bits, with_sign, zero_point, y);
      $fwrite(results, "%0d", misfits);
      for (int j = 0; j < SCORES; j++) $fwrite(results, " %0d", y[j]);
      $fwrite(results, "\n");
    end
  endtask

  task automatic softmax_ita();
    longint score[STREAM];
    longint y[STREAM];
    int score_bits, score_sign, octave_bits, group, bits, with_sign, rows, misfits;
    longint largest, zero_point;
    score_bits = number();
    score_sign = number();
    octave_bits = number();
    group = number();
    largest = next();
    bits = number();
    with_sign = number();
    zero_point = next();
    rows = number();
    for (int row = 0; row < rows; row++) begin
      for (int j = 0; j < STREAM; j++) score[j] = next();
      misfits = aocq_dpi_softmax_ita_row(score, score_bits, score_sign, octave_bits, group,
                                         largest, bits, with_sign, zero_point, y);
      $fwrite(results, "%0d", misfits);
      for (int j = 0; j < STREAM; j++) $fwrite(results, " %0d", y[j]);
      $fwrite(results, "\n");
    end
  endtask

  task automatic layernorm();
    longint code[NORM];
    longint factor[NORM];
    longint gamma[NORM];
    longint beta[NORM];
    longint y[NORM];
    longint code_zero_point, epsilon, zero_point;
    int beta_shift, root_bits, reciprocal_bits, normalized_bits, steps, start_bits;
    int shift, rounding, overflow, bits, with_sign, rows, misfits;
    code_zero_point = next();
    beta_shift = number();
    epsilon = next();
    root_bits = number();
    reciprocal_bits = number();
    normalized_bits = number();
    steps = number();
    start_bits = number();
    shift = number();
    rounding = number();
    overflow = number();
    bits = number();
    with_sign = number();
    zero_point = next();
    for (int c = 0; c < NORM; c++) factor[c] = next();
    for (int c = 0; c < NORM; c++) gamma[c] = next();
    for (int c = 0; c < NORM; c++) beta[c] = next();
    rows = number();
    for (int row = 0; row < rows; row++) begin
      for (int c = 0; c < NORM; c++) code[c] = next();
      misfits = aocq_dpi_layernorm_row(code, code_zero_point, factor, gamma, beta, beta_shift,
                                       epsilon, root_bits, reciprocal_bits, normalized_bits,
                                       steps, start_bits, shift, rounding, overflow, bits,
                                       with_sign, zero_point, y);
      $fwrite(results, "%0d", misfits);
      for (int c = 0; c < NORM; c++) $fwrite(results, " %0d", y[c]);
      $fwrite(results, "\n");
    end
  endtask

  initial begin
    int kind;
    vectors = $fopen("vectors.txt", "r");
    results = $fopen("results.txt", "w");
    kind = number();
    while (kind != 0) begin
      case (kind)
        1: requantize();
        2: mac();
        3: softmax();
        4: softmax_ita();
        5: layernorm();
        default: $fatal(1, "no unit has this number");
      endcase
      kind = number();
    end
    $fclose(vectors);
    $fclose(results);
    $finish;
  end
endmodule
