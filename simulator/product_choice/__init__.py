# SPDX-License-Identifier: Apache-2.0
"""Which backend runs each matrix product: the fastest for its class, by rates measured on this CPU.

A product's class is its kind (layer or attention, narrow accumulator or not) and its size. Rates
are measured once per CPU and kept (:mod:`simulator.product_choice.kept`); what is timed is the op
as the executor runs it, on one core. All backends give the same integers: the choice changes times
alone.
"""

from simulator.product_choice.choosing import (
    AUTO,
    WORTH_AN_IMPORT,
    Choice,
    backends_in_use,
    check_backend,
    choices_of_usual_classes,
    choose,
    may_try_torch,
)
from simulator.product_choice.classes import Kind, ProductClass, class_of
from simulator.product_choice.kept import KeptRates, kept_rates
from simulator.product_choice.measuring import MARGIN, Rate

__all__ = [
    "AUTO",
    "MARGIN",
    "WORTH_AN_IMPORT",
    "Choice",
    "KeptRates",
    "Kind",
    "ProductClass",
    "Rate",
    "backends_in_use",
    "check_backend",
    "choices_of_usual_classes",
    "choose",
    "class_of",
    "kept_rates",
    "may_try_torch",
]
