# SPDX-License-Identifier: Apache-2.0
"""Offsets of buffers: sound, never above the greedy ones, and the lowest of all where few."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cost import Buffer, allocate
from simulator.cost.allocation import ALIGNMENT, busiest, least_end


@st.composite
def buffers(draw, most=12, steps=8, sizes=100):
    found = []
    for index in range(draw(st.integers(0, most))):
        first = draw(st.integers(0, steps))
        last = first + draw(st.integers(0, 5))
        size = draw(st.integers(0, sizes))
        found.append(Buffer(name=f"b{index}", bytes=size, first=first, last=last))
    return tuple(found)


def at_random(seed: int, count: int, steps: int, lives: int) -> tuple[Buffer, ...]:
    numbers = random.Random(seed)
    found = []
    for index in range(count):
        first = numbers.randrange(steps)
        last = first + numbers.randrange(lives)
        size = numbers.randrange(1, 2000)
        found.append(Buffer(name=f"b{index}", bytes=size, first=first, last=last))
    return tuple(found)


def end_of(found, offsets) -> int:
    return max((offsets[b.name] + b.bytes for b in found), default=0)


def lowest_end(found) -> int:
    """The end of the lowest allocation: every order, each buffer on the highest it meets."""
    best = None
    for order in permutations(found):
        offsets: dict[str, int] = {}
        for buffer in order:
            below = [b for b in order if b.name in offsets and buffer.meets(b)]
            ends = [offsets[b.name] + b.bytes for b in below]
            offsets[buffer.name] = -(-max(ends, default=0) // ALIGNMENT) * ALIGNMENT
        end = end_of(found, offsets)
        best = end if best is None else min(best, end)
    assert best is not None
    return best


def shared(found, offsets) -> list[tuple[str, str]]:
    """Pairs of buffers that some step needs together and that have a byte in common."""
    return [
        (a.name, b.name)
        for number, a in enumerate(found)
        for b in found[:number]
        if a.meets(b)
        and offsets[a.name] < offsets[b.name] + b.bytes
        and offsets[b.name] < offsets[a.name] + a.bytes
    ]


@given(buffers())
def test_no_buffers_that_live_together_share_bytes(found):
    allocation = allocate(found)
    assert {b.name for b in found} == allocation.offsets.keys()
    assert all(offset % ALIGNMENT == 0 for offset in allocation.offsets.values())
    assert shared(found, allocation.offsets) == []
    assert allocation.peak_bytes == end_of(found, allocation.offsets)
    live = sum(b.bytes for b in busiest(found))
    assert live <= least_end(found) <= allocation.peak_bytes <= allocation.greedy_peak_bytes


@given(buffers())
def test_the_busiest_step_is_the_one_with_the_most_bytes(found):
    live = [[b for b in found if b.first <= step <= b.last] for step in range(15)]
    most = max(sum(b.bytes for b in alive) for alive in live)
    first = next(alive for alive in live if sum(b.bytes for b in alive) == most)
    assert sum(b.bytes for b in busiest(found)) == most
    if most:
        assert {b.name for b in busiest(found)} == {b.name for b in first}


@settings(max_examples=60)
@given(buffers(most=6, steps=4).filter(bool))
def test_of_few_buffers_the_lowest_allocation_is_found(found):
    assert allocate(found).peak_bytes == lowest_end(found)


def test_buffers_lie_in_the_lowest_gap_at_multiples_of_the_alignment():
    found = (
        Buffer(name="large", bytes=40, first=0, last=0),
        Buffer(name="medium", bytes=30, first=0, last=2),
        Buffer(name="small", bytes=20, first=1, last=2),
    )
    allocation = allocate(found)
    # By size, medium lies on large, at the next multiple of 16; the other way round is lower.
    assert allocation.greedy_peak_bytes == 48 + 30
    assert allocation.offsets == {"medium": 0, "large": 32, "small": 32}
    assert least_end(found) == allocation.peak_bytes == 32 + 40


def test_a_better_order_is_found_where_the_greedy_one_leaves_a_gap():
    found = (
        Buffer(name="long", bytes=32, first=0, last=2),
        Buffer(name="before", bytes=64, first=0, last=0),
        Buffer(name="between", bytes=48, first=1, last=2),
        Buffer(name="after", bytes=48, first=2, last=3),
        Buffer(name="end", bytes=80, first=3, last=3),
    )
    allocation = allocate(found)
    assert allocation.greedy_peak_bytes == 160
    assert allocation.peak_bytes == least_end(found) == 128


@pytest.mark.parametrize(("count", "steps", "lives"), [(20, 12, 6), (40, 30, 8), (450, 350, 6)])
def test_the_same_buffers_get_the_same_offsets(count, steps, lives):
    found = at_random(count, count, steps, lives)
    allocate.cache_clear()
    first = allocate(found)
    allocate.cache_clear()
    assert allocate(found) == first
    assert least_end(found) <= first.peak_bytes < first.greedy_peak_bytes
    assert shared(found, first.offsets) == []


def test_an_exchange_lowers_what_no_order_by_itself_does(monkeypatch):
    found = at_random(7, 60, 40, 8)
    allocate.cache_clear()
    with_exchanges = allocate(found).peak_bytes
    monkeypatch.setattr("simulator.cost.allocation._EXCHANGE_VISITS", 0)
    monkeypatch.setattr("simulator.cost.allocation._SEARCH_VISITS", 0)
    allocate.cache_clear()
    assert with_exchanges < allocate(found).peak_bytes
    allocate.cache_clear()
