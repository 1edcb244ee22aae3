/* SPDX-License-Identifier: Apache-2.0 */
/* Rescale, Add, Mul, AddShifted, SquaredDifference: element by element. Formulas: docs/ir.md. */
#ifndef AOCQ_ELEMENTWISE_H
#define AOCQ_ELEMENTWISE_H

#include "aocq_layout.h"
#include "aocq_requantize.h"

typedef struct {
    size_t channels; /* last dimension of the result */
    aocq_requantization requantize;
} aocq_rescale_op;

static inline uint64_t aocq_rescale(const aocq_rescale_op *op, const aocq_tensor *a,
                                    const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t index;
    for (index = 0; index < y->length; index++)
        misfits += aocq_requantize(&op->requantize, aocq_at(a, index) - a->zero_point,
                                   index % op->channels, 0, y, index);
    return misfits;
}

/* The operands of an op of two tensors: where each element of the result finds its own. */
typedef struct {
    size_t channels; /* last dimension of the result */
    aocq_view a;
    aocq_view b;
} aocq_pairs;

/* Element `index` of an operand, without its zero point. */
static inline int64_t aocq_centred(const aocq_tensor *operand, const aocq_view *view, size_t index)
{
    return aocq_at(operand, aocq_place(view, index)) - operand->zero_point;
}

typedef struct {
    aocq_pairs pairs;
    aocq_tensor multiplier_a; /* [1] or [channels] */
    aocq_tensor multiplier_b;
    aocq_output_stage stage;
} aocq_add_op;

static inline uint64_t aocq_add(const aocq_add_op *op, const aocq_tensor *a, const aocq_tensor *b,
                                const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t index;
    for (index = 0; index < y->length; index++) {
        const size_t c = index % op->pairs.channels;
        const int64_t from_a = aocq_centred(a, &op->pairs.a, index);
        const int64_t from_b = aocq_centred(b, &op->pairs.b, index);
        const int64_t sum = from_a * aocq_of_channel(&op->multiplier_a, c) +
                            from_b * aocq_of_channel(&op->multiplier_b, c);
        misfits += aocq_finish(&op->stage, sum, y, index);
    }
    return misfits;
}

typedef struct {
    aocq_pairs pairs;
    aocq_requantization requantize;
} aocq_mul_op;

static inline uint64_t aocq_mul(const aocq_mul_op *op, const aocq_tensor *a, const aocq_tensor *b,
                                const aocq_result *y)
{
    uint64_t misfits = 0;
    size_t index;
    for (index = 0; index < y->length; index++) {
        const int64_t product = aocq_centred(a, &op->pairs.a, index) *
                                aocq_centred(b, &op->pairs.b, index);
        misfits += aocq_requantize(&op->requantize, product, index % op->pairs.channels, 0, y,
                                   index);
    }
    return misfits;
}

enum { /* what is computed of two tensors at their common scale */
    AOCQ_JOIN_SUM,
    AOCQ_JOIN_DIFFERENCE,
    AOCQ_JOIN_SQUARED_DIFFERENCE
};

typedef struct {
    aocq_pairs pairs;
    int join;
    int input_left_shift;
    int64_t multiplier_a;
    int shift_a;
    int64_t multiplier_b;
    int shift_b;
    int64_t multiplier;
    aocq_output_stage stage;
} aocq_common_scale_op;

/* AddShifted and SquaredDifference. */
static inline uint64_t aocq_common_scale(const aocq_common_scale_op *op, const aocq_tensor *a,
                                         const aocq_tensor *b, const aocq_result *y)
{
    const aocq_output_stage *stage = &op->stage;
    uint64_t misfits = 0;
    size_t index;
    for (index = 0; index < y->length; index++) {
        const int64_t from_a =
            aocq_shift_up(aocq_centred(a, &op->pairs.a, index), op->input_left_shift);
        const int64_t from_b =
            aocq_shift_up(aocq_centred(b, &op->pairs.b, index), op->input_left_shift);
        const int64_t scaled_a = aocq_round(from_a * op->multiplier_a, op->shift_a,
                                            stage->rounding, stage->double_rounding);
        const int64_t scaled_b = aocq_round(from_b * op->multiplier_b, op->shift_b,
                                            stage->rounding, stage->double_rounding);
        int64_t joined =
            op->join == AOCQ_JOIN_SUM ? scaled_a + scaled_b : scaled_a - scaled_b;
        if (op->join == AOCQ_JOIN_SQUARED_DIFFERENCE)
            joined *= joined;
        misfits += aocq_finish(stage, joined * op->multiplier, y, index);
    }
    return misfits;
}

#endif
