/* SPDX-License-Identifier: Apache-2.0 */
/* SoftmaxGemmlowp and SoftmaxLut513: TensorFlow Lite's softmaxes in integers. Formulas: docs/ir.md. */
#ifndef AOCQ_SOFTMAX_TFLITE_H
#define AOCQ_SOFTMAX_TFLITE_H

#include "aocq_softmax.h"

/* The product of two 32-bit numbers, one of them Q0.31, rounded half up. */
static inline int64_t aocq_high_product(int64_t a, int64_t b)
{
    return aocq_min(aocq_round_once(a * b, 31, AOCQ_ROUND_HALF_UP), INT32_MAX);
}

/* value / 2^exponent, ties away from zero. */
static inline int64_t aocq_divide_by_power(int64_t value, int exponent)
{
    return aocq_round_once(value, exponent, AOCQ_ROUND_HALF_AWAY);
}

static inline int64_t aocq_clip32(int64_t value)
{
    return aocq_min(aocq_max(value, INT32_MIN), INT32_MAX);
}

/* exp of a Q5.26 number, which is not positive, in Q0.31. */
static inline int64_t aocq_gemmlowp_exp(int64_t x)
{
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308,
                                       39332535,   720401,     242};
    const int64_t eighth = 1895147668, third = 715827883; /* exp(-1/8), 1/3 */
    int64_t part, u, u2, u3, u4, polynomial, result;
    int bit;
    if (x == 0)
        return INT32_MAX;
    part = (int64_t)((uint64_t)x & 0xFFFFFF) - 0x1000000;
    u = aocq_shift_up(part, 5) + ((int64_t)1 << 28);
    u2 = aocq_high_product(u, u);
    u3 = aocq_high_product(u2, u);
    u4 = aocq_high_product(u2, u2);
    polynomial = aocq_high_product(aocq_divide_by_power(u4, 2) + u3, third) + u2;
    result = eighth + aocq_high_product(eighth, u + aocq_divide_by_power(polynomial, 1));
    for (bit = 0; bit < 7; bit++)
        if (((part - x) >> 24) >> bit & 1)
            result = aocq_high_product(result, factors[bit]);
    return result;
}

/* 1 / (1 + t) in Q0.31, (1 + t) being a Q12.19 sum without its exponent; the leading zeros. */
static inline int64_t aocq_gemmlowp_reciprocal(int64_t sum, int *leading_zeros)
{
    int64_t half, v;
    int step;
    *leading_zeros = 32 - aocq_bit_length(sum);
    half = aocq_shift_up(sum, *leading_zeros) >> 1;
    v = 1515870810 + aocq_high_product(half, -1010580540);
    for (step = 0; step < 3; step++) {
        const int64_t error = ((int64_t)1 << 29) - aocq_high_product(half, v);
        v += aocq_clip32(aocq_high_product(v, error) * 4);
    }
    return aocq_clip32(v * 2);
}

typedef struct {
    size_t rows;
    size_t columns;
    int64_t input_multiplier;
    int input_left_shift;
    int64_t smallest_difference;
} aocq_softmax_gemmlowp_op;

static inline int64_t aocq_gemmlowp_exponential(const aocq_softmax_gemmlowp_op *op, int64_t d)
{
    if (d < op->smallest_difference)
        return 0;
    return aocq_gemmlowp_exp(
        aocq_high_product(aocq_shift_up(d, op->input_left_shift), op->input_multiplier));
}

static inline uint64_t aocq_softmax_gemmlowp(const aocq_softmax_gemmlowp_op *op,
                                             const aocq_tensor *a, const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        int64_t sum = 0, reciprocal;
        int zeros;
        for (j = 0; j < op->columns; j++)
            sum += aocq_divide_by_power(
                aocq_gemmlowp_exponential(op, aocq_at(a, first + j) - largest), 12);
        reciprocal = aocq_gemmlowp_reciprocal(sum, &zeros);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_gemmlowp_exponential(op, aocq_at(a, first + j) - largest);
            const int64_t code = aocq_divide_by_power(aocq_high_product(reciprocal, e),
                                                      12 - zeros + 31 - y->bits);
            misfits += aocq_store(y, first + j, code + y->zero_point, AOCQ_OVERFLOW_SATURATE);
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t columns;
    int64_t input_multiplier;
    int input_left_shift; /* to the right where negative */
    aocq_tensor exp_table;
    aocq_tensor reciprocal_table;
} aocq_softmax_lut513_op;

/* A table of 513 entries at x, which is clipped to -32768..32767. */
static inline int64_t aocq_lut513(const aocq_tensor *table, int64_t x)
{
    const int64_t above_low = aocq_min(aocq_max(x, -32768), 32767) + 32768;
    const size_t interval = (size_t)(above_low / 128);
    const int64_t left = aocq_at(table, interval);
    const int64_t rise = aocq_at(table, interval + 1) - left;
    return left + aocq_round_once(rise * (above_low % 128), 7, AOCQ_ROUND_HALF_UP);
}

static inline int64_t aocq_lut513_exponential(const aocq_softmax_lut513_op *op, int64_t d)
{
    const int left = op->input_left_shift > 0 ? op->input_left_shift : 0;
    const int64_t product = aocq_high_product(aocq_shift_up(d, left), op->input_multiplier);
    return aocq_lut513(&op->exp_table,
                       aocq_divide_by_power(product, left - op->input_left_shift) + 32767);
}

static inline uint64_t aocq_softmax_lut513(const aocq_softmax_lut513_op *op, const aocq_tensor *a,
                                           const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        int64_t sum = 0, normalized, reciprocal;
        int bits;
        for (j = 0; j < op->columns; j++)
            sum += aocq_lut513_exponential(op, aocq_at(a, first + j) - largest);
        bits = aocq_bit_length(sum);
        normalized = aocq_round_once(aocq_shift_up(sum, 31 - bits), 14, AOCQ_ROUND_HALF_UP);
        reciprocal = aocq_lut513(&op->reciprocal_table, normalized - 3 * 32768);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_lut513_exponential(op, aocq_at(a, first + j) - largest);
            const int64_t code = aocq_round_once(e * reciprocal, bits - 1, AOCQ_ROUND_HALF_UP);
            const int64_t fitted = aocq_min(aocq_max(code, 0), 32767);
            misfits += fitted != code;
            aocq_put(y, first + j, fitted + y->zero_point);
        }
    }
    return misfits;
}

#endif
