# SPDX-License-Identifier: Apache-2.0
"""ESTIMATED cost of a graph on a profile: cycles, memory, latency. See ``docs/cost.md``."""

from simulator.cost.constants import weight_bytes
from simulator.cost.engine import gemm_cycles
from simulator.cost.estimate import CostEstimate, OpCost, UncostedOpError, UnplacedOpError, estimate
from simulator.cost.memory import Buffer, MemoryPlan, plan_memory

__all__ = [
    "Buffer",
    "CostEstimate",
    "MemoryPlan",
    "OpCost",
    "UncostedOpError",
    "UnplacedOpError",
    "estimate",
    "gemm_cycles",
    "plan_memory",
    "weight_bytes",
]
