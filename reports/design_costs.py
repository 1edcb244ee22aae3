# SPDX-License-Identifier: Apache-2.0
"""Costs of designs and differences of these, as tables of sensitivities and searches write them."""

from __future__ import annotations

from aocq.records.design_costs import DesignCosts
from reports.format import MISSING

COST_HEADS = ("weight bytes", "ms", "mJ", "peak SRAM")


def cost_cells(costs: DesignCosts) -> list[str]:
    """Return costs as cells under :data:`COST_HEADS`."""
    energy = MISSING if costs.energy_mj is None else f"{costs.energy_mj:.3f}"
    return [
        f"{costs.weight_bytes:,.0f}",
        f"{costs.latency_ms:.3f}",
        energy,
        f"{costs.peak_sram_bytes:,.0f}",
    ]


def added_cells(costs: DesignCosts) -> list[str]:
    """Return a difference of costs as cells under :data:`COST_HEADS`, with signs."""
    energy = MISSING if costs.energy_mj is None else _signed(costs.energy_mj, 4)
    return [
        _signed(costs.weight_bytes, 0),
        _signed(costs.latency_ms, 4),
        energy,
        _signed(costs.peak_sram_bytes, 0),
    ]


def _signed(value: float, digits: int) -> str:
    text = f"{value:+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text
