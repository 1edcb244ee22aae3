/* SPDX-License-Identifier: Apache-2.0 */
/* Integer arithmetic of an IntGraph: codes in memory, shifts, rounding modes, overflow rules.
 *
 * C99, also C++11. No function allocates, calls a library but memcpy, or reads a global. Behaviour is
 * defined for all arguments within the bounds that `verify` of a graph guarantees: no right shift of a
 * negative number, no left shift of one, no conversion that does not fit.
 */
#ifndef AOCQ_NUMERICS_H
#define AOCQ_NUMERICS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { /* which neighbour of a number that is not whole results */
    AOCQ_ROUND_FLOOR,
    AOCQ_ROUND_TOWARD_ZERO,
    AOCQ_ROUND_HALF_UP,
    AOCQ_ROUND_HALF_DOWN,
    AOCQ_ROUND_HALF_AWAY,
    AOCQ_ROUND_HALF_EVEN
};

enum { /* a second rounding half up, at bit 31; the last one is then half away or half up */
    AOCQ_DOUBLE_NONE,
    AOCQ_DOUBLE_SYMMETRIC,
    AOCQ_DOUBLE_ASYMMETRIC
};

enum { /* what becomes of a value outside the type it is stored in */
    AOCQ_OVERFLOW_SATURATE,
    AOCQ_OVERFLOW_SATURATE_SYMMETRIC,
    AOCQ_OVERFLOW_WRAP
};

/* Codes in memory: row-major, in the host's byte order, each in the smallest integer of 1, 2, 4 or 8
 * bytes that has `bits` bits. Constants (multipliers, tables) are tensors too, with zero point 0. */
typedef struct {
    const void *data;
    size_t length;
    int bits;
    int bytes;
    int is_signed;
    int64_t zero_point;
} aocq_tensor;

/* Where an op writes its codes, and their type. */
typedef struct {
    void *data;
    size_t length;
    int bits;
    int bytes;
    int is_signed;
    int64_t zero_point;
} aocq_result;

#define AOCQ_BYTES(bits) ((bits) <= 8 ? 1 : (bits) <= 16 ? 2 : (bits) <= 32 ? 4 : 8)
/* The initializer of either. */
#define AOCQ_CODES(data, length, bits, is_signed, zero_point) \
    { (data), (length), (bits), AOCQ_BYTES(bits), (is_signed), (zero_point) }
#define AOCQ_NO_CODES { NULL, 0, 8, 1, 0, 0 }

/* Element `index` of a tensor. */
static inline int64_t aocq_at(const aocq_tensor *tensor, size_t index)
{
    const unsigned char *place = (const unsigned char *)tensor->data + index * (size_t)tensor->bytes;
    if (tensor->bytes == 1) {
        if (tensor->is_signed) {
            int8_t value;
            memcpy(&value, place, sizeof value);
            return value;
        }
        return *place;
    }
    if (tensor->bytes == 2) {
        uint16_t value;
        int16_t with_sign;
        memcpy(&value, place, sizeof value);
        memcpy(&with_sign, place, sizeof with_sign);
        return tensor->is_signed ? (int64_t)with_sign : (int64_t)value;
    }
    if (tensor->bytes == 4) {
        uint32_t value;
        int32_t with_sign;
        memcpy(&value, place, sizeof value);
        memcpy(&with_sign, place, sizeof with_sign);
        return tensor->is_signed ? (int64_t)with_sign : (int64_t)value;
    }
    {
        int64_t value; /* unsigned types have at most 63 bits */
        memcpy(&value, place, sizeof value);
        return value;
    }
}

/* Element `channel` of a vector that has one element for all channels, or one for each. */
static inline int64_t aocq_of_channel(const aocq_tensor *vector, size_t channel)
{
    return aocq_at(vector, vector->length > 1 ? channel : 0);
}

/* Write a code, which the type holds. */
static inline void aocq_put(const aocq_result *result, size_t index, int64_t code)
{
    unsigned char *place = (unsigned char *)result->data + index * (size_t)result->bytes;
    const uint64_t pattern = (uint64_t)code;
    if (result->bytes == 1) {
        const uint8_t stored = (uint8_t)pattern;
        memcpy(place, &stored, sizeof stored);
    } else if (result->bytes == 2) {
        const uint16_t stored = (uint16_t)pattern;
        memcpy(place, &stored, sizeof stored);
    } else if (result->bytes == 4) {
        const uint32_t stored = (uint32_t)pattern;
        memcpy(place, &stored, sizeof stored);
    } else {
        memcpy(place, &pattern, sizeof pattern);
    }
}

static inline int64_t aocq_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t aocq_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* floor(value / 2^shift) for shift in 0..63. C leaves >> of negative numbers to the compiler. */
static inline int64_t aocq_shift_down(int64_t value, int shift)
{
    return value >= 0 ? value >> shift : ~(~value >> shift);
}

