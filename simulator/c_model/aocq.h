/* SPDX-License-Identifier: Apache-2.0 */
/* The ops of an IntGraph in C99: include this, or the file of the unit at hand. */
#ifndef AOCQ_H
#define AOCQ_H

#include "aocq_accumulator.h"
#include "aocq_deferred_softmax.h"
#include "aocq_elementwise.h"
#include "aocq_functions.h"
#include "aocq_groups.h"
#include "aocq_layout.h"
#include "aocq_normalization.h"
#include "aocq_numerics.h"
#include "aocq_products.h"
#include "aocq_requantize.h"
#include "aocq_softmax.h"
#include "aocq_softmax_polynomial.h"
#include "aocq_softmax_tflite.h"

#endif
