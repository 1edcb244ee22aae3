/* SPDX-License-Identifier: Apache-2.0 */
/* Requantization: an integer at a finer scale becomes a code. */
#ifndef AOCQ_REQUANTIZE_H
#define AOCQ_REQUANTIZE_H

#include "aocq_numerics.h"

enum { /* the zero point is added to the rounded number, or is part of what is rounded */
    AOCQ_ZERO_POINT_AFTER_ROUND,
    AOCQ_ZERO_POINT_BEFORE_ROUND
};

enum { /* a shift below 31: the product is wider, or the sum is first shifted up in 32 bits */
    AOCQ_LEFT_SHIFT_WIDEN,
    AOCQ_LEFT_SHIFT_WRAP
};

typedef struct {
    int rounding;
    int double_rounding;
    int overflow;
    int zero_point_stage;
    int left_shift;
    aocq_tensor multiplier; /* [1] or [channels] */
    aocq_tensor shift;      /* [1] or [channels], 0..62 */
} aocq_requantization;

/* A right shift that an op has without a table of factors. */
typedef struct {
    int shift; /* 0..62 */
    int rounding;
    int double_rounding;
    int overflow;
} aocq_output_stage;

/* y[index] = fit(round(value >> shift) + z_y); 1 where it did not fit, else 0. */
static inline uint64_t aocq_finish(const aocq_output_stage *stage, int64_t value,
                                   const aocq_result *y, size_t index)
{
    const int64_t rounded =
        aocq_round(value, stage->shift, stage->rounding, stage->double_rounding);
    return aocq_store(y, index, rounded + y->zero_point, stage->overflow);
}

/* The rounded number of one channel, zero point included, before fit. `residual` is added to the
 * product before it is shifted. */
static inline int64_t aocq_rescaled(const aocq_requantization *rule, int64_t value, size_t channel,
                                    int64_t residual, int64_t zero_point)
{
    const int64_t multiplier = aocq_of_channel(&rule->multiplier, channel);
    int shift = (int)aocq_of_channel(&rule->shift, channel);
    int64_t scaled;
    if (rule->left_shift == AOCQ_LEFT_SHIFT_WRAP && shift < 31) {
        value = aocq_wrap((uint64_t)value << (31 - shift), 32, 1);
        shift = 31;
    }
    scaled = value * multiplier + residual;
    if (rule->zero_point_stage == AOCQ_ZERO_POINT_BEFORE_ROUND) {
        scaled += aocq_shift_up(zero_point, shift);
        zero_point = 0;
    }
    return aocq_round(scaled, shift, rule->rounding, rule->double_rounding) + zero_point;
}

/* y[index] = requantize(value); 1 where it did not fit, else 0. */
static inline uint64_t aocq_requantize(const aocq_requantization *rule, int64_t value,
                                       size_t channel, int64_t residual, const aocq_result *y,
                                       size_t index)
{
    const int64_t code = aocq_rescaled(rule, value, channel, residual, y->zero_point);
    return aocq_store(y, index, code, rule->overflow);
}

#endif
