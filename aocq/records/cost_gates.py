# SPDX-License-Identifier: Apache-2.0
"""Gates on estimates of the chip: whether activations fit, where ops run, time, memory, energy.

They are exact numbers of the cost model; that the model is one, the word ESTIMATED says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aocq.records.costs import MemoryRecord
from aocq.records.quantities import compared
from aocq.records.verdict import FITS_SRAM, PLACED, GateResult, held, missing

_NAMED = 3  # ops in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """A gate on an estimate: its unit, how its sentence begins, and on which side it passes."""

    unit: str
    begins: str
    at_least: bool = False


_COSTS: Mapping[str, _Cost] = MappingProxyType(
    {
        "max_latency_ms": _Cost(unit="ms", begins="ESTIMATED latency is"),
        "min_fps": _Cost(unit="images/s", begins="ESTIMATED throughput is", at_least=True),
        "max_sram_bytes": _Cost(unit="bytes", begins="ESTIMATED peak of SRAM is"),
        "max_dram_bytes": _Cost(unit="bytes", begins="ESTIMATED DRAM traffic of one image is"),
        "max_energy_mj": _Cost(unit="mJ", begins="ESTIMATED energy of one image is"),
    }
)
_OF_TIME = ("max_latency_ms", "min_fps")
NO_ENERGY = (
    "energy of one image is not known: the profile has no table of energies that holds for the "
    "network ([energy], docs/profiles.md), or the record is older"
)


def without_host(left_out: Sequence[str]) -> str:
    """Return that steps of the host are in no estimate, and why."""
    steps = " and ".join(left_out)
    return f"without the host's work ({steps}): the profile has no [compute.host]"


def fits_sram(memory: MemoryRecord) -> GateResult:
    """Return whether the activations fit the profile's SRAM."""
    needed, available = compared(memory.peak_sram_bytes, memory.sram_bytes, "bytes")
    return held(
        FITS_SRAM,
        memory.peak_sram_bytes,
        memory.sram_bytes,
        "bytes",
        f"activations need {needed} of SRAM (ESTIMATED), the profile has {available}",
    )


def placed(unplaced: Sequence[str]) -> GateResult:
    """Return whether the chip has a place for every op, from the names of those without one."""
    number = len(unplaced)
    reason = "the chip has a place for every op"
    if number:
        ops = f"{number} {'op' if number == 1 else 'ops'}"
        more = ", …" * (number > _NAMED)
        reason = f"the chip has no place for {ops}: {', '.join(unplaced[:_NAMED])}{more}"
    return held(PLACED, number, 0, "ops", reason)


def cost_result(
    name: str, limit: float, value: float | None, left_out: Sequence[str] = ()
) -> GateResult:
    """Hold an estimate to the limit of a gate, by the gate's name; None: there is no estimate.

    ``left_out`` names steps of the host that are in no estimate of time.
    """
    cost = _COSTS[name]
    if value is None:
        return missing(name, limit, cost.unit, NO_ENERGY)
    written, allowed = compared(value, limit, cost.unit)
    word = "wanted" if cost.at_least else "allowed"
    reason = f"{cost.begins} {written}, {word} {allowed}"
    if left_out and name in _OF_TIME:
        reason += f"; {without_host(left_out)}"
    return held(name, value, limit, cost.unit, reason, at_least=cost.at_least)
