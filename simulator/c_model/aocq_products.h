/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products and Mean: sums in an accumulator, then requantization. Formulas: docs/ir.md.
 *
 * All functions of ops return how many codes did not fit the result's type before its overflow rule.
 */
#ifndef AOCQ_PRODUCTS_H
#define AOCQ_PRODUCTS_H

#include "aocq_accumulator.h"
#include "aocq_requantize.h"

typedef struct {
    size_t batches;  /* product of the leading dimensions of a */
    size_t rows;     /* M */
    size_t depth;    /* K */
    size_t columns;  /* N */
    int transpose_b; /* b is [N, K], else [K, N] */
    int b_is_shared; /* one matrix b for all batches, else one for each */
    aocq_accumulator accumulator;
    aocq_requantization requantize;
    aocq_tensor bias;                /* [N], or without data */
    aocq_tensor residual_multiplier; /* [1] or [N]; without data: no residual */
    int residual_fraction_bits;
} aocq_matmul_op;

/* The accumulator of y[row, n] of one batch, before requantization. */
static inline int64_t aocq_matmul_sum(const aocq_matmul_op *op, const aocq_tensor *a,
                                      const aocq_tensor *b, size_t batch, size_t row, size_t n)
{
    const size_t matrix = op->b_is_shared ? 0 : batch * op->depth * op->columns;
    const size_t first_a = (batch * op->rows + row) * op->depth;
    const size_t first_b = matrix + (op->transpose_b ? n * op->depth : n);
    const size_t step_b = op->transpose_b ? 1 : op->columns;
    const int64_t bias = op->bias.data != NULL ? aocq_at(&op->bias, n) : 0;
    return aocq_dot(&op->accumulator, a, first_a, b, first_b, step_b, op->depth, bias);
}

/* What is added to the product with the multiplier: the residual's code at the scale of it. */
static inline int64_t aocq_matmul_residual(const aocq_matmul_op *op, const aocq_tensor *residual,
                                           size_t index, size_t n)
{
    int64_t factor;
    int left;
    if (residual == NULL)
        return 0;
    factor = aocq_of_channel(&op->residual_multiplier, n);
    left = (int)aocq_of_channel(&op->requantize.shift, n) - op->residual_fraction_bits;
    return (aocq_at(residual, index) - residual->zero_point) * aocq_shift_up(factor, left);
}

/* residual: NULL where there is none. */
static inline uint64_t aocq_matmul(const aocq_matmul_op *op, const aocq_tensor *a,
                                   const aocq_tensor *b, const aocq_tensor *residual,
                                   const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t batch, row, n, index = 0;
    for (batch = 0; batch < op->batches; batch++) {
        for (row = 0; row < op->rows; row++) {
            for (n = 0; n < op->columns; n++, index++) {
                const int64_t sum = aocq_matmul_sum(op, a, b, batch, row, n);
                const int64_t onto = aocq_matmul_residual(op, residual, index, n);
                misfits += aocq_requantize(&op->requantize, sum, n, onto, y, index);
            }
        }
    }
    return misfits;
}

typedef struct {
    aocq_matmul_op product;      /* its bias is added to scaled sums */
    size_t block; /* products that share an exponent; 0 without exponents */
} aocq_scaled_matmul_op;

/* The accumulator of y[row, n]; `row` counts those of all batches. A block is a whole number of the
 * groups of levels that hold less: none of them is open where a block ends. */
static inline int64_t aocq_scaled_sum(const aocq_scaled_matmul_op *op, const aocq_tensor *a,
                                      const aocq_tensor *b, const aocq_tensor *exponent,
                                      size_t batch, size_t row, size_t n)
{
    const aocq_matmul_op *of = &op->product;
    const size_t matrix = of->b_is_shared ? 0 : batch * of->depth * of->columns;
    const size_t first_b = matrix + (of->transpose_b ? n * of->depth : n);
    const size_t step_b = of->transpose_b ? 1 : of->columns;
    const int shifted = aocq_shifted_level(&of->accumulator, (int64_t)op->block);
    aocq_registers held;
    size_t k;
    aocq_start(&of->accumulator, &held, 0);
    for (k = 0; k < of->depth; k++) {
        const int64_t product =
            aocq_at(a, row * of->depth + k) * aocq_at(b, first_b + k * step_b);
        const int places = (int)aocq_at(exponent, (row * of->depth + k) / op->block);
        aocq_accumulate_shifted(&of->accumulator, &held, product, shifted, places);
    }
    return aocq_finished_sum(&of->accumulator, &held, 0);
}

/* row_factor [batches, rows], column_factor [batches, columns], block_exponent [batches, rows,
 * depth / block] and residual: NULL where there is none. */
static inline uint64_t aocq_scaled_matmul(const aocq_scaled_matmul_op *op, const aocq_tensor *a,
                                          const aocq_tensor *b, const aocq_tensor *row_factor,
                                          const aocq_tensor *column_factor,
                                          const aocq_tensor *block_exponent,
                                          const aocq_tensor *residual, const aocq_result *y)
{
    const aocq_matmul_op *of = &op->product;
    aocq_matmul_op without_bias = *of;
    uint64_t misfits = 0;
    size_t row, n, index = 0;
    without_bias.bias.data = NULL;
    for (row = 0; row < of->batches * of->rows; row++) {
        const size_t batch = row / of->rows;
        for (n = 0; n < of->columns; n++, index++) {
            const int64_t onto = aocq_matmul_residual(of, residual, index, n);
            int64_t sum =
                block_exponent != NULL
                    ? aocq_scaled_sum(op, a, b, block_exponent, batch, row, n)
                    : aocq_matmul_sum(&without_bias, a, b, batch, row % of->rows, n);
            if (row_factor != NULL)
                sum *= aocq_at(row_factor, row);
            if (column_factor != NULL)
                sum *= aocq_at(column_factor, batch * of->columns + n);
            if (of->bias.data != NULL)
                sum += aocq_at(&of->bias, n);
            misfits += aocq_requantize(&of->requantize, sum, n, onto, y, index);
        }
    }
    return misfits;
}

typedef struct {
    size_t outer;    /* product of the dimensions before the axis */
    size_t terms;    /* extent of the axis */
    size_t inner;    /* product of the dimensions behind it */
    size_t channels; /* last dimension of the result */
    aocq_accumulator accumulator;
    aocq_requantization requantize;
} aocq_mean_op;

static inline uint64_t aocq_mean(const aocq_mean_op *op, const aocq_tensor *a,
                                 const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t index, k;
    for (index = 0; index < op->outer * op->inner; index++) {
        const size_t first = index / op->inner * op->terms * op->inner + index % op->inner;
        aocq_registers held;
        int64_t sum;
        aocq_start(&op->accumulator, &held, 0);
        for (k = 0; k < op->terms; k++)
            aocq_accumulate(&op->accumulator, &held,
                            aocq_at(a, first + k * op->inner) - a->zero_point);
        sum = aocq_finished_sum(&op->accumulator, &held, 0);
        misfits += aocq_requantize(&op->requantize, sum, index % op->channels, 0, y, index);
    }
    return misfits;
}

#endif
