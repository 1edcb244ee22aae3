# SPDX-License-Identifier: Apache-2.0
"""DeiT-Tiny on Ethos-U85-256 with less and less SRAM, ours beside Vela's.

The recorded figures are of Vela 5.2.0 (system ``Ethos_U85_SYS_DRAM_Mid``, memory mode
``Dedicated_Sram`` with ``--arena-cache-size``, which its file ``*_summary_*.csv`` sums up) for the
network of :mod:`vela_network`.
"""

from __future__ import annotations

import csv
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from vela_graphs import graph_for
from vela_oracle import VelaSetting
from vela_settings import profile_of

from simulator.cost import CostEstimate, estimate

RECORDED = Path(__file__).parent / "recorded" / "vela_budgets.csv"
CYCLE_BAND = 1.5
TRAFFIC_BAND = 1.6


def recorded() -> dict[int, tuple[int, int]]:
    """Return Vela's cycles and DRAM bytes by KiB of SRAM."""
    with RECORDED.open(encoding="utf-8", newline="") as file:
        return {
            int(row["sram_kib"]): (int(row["total_cycles"]), int(row["dram_bytes"]))
            for row in csv.DictReader(file)
        }


@cache
def ours(kib: int) -> CostEstimate:
    setting = VelaSetting(
        accelerator="ethos-u85-256",
        system_config="Ethos_U85_SYS_DRAM_Mid",
        memory_mode="Dedicated_Sram",
        arena_cache_size=kib * 1024,
    )
    return estimate(graph_for("deit_tiny_patch16_224", setting.accelerator), profile_of(setting))


@pytest.mark.parametrize("kib", recorded())
def test_cycles_and_traffic_fall_as_vela_s(kib):
    cycles, dram_bytes = recorded()[kib]
    found = ours(kib)
    assert 1 / CYCLE_BAND <= found.total_cycles / cycles <= CYCLE_BAND
    assert 1 / TRAFFIC_BAND <= found.dram_bytes / dram_bytes <= TRAFFIC_BAND


def test_more_sram_is_faster_until_everything_has_a_place():
    budgets = sorted(recorded())
    costs = [ours(kib) for kib in budgets]
    assert all(large.total_cycles <= small.total_cycles for small, large in pairwise(costs))
    assert [bool(each.spilled) for each in costs] == [True] * 4 + [False] * 2
    assert costs[0].total_cycles > 2 * costs[-1].total_cycles
    assert costs[0].dram_bytes > 30 * costs[-1].dram_bytes
