/* SPDX-License-Identifier: Apache-2.0 */
/* Lookup, InterpolatedLookup, GeluPolynomial, ShiftGelu. Formulas: docs/ir.md. */
#ifndef AOCQ_FUNCTIONS_H
#define AOCQ_FUNCTIONS_H

#include "aocq_requantize.h"

/* Lookup: a table with one entry per code of a, lowest first. */
static inline void aocq_lookup(const aocq_tensor *table, const aocq_tensor *a, const aocq_result *y)
{
    const int64_t low = aocq_lowest(a->bits, a->is_signed);
    size_t index;
    for (index = 0; index < y->length; index++)
        aocq_put(y, index, aocq_at(table, (size_t)(aocq_at(a, index) - low)));
}

typedef struct {
    aocq_tensor table;
    int fraction_bits;
    aocq_output_stage stage; /* its result has no zero point of its own: it is in the table */
} aocq_interpolated_lookup_op;

static inline uint64_t aocq_interpolated_lookup(const aocq_interpolated_lookup_op *op,
                                                const aocq_tensor *a, const aocq_result *y)
{
    const int64_t low = aocq_lowest(a->bits, a->is_signed);
    aocq_result without_zero_point = *y;
    uint64_t misfits = 0;
    size_t index;
    without_zero_point.zero_point = 0;
    for (index = 0; index < y->length; index++) {
        const int64_t above_low = aocq_at(a, index) - low;
        const int64_t interval = aocq_shift_down(above_low, op->fraction_bits);
        const int64_t place = above_low - aocq_shift_up(interval, op->fraction_bits);
        const int64_t left = aocq_at(&op->table, (size_t)interval);
        const int64_t rise = aocq_at(&op->table, (size_t)interval + 1) - left;
        const int64_t value = aocq_shift_up(left, op->fraction_bits) + rise * place;
        misfits += aocq_finish(&op->stage, value, &without_zero_point, index);
    }
    return misfits;
}

typedef struct {
    size_t channels; /* last dimension of the result */
    int64_t clip;
    int64_t constant;
    int64_t one;
    int negated;
    int erf_shift;
    int sum_shift;
    int has_clip_low;
    int64_t clip_low;
    int intermediate_bits;
    aocq_requantization requantize;
} aocq_gelu_polynomial_op;

/* q * E of one code, in the register of intermediate_bits. */
static inline int64_t aocq_gelu_product(const aocq_gelu_polynomial_op *op, int64_t q)
{
    const int bits = op->intermediate_bits;
    int64_t distance, polynomial, erf, both;
    if (op->has_clip_low)
        q = aocq_max(q, op->clip_low);
    distance = aocq_min(q < 0 ? -q : q, op->clip) - op->clip;
    polynomial = op->negated ? op->constant - distance * distance
                             : op->constant + distance * distance;
    if (q <= 0)
        polynomial = q < 0 ? -polynomial : 0;
    erf = aocq_wrap((uint64_t)polynomial, bits, 1);
    both = aocq_shift_down(aocq_shift_down(erf, op->erf_shift) + op->one, op->sum_shift);
    both = aocq_wrap((uint64_t)both, bits, 1);
    return aocq_wrap((uint64_t)q * (uint64_t)both, bits, 1);
}

static inline uint64_t aocq_gelu_polynomial(const aocq_gelu_polynomial_op *op,
                                            const aocq_tensor *a, const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t index;
    for (index = 0; index < y->length; index++) {
        const int64_t product = aocq_gelu_product(op, aocq_at(a, index) - a->zero_point);
        misfits +=
            aocq_requantize(&op->requantize, product, index % op->channels, 0, y, index);
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t channels;
    int64_t octave;
    int fraction_bits;
    int output_bits;
    aocq_requantization requantize;
} aocq_shift_gelu_op;

/* exp(value) by shifts: exact below 2^32, some value above that where it is above. */
static inline int64_t aocq_shift_exponential(int64_t value, int64_t octave, int fraction_bits)
{
    const int64_t in_octaves =
        aocq_max(value + aocq_shift_down(value, 1) - aocq_shift_down(value, 4),
                 -fraction_bits * octave);
    const int64_t whole = aocq_divide_down(-in_octaves, octave);
    const int64_t rest = -in_octaves - whole * octave;
    const int64_t left = aocq_min(fraction_bits - whole, aocq_max(fraction_bits, 32));
    return aocq_shift_down(aocq_shift_up(2 * octave - rest, (int)left), 1);
}

static inline uint64_t aocq_shift_gelu(const aocq_shift_gelu_op *op, const aocq_tensor *a,
                                       const aocq_result *y)
{
    const int64_t most = INT32_MAX;
    uint64_t misfits = 0;
    size_t row, c;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->channels;
        int64_t largest = aocq_at(a, first) - a->zero_point;
        int64_t of_zero;
        for (c = 1; c < op->channels; c++)
            largest = aocq_max(largest, aocq_at(a, first + c) - a->zero_point);
        of_zero = aocq_shift_exponential(-largest, op->octave, op->fraction_bits);
        for (c = 0; c < op->channels; c++) {
            const int64_t x = aocq_at(a, first + c) - a->zero_point;
            const int64_t power =
                aocq_shift_exponential(x - largest, op->octave, op->fraction_bits);
            const int64_t factor = most / aocq_min(power + of_zero, most);
            const int64_t product = x * aocq_shift_down(power * factor, 32 - op->output_bits);
            misfits += aocq_requantize(&op->requantize, product, c, 0, y, first + c);
        }
    }
    return misfits;
}

#endif
