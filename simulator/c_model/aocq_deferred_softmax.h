/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax whose division comes after the product with the values. Formulas: docs/ir.md. */
#ifndef AOCQ_DEFERRED_SOFTMAX_H
#define AOCQ_DEFERRED_SOFTMAX_H

#include "aocq_products.h"
#include "aocq_softmax.h"

typedef struct {
    size_t rows;
    size_t columns;
    int64_t multiplier;
    int shift;
} aocq_deferred_softmax_op;

static inline void aocq_deferred_softmax(const aocq_deferred_softmax_op *op, const aocq_tensor *a,
                                         const aocq_result *y)
{
    const int64_t highest = aocq_highest(y->bits, y->is_signed);
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        for (j = 0; j < op->columns; j++) {
            const int64_t scaled = (largest - aocq_at(a, first + j)) * op->multiplier;
            const int64_t code = aocq_round_once(scaled, op->shift, AOCQ_ROUND_HALF_UP);
            aocq_put(y, first + j, aocq_min(code, highest));
        }
    }
}

typedef struct {
    size_t batches;     /* product of the leading dimensions of a */
    size_t rows;        /* M */
    size_t depth;       /* K */
    size_t columns;     /* N */
    int transpose_b;    /* b is [N, K], else [K, N] */
    aocq_tensor levels; /* by code of a */
    int reciprocal_bits;
    aocq_accumulator accumulator;
    aocq_requantization requantize;
} aocq_normalized_matmul_op;

/* The reciprocal of the sum of a row's levels, rounded half up; a sum of 0 counts as 1. */
static inline int64_t aocq_level_reciprocal(const aocq_normalized_matmul_op *op,
                                            const aocq_tensor *a, size_t first)
{
    int64_t sum = 0;
    size_t k;
    for (k = 0; k < op->depth; k++)
        sum += aocq_at(&op->levels, (size_t)aocq_at(a, first + k));
    sum = aocq_max(sum, 1);
    return (((int64_t)1 << op->reciprocal_bits) + sum / 2) / sum;
}

/* The accumulator of one row of codes and one column of b. */
static inline int64_t aocq_level_sum(const aocq_normalized_matmul_op *op, const aocq_tensor *a,
                                     const aocq_tensor *b, size_t first_a, size_t first_b)
{
    const size_t step_b = op->transpose_b ? 1 : op->columns;
    aocq_registers held;
    size_t k;
    aocq_start(&op->accumulator, &held, 0);
    for (k = 0; k < op->depth; k++) {
        const int64_t level = aocq_at(&op->levels, (size_t)aocq_at(a, first_a + k));
        aocq_accumulate(&op->accumulator, &held, level * aocq_at(b, first_b + k * step_b));
    }
    return aocq_finished_sum(&op->accumulator, &held, 0);
}

static inline uint64_t aocq_normalized_matmul(const aocq_normalized_matmul_op *op,
                                              const aocq_tensor *a, const aocq_tensor *b,
                                              const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, n, index = 0;
    for (row = 0; row < op->batches * op->rows; row++) {
        const size_t first_a = row * op->depth;
        const size_t matrix = row / op->rows * op->depth * op->columns;
        const int64_t reciprocal = aocq_level_reciprocal(op, a, first_a);
        for (n = 0; n < op->columns; n++, index++) {
            const size_t first_b = matrix + (op->transpose_b ? n * op->depth : n);
            const int64_t sum = aocq_level_sum(op, a, b, first_a, first_b);
            misfits += aocq_requantize(&op->requantize, sum * reciprocal, n, 0, y, index);
        }
    }
    return misfits;
}

#endif
