# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from simulator.numerics.interpreter_lock import spin_in_kernels, waiter
from simulator.numerics.jit import is_compiling, kernel

LONG = 0.25  # seconds; a wait that does not sleep takes a small part of it


@kernel
def add_up(numbers):
    total = 0
    for i in range(numbers.shape[0]):
        total += numbers[i]
    return total


def seconds_of(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def test_what_is_there_is_not_waited_for_and_what_is_not_for_a_moment_only():
    counter = np.zeros(1, np.int64)
    wait = waiter()
    for wanted in (-5, 0, 1, 7):
        assert seconds_of(wait, counter.ctypes.data, wanted) < LONG
    assert counter.tolist() == [0]


def test_a_wait_ends_when_another_thread_counts():
    """Waiting lets go of the interpreter: the other thread could not count otherwise."""
    counter = np.zeros(1, np.int64)

    def count():
        counter[0] = 3

    thread = threading.Thread(target=count)
    thread.start()
    while counter[0] < 3:
        waiter()(counter.ctypes.data, 3)
    thread.join()


def test_threads_that_run_kernels_get_their_own_results():
    found: dict[int, set[int]] = {}

    def run(number):
        numbers = np.full(2000, number)
        found[number] = {int(add_up(numbers)) for _ in range(300)}

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {2000 * number} for number in range(4)}


@pytest.mark.skipif(not is_compiling(), reason="kernels are not compiled")
def test_a_thread_that_came_out_of_a_kernel_and_sleeps_holds_nobody_up():
    add_up(np.arange(3))
    asleep, over = threading.Event(), threading.Event()

    def sleep():
        add_up(np.arange(3))  # from here on it holds the flag
        asleep.set()
        over.wait()

    thread = threading.Thread(target=sleep)
    thread.start()
    asleep.wait()
    spent = [seconds_of(add_up, np.arange(3)) for _ in range(20)]
    over.set()
    thread.join()
    assert min(spent) < LONG / 100


FIRST_WAITS = """
import threading
import numpy as np
from simulator.numerics.interpreter_lock import waiter

counter, together = np.zeros(1, np.int64), threading.Barrier(8)

def wait():
    together.wait()
    for _ in range(50):
        waiter()(counter.ctypes.data, 0)

threads = [threading.Thread(target=wait) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_all_wait_for_the_first_time_share_one_function():
    """One of several would be freed while others call it."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", FIRST_WAITS], check=False)
        assert done.returncode == 0


def test_names_can_be_given_again():
    spin_in_kernels()
    spin_in_kernels()
    assert add_up(np.arange(4)) == 6
