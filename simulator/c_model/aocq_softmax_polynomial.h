/* SPDX-License-Identifier: Apache-2.0 */
/* SoftmaxIBert, Shiftmax, SoftmaxLog2: exponentials without a table. Formulas: docs/ir.md. */
#ifndef AOCQ_SOFTMAX_POLYNOMIAL_H
#define AOCQ_SOFTMAX_POLYNOMIAL_H

#include "aocq_softmax.h"

typedef struct {
    size_t rows;
    size_t columns;
    int64_t coefficient_a;
    int64_t coefficient_b;
    int64_t coefficient_c;
    int64_t log2;
} aocq_softmax_ibert_op;

static inline int64_t aocq_ibert_exponential(const aocq_softmax_ibert_op *op, int64_t d)
{
    const int64_t octaves = aocq_min(-d / op->log2, 31);
    const int64_t shifted = d + octaves * op->log2 + op->coefficient_b;
    return aocq_shift_down(op->coefficient_a * shifted * shifted + op->coefficient_c,
                           (int)octaves);
}

static inline uint64_t aocq_softmax_ibert(const aocq_softmax_ibert_op *op, const aocq_tensor *a,
                                          const aocq_result *y)
{
    const int64_t one = aocq_highest(y->bits, 0);
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        int64_t sum = 0;
        for (j = 0; j < op->columns; j++)
            sum += aocq_ibert_exponential(op, aocq_at(a, first + j) - largest);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_ibert_exponential(op, aocq_at(a, first + j) - largest);
            misfits += aocq_store(y, first + j, aocq_divide_down(e * one, sum) + y->zero_point,
                                  AOCQ_OVERFLOW_SATURATE);
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t columns;
    int64_t x0; /* negative */
    int n;
    int output_bits;
} aocq_shiftmax_op;

static inline int64_t aocq_shiftmax_exponential(const aocq_shiftmax_op *op, int64_t d)
{
    const int64_t v =
        aocq_max(d + aocq_shift_down(d, 1) - aocq_shift_down(d, 4), op->n * op->x0);
    const int64_t q = v / op->x0; /* neither is positive: the same as the floor */
    const int64_t u = v - q * op->x0;
    return aocq_shift_up(u - 2 * op->x0, op->n - (int)q) >> 1;
}

static inline uint64_t aocq_shiftmax(const aocq_shiftmax_op *op, const aocq_tensor *a,
                                     const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        int64_t sum = 0, factor;
        for (j = 0; j < op->columns; j++)
            sum += aocq_shiftmax_exponential(op, aocq_at(a, first + j) - largest);
        factor = INT32_MAX / aocq_min(sum, INT32_MAX);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_shiftmax_exponential(op, aocq_at(a, first + j) - largest);
            const int64_t code = aocq_shift_down(e * factor, 32 - op->output_bits);
            misfits += aocq_store(y, first + j, code + y->zero_point, AOCQ_OVERFLOW_SATURATE);
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t columns;
    int64_t x0; /* negative */
    int64_t b;
    int64_t c;
    int n;
} aocq_softmax_log2_op;

static inline int64_t aocq_log2_exponential(const aocq_softmax_log2_op *op, int64_t d)
{
    const int64_t v = aocq_max(d, op->n * op->x0);
    const int64_t q = v / op->x0; /* neither is positive: the same as the floor */
    const int64_t u = v - q * op->x0;
    return aocq_shift_up(aocq_max(u * (u + op->b) + op->c, 0), op->n - (int)q);
}

/* The binary logarithm of a positive number to the nearer power of two, up from 1.5 on. */
static inline int64_t aocq_rounded_logarithm(int64_t ratio)
{
    const int below = aocq_bit_length(ratio) - 1;
    const int64_t rest = ratio - ((int64_t)1 << below);
    return below + (below > 0 && rest >= (int64_t)1 << (below - 1) ? 1 : 0);
}

static inline uint64_t aocq_softmax_log2(const aocq_softmax_log2_op *op, const aocq_tensor *a,
                                         const aocq_result *y)
{
    const int64_t nothing = 65536; /* more than the highest code of any result */
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        int64_t sum = 0;
        for (j = 0; j < op->columns; j++)
            sum += aocq_log2_exponential(op, aocq_at(a, first + j) - largest);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_log2_exponential(op, aocq_at(a, first + j) - largest);
            const int64_t code =
                e > 0 ? aocq_rounded_logarithm(aocq_divide(sum, e, AOCQ_ROUND_HALF_EVEN))
                      : nothing;
            misfits += aocq_store(y, first + j, code + y->zero_point, AOCQ_OVERFLOW_SATURATE);
        }
    }
    return misfits;
}

#endif
