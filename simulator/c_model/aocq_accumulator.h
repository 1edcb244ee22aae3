/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators of finite width: levels of registers, from the innermost outward, bias included. */
#ifndef AOCQ_ACCUMULATOR_H
#define AOCQ_ACCUMULATOR_H

#include "aocq_numerics.h"

#define AOCQ_MOST_LEVELS 8

enum { /* where the bias enters the outermost register */
    AOCQ_BIAS_PRELOAD,
    AOCQ_BIAS_AFTER_LAST_BLOCK
};

typedef struct {
    int64_t group; /* products that one sum stands for; 0 at the last level: all */
    int bits;
    int overflow; /* AOCQ_OVERFLOW_SATURATE or AOCQ_OVERFLOW_WRAP, of every addition */
} aocq_level;

typedef struct {
    const aocq_level *level; /* innermost first */
    int levels;              /* 1..AOCQ_MOST_LEVELS */
    int bias;                /* stage of the bias */
    int exact;               /* 1: registers are as wide as sums need (policy `report`) */
} aocq_accumulator;

/* The registers, and how many products each has taken in. */
typedef struct {
    int64_t sum[AOCQ_MOST_LEVELS];
    int64_t products[AOCQ_MOST_LEVELS];
} aocq_registers;

/* One addition in one register. */
static inline int64_t aocq_added(const aocq_accumulator *acc, int level, int64_t sum, int64_t addend)
{
    const int bits = acc->exact ? 64 : acc->level[level].bits;
    const int64_t low = aocq_lowest(bits, 1), high = aocq_highest(bits, 1);
    if (acc->exact || acc->level[level].overflow == AOCQ_OVERFLOW_WRAP)
        return aocq_wrap((uint64_t)sum + (uint64_t)addend, bits, 1);
    /* Not sum + addend: a register of 64 bits has no wider type to compare in. */
    if (addend > 0 && sum > high - addend)
        return high;
    if (addend < 0 && sum < low - addend)
        return low;
    return sum + addend;
}

/* Clear the registers; the outermost starts with the bias where that is preloaded. */
static inline void aocq_start(const aocq_accumulator *acc, aocq_registers *held, int64_t bias)
{
    int level;
    for (level = 0; level < acc->levels; level++) {
        held->sum[level] = 0;
        held->products[level] = 0;
    }
    if (acc->bias == AOCQ_BIAS_PRELOAD)
        held->sum[acc->levels - 1] = aocq_added(acc, acc->levels - 1, 0, bias);
}

/* A number, of any sign, times 2^places. */
static inline int64_t aocq_scaled_up(int64_t number, int places)
{
    return aocq_wrap((uint64_t)number << places, 64, 1);
}

/* The level whose addends are shifted by the exponents of blocks of `block` products: the first
 * whose groups are larger. */
static inline int aocq_shifted_level(const aocq_accumulator *acc, int64_t block)
{
    int level = 0;
    while (level < acc->levels - 1 && acc->level[level].group <= block)
        level++;
    return level;
}

/* Take in one product; groups that it completes are handed outward. What enters level `shifted`
 * is shifted to the left. */
static inline void aocq_accumulate_shifted(const aocq_accumulator *acc, aocq_registers *held,
                                           int64_t product, int shifted, int places)
{
    int64_t addend = product;
    int level;
    for (level = 0; level < acc->levels; level++) {
        if (level == shifted)
            addend = aocq_scaled_up(addend, places);
        held->sum[level] = aocq_added(acc, level, held->sum[level], addend);
        held->products[level] += level == 0 ? 1 : acc->level[level - 1].group;
        if (level == acc->levels - 1 || held->products[level] < acc->level[level].group)
            return;
        addend = held->sum[level];
        held->sum[level] = 0;
        held->products[level] = 0;
    }
}

/* Take in one product, of which nothing is shifted. */
static inline void aocq_accumulate(const aocq_accumulator *acc, aocq_registers *held,
                                   int64_t product)
{
    aocq_accumulate_shifted(acc, held, product, -1, 0);
}

/* Hand groups that are not full outward, add a bias that comes last; the accumulator. */
static inline int64_t aocq_finished_sum(const aocq_accumulator *acc, aocq_registers *held,
                                        int64_t bias)
{
    const int outermost = acc->levels - 1;
    int level;
    for (level = 0; level < outermost; level++) {
        held->sum[level + 1] = aocq_added(acc, level + 1, held->sum[level + 1], held->sum[level]);
    }
    if (acc->bias == AOCQ_BIAS_AFTER_LAST_BLOCK)
        return aocq_added(acc, outermost, held->sum[outermost], bias);
    return held->sum[outermost];
}

/* Tell whether only the completed sum counts: one register that wraps, or is wide enough. */
static inline int aocq_order_is_free(const aocq_accumulator *acc)
{
    return acc->exact || (acc->levels == 1 && acc->level[0].overflow == AOCQ_OVERFLOW_WRAP);
}

/* The accumulator of `depth` products a[first_a + k] * b[first_b + k * step_b], ascending k. */
static inline int64_t aocq_dot(const aocq_accumulator *acc, const aocq_tensor *a, size_t first_a,
                               const aocq_tensor *b, size_t first_b, size_t step_b, size_t depth,
                               int64_t bias)
{
    aocq_registers held;
    size_t k;
    if (aocq_order_is_free(acc)) {
        uint64_t sum = (uint64_t)bias;
        for (k = 0; k < depth; k++)
            sum += (uint64_t)(aocq_at(a, first_a + k) * aocq_at(b, first_b + k * step_b));
        return aocq_wrap(sum, acc->exact ? 64 : acc->level[0].bits, 1);
    }
    aocq_start(acc, &held, bias);
    for (k = 0; k < depth; k++)
        aocq_accumulate(acc, &held, aocq_at(a, first_a + k) * aocq_at(b, first_b + k * step_b));
    return aocq_finished_sum(acc, &held, bias);
}

#endif
