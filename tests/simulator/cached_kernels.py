# SPDX-License-Identifier: Apache-2.0
"""Kernels whose results tell which signature they were compiled for; two processes save them.

Two processes that call :func:`save_all` meet at every folder and fill it at once.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numba
import numpy as np

from simulator.kernel_cache import KernelCache, keep_compiled

ROUNDS = 25
ARGUMENTS = [
    np.zeros((2,) * dimensions, dtype)
    for dimensions in (1, 2, 3)
    for dtype in ("int8", "uint16", "float64")
]


def signature_number(array):
    """What no two of :data:`ARGUMENTS` have in common."""
    return array.itemsize * 10 + array.ndim


def known(array):
    return array.itemsize * 10 + array.ndim


def enclosing(number):
    """A kernel's source that differs in what it encloses only."""

    def add(value):
        return value + number

    return add


def calling(inner):
    """A kernel's source that encloses another kernel."""

    def twice(value):
        return inner(inner(value))

    return twice


def cached(function, folder):
    compiled = numba.njit(function)
    keep_compiled(compiled, folder)
    return compiled


def save_all(folder, gate, process):
    """Save every signature into ``ROUNDS`` folders, in an order of this process's own, delayed."""
    chance = random.Random(process)
    compiled = numba.njit(signature_number)
    for array in ARGUMENTS:
        compiled(array)
    replace = os.replace

    def late(source, target):
        time.sleep(chance.random() * 0.002)
        replace(source, target)

    os.replace = late
    for number in range(ROUNDS):
        cache = KernelCache(signature_number, folder / str(number))
        overloads = list(compiled.overloads.items())
        chance.shuffle(overloads)
        Path(f"{gate}.{number}.{process}").touch()
        while not Path(f"{gate}.{number}.{1 - process}").exists():
            time.sleep(0.0001)
        for signature, result in overloads:
            cache.save_overload(signature, result)
