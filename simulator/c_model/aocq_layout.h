/* SPDX-License-Identifier: Apache-2.0 */
/* Slice, Transpose, Concat, Reshape: codes move, none changes. Views serve broadcasting, too. */
#ifndef AOCQ_LAYOUT_H
#define AOCQ_LAYOUT_H

#include "aocq_numerics.h"

#define AOCQ_MOST_DIMENSIONS 8

/* Elements of a tensor in row-major order of some shape: element (i, j, ..) lies at
 * start + i * step[0] + j * step[1] .. ; a step of 0 repeats. */
typedef struct {
    int dimensions;
    size_t shape[AOCQ_MOST_DIMENSIONS];
    size_t step[AOCQ_MOST_DIMENSIONS];
    size_t start;
} aocq_view;

static inline size_t aocq_place(const aocq_view *view, size_t index)
{
    size_t place = view->start;
    int dimension;
    for (dimension = view->dimensions - 1; dimension >= 0; dimension--) {
        place += index % view->shape[dimension] * view->step[dimension];
        index /= view->shape[dimension];
    }
    return place;
}

static inline size_t aocq_elements(const aocq_view *view)
{
    size_t elements = 1;
    int dimension;
    for (dimension = 0; dimension < view->dimensions; dimension++)
        elements *= view->shape[dimension];
    return elements;
}

/* Slice and Transpose: `from` says where each element of y lies in a. */
static inline void aocq_gather(const aocq_view *from, const aocq_tensor *a, const aocq_result *y)
{
    const size_t elements = aocq_elements(from);
    size_t index;
    for (index = 0; index < elements; index++)
        aocq_put(y, index, aocq_at(a, aocq_place(from, index)));
}

/* One part of a Concat: `to` says where each element of a lies in y. */
static inline void aocq_scatter(const aocq_view *to, const aocq_tensor *a, const aocq_result *y)
{
    const size_t elements = aocq_elements(to);
    size_t index;
    for (index = 0; index < elements; index++)
        aocq_put(y, aocq_place(to, index), aocq_at(a, index));
}

/* Reshape: the same elements in the same order. */
static inline void aocq_copy(const aocq_tensor *a, const aocq_result *y)
{
    memcpy(y->data, a->data, a->length * (size_t)a->bytes);
}

#endif
