/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNorm, LayerNormBisection, L2Norm: rows of the last dimension. Formulas: docs/ir.md. */
#ifndef AOCQ_NORMALIZATION_H
#define AOCQ_NORMALIZATION_H

#include "aocq_requantize.h"

/* floor(sqrt(value)), bit by bit, of any number that is not negative. */
static inline int64_t aocq_square_root(int64_t value)
{
    uint64_t rest = (uint64_t)value, root = 0, bit = (uint64_t)1 << 62;
    while (bit > rest)
        bit >>= 2;
    while (bit != 0) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    return (int64_t)root;
}

/* What Newton's steps make of the root of `value`: from 2^start_bits, or where that is 0 from
 * 2^ceil(bits / 2). All are done. The root of 0 is 0. */
static inline int64_t aocq_newton_root(int64_t value, int steps, int start_bits)
{
    int64_t root;
    int step;
    if (value <= 0)
        return 0;
    root = (int64_t)1 << (start_bits != 0 ? start_bits : (aocq_bit_length(value) + 1) / 2);
    for (step = 0; step < steps; step++)
        root = (root + value / root) / 2;
    return root;
}

typedef struct {
    size_t rows;
    size_t channels;
    aocq_tensor channel_multiplier; /* [channels], or without data: 1 */
    aocq_tensor channel_shift;      /* [channels], or without data: 0 */
    aocq_tensor gamma;              /* [channels] */
    aocq_tensor beta;
    int64_t epsilon;
    int sqrt_fraction_bits;
    int reciprocal_bits;
    int normalized_fraction_bits;
    int root_steps; /* 0: an exact root */
    int root_start_bits;
    int beta_shift;
    aocq_output_stage stage;
} aocq_layernorm_op;

/* u[c], the code without its zero point times the channel's factor. */
static inline int64_t aocq_layernorm_centred(const aocq_layernorm_op *op, const aocq_tensor *a,
                                             size_t first, size_t c)
{
    int64_t u = aocq_at(a, first + c) - a->zero_point;
    if (op->channel_multiplier.data != NULL)
        u *= aocq_at(&op->channel_multiplier, c);
    if (op->channel_shift.data != NULL)
        u = aocq_shift_up(u, (int)aocq_at(&op->channel_shift, c));
    return u;
}

/* The sum of u of the row that starts at `first`, and i, the reciprocal of its deviation. */
static inline int64_t aocq_layernorm_reciprocal(const aocq_layernorm_op *op, const aocq_tensor *a,
                                                size_t first, int64_t *sum)
{
    const int64_t channels = (int64_t)op->channels;
    int64_t squares = 0, variance, radicand, root;
    size_t c;
    *sum = 0;
    for (c = 0; c < op->channels; c++) {
        const int64_t u = aocq_layernorm_centred(op, a, first, c);
        *sum += u;
        squares += u * u;
    }
    variance = channels * squares - *sum * *sum + op->epsilon;
    radicand = aocq_shift_up(variance, 2 * op->sqrt_fraction_bits);
    root = op->root_steps != 0 ? aocq_newton_root(radicand, op->root_steps, op->root_start_bits)
                               : aocq_square_root(radicand);
    return ((int64_t)1 << op->reciprocal_bits) / aocq_max(root, 1);
}

static inline uint64_t aocq_layernorm(const aocq_layernorm_op *op, const aocq_tensor *a,
                                      const aocq_result *y)
{
    const int spare_bits =
        op->reciprocal_bits - op->sqrt_fraction_bits - op->normalized_fraction_bits;
    uint64_t misfits = 0;
    size_t row, c;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->channels;
        int64_t sum;
        const int64_t reciprocal = aocq_layernorm_reciprocal(op, a, first, &sum);
        for (c = 0; c < op->channels; c++) {
            const int64_t u = aocq_layernorm_centred(op, a, first, c);
            const int64_t deviation = (int64_t)op->channels * u - sum;
            const int64_t normalized = aocq_shift_down(deviation * reciprocal, spare_bits);
            const int64_t affine = normalized * aocq_at(&op->gamma, c) +
                                   aocq_shift_up(aocq_at(&op->beta, c), op->beta_shift);
            misfits += aocq_finish(&op->stage, affine, y, first + c);
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t channels;
    aocq_tensor weight; /* [channels] */
    aocq_tensor bias;
    aocq_output_stage stage;
} aocq_layernorm_bisection_op;

static inline uint64_t aocq_layernorm_bisection(const aocq_layernorm_bisection_op *op,
                                                const aocq_tensor *a, const aocq_result *y)
{
    const int64_t channels = (int64_t)op->channels;
    uint64_t misfits = 0;
    size_t row, c;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->channels;
        int64_t mean = 0, squares = 0, root;
        for (c = 0; c < op->channels; c++)
            mean += aocq_at(a, first + c) - a->zero_point;
        mean /= channels; /* toward zero, as the formula has it */
        for (c = 0; c < op->channels; c++) {
            const int64_t deviation = aocq_at(a, first + c) - a->zero_point - mean;
            squares += deviation * deviation;
        }
        root = aocq_square_root(squares / channels + 1);
        for (c = 0; c < op->channels; c++) {
            const int64_t deviation = aocq_at(a, first + c) - a->zero_point - mean;
            const int64_t affine =
                deviation * aocq_at(&op->weight, c) / root + aocq_at(&op->bias, c);
            misfits += aocq_finish(&op->stage, affine, y, first + c);
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t channels;
    aocq_tensor gain;    /* [1] or [heads] */
    size_t rows_of_gain; /* rows that follow each other under one gain */
    int64_t epsilon;
    int sqrt_fraction_bits;
    int reciprocal_bits;
    int normalized_fraction_bits;
    aocq_output_stage stage;
} aocq_l2norm_op;

static inline uint64_t aocq_l2norm(const aocq_l2norm_op *op, const aocq_tensor *a,
                                   const aocq_result *y)
{
    const int spare_bits =
        op->reciprocal_bits - op->sqrt_fraction_bits - op->normalized_fraction_bits;
    uint64_t misfits = 0;
    size_t row, c;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->channels;
        const int64_t gain = aocq_at(&op->gain, row / op->rows_of_gain % op->gain.length);
        int64_t squares = 0, root, reciprocal;
        for (c = 0; c < op->channels; c++) {
            const int64_t u = aocq_at(a, first + c) - a->zero_point;
            squares += u * u;
        }
        root = aocq_square_root(aocq_shift_up(squares, 2 * op->sqrt_fraction_bits));
        reciprocal =
            ((int64_t)1 << op->reciprocal_bits) / aocq_max(aocq_max(root, op->epsilon), 1);
        for (c = 0; c < op->channels; c++) {
            const int64_t u = aocq_at(a, first + c) - a->zero_point;
            const int64_t normalized = aocq_shift_down(u * reciprocal, spare_bits);
            misfits += aocq_finish(&op->stage, normalized * gain, y, first + c);
        }
    }
    return misfits;
}

#endif
