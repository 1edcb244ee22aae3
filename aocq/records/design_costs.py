# SPDX-License-Identifier: Apache-2.0
"""What a design costs on a chip, ESTIMATED, by the axes that budgets have; and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from aocq.records.run import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignCosts:
    """Costs of one image on a chip, or a difference of two; ``energy_mj`` None: no energies known.

    Attributes
    ----------
    weight_bytes
        of all constants of the integer graph, packed at their widths
    cycles, latency_ms, energy_mj, peak_sram_bytes
        as in ``run.json``
    """

    weight_bytes: float
    cycles: float
    latency_ms: float
    peak_sram_bytes: float
    energy_mj: float | None = None

    @classmethod
    def of_run(cls, result: RunResult) -> DesignCosts:
        """Return the costs in a run's record."""
        return cls(
            weight_bytes=result.memory.weight_bytes,
            cycles=result.cycles.total,
            latency_ms=result.latency_ms,
            peak_sram_bytes=result.memory.peak_sram_bytes,
            energy_mj=result.energy_record.total_mj if result.energy_record else None,
        )

    def of(self, axis: str) -> float:
        """Return the cost on an axis of :data:`BUDGET_AXES`; infinite where it is not known."""
        found = getattr(self, axis)
        return float("inf") if found is None else float(found)

    def plus(self, other: DesignCosts, sign: int = 1) -> DesignCosts:
        """Return the sum of costs and a difference; with ``sign`` -1 the difference of two."""
        energies = (self.energy_mj, other.energy_mj)
        return DesignCosts(
            weight_bytes=self.weight_bytes + sign * other.weight_bytes,
            cycles=self.cycles + sign * other.cycles,
            latency_ms=self.latency_ms + sign * other.latency_ms,
            peak_sram_bytes=self.peak_sram_bytes + sign * other.peak_sram_bytes,
            energy_mj=None
            if energies[0] is None or energies[1] is None
            else energies[0] + sign * energies[1],
        )

    def times(self, factor: float) -> DesignCosts:
        """Return the multiple of a difference."""
        return DesignCosts(
            weight_bytes=factor * self.weight_bytes,
            cycles=factor * self.cycles,
            latency_ms=factor * self.latency_ms,
            peak_sram_bytes=factor * self.peak_sram_bytes,
            energy_mj=None if self.energy_mj is None else factor * self.energy_mj,
        )

    def plain(self) -> dict[str, float | None]:
        """Return the costs as JSON and CSV have them."""
        return asdict(self)


WHOLE = frozenset({"weight_bytes", "cycles", "peak_sram_bytes"})


def costs_in_words(costs: DesignCosts) -> str:
    """Return costs by the axes of budgets: ``weight_bytes 69,555, latency_ms 0.123, …``."""
    energy = "not known" if costs.energy_mj is None else f"{costs.energy_mj:.4g}"
    return (
        f"weight_bytes {costs.weight_bytes:,.0f}, latency_ms {costs.latency_ms:.4g}, "
        f"energy_mj {energy}, peak_sram_bytes {costs.peak_sram_bytes:,.0f}, "
        f"cycles {costs.cycles:,.0f}"
    )


def budget_in_words(budget: Mapping[str, float]) -> str:
    """Return a budget as people read it: ``weight_bytes ≤ 76,510, latency_ms ≤ 2.5``."""
    return ", ".join(f"{axis} ≤ {most_in_words(axis, most)}" for axis, most in budget.items())


def most_in_words(axis: str, most: float) -> str:
    """Return a limit on an axis; of what is counted in whole numbers, the whole number below."""
    return f"{math.floor(most):,}" if axis in WHOLE else f"{most:.6g}"


# Axes that a budget can hold: those of fronts that are costs (records/axes.py), and cycles.
BUDGET_AXES = tuple(field.name for field in fields(DesignCosts))
