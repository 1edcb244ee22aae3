# SPDX-License-Identifier: Apache-2.0
"""cocotb's part of :mod:`test_cocotb`, which runs in the simulator: rows in, codes out.

Both sides pause at random: elements are not always offered, results are not always taken. What a
handshake promises is checked at every clock: a result that is offered stays until it is taken.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge, Timer

VECTORS = json.loads(Path(os.environ["VECTORS"]).read_text())
MEMORIES = VECTORS["ports"]
LIMIT = 200_000


async def reset(dut):
    dut.reset.value = 1
    dut.in_valid.value = 0
    dut.out_ready.value = 0
    for _ in range(3):
        await RisingEdge(dut.clock)
    dut.reset.value = 0


async def feed(dut, elements, chance):
    """Offer elements; each is taken at an edge at which in_ready is 1."""
    for codes, last in elements:
        while chance() < 0.4:
            dut.in_valid.value = 0
            await RisingEdge(dut.clock)
        dut.in_valid.value = 1
        dut.in_last.value = last
        for port, code in zip(MEMORIES, codes, strict=True):
            getattr(dut, port).value = code
        while True:
            await ReadOnly()
            ready = bool(dut.in_ready.value)
            await RisingEdge(dut.clock)
            if ready:
                break
    dut.in_valid.value = 0


async def take(dut, count, chance):
    """Take results at random edges."""
    found = []
    offered = None
    for _ in range(LIMIT):
        dut.out_ready.value = int(chance() < 0.5)
        await ReadOnly()
        ready, valid = bool(dut.out_ready.value), bool(dut.out_valid.value)
        code = int(dut.out_code.value) if valid else None
        if offered is not None:
            assert code == offered, "a result changed, or went, before it was taken"
        offered = code if valid and not ready else None
        await RisingEdge(dut.clock)
        if valid and ready:
            found.append(code)
            if len(found) == count:
                return found
    raise AssertionError(f"{len(found)} of {count} results after {LIMIT} clocks")


@cocotb.test()
async def rows(dut):
    """All rows, with pauses on both sides."""
    chance = random.Random(VECTORS["seed"]).random
    cocotb.start_soon(Clock(dut.clock, 10, unit="ns").start())
    await reset(dut)
    feeding = cocotb.start_soon(feed(dut, VECTORS["elements"], chance))
    found = await take(dut, len(VECTORS["results"]), chance)
    await feeding
    assert found == VECTORS["results"]
    dut.out_ready.value = 1
    for _ in range(200):
        await RisingEdge(dut.clock)
        assert not dut.out_valid.value, "a result too many"


@cocotb.test()
async def a_reset_in_a_row(dut):
    """Half a row, a reset, then rows as if nothing had been."""
    chance = random.Random(VECTORS["seed"] + 1).random
    cocotb.start_soon(Clock(dut.clock, 10, unit="ns").start())
    await reset(dut)
    row = VECTORS["row"]
    feeding = cocotb.start_soon(feed(dut, VECTORS["elements"][: row // 2], chance))
    await feeding
    await Timer(1, unit="ns")
    await reset(dut)
    per_row = VECTORS["results_of_row"]
    feeding = cocotb.start_soon(feed(dut, VECTORS["elements"][:row], chance))
    assert await take(dut, per_row, chance) == VECTORS["results"][:per_row]
    await feeding
