/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax with a table of exponentials, and the frame of all softmaxes. Formulas: docs/ir.md. */
#ifndef AOCQ_SOFTMAX_H
#define AOCQ_SOFTMAX_H

#include "aocq_requantize.h"

/* The largest code of the row that starts at `first`. */
static inline int64_t aocq_row_maximum(const aocq_tensor *a, size_t first, size_t columns)
{
    int64_t largest = aocq_at(a, first);
    size_t j;
    for (j = 1; j < columns; j++)
        largest = aocq_max(largest, aocq_at(a, first + j));
    return largest;
}

enum {
    AOCQ_NORMALISATION_RECIPROCAL, /* one division per row, one product and shift per element */
    AOCQ_NORMALISATION_DIVISION    /* one division per element */
};

typedef struct {
    size_t rows;
    size_t columns;
    aocq_tensor table; /* exponentials by distance from the row's maximum */
    int reciprocal_bits;
    int normalisation;
    aocq_output_stage stage;
} aocq_softmax_op;

/* The sum of a row's exponentials. */
static inline int64_t aocq_softmax_sum(const aocq_softmax_op *op, const aocq_tensor *a,
                                       size_t first, int64_t largest)
{
    int64_t sum = 0;
    size_t j;
    for (j = 0; j < op->columns; j++)
        sum += aocq_at(&op->table, (size_t)(largest - aocq_at(a, first + j)));
    return sum;
}

/* The reciprocal of a sum with reciprocal_bits fraction bits, rounded half up. */
static inline int64_t aocq_softmax_reciprocal(const aocq_softmax_op *op, int64_t sum)
{
    return (((int64_t)1 << op->reciprocal_bits) + sum / 2) / sum;
}

static inline uint64_t aocq_softmax(const aocq_softmax_op *op, const aocq_tensor *a,
                                    const aocq_result *y)
{
    const int divides = op->normalisation == AOCQ_NORMALISATION_DIVISION;
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        const int64_t largest = aocq_row_maximum(a, first, op->columns);
        const int64_t sum = aocq_softmax_sum(op, a, first, largest);
        const int64_t reciprocal = divides ? 0 : aocq_softmax_reciprocal(op, sum);
        for (j = 0; j < op->columns; j++) {
            const int64_t e = aocq_at(&op->table, (size_t)(largest - aocq_at(a, first + j)));
            if (divides) {
                const int64_t widened = aocq_shift_up(e, op->reciprocal_bits - op->stage.shift);
                const int64_t code = aocq_divide(widened, sum, op->stage.rounding);
                misfits += aocq_store(y, first + j, code + y->zero_point, op->stage.overflow);
            } else {
                misfits += aocq_finish(&op->stage, e * reciprocal, y, first + j);
            }
        }
    }
    return misfits;
}

typedef struct {
    size_t rows;
    size_t columns;
    int octave_bits;
    size_t group;
    int64_t largest; /* the code of 1 */
} aocq_softmax_ita_op;

/* The shift of a distance from the maximum: octaves, rounded half up; 63 leaves nothing of a sum. */
static inline int aocq_ita_octaves(int64_t distance, int octave_bits)
{
    return (int)aocq_min(aocq_round_once(distance, octave_bits, AOCQ_ROUND_HALF_UP), 63);
}

/* ITA's running maximum and sum over one row; the maximum of all of it. */
static inline int64_t aocq_ita_stream(const aocq_softmax_ita_op *op, const aocq_tensor *a,
                                      size_t first, int64_t *sum)
{
    int64_t largest = aocq_lowest(a->bits, a->is_signed);
    size_t start, j;
    *sum = 0;
    for (start = 0; start < op->columns; start += op->group) {
        const size_t left = op->columns - start;
        const size_t count = left < op->group ? left : op->group;
        const int64_t of_group = aocq_row_maximum(a, first + start, count);
        const int64_t before = largest;
        largest = aocq_max(largest, of_group);
        *sum >>= aocq_ita_octaves(largest - before, op->octave_bits);
        for (j = 0; j < count; j++)
            *sum += (int64_t)256 >> aocq_ita_octaves(largest - aocq_at(a, first + start + j),
                                                     op->octave_bits);
    }
    return largest;
}

static inline uint64_t aocq_softmax_ita(const aocq_softmax_ita_op *op, const aocq_tensor *a,
                                        const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t row, j;
    for (row = 0; row < op->rows; row++) {
        const size_t first = row * op->columns;
        int64_t sum;
        const int64_t largest = aocq_ita_stream(op, a, first, &sum);
        const int64_t inverse = 256 * op->largest / sum;
        for (j = 0; j < op->columns; j++) {
            const int octaves =
                aocq_ita_octaves(largest - aocq_at(a, first + j), op->octave_bits);
            misfits += aocq_store(y, first + j, (inverse >> octaves) + y->zero_point,
                                  AOCQ_OVERFLOW_SATURATE);
        }
    }
    return misfits;
}

#endif