/* value * 2^shift for shift in 0..62. C does not define << of negative numbers. */
static inline int64_t aocq_shift_up(int64_t value, int shift)
{
    return value * ((int64_t)1 << shift);
}

/* floor(value / divisor), divisor > 0. C's division drops the fraction, toward zero. */
static inline int64_t aocq_divide_down(int64_t value, int64_t divisor)
{
    const int64_t quotient = value / divisor;
    return value % divisor < 0 ? quotient - 1 : quotient;
}

/* Bits of a number that is not negative: 0 has none, 1 has one. */
static inline int aocq_bit_length(int64_t value)
{
    int bits = 0;
    while (value > 0) {
        value >>= 1;
        bits += 1;
    }
    return bits;
}

static inline int64_t aocq_lowest(int bits, int is_signed)
{
    return is_signed ? -(int64_t)(((uint64_t)1 << (bits - 1)) - 1) - 1 : 0;
}

static inline int64_t aocq_highest(int bits, int is_signed)
{
    return (int64_t)(((uint64_t)1 << (is_signed ? bits - 1 : bits)) - 1);
}

/* The low bits of a value, as a number of the type. */
static inline int64_t aocq_wrap(uint64_t value, int bits, int is_signed)
{
    const int64_t low = aocq_lowest(bits, is_signed);
    uint64_t above_low = value - (uint64_t)low;
    if (bits < 64)
        above_low &= ((uint64_t)1 << bits) - 1;
    /* Not low + (int64_t)above_low: with 64 bits the second does not fit. */
    if (above_low > (uint64_t)INT64_MAX)
        return (int64_t)(above_low - (uint64_t)INT64_MAX - 1);
    return low + (int64_t)above_low;
}

/* Store a value in a type: fit(v) of docs/ir.md. */
static inline int64_t aocq_fit(int64_t value, int bits, int is_signed, int overflow)
{
    const int64_t high = aocq_highest(bits, is_signed);
    int64_t low = aocq_lowest(bits, is_signed);
    if (overflow == AOCQ_OVERFLOW_WRAP)
        return aocq_wrap((uint64_t)value, bits, is_signed);
    if (overflow == AOCQ_OVERFLOW_SATURATE_SYMMETRIC && is_signed)
        low = -high;
    return aocq_min(aocq_max(value, low), high);
}

/* Write fit(code); 1 where the code did not fit, else 0. */
static inline uint64_t aocq_store(const aocq_result *y, size_t index, int64_t code, int overflow)
{
    const int64_t fitted = aocq_fit(code, y->bits, y->is_signed, overflow);
    aocq_put(y, index, fitted);
    return fitted != code;
}

/* 1 where rest / divisor beside a whole number is rounded to the upper neighbour, else 0.
 * `negative`: whether the number is; `odd`: whether the lower neighbour is. */
static inline int aocq_rounds_up(uint64_t rest, uint64_t divisor, int negative, int odd, int rounding)
{
    const uint64_t to_upper = divisor - rest;
    if (rest == 0 || rounding == AOCQ_ROUND_FLOOR)
        return 0;
    if (rounding == AOCQ_ROUND_TOWARD_ZERO)
        return negative;
    if (rest != to_upper)
        return rest > to_upper;
    if (rounding == AOCQ_ROUND_HALF_UP)
        return 1;
    if (rounding == AOCQ_ROUND_HALF_AWAY)
        return !negative;
    return rounding == AOCQ_ROUND_HALF_EVEN ? odd : 0;
}

/* value / divisor, rounded; divisor > 0. */
static inline int64_t aocq_divide(int64_t value, int64_t divisor, int rounding)
{
    const int64_t below = aocq_divide_down(value, divisor);
    const uint64_t rest = (uint64_t)value - (uint64_t)below * (uint64_t)divisor;
    return below + aocq_rounds_up(rest, (uint64_t)divisor, value < 0, (int)(below & 1), rounding);
}

/* value / 2^shift, rounded once; shift in 0..62. */
static inline int64_t aocq_round_once(int64_t value, int shift, int rounding)
{
    const int64_t below = aocq_shift_down(value, shift);
    const uint64_t divisor = (uint64_t)1 << shift;
    const uint64_t rest = (uint64_t)value & (divisor - 1);
    return below + aocq_rounds_up(rest, divisor, value < 0, (int)(below & 1), rounding);
}

/* value / 2^shift, rounded once or twice. */
static inline int64_t aocq_round(int64_t value, int shift, int rounding, int double_rounding)
{
    const int second =
        double_rounding == AOCQ_DOUBLE_SYMMETRIC ? AOCQ_ROUND_HALF_AWAY : AOCQ_ROUND_HALF_UP;
    if (double_rounding == AOCQ_DOUBLE_NONE || shift <= 31)
        return aocq_round_once(value, shift, rounding);
    return aocq_round_once(aocq_round_once(value, 31, AOCQ_ROUND_HALF_UP), shift - 31, second);
}

#endif
