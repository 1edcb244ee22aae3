# SPDX-License-Identifier: Apache-2.0
"""A profile for a setting of Vela: the chip's own tables, the memories of the system.

The numbers of a system are those of ``Arm/vela.ini`` in Vela's package: what a memory's port moves
in a cycle, its bursts, latencies and requests under way. What a memory mode does is there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vela_oracle import VelaSetting

from simulator.profile import NpuProfile, load_profile

_ENOUGH_SRAM = 1 << 30  # where a memory mode sets no limit
_KIB = 1024
_WORD = 16  # bytes of a request's buffer
_USED = 0.8  # of buffers and bursts, as Vela assumes

PROFILES: Mapping[str, str] = MappingProxyType(
    {
        "ethos-u55-128": "ethos_u55_128",
        "ethos-u55-256": "ethos_u55_256",
        "ethos-u65-512": "ethos_u65_512",
        "ethos-u85-256": "ethos_u85_256",
        "ethos-u85-512": "ethos_u85_512",
    }
)
# Words of the buffer for what an operation streams; only Ethos-U85 is limited by it.
_READ_WORDS: Mapping[str, int] = MappingProxyType({"ethos-u85-256": 104, "ethos-u85-512": 128})


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One memory of a system; rates are bytes a cycle of the chip's clock."""

    bytes_per_cycle: float
    burst_bytes: int
    latency_cycles: int
    max_reads: int

    def read_bytes_per_cycle(self, accelerator: str) -> float | None:
        """Return what the requests under way at once allow, None where nothing limits them."""
        words = _READ_WORDS.get(accelerator)
        if words is None:
            return None
        requests = min(words * _WORD / self.burst_bytes, _USED * self.max_reads)
        limit = round(_USED * self.burst_bytes * requests / self.latency_cycles, 6)
        return min(limit, self.bytes_per_cycle)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Clock and memories of a system; ``outside`` is its DRAM or flash."""

    clock_mhz: float
    sram: Memory
    outside: Memory


def _memory(rate: float, burst: int, latency: int, reads: int) -> Memory:
    return Memory(bytes_per_cycle=rate, burst_bytes=burst, latency_cycles=latency, max_reads=reads)


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "Ethos_U55_High_End_Embedded": System(
            clock_mhz=500, sram=_memory(8, 32, 32, 4), outside=_memory(1, 128, 64, 2)
        ),
        "Ethos_U55_Deep_Embedded": System(
            clock_mhz=200, sram=_memory(8, 32, 32, 8), outside=_memory(0.5, 128, 64, 2)
        ),
        "Ethos_U65_Mid_End": System(
            clock_mhz=500, sram=_memory(16, 32, 32, 8), outside=_memory(7.5, 128, 500, 12)
        ),
        "Ethos_U65_High_End": System(
            clock_mhz=1000, sram=_memory(16, 32, 32, 16), outside=_memory(3.75, 128, 500, 24)
        ),
        "Ethos_U65_Client_Server": System(
            clock_mhz=1000, sram=_memory(16, 32, 32, 16), outside=_memory(12, 128, 500, 24)
        ),
        "Ethos_U85_SYS_Flash_High": System(
            clock_mhz=500, sram=_memory(32, 64, 32, 16), outside=_memory(1, 128, 64, 2)
        ),
        "Ethos_U85_SYS_DRAM_Low": System(
            clock_mhz=500, sram=_memory(32, 64, 16, 16), outside=_memory(7.5, 128, 500, 24)
        ),
        "Ethos_U85_SYS_DRAM_Mid": System(
            clock_mhz=1000, sram=_memory(32, 64, 32, 16), outside=_memory(12, 128, 500, 64)
        ),
        "Ethos_U85_SYS_DRAM_High": System(
            clock_mhz=1000, sram=_memory(64, 64, 32, 32), outside=_memory(24, 128, 500, 128)
        ),
    }
)


def profile_of(setting: VelaSetting) -> NpuProfile:
    """Return the shipped profile of the accelerator with the memories of the setting."""
    profile, system = load_profile(PROFILES[setting.accelerator]), SYSTEMS[setting.system_config]
    sram, outside = system.sram, system.outside
    values: dict[str, Any] = profile.model_dump()
    values["compute"]["clock_mhz"] = float(system.clock_mhz)
    values["memory"] |= {
        "sram_bytes": _sram_bytes(setting),
        "arena": "dram" if setting.memory_mode.startswith("Dedicated") else "sram",
        "constants": "sram" if setting.memory_mode == "Sram_Only" else "dram",
        "sram_port": {
            "bytes_per_cycle": float(sram.bytes_per_cycle),
            "read_bytes_per_cycle": sram.read_bytes_per_cycle(setting.accelerator),
            "burst_bytes": sram.burst_bytes,
            "latency_cycles": sram.latency_cycles,
        },
        "dram_bytes_per_cycle": float(outside.bytes_per_cycle),
        "dram_read_bytes_per_cycle": outside.read_bytes_per_cycle(setting.accelerator),
        "dram_burst_bytes": outside.burst_bytes,
        "dram_latency_cycles": outside.latency_cycles,
    }
    memory = type(profile.memory).model_validate(values["memory"])
    compute = profile.compute.model_copy(update={"clock_mhz": float(system.clock_mhz)})
    return profile.model_copy(update={"memory": memory, "compute": compute})


def _sram_bytes(setting: VelaSetting) -> int:
    if setting.arena_cache_size is not None:
        return setting.arena_cache_size
    budget = re.search(r"_(\d+)KB$", setting.memory_mode)
    return int(budget[1]) * _KIB if budget else _ENOUGH_SRAM
