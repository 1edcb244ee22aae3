/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that aocq_dpi.sv imports. C99, also C++11: simulators compile it as either. */
#include "aocq.h"

#include <stdio.h>
#include <stdlib.h>

#include "svdpi.h"

/* The elements of an unpacked array of longint. */
static int64_t *dpi_elements(const svOpenArrayHandle array)
{
    void *elements = svGetArrayPtr(array);
    if (elements == NULL && svSize(array, 1) > 0) {
        fprintf(stderr, "aocq_dpi: the simulator keeps this array in no C layout\n");
        abort();
    }
    return (int64_t *)elements;
}

static size_t dpi_length(const svOpenArrayHandle array)
{
    return (size_t)svSize(array, 1);
}

static aocq_tensor dpi_tensor(const svOpenArrayHandle array)
{
    aocq_tensor tensor = AOCQ_CODES(NULL, 0, 64, 1, 0);
    tensor.data = dpi_elements(array);
    tensor.length = dpi_length(array);
    return tensor;
}

/* A result of `length` codes of a type, each kept in a longint. */
static aocq_result dpi_result(const svOpenArrayHandle array, size_t length, int bits,
                              int is_signed, int64_t zero_point)
{
    aocq_result result = AOCQ_CODES(NULL, 0, 64, 1, 0);
    if (dpi_length(array) != length) {
        fprintf(stderr, "aocq_dpi: a result has %lu elements, wanted %lu\n",
                (unsigned long)dpi_length(array), (unsigned long)length);
        abort();
    }
    result.data = dpi_elements(array);
    result.length = length;
    result.bits = bits;
    result.is_signed = is_signed;
    result.zero_point = zero_point;
    return result;
}

static aocq_output_stage dpi_stage(int shift, int rounding, int overflow)
{
    aocq_output_stage stage;
    stage.shift = shift;
    stage.rounding = rounding;
    stage.double_rounding = AOCQ_DOUBLE_NONE;
    stage.overflow = overflow;
    return stage;
}

#ifdef __cplusplus
extern "C" {
#endif

int aocq_dpi_requantize(const svOpenArrayHandle value, const svOpenArrayHandle multiplier,
                        const svOpenArrayHandle shift, int rounding, int double_rounding,
                        int overflow, int zero_point_stage, int left_shift, int bits,
                        int is_signed, long long zero_point, const svOpenArrayHandle result)
{
    const aocq_tensor a = dpi_tensor(value);
    const aocq_result y = dpi_result(result, a.length, bits, is_signed, zero_point);
    aocq_rescale_op op;
    op.channels = a.length;
    op.requantize.rounding = rounding;
    op.requantize.double_rounding = double_rounding;
    op.requantize.overflow = overflow;
    op.requantize.zero_point_stage = zero_point_stage;
    op.requantize.left_shift = left_shift;
    op.requantize.multiplier = dpi_tensor(multiplier);
    op.requantize.shift = dpi_tensor(shift);
    return (int)aocq_rescale(&op, &a, &y);
}

long long aocq_dpi_mac_row(const svOpenArrayHandle a, const svOpenArrayHandle b, long long bias,
                           int bias_stage, const svOpenArrayHandle group,
                           const svOpenArrayHandle level_bits,
                           const svOpenArrayHandle level_overflow)
{
    const aocq_tensor left = dpi_tensor(a), right = dpi_tensor(b);
    const int levels = (int)dpi_length(group);
    aocq_level level[AOCQ_MOST_LEVELS];
    aocq_accumulator acc;
    int index;
    if (levels < 1 || levels > AOCQ_MOST_LEVELS || left.length != right.length) {
        fprintf(stderr, "aocq_dpi: 1 to %d levels, and as many codes in a as in b\n",
                AOCQ_MOST_LEVELS);
        abort();
    }
    for (index = 0; index < levels; index++) {
        level[index].group = dpi_elements(group)[index];
        level[index].bits = (int)dpi_elements(level_bits)[index];
        level[index].overflow = (int)dpi_elements(level_overflow)[index];
    }
    acc.level = level;
    acc.levels = levels;
    acc.bias = bias_stage;
    acc.exact = 0;
    return aocq_dot(&acc, &left, 0, &right, 0, 1, left.length, bias);
}

int aocq_dpi_softmax_row(const svOpenArrayHandle score, const svOpenArrayHandle table,
                         int reciprocal_bits, int shift, int normalisation, int rounding,
                         int overflow, int bits, int is_signed, long long zero_point,
                         const svOpenArrayHandle result)
{
    const aocq_tensor a = dpi_tensor(score);
    const aocq_result y = dpi_result(result, a.length, bits, is_signed, zero_point);
    aocq_softmax_op op;
    op.rows = 1;
    op.columns = a.length;
    op.table = dpi_tensor(table);
    op.reciprocal_bits = reciprocal_bits;
    op.normalisation = normalisation;
    op.stage = dpi_stage(shift, rounding, overflow);
    return (int)aocq_softmax(&op, &a, &y);
}

int aocq_dpi_softmax_ita_row(const svOpenArrayHandle score, int score_bits, int score_is_signed,
                             int octave_bits, int group, long long largest, int bits,
                             int is_signed, long long zero_point, const svOpenArrayHandle result)
{
    aocq_tensor a = dpi_tensor(score);
    const aocq_result y = dpi_result(result, a.length, bits, is_signed, zero_point);
    aocq_softmax_ita_op op;
    a.bits = score_bits;
    a.is_signed = score_is_signed;
    op.rows = 1;
    op.columns = a.length;
    op.octave_bits = octave_bits;
    op.group = (size_t)group;
    op.largest = largest;
    return (int)aocq_softmax_ita(&op, &a, &y);
}

int aocq_dpi_layernorm_row(const svOpenArrayHandle code, long long code_zero_point,
                           const svOpenArrayHandle channel_factor, const svOpenArrayHandle gamma,
                           const svOpenArrayHandle beta, int beta_shift, long long epsilon,
                           int sqrt_fraction_bits, int reciprocal_bits,
                           int normalized_fraction_bits, int root_steps, int root_start_bits,
                           int shift, int rounding, int overflow, int bits, int is_signed,
                           long long zero_point, const svOpenArrayHandle result)
{
    const aocq_tensor none = AOCQ_NO_CODES;
    aocq_tensor a = dpi_tensor(code);
    const aocq_result y = dpi_result(result, a.length, bits, is_signed, zero_point);
    aocq_layernorm_op op;
    a.zero_point = code_zero_point;
    op.rows = 1;
    op.channels = a.length;
    op.channel_multiplier = dpi_tensor(channel_factor);
    op.channel_shift = none;
    op.gamma = dpi_tensor(gamma);
    op.beta = dpi_tensor(beta);
    op.epsilon = epsilon;
    op.sqrt_fraction_bits = sqrt_fraction_bits;
    op.reciprocal_bits = reciprocal_bits;
    op.normalized_fraction_bits = normalized_fraction_bits;
    op.root_steps = root_steps;
    op.root_start_bits = root_start_bits;
    op.beta_shift = beta_shift;
    op.stage = dpi_stage(shift, rounding, overflow);
    return (int)aocq_layernorm(&op, &a, &y);
}

#ifdef __cplusplus
}
#endif
