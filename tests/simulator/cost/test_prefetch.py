# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from cost_graphs import Sketch, profile_with, transformer
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost import estimate
from simulator.cost.prefetch import hidden

STEPS = 6


@st.composite
def transfers(draw):
    """Steps with their port's cycles, and transfers that may begin before their step."""
    total, port, fetched, since = [], [], [], {}
    for step in range(draw(st.integers(1, STEPS))):
        total.append(draw(st.integers(0, 6)))
        port.append(draw(st.integers(0, total[-1])))
        fetched.append(draw(st.integers(0, 8)))
        if step and fetched[-1] and draw(st.booleans()):
            since[step] = draw(st.integers(0, step))
    return total, port, [each if step in since else 0 for step, each in enumerate(fetched)], since


def idle(total, port):
    return [step for step, cycles in enumerate(total) for _ in range(cycles - port[step])]


def most_hidden(total, port, fetched, since):
    """Return the most cycles of transfers in idle ones: a matching, by augmenting paths."""
    slots = idle(total, port)
    wishes = [step for step in since for _ in range(fetched[step])]
    given_to: dict[int, int] = {}

    def placed(wish, tried):
        for slot, step in enumerate(slots):
            if slot in tried or not since[wishes[wish]] <= step <= wishes[wish]:
                continue
            tried.add(slot)
            if slot not in given_to or placed(given_to[slot], tried):
                given_to[slot] = wish
                return True
        return False

    return sum(placed(wish, set()) for wish in range(len(wishes)))


def arrays(*columns):
    return [np.array(column, dtype=np.int64) for column in columns]


@given(transfers())
def test_as_much_is_hidden_as_can_be(given_transfers):
    total, port, fetched, since = given_transfers
    totals, ports = hidden(*arrays(total, port, fetched), since)
    most = most_hidden(total, port, fetched, since)
    assert totals.sum() == sum(total) + sum(fetched) - most
    assert ports.sum() == sum(port) + sum(fetched)
    assert (ports <= totals).all()
    assert (totals >= np.array(total)).all()


@given(transfers(), st.data())
def test_faster_steps_and_transfers_are_never_slower(slow, data):
    total, port, fetched, since = slow
    faster_port = [data.draw(st.integers(0, each)) for each in port]
    faster_total = [
        data.draw(st.integers(own, each)) for own, each in zip(faster_port, total, strict=True)
    ]
    faster_fetched = [data.draw(st.integers(0, each)) for each in fetched]
    before, _ = hidden(*arrays(total, port, fetched), since)
    after, _ = hidden(*arrays(faster_total, faster_port, faster_fetched), since)
    assert after.sum() <= before.sum()


def two_layers():
    s = Sketch()
    first = s.linear("first", s.input("x", 8, 64), 64)
    return s.graph(s.linear("second", s.softmax("softmax", first), 64))


def costs(**changes):
    rates = {
        "compute__vector__cycles_per_element": dict.fromkeys(
            ("softmax", "layernorm", "lookup", "add", "rescale", "mean", "layout", "float"), 200.0
        )
    }
    slow = {"memory__dram_bytes_per_cycle": 1, "memory__sram_bytes": 1 << 20} | rates
    return estimate(two_layers(), profile_with(**slow | changes))


def test_weights_of_a_later_layer_arrive_during_the_steps_before():
    without, found = costs(), costs(memory__prefetch=True)
    first, softmax, second = found.steps
    weights = 64 * 64 + 64 * 4  # and biases, which are fetched with their layer
    assert [each.fetched_since for each in found.steps] == [None, None, 0]
    # The first weights cannot be hidden; the second ones arrive during the softmax.
    assert first.total == without.steps[0].total >= weights
    assert without.steps[2].total >= weights
    assert second.total < 64 * 64
    assert softmax.dram_cycles == without.steps[1].dram_cycles + 64 * 64
    assert found.total_cycles < without.total_cycles
    assert found.dram_bytes == without.dram_bytes
    assert found.total_cycles == sum(op.total for op in found.ops)


def test_weights_wait_where_no_place_is_free():
    # The buffers of activations take 1024 bytes at most, 4096 of weights do not fit beside them.
    tight = {"memory__sram_bytes": 4096}
    assert costs(memory__prefetch=True, **tight).total_cycles == costs(**tight).total_cycles


def test_one_buffer_has_nothing_to_fetch_into():
    single = {"memory__double_buffer": False}
    assert costs(memory__prefetch=True, **single).total_cycles == costs(**single).total_cycles


def test_places_of_early_weights_are_free():
    graph = transformer(tokens=9, heads=2, width=8, blocks=2)
    profile = profile_with(
        memory__prefetch=True, memory__sram_bytes=6000, memory__dram_bytes_per_cycle=0.25
    )
    found = estimate(graph, profile)
    plan = found.traffic
    assert plan.prefetch is not None
    assert len(plan.prefetch.since) > 3
    sizes = {
        number: graph.tensors[graph.ops[index].operands[1]].bytes
        for number, index in (
            (number, next(i for i, op in enumerate(graph.ops) if op.name == cost.step.op))
            for number, cost in enumerate(found.steps)
            if number in plan.prefetch.since
        )
    }
    for number in range(len(found.steps)):
        places = [
            (plan.residency.offsets[each.name], each.bytes)
            for each in found.plan.buffers
            if each.name in plan.residency.offsets and each.first <= number <= each.last
        ]
        places += [
            (plan.prefetch.offsets[later], sizes[later])
            for later, since in plan.prefetch.since.items()
            if since <= number <= later
        ]
        taken = [byte for start, size in places for byte in range(start, start + size)]
        assert len(taken) == len(set(taken))
        assert max(taken, default=0) < profile.memory.sram_bytes
        tiling = found.steps[number].tiling
        if tiling is not None:
            assert tiling.room <= profile.memory.sram_bytes - len(taken)


def test_weights_that_are_fetched_early_are_written_to_sram_and_read_there():
    s = Sketch()
    s.linear("y", s.softmax("x", s.input("a", 16, 16)), 16)
    slow = {"compute__vector__cycles_per_element__softmax": 100}  # the port is idle for long
    profile = profile_with(memory__prefetch=True, memory__dram_bytes_per_cycle=4, **slow)
    last = estimate(s.graph("y"), profile).steps[-1]
    assert last.fetched_since == 0
    # 16 x 16 codes of A, of the result, and twice of the weights; the array has 16 x 16 places.
    assert last.sram_bytes == 4 * 256 + 256  # and the result again, on its way out
