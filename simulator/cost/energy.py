# SPDX-License-Identifier: Apache-2.0
"""ESTIMATED energy of one image: counted actions times the profile's picojoules.

Excluded: the host, hops between the multipliers of an array, and buffers inside the units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from simulator.cost.engine import multiplied_bits
from simulator.cost.exact import as_written
from simulator.cost.schedule import StepCost
from simulator.graph.graph import IntGraph
from simulator.profile.energy import EnergySection

EnergyPart = Literal["mac", "vector", "sram", "dram", "leakage"]
PICOJOULES_PER_MILLIJOULE = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyEstimate:
    """ESTIMATED energy of one image in millijoules, by what spends it.

    ``parts`` has no leakage where the profile states none.
    """

    node_nm: float
    parts: dict[EnergyPart, float]

    @property
    def total_mj(self) -> float:
        """Millijoules of one image."""
        return sum(self.parts.values())


def mac_energy(table: EnergySection, a_bits: int, b_bits: int) -> Fraction | None:
    """Return picojoules of one multiply-accumulate; None where no entry is wide enough.

    The least of the entries that hold both operands counts: a 4-bit weight costs what an 8-bit one
    does on a chip whose table has nothing narrower.
    """
    wide_enough = [
        as_written(entry.pj)
        for entry in table.mac
        if a_bits <= entry.a_bits and b_bits <= entry.b_bits
    ]
    return min(wide_enough, default=None)


def energy_of(
    graph: IntGraph,
    costs: Sequence[StepCost],
    table: EnergySection,
    *,
    float16: bool = False,
    more_cycles: int = 0,
) -> EnergyEstimate | None:
    """Return the energy of a graph whose steps cost ``costs``.

    A pass of the array that is no product counts as a multiply-accumulate for each element, at the
    widths of the op's operands. With ``float16``, multiply-accumulates cost what the table says of
    that format. The chip leaks for ``more_cycles`` besides, while it waits for its host.

    Returns
    -------
    EnergyEstimate | None
        None where the table has no entry for a multiply-accumulate of the graph's widths: a sum
        without it would be too small
    """
    ops = {op.name: op for op in graph.ops}
    spent: dict[EnergyPart, Fraction] = dict.fromkeys(
        ("mac", "vector", "sram", "dram"), Fraction(0)
    )
    if table.leakage_per_cycle is not None:
        cycles = more_cycles + sum(cost.total for cost in costs)
        spent["leakage"] = cycles * as_written(table.leakage_per_cycle)
    for cost in costs:
        step = cost.step
        if step.unit == "mac":
            bits = multiplied_bits(graph, ops[step.op])
            each = _float16_mac(table) if float16 else mac_energy(table, *bits)
            if each is None:
                return None
            # Passes of the array that are no product (sums, a maximum) use it once an element.
            spent["mac"] += (step.macs or step.elements) * each
        if step.unit == "vector":
            spent["vector"] += step.elements * as_written(table.vector_element)
        if step.unit != "host":
            spent["vector"] += step.scalings * as_written(table.vector_element)
        spent["sram"] += cost.sram_bytes * as_written(table.sram_byte)
        spent["dram"] += cost.dram_bytes * as_written(table.dram_byte)
    return EnergyEstimate(
        node_nm=table.node_nm,
        parts={part: float(pj / PICOJOULES_PER_MILLIJOULE) for part, pj in spent.items()},
    )


def _float16_mac(table: EnergySection) -> Fraction | None:
    return None if table.float16_mac is None else as_written(table.float16_mac)
