/* SPDX-License-Identifier: Apache-2.0 */
/* Hadamard, GroupMaximum, GroupExponent, GroupQuantize, GroupShift. Formulas: docs/ir.md. */
#ifndef AOCQ_GROUPS_H
#define AOCQ_GROUPS_H

#include "aocq_requantize.h"

typedef struct {
    size_t rows;
    size_t channels;
    size_t order;             /* of H = P (x) S, a divisor of channels */
    size_t sylvester;         /* of S, a power of two */
    const uint32_t *negative; /* of each row of P, bit j set where entry j is -1 */
    aocq_requantization requantize;
} aocq_hadamard_op;

/* Whether entry (i, j) of H is -1: that of P, and the parity of common bits in S. */
static inline int aocq_hadamard_is_negative(const aocq_hadamard_op *op, size_t i, size_t j)
{
    const size_t row = i / op->sylvester, column = j / op->sylvester;
    size_t common = (i % op->sylvester) & (j % op->sylvester);
    int negative = (int)(op->negative[row] >> column & 1);
    while (common != 0) {
        negative ^= 1;
        common &= common - 1;
    }
    return negative;
}

static inline uint64_t aocq_hadamard(const aocq_hadamard_op *op, const aocq_tensor *a,
                                     const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, c, j;
    for (row = 0; row < op->rows; row++) {
        for (c = 0; c < op->channels; c++) {
            const size_t i = c % op->order, first = row * op->channels + c - i;
            int64_t sum = 0;
            for (j = 0; j < op->order; j++) {
                const int64_t u = aocq_at(a, first + j) - a->zero_point;
                sum += aocq_hadamard_is_negative(op, i, j) ? -u : u;
            }
            misfits += aocq_requantize(&op->requantize, sum, c, 0, y, first + i);
        }
    }
    return misfits;
}

/* The largest magnitude of group `group` of `length` codes, less their zero point. */
static inline int64_t aocq_largest_of_group(const aocq_tensor *a, size_t group, size_t length)
{
    int64_t largest = 0;
    size_t c;
    for (c = 0; c < length; c++) {
        const int64_t u = aocq_at(a, group * length + c) - a->zero_point;
        largest = aocq_max(largest, u < 0 ? -u : u);
    }
    return largest;
}

typedef struct {
    size_t groups; /* of all rows */
    size_t length; /* channels of each */
    int bits;      /* width of codes that an exponent is for; 0: the maximum itself */
    int trim;      /* of an exponent: m - (m >> trim) instead of m; 0: m */
} aocq_group_scale_op;

/* GroupMaximum and GroupExponent: y has one code for each group, and holds it. */
static inline void aocq_group_scale(const aocq_group_scale_op *op, const aocq_tensor *a,
                                    const aocq_result *y)
{
    size_t group;
    for (group = 0; group < op->groups; group++) {
        const int64_t largest = aocq_largest_of_group(a, group, op->length);
        const int64_t trimmed = op->trim == 0 ? largest : largest - (largest >> op->trim);
        if (op->bits == 0)
            aocq_put(y, group, aocq_max(largest, 1));
        else
            aocq_put(y, group, aocq_max(aocq_bit_length(trimmed) - (op->bits - 1), 0));
    }
}

typedef struct {
    size_t groups;
    size_t length;
    int64_t numerator;
    aocq_output_stage stage;
} aocq_group_quantize_op;

static inline uint64_t aocq_group_quantize(const aocq_group_quantize_op *op, const aocq_tensor *a,
                                           const aocq_tensor *maximum, const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t group, c;
    for (group = 0; group < op->groups; group++) {
        const int64_t reciprocal = op->numerator / aocq_max(aocq_at(maximum, group), 1);
        for (c = group * op->length; c < (group + 1) * op->length; c++)
            misfits +=
                aocq_finish(&op->stage, (aocq_at(a, c) - a->zero_point) * reciprocal, y, c);
    }
    return misfits;
}

typedef struct {
    size_t groups;
    size_t length;
    int rounding;
    int overflow;
} aocq_group_shift_op;

static inline uint64_t aocq_group_shift(const aocq_group_shift_op *op, const aocq_tensor *a,
                                        const aocq_tensor *exponent, const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t group, c;
    for (group = 0; group < op->groups; group++) {
        const int shift = (int)aocq_at(exponent, group);
        for (c = group * op->length; c < (group + 1) * op->length; c++) {
            const int64_t u = aocq_at(a, c) - a->zero_point;
            const int64_t rounded = aocq_round_once(u, shift, op->rounding);
            misfits += aocq_store(y, c, rounded + y->zero_point, op->overflow);
        }
    }
    return misfits;
}

#endif
